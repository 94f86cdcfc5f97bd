"""The log of a local table as files: which version names which data files, and how far back it can be read.

Belongs here: reading `_delta_log` and cutting its beginning off. Does not belong here: what commits say (history), which versions
somebody still needs (maintenance).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ml_platform.lake.errors import GoneError

COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")


@dataclass(frozen=True)
class Entry:
    """One commit: its version and time, and the data files (relative to the table's folder) that it added and removed."""

    version: int
    at: datetime
    added: frozenset[str]
    removed: frozenset[str]
    metadata: dict[str, str]


@dataclass(frozen=True)
class Log:
    """The commits, oldest first, that lie in the log without a gap up to the newest one; and the versions with a checkpoint."""

    folder: Path
    commits: tuple[Entry, ...]
    checkpoints: tuple[int, ...]

    @property
    def newest(self) -> int:
        return self.commits[-1].version

    @cached_property
    def oldest(self) -> int:
        """The oldest version whose list of files can still be told: without commit 0 it takes a checkpoint to begin with."""
        first = self.commits[0].version
        begins = [0] if first == 0 else [one for one in self.checkpoints if one >= first - 1]
        return min(begins, default=self.newest)

    def readable(self) -> tuple[int, int]:
        """The oldest and the newest version of which every data file still lies there."""
        version = self.newest
        for entry in reversed(self.commits):
            if entry.version <= self.oldest or not all((self.folder / one).exists() for one in entry.removed):
                break
            version = entry.version - 1
        return version, self.newest

    def at(self, moment: datetime) -> int:
        """The version that was the newest one at `moment`; GoneError where the log begins later."""
        if moment < self.commits[0].at:
            raise GoneError(f"the log of {self.folder} begins at {self.commits[0].at}, after {moment}")
        return self.in_force(moment)

    def in_force(self, moment: datetime) -> int:
        """The version that was the newest one at `moment`; the oldest one where the log does not go back that far."""
        newer = next((entry.version for entry in self.commits if entry.at > moment), self.newest + 1)
        return max(self.oldest, newer - 1)

    def named_since(self, live: set[str], version: int) -> set[str]:
        """Data files that `version` or a later one names, given those that the newest one does (`live`)."""
        later = [entry for entry in self.commits if entry.version > version]
        return live.union(*(entry.added | entry.removed for entry in later))

    def ever_named(self) -> set[str]:
        """Data files that any commit of the log names."""
        return set[str]().union(*(entry.added | entry.removed for entry in self.commits))

    def begin(self, version: int, least: int) -> int:
        """Where the log may begin so that `version` and later ones can be read: there, if that is worth a checkpoint, because `least` commits go.

        An erasure removes older checkpoints: a version that cannot be told any more is no place for another one.
        """
        known = max((one for one in self.checkpoints if one <= version), default=self.commits[0].version)
        return version if version >= self.oldest and version - known >= least else known

    def before(self, version: int) -> list[Path]:
        """Files of the log before `version`, in an order in which any of them may stay behind: checkpoints need the commits after them."""
        files = sorted(_numbered(self.folder, CHECKPOINT)) + sorted(_numbered(self.folder, COMMIT))
        return [path for number, path in files if number < version]


def read(root: str, name: str) -> Log:
    """The log of the table `name` below the local folder `root`; GoneError where there is none."""
    folder = Path(root) / name
    commits = list[Entry]()
    for number, path in sorted(_numbered(folder, COMMIT), reverse=True):
        if commits and commits[-1].version != number + 1:
            break
        commits.append(_entry(number, path))
    if not commits:
        raise GoneError(f"{folder} has no log that can be read")
    whole = sorted({number for number, path in _numbered(folder, CHECKPOINT) if path.name.count(".") == 2})
    return Log(folder, tuple(reversed(commits)), tuple(whole))


def committed(root: str, name: str, after: int) -> list[Path]:
    """Files of the commits after version `after`, each commit's data before the log that names it."""
    folder, found = Path(root) / name, list[Path]()
    while (log := folder / "_delta_log" / f"{(after := after + 1):020}.json").exists():
        found += [folder / one for one in sorted(_entry(after, log).added)] + [log]
    return found


def gone(root: str, name: str, version: int) -> GoneError:
    """The error for a version that cannot be read, with those that can."""
    if "://" in root:
        return GoneError(f"{name} has no version {version} that can be read")
    first, last = read(root, name).readable()
    return GoneError(f"{name} has no version {version} that can be read: there are versions {first} to {last}")


def _numbered(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[int, Path]]:
    for path in (folder / "_delta_log").iterdir():
        if found := pattern.fullmatch(path.name):
            yield int(found[1]), path


def _entry(version: int, path: Path) -> Entry:
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    info: dict[str, Any] = next((one["commitInfo"] for one in actions if "commitInfo" in one), {})
    stamp = info.get("timestamp") or path.stat().st_mtime * 1000
    paths = {
        kind: frozenset(unquote(one[kind]["path"]) for one in actions if kind in one) for kind in ("add", "remove")
    }
    own = {key: str(value) for key, value in info.items() if key.startswith("ml_platform.")}
    return Entry(version, datetime.fromtimestamp(float(stamp) / 1000, UTC), paths["add"], paths["remove"], own)
