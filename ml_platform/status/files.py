"""One file as it stands: every version of it that ever came, and what became of its rows.

Belongs here: finding a file in ledger, fates and quarantine. Does not belong here: the whole home (read), showing it (console_file).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ml_platform.contracts import Contracts
from ml_platform.lake import Lake, ledger, names
from ml_platform.lake.ledger import LedgerRow
from ml_platform.landing import list_drops
from ml_platform.quarantine import Record, read_records
from ml_platform.settings import Settings
from ml_platform.status.model import Fate
from ml_platform.status.read import fates

EXAMPLES = 3


class NoSuchFileError(ValueError):
    """No drop has this path; says what to give."""


@dataclass(frozen=True)
class Refused:
    """Refused rows or files of one rule and state, with ids for `ml-platform quarantine show`."""

    stage: str
    rule: str
    state: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """One drop of a file: its ledger row (None while it waits), the fates of its rows after bronze, and what was refused of it."""

    drop_id: str
    settled: LedgerRow | None
    fates: tuple[Fate, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class FileStatus:
    """A file by its path below landing/, with its versions, the oldest first; `there`: whether it lies there now."""

    path: str
    there: bool
    versions: tuple[Version, ...]


def file_status(text: str, settings: Settings, contracts: Contracts) -> list[FileStatus]:
    """The files that a path means: one below landing/, anywhere on the disk, or just a name. NoSuchFileError where there is none."""
    lake = Lake(settings.lake)
    landed = [drop for source in contracts.sources for drop in list_drops(settings.landing, source)]
    settled = [row for source in contracts.sources for row in ledger.of_source(lake, source.name)]
    paths = sorted({drop.path for drop in landed} | {row.path for row in settled})
    meant = [path for path in paths if _means(text, path, settings.landing)]
    if not meant:
        raise NoSuchFileError(
            f"no file '{text}' lies below {settings.landing}, and the ledger knows none: give its path as `ml-platform status` "
            "shows it, such as sales/sales_2017-01-01.csv, or its name"
        )
    return [
        FileStatus(
            path,
            any(drop.path == path for drop in landed),
            (
                *(
                    _settled(lake, row)
                    for row in sorted(settled, key=lambda one: one.first_seen_at)
                    if row.path == path
                ),
                *(Version(one.drop_id, None) for one in landed if one.path == path and _is_new(one.drop_id, settled)),
            ),
        )
        for path in meant
    ]


def _means(text: str, path: str, landing: Path) -> bool:
    """Whether a person's words mean a path below landing/."""
    return text in (path, path.rsplit("/", 1)[-1]) or Path(text).absolute() == landing / path


def _is_new(drop_id: str, settled: list[LedgerRow]) -> bool:
    return all(row.drop_id != drop_id for row in settled)


def _settled(lake: Lake, row: LedgerRow) -> Version:
    own = pc.field("drop_id") == row.drop_id
    found = fates(lake.read(names.ROW_FATES, where=own)) if lake.exists(names.ROW_FATES) else ()
    records = [one for one in read_records(lake, row.source) if one.drop_id == row.drop_id]
    return Version(row.drop_id, row, found, tuple(_refused(records)))


def _refused(records: list[Record]) -> list[Refused]:
    counted = Counter((one.stage, one.rule, one.state) for one in records)
    return [Refused(*names_of, count, _ids(records, names_of)) for names_of, count in counted.most_common()]


def _ids(records: list[Record], names_of: tuple[str, str, str]) -> tuple[str, ...]:
    return tuple(one.quarantine_id for one in records if (one.stage, one.rule, one.state) == names_of)[:EXAMPLES]
