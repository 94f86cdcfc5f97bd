"""Announcements: what storage events said of the landing folder, one row each, and which of them still wait to be looked at.

Belongs here: rows of ops/storage_events and ops/dead_letters, their order and their outcomes. Does not belong here: reading messages
(storage_events), deciding a drop's state (ingestion).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.lake.schemas import DEAD_LETTERS, STORAGE_EVENTS
from ml_platform.lake.store import Lake, in_predicate, locked

ANNOUNCED, SUPERSEDED, SETTLED, GONE = "announced", "superseded", "settled", "gone"
DELETED, DEPARTED = "deleted", "departed"
CONTENT = ("event_id", "path", "etag", "length", "sequencer", "api", "event_time")
TURN = "storage_events"


@dataclass(frozen=True)
class Announcement:
    """What one event said of one path; `outcome` is ignored(reason) where that is no drop, `source` None where it is of no source."""

    event_id: str
    source: str | None
    path: str | None
    etag: str | None
    length: int | None
    sequencer: str | None
    api: str
    event_time: datetime | None
    received_at: datetime
    outcome: str

    @property
    def row_id(self) -> str:
        """The same for the same event with the same content, however often and in whichever envelope it comes."""
        said = json.dumps([getattr(self, name) for name in CONTENT], default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:24]

    @property
    def ignored(self) -> bool:
        return self.outcome.startswith("ignored(")

    @property
    def order(self) -> tuple[int, str] | None:
        """Greater for a later version of a path: sequencers compare as texts of one length; None where the event has none."""
        digits = (self.sequencer or "").lower().lstrip("0")
        return (len(digits), digits) if self.sequencer else None


@dataclass(frozen=True)
class DeadLetter:
    """A message that could not be read, or that nobody could bring to its end; `text` may be cut."""

    message_id: str
    text: str
    reason: str
    dequeue_count: int
    received_at: datetime


def ignored(reason: str) -> str:
    """The outcome of an event that is no drop."""
    return f"ignored({reason})"


def record(lake: Lake, rows: Iterable[Announcement]) -> list[Announcement]:
    """Add rows in one commit, each once, in which older ones of their paths become superseded; return the new ones as they were written."""
    given = {row.row_id: row for row in rows}
    with locked(lake, TURN):
        known = {row.row_id: row for row in _of_paths(lake, {row.path for row in given.values() if row.path})}
        known |= {row.row_id: row for row in _without_path(lake, given.values())}
        new = {name: row for name, row in given.items() if name not in known}
        judged = {row.row_id: row for row in superseded([*known.values(), *new.values()])}
        _write(lake, new, {name: judged[name] for name, row in known.items() if judged[name] != row}, judged)
    return [judged[name] for name in new]


def superseded(rows: Sequence[Announcement]) -> list[Announcement]:
    """Rows with the outcome that follows from all of them: what is announced of a path is its newest version.

    A row without a sequencer stays as it is: what the storage holds when it is looked at decides.
    """
    newest: dict[str | None, tuple[int, str]] = {}
    for row in rows:
        if row.order and not row.ignored:
            newest[row.path] = max(row.order, newest.get(row.path, row.order))
    return [
        replace(row, outcome=SUPERSEDED)
        if row.outcome == ANNOUNCED and row.order and row.order < newest[row.path]
        else row
        for row in rows
    ]


def waiting(lake: Lake) -> list[Announcement]:
    """Announced rows that nobody has looked at, or whose drop is not settled yet."""
    return _read(lake, pc.field("outcome") == ANNOUNCED)


def close(lake: Lake, outcomes: Mapping[str, str]) -> None:
    """Give rows their outcome by their `row_id`, in one commit; safe to repeat."""
    if not outcomes:
        return
    with locked(lake, TURN):
        found = [row for row in waiting(lake) if row.row_id in outcomes]
        changed = {row.row_id: replace(row, outcome=outcomes[row.row_id]) for row in found}
        _write(lake, {}, changed, changed)


def sequencers(lake: Lake, source: str) -> dict[tuple[str, str], str]:
    """The sequencer of every announced version of a source, by path and etag."""
    rows = [row for row in _read(lake, pc.field("source") == source) if row.order and not row.ignored]
    rows.sort(key=lambda row: row.order or (0, ""))
    return {(row.path, row.etag): row.sequencer for row in rows if row.path and row.etag and row.sequencer}


def bury(lake: Lake, letters: Iterable[DeadLetter]) -> int:
    """Add dead letters in one commit, each message once; return how many were new."""
    given = {one.message_id: one for one in letters}
    with locked(lake, TURN):
        where = pc.field("message_id").isin(list(given))
        known = (
            set(lake.read(DEAD_LETTERS.name, ["message_id"], where)["message_id"].to_pylist())
            if given and lake.exists(DEAD_LETTERS.name)
            else set()
        )
        new = [asdict(one) for name, one in given.items() if name not in known]
        if new:
            lake.append(DEAD_LETTERS, pa.Table.from_pylist(new, schema=DEAD_LETTERS.schema))
    return len(new)


def _of_paths(lake: Lake, paths: set[str]) -> list[Announcement]:
    return _read(lake, pc.field("path").isin(sorted(paths))) if paths else []


def _without_path(lake: Lake, rows: Iterable[Announcement]) -> list[Announcement]:
    ids = sorted({row.event_id for row in rows if row.path is None})
    return _read(lake, pc.field("path").is_null() & pc.field("event_id").isin(ids)) if ids else []


def _read(lake: Lake, where: pc.Expression) -> list[Announcement]:
    if not lake.exists(STORAGE_EVENTS.name):
        return []
    columns = [name for name in STORAGE_EVENTS.schema.names if name != "row_id"]
    rows = [Announcement(**row) for row in lake.read(STORAGE_EVENTS.name, columns, where).to_pylist()]
    return list({row.row_id: row for row in rows}.values())


def _write(
    lake: Lake, new: Mapping[str, Announcement], changed: Mapping[str, Announcement], judged: Mapping[str, Announcement]
) -> None:
    """One commit: an append, or where older rows change, too, a replacement of those."""
    names = [*new, *changed]
    rows = [{**asdict(judged[name]), "row_id": name} for name in names]
    data = pa.Table.from_pylist(rows, schema=STORAGE_EVENTS.schema)
    if changed:
        lake.replace(STORAGE_EVENTS, data, in_predicate("row_id", names))
    elif new:
        lake.append(STORAGE_EVENTS, data)
