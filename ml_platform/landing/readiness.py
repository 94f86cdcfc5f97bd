"""Readiness: which landed files are whole by what their contract says of deliveries, and why the others wait.

Belongs here: rest, `_SUCCESS` and manifests, asked once per folder and look. Does not belong here: whether a drop is settled (ledger).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ml_platform.contracts import SourceContract
from ml_platform.landing import manifest as manifests
from ml_platform.landing.drops import Changed, Drop, LandedFile, Vanished
from ml_platform.landing.manifest import Manifest, ManifestError, read_manifest
from ml_platform.landing.protocol import LandingStore
from ml_platform.transient import TransientError, retried

SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class Waits:
    """A file that lies there and is not settled: in one word why, in many, and since when it lies there.

    `due`: nothing keeps it from the next run.
    """

    source: str
    path: str
    reason: str
    words: str
    since: datetime
    due: bool = False


@dataclass(frozen=True)
class WaitingFiles:
    """How many files of a source wait for one reason, with the first as an example, and since when the oldest does."""

    source: str
    reason: str
    files: int
    example: str
    since: datetime
    due: bool = False

    @property
    def words(self) -> str:
        return f"{self.files:,} of {self.source} ({self.reason}: {self.example})"


class Waiting:
    """Waiting files, counted by source and reason: however many there are, it stays small."""

    def __init__(self) -> None:
        self._counts, self._first = Counter[tuple[str, str]](), dict[tuple[str, str], Waits]()
        self._since = dict[tuple[str, str], datetime]()

    def add(self, one: Waits) -> None:
        key = one.source, one.reason
        self._counts[key] += 1
        self._first.setdefault(key, one)
        self._since[key] = min(one.since, self._since.get(key, one.since))

    def files(self) -> tuple[WaitingFiles, ...]:
        return tuple(
            WaitingFiles(*key, count, f"{first.path}: {first.words}", self._since[key], first.due)
            for (key, first), count in zip(self._first.items(), self._counts.values(), strict=True)
        )


def in_words(held: Sequence[WaitingFiles]) -> str:
    """What waits and why, for people."""
    return "; ".join(one.words for one in held)


@dataclass(frozen=True)
class _Wait:
    """Why all files of a folder wait."""

    reason: str
    words: str


@dataclass
class Readiness:
    """One look at a source's deliveries: what a folder says is asked once, when a file of it is."""

    landing: LandingStore
    contract: SourceContract
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _folders: dict[str, Manifest | _Wait | None] = field(default_factory=dict)

    def of(self, drop: Drop) -> Drop | Waits:
        """The drop, with what is promised of its bytes, or why it waits."""
        rest = self.now - drop.changed_at
        if rest < timedelta(seconds=self.contract.landing.stable_seconds):
            wanted = self.contract.landing.stable_seconds
            return self._held(drop, "unstable", f"it changed less than {wanted} s ago")
        if drop.folder not in self._folders:
            self._folders[drop.folder] = self._look_at(drop.folder)
        found = self._folders[drop.folder]
        if isinstance(found, _Wait):
            return self._held(drop, found.reason, found.words)
        return drop if found is None else self._promised(drop, found)

    def split(self, drops: Iterable[Drop]) -> tuple[list[Drop], tuple[WaitingFiles, ...]]:
        """Those that are due, and those that wait."""
        due, held = list[Drop](), Waiting()
        for one in map(self.of, drops):
            held.add(one) if isinstance(one, Waits) else due.append(one)
        return due, held.files()

    def _promised(self, drop: Drop, manifest: Manifest) -> Drop | Waits:
        promise = manifest.files.get(drop.name)
        if promise is None:
            return self._held(drop, "not_in_manifest", f"{manifests.NAME} of its folder does not name it")
        if promise.length != drop.length:
            return self._held(drop, "incomplete", f"it has {drop.length:,} of {promise.length:,} bytes")
        return replace(drop, promised_sha256=promise.sha256.lower())

    def _look_at(self, folder: str) -> Manifest | _Wait | None:
        """What a folder says of its files; None where it says that they are whole, or is not asked."""
        if self.contract.landing.complete == "file":
            return None
        name = SUCCESS if self.contract.landing.complete == "success" else manifests.NAME
        told = self.landing.stat(f"{folder}/{name}")
        if told is None:
            return _Wait(f"no{name.split('.')[0].lower()}", f"its folder holds no {name} yet")
        return None if name == SUCCESS else self._delivery(folder, told)

    def _delivery(self, folder: str, file: LandedFile) -> Manifest | _Wait:
        """A manifest whose files are all there, whole."""
        try:
            manifest = read_manifest(retried(lambda: self._bytes(file), f"reading {file.path}"))
        except (Changed, Vanished, TransientError) as why:
            return _Wait("incomplete", str(why))
        except (ManifestError, OSError) as why:
            return _Wait("broken_manifest", f"{file.path} cannot be used: {why}")
        there = {one.path.rpartition("/")[2]: one.length for one in self._children(folder)}
        lost = [name for name, promise in manifest.files.items() if there.get(name) != promise.length]
        if lost:
            first = f"{lost[0]} has {there.get(lost[0], 0):,} of {manifest.files[lost[0]].length:,} bytes"
            return _Wait(
                "incomplete", f"{len(lost)} of {len(manifest.files)} files of its delivery are not whole: {first}"
            )
        return manifest

    def _bytes(self, file: LandedFile) -> bytes:
        if file.length > manifests.MOST_BYTES:
            raise ManifestError(f"it has more than {manifests.MOST_BYTES:,} bytes")
        with self.landing.fetch(file) as path:
            return path.read_bytes()

    def _children(self, folder: str) -> list[LandedFile]:
        """The files of a folder, without those of the folders in it."""
        files = (file for page in self.landing.pages(folder) for file in page.files)
        return [file for file in files if file.path.rpartition("/")[0] == folder]

    def _held(self, drop: Drop, reason: str, words: str) -> Waits:
        return Waits(self.contract.name, drop.path, reason, words, drop.arrived_at)
