"""Drops: what a landed file is called, and which source, day and version it stands for.

Belongs here: files as a store lists them, drops, and the errors of both. Does not belong here: asking a store (local, blob).
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from ml_platform.contracts import SourceContract

HIDDEN = (".", "_")  # names that begin so are no drops: unfinished files, and words about a delivery


class LandingError(ValueError):
    """A file that no listing would take for a drop of its source; names the pattern and the way out."""


class StorageError(RuntimeError):
    """The landing area cannot be used as the settings say; names the area and the cause."""


class Changed(Exception):
    """The version that was listed is not the one that lies there now, or not for the whole time of reading: look again."""


class Vanished(Exception):
    """The file that was listed has gone."""


@dataclass(frozen=True)
class LandedFile:
    """One version of one file, as a store lists it; `path` is relative to the landing area.

    `arrived_at`: its time of modification. `changed_at`: when it last changed in any way. `is_text`: whether its name is, else `path` stands for it.
    """

    path: str
    etag: str
    length: int
    arrived_at: datetime
    changed_at: datetime
    is_text: bool = True

    @property
    def version(self) -> tuple[str, int]:
        return self.etag, self.length


@dataclass(frozen=True)
class Drop:
    """One version of one landed file; `path` is relative to the landing area, `day` its drop day, `named` whether the contract's pattern matches.

    `promised_sha256`: what a manifest says of its bytes.
    """

    source: str
    path: str
    etag: str
    length: int
    day: date
    named: bool
    arrived_at: datetime
    changed_at: datetime
    promised_sha256: str | None = None

    @property
    def drop_id(self) -> str:
        return hashlib.sha256("|".join((self.source, self.path, self.etag, str(self.length))).encode()).hexdigest()[:24]

    @property
    def version(self) -> tuple[str, int]:
        return self.etag, self.length

    @property
    def folder(self) -> str:
        """The folder that the file lies in, from the landing area on."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def drop_of(file: LandedFile, contract: SourceContract) -> Drop:
    """What a listed file of a source is by its contract."""
    named, day = read_name(file.path.removeprefix(f"{contract.name}/"), contract) if file.is_text else (False, None)
    return Drop(
        contract.name,
        file.path,
        file.etag,
        file.length,
        day or file.arrived_at.date(),
        named,
        file.arrived_at,
        file.changed_at,
    )


def is_drop_path(path: str) -> bool:
    """Whether a file of this path would be listed: no part of it is hidden."""
    return not any(part.startswith(HIDDEN) for part in path.split("/"))


def read_name(name: str, contract: SourceContract) -> tuple[bool, date | None]:
    """Whether a name below landing/<source>/ is one of the contract's, and the drop day in it."""
    found = contract.path_pattern.match(name)
    day = _day(found.groupdict().get("day")) if found else None
    return found is not None and (day is not None or contract.kind == "snapshot"), day


def why_misnamed(path: str, contract: SourceContract) -> str:
    """What is wrong with the name of a file that is not named as its contract wants it."""
    found = contract.path_pattern.match(path.removeprefix(f"{contract.name}/"))
    if found and (day := found.groupdict().get("day")):
        return f"'{day}' in its name is no day of the calendar"
    return f"no file name of source '{contract.name}' matches '{contract.path}'"


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
