"""Looking: which announced versions are due, asked path by path instead of listing the landing area.

Belongs here: announcements against the ledger and what lies there. Does not belong here: listing (backlog), asking for a run (sensors).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ml_platform.backlog import LEAST, MOST, Look
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, announcements
from ml_platform.lake.announcements import GONE, SETTLED, SUPERSEDED, Announcement, ignored
from ml_platform.landing import Drop, LandingStore, find_drop
from ml_platform.settlement import InForce

SECONDS = 10.0
Ended = dict[str, str]


def look_at_announced(
    lake: Lake, landing: LandingStore, contracts: Contracts, seconds: float = SECONDS, most: int = MOST
) -> Look:
    """Drops at announced paths that are not settled, until the time is up or there are enough; other announcements get their outcome."""
    until, due, ended, seen = time.monotonic() + seconds, list[Drop](), Ended(), 0
    declared, known = {source.name: source for source in contracts.sources}, dict[str, _Settled]()
    for source, path, rows in _by_path(announcements.waiting(lake)):
        if len(due) == most or (seen >= LEAST and time.monotonic() > until):
            break
        seen += 1
        if source not in declared:
            ended |= {row.row_id: ignored("undeclared_source") for row in rows}
            continue
        if source not in known:
            known[source] = _Settled.read(lake, declared[source])
        found = known[source].judge(path, rows, landing)
        if isinstance(found, Drop):
            due.append(found)
        else:
            ended |= found
    announcements.close(lake, ended)
    return Look(tuple(due), seen)


@dataclass(frozen=True)
class _Settled:
    """What the ledger says of a source; `versions`: path and etag of what nothing is left to do for."""

    contract: SourceContract
    in_force: InForce
    versions: frozenset[tuple[str, str | None]]

    @classmethod
    def read(cls, lake: Lake, contract: SourceContract) -> Self:
        found = InForce.read(lake, contract)
        final = (row for row in found.known.values() if row.drop_id not in found.open)
        return cls(contract, found, frozenset((row.path, row.etag) for row in final))

    def judge(self, path: str, rows: Sequence[Announcement], landing: LandingStore) -> Drop | Ended:
        """The version that lies at a path and is due, or else the outcome of everything that was announced there."""
        if self.versions.issuperset((path, row.etag) for row in rows):
            return {row.row_id: SETTLED for row in rows}
        drop = find_drop(landing, path, self.contract)
        if drop is None:
            return {row.row_id: GONE for row in rows}
        if not self.in_force.settled(drop):
            return drop
        return {row.row_id: SETTLED if row.etag in (None, drop.etag) else SUPERSEDED for row in rows}


def _by_path(waiting: Sequence[Announcement]) -> list[tuple[str, str, list[Announcement]]]:
    """Source, path and rows, the longest waiting first; most paths have one row."""
    found: dict[tuple[str, str], list[Announcement]] = {}
    for row in sorted(waiting, key=lambda row: (row.received_at, row.path or "")):
        found.setdefault((row.source or "", row.path or ""), []).append(row)
    return [(source, path, rows) for (source, path), rows in found.items()]
