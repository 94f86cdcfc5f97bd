"""One file as it stands: every version of it that ever came, what became of its rows, and whether it waits.

Belongs here: finding a file in landing area, ledger, fates and quarantine. Does not belong here: the whole home (read), showing it (console_file).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ml_platform.contracts import Contracts
from ml_platform.lake import Lake, ledger, names
from ml_platform.lake.ledger import LedgerRow
from ml_platform.landing import LandingStore, Waits, list_drops, open_landing, undeclared
from ml_platform.quarantine import Record, read_records
from ml_platform.settings import Settings
from ml_platform.status.model import Fate
from ml_platform.status.read import fates
from ml_platform.status.waiting import why_it_waits

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
    """One drop of a file: its ledger row (None before the first), the fates of its rows after bronze, what was refused of it, and why it waits, if it does."""

    drop_id: str
    settled: LedgerRow | None
    fates: tuple[Fate, ...] = ()
    refused: tuple[Refused, ...] = ()
    waits: Waits | None = None


@dataclass(frozen=True)
class FileStatus:
    """A file by its path below landing/, with its versions, the oldest first; `there`: whether it lies there now."""

    path: str
    there: bool
    versions: tuple[Version, ...]


def file_status(text: str, settings: Settings, contracts: Contracts) -> list[FileStatus]:
    """The files that a path means: one below landing/, anywhere on the disk, or just a name. NoSuchFileError where there is none."""
    lake, landing = Lake(settings.lake), open_landing(settings)
    landed = [drop for source in contracts.sources for drop in list_drops(landing, source)]
    settled = [row for source in contracts.sources for row in ledger.of_source(lake, source.name)]
    paths = sorted({drop.path for drop in landed} | {row.path for row in settled})
    meant = [path for path in paths if _means(text, path, landing)]
    if not meant:
        raise NoSuchFileError(_why_unknown(text, landing, contracts))
    return [
        _file(
            path,
            {
                one.drop_id: why_it_waits(lake, landing, contracts[one.source], one)
                for one in landed
                if one.path == path
            },
            [row for row in settled if row.path == path],
            lake,
        )
        for path in meant
    ]


def _why_unknown(text: str, landing: LandingStore, contracts: Contracts) -> str:
    area, names = landing.locate(), [one.name for one in contracts.sources]
    top = text.removeprefix(f"{area}/").split("/")[0]
    if top in {one.rstrip("/") for one in undeclared(landing, set(names))}:
        folders = ", ".join(f"{name}/" for name in names)
        return f"'{text}' belongs to no contract, and nothing reads it: those below {area} have the folders {folders}"
    return (
        f"no file '{text}' lies below {area}, and the ledger knows none: give its path as `ml-platform status` "
        "shows it, such as readings/readings_2017-01-01.csv, or its name"
    )


def _means(text: str, path: str, landing: LandingStore) -> bool:
    """Whether a person's words mean a path below landing/."""
    return text in (path, path.rsplit("/", 1)[-1], landing.locate(path)) or str(
        Path(text).absolute()
    ) == landing.locate(path)


def _file(path: str, waits: Mapping[str, Waits | None], rows: list[LedgerRow], lake: Lake) -> FileStatus:
    """`waits`: by drop that lies there, why it waits; `rows`: the ledger's of that path."""
    known = [_settled(lake, row, waits.get(row.drop_id)) for row in sorted(rows, key=lambda one: one.first_seen_at)]
    new = [Version(one, None, waits=why) for one, why in waits.items() if one not in {row.drop_id for row in rows}]
    return FileStatus(path, bool(waits), (*known, *new))


def _settled(lake: Lake, row: LedgerRow, waits: Waits | None) -> Version:
    own = pc.field("drop_id") == row.drop_id
    found = fates(lake.read(names.ROW_FATES, where=own)) if lake.exists(names.ROW_FATES) else ()
    records = [one for one in read_records(lake, row.source) if one.drop_id == row.drop_id]
    return Version(row.drop_id, row, found, tuple(_refused(records)), waits)


def _refused(records: list[Record]) -> list[Refused]:
    counted = Counter((one.stage, one.rule, one.state) for one in records)
    return [Refused(*names_of, count, _ids(records, names_of)) for names_of, count in counted.most_common()]


def _ids(records: list[Record], names_of: tuple[str, str, str]) -> tuple[str, ...]:
    return tuple(one.quarantine_id for one in records if (one.stage, one.rule, one.state) == names_of)[:EXAMPLES]
