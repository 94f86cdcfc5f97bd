"""Looking: which announced versions are due, asked path by path instead of listing the landing area.

Belongs here: announcements against the ledger and what lies there. Does not belong here: listing (backlog), asking for a run (sensors).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ml_platform.backlog import LEAST, MOST, Look, SeenSource
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, announcements, ledger
from ml_platform.lake.announcements import GONE, SETTLED, SUPERSEDED, Announcement, ignored
from ml_platform.landing import Drop, LandingStore, Readiness, Waiting, Waits
from ml_platform.settlement import OPEN_COLUMNS, open_again

SECONDS = 10.0
Ended = dict[str, str]


def look_at_announced(
    lake: Lake, landing: LandingStore, contracts: Contracts, seconds: float = SECONDS, most: int = MOST
) -> Look:
    """Drops at announced paths that are whole and not settled, until the time is up or there are enough; other announcements get their outcome."""
    until, due, held, ended, seen = time.monotonic() + seconds, list[Drop](), Waiting(), Ended(), 0
    declared, known = {source.name: source for source in contracts.sources}, dict[str, _Known]()
    for source, path, rows in _by_path(announcements.waiting(lake)):
        if len(due) == most or (seen >= LEAST and time.monotonic() > until):
            break
        seen += 1
        if source not in declared:
            ended |= {row.row_id: ignored("undeclared_source") for row in rows}
            continue
        if source not in known:
            known[source] = _Known.read(lake, landing, declared[source])
        found = known[source].judge(path, rows)
        if isinstance(found, Drop):
            due.append(found)
        elif isinstance(found, Waits):
            held.add(found)
        else:
            ended |= found
    announcements.close(lake, ended)
    return Look(tuple(due), seen, held=held.files())


@dataclass(frozen=True)
class _Known:
    """What the ledger says of a source; `versions`: path and etag of what nothing is left to do for."""

    landing: LandingStore
    source: SeenSource
    versions: frozenset[tuple[str, str | None]]

    @classmethod
    def read(cls, lake: Lake, landing: LandingStore, contract: SourceContract) -> Self:
        rows = ledger.columns_of(lake, contract.name, (*OPEN_COLUMNS, "etag"))
        ids, places = rows["drop_id"].to_pylist(), zip(rows["path"].to_pylist(), rows["etag"].to_pylist(), strict=True)
        settled = set(ids) - open_again(lake, contract, rows)
        versions = frozenset(place for name, place in zip(ids, places, strict=True) if name in settled)
        return cls(landing, SeenSource(contract, settled, Readiness(landing, contract)), versions)

    def judge(self, path: str, rows: Sequence[Announcement]) -> Drop | Waits | Ended:
        """The version that lies at a path and is due, why it waits, or else the outcome of everything that was announced there."""
        if self.versions.issuperset((path, row.etag) for row in rows):
            return {row.row_id: SETTLED for row in rows}
        file = self.landing.stat(path)
        if file is None:
            return {row.row_id: GONE for row in rows}
        found = self.source.of(file)
        return found or {row.row_id: SETTLED if row.etag in (None, file.etag) else SUPERSEDED for row in rows}


def _by_path(waiting: Sequence[Announcement]) -> list[tuple[str, str, list[Announcement]]]:
    """Source, path and rows, the longest waiting first; most paths have one row."""
    found: dict[tuple[str, str], list[Announcement]] = {}
    for row in sorted(waiting, key=lambda row: (row.received_at, row.path or "")):
        found.setdefault((row.source or "", row.path or ""), []).append(row)
    return [(source, path, rows) for (source, path), rows in found.items()]
