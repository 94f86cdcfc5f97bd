"""Landing: which drops lie in the landing folder.

Belongs here: putting files there, listing, naming and dating drops. Does not belong here: opening them (formats) or remembering them (ledger).
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from ml_platform.contracts import SourceContract

EXAMPLE_DAY = "2026-01-31"


class LandingError(ValueError):
    """A file that no listing would take for a drop of its source; names the pattern and the way out."""


@dataclass(frozen=True)
class Drop:
    """One version of one landed file; `path` is relative to the landing folder, `day` its drop day, `named` whether the contract's pattern matches."""

    source: str
    path: str
    etag: str
    length: int
    day: date
    named: bool
    arrived_at: datetime

    @property
    def drop_id(self) -> str:
        return hashlib.sha256("|".join((self.source, self.path, self.etag, str(self.length))).encode()).hexdigest()[:24]


def list_drops(landing: Path, contract: SourceContract) -> list[Drop]:
    """Every file of a source, oldest drop day first; names that begin with . or _ are no drops, links are not followed."""
    found = (drop_of(entry, landing, contract) for entry in files(landing, contract))
    return sorted((drop for drop in found if drop), key=lambda drop: (drop.day, drop.arrived_at, drop.path))


def files(landing: Path, contract: SourceContract) -> Iterator[os.DirEntry[str]]:
    """The files of a source as the folder names them; that is quick, what each one is (`drop_of`) costs a question to the disk."""
    folder = landing / contract.name
    return _files(folder) if folder.is_dir() else iter(())


def read_name(name: str, contract: SourceContract) -> tuple[bool, date | None]:
    """Whether a name below landing/<source>/ is one of the contract's, and the drop day in it."""
    found = contract.path_pattern.match(name)
    day = _day(found.groupdict().get("day")) if found else None
    return found is not None and (day is not None or contract.kind == "snapshot"), day


def land_files(landing: Path, contract: SourceContract, files: Sequence[Path], *, anyway: bool = False) -> list[Path]:
    """Copy files into the landing folder, whole; LandingError, before the first one, where a name is not the contract's (unless `anyway`)."""
    names = [_landed_name(path, contract, anyway=anyway) for path in files]
    for path, name in zip(files, names, strict=True):
        target = landing / contract.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")  # no listing takes it for a drop
        shutil.copyfile(path, unfinished)
        unfinished.replace(target)
    return [landing / contract.name / name for name in names]


def _landed_name(path: Path, contract: SourceContract, *, anyway: bool) -> str:
    """The file's name below landing/<source>/, with as many of its folders as the contract's path has."""
    name = "/".join(path.absolute().parts[-1 - contract.path.count("/") :])
    if read_name(name, contract)[0] and not path.name.startswith((".", "_")):
        return name
    if anyway:
        return path.name
    example = contract.path.replace("{day}", EXAMPLE_DAY).replace("*", "")
    raise LandingError(
        f"'{name}' is no file of source '{contract.name}', whose path is '{contract.path}', for example {example}: "
        "rename it, or add --anyway to see it in quarantine"
    )


def undeclared(landing: Path, declared: set[str]) -> list[str]:
    """Folders with files that no contract declares."""
    if not landing.is_dir():
        return []
    folders = [
        entry
        for entry in landing.iterdir()
        if entry.is_dir() and entry.name not in declared and not entry.name.startswith((".", "_"))
    ]
    return sorted(folder.name for folder in folders if next(_files(folder), None))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry


def drop_of(entry: os.DirEntry[str], landing: Path, contract: SourceContract) -> Drop | None:
    """The version of a file that lies there now; None where it has gone since it was listed."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    # the time of modification alone does not do: copies keep it (rsync -t, cp -p)
    etag = f"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
    arrived = datetime.fromtimestamp(status.st_mtime, UTC)
    own = Path(entry.path).relative_to(landing).as_posix()
    path = os.fsencode(own).decode(errors="backslashreplace")  # a name that is no text must still fit into the ledger
    named, day = read_name(path.removeprefix(f"{contract.name}/"), contract) if path == own else (False, None)
    return Drop(contract.name, path, etag, status.st_size, day or arrived.date(), named, arrived)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
