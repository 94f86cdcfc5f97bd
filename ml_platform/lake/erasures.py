"""Erasures: which persons' keys were erased, as digests, by whom and why.

Belongs here: rows of ops/erasures. Does not belong here: recognising a key (erasure.persons), erasing it (erasure.eraser, erasure.landed).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from ml_platform.lake.schemas import ERASURES
from ml_platform.lake.store import Lake, in_predicate

LOCK = "erase"  # held alone by an erasure, shared by whatever writes rows of sources
LAKE, LANDING = "lake", "landing"


@dataclass(frozen=True)
class Erasure:
    """One erasure in one place (the lake, or landing); `rows` by table or file, pending while `completed_at` is None."""

    erasure_id: str
    source: str
    column: str
    digest: str
    place: str
    requested_by: str
    reason: str
    requested_at: datetime
    completed_at: datetime | None
    rows: Mapping[str, int]

    @property
    def pending(self) -> bool:
        return self.completed_at is None


def read(lake: Lake, source: str | None = None, place: str | None = None) -> list[Erasure]:
    """What was erased, or is to be, oldest first."""
    if not lake.exists(ERASURES.name):
        return []
    found = [Erasure(**{**row, "rows": json.loads(row["rows"])}) for row in lake.read(ERASURES.name).to_pylist()]
    meant = [one for one in found if source in (None, one.source) and place in (None, one.place)]
    return sorted(meant, key=lambda one: (one.requested_at, one.erasure_id))


def pending(lake: Lake, source: str | None = None) -> list[Erasure]:
    """Erasures in the lake that a crash cut off."""
    return [one for one in read(lake, source, LAKE) if one.pending]


def record(lake: Lake, one: Erasure) -> None:
    """Add an erasure: from now on no row with its key gets in."""
    lake.append(ERASURES, _table(one))


def complete(lake: Lake, one: Erasure) -> Erasure:
    """Say that an erasure has come to its end."""
    done = replace(one, completed_at=datetime.now(UTC))
    lake.replace(ERASURES, _table(done), in_predicate("erasure_id", [done.erasure_id]))
    return done


def _table(one: Erasure) -> pa.Table:
    row = {**asdict(one), "rows": json.dumps(dict(one.rows))}
    return pa.Table.from_pylist([row], schema=ERASURES.schema)
