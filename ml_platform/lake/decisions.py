"""Decisions on quarantined rows and files: a log that only grows, from which the state in ops/quarantine follows.

Belongs here: names of refusals, decisions, their way through commit metadata into the log and the table. Does not belong here: what may be
decided (quarantine), what a release does to bronze (redelivery).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.lake.schemas import DECISIONS, QUARANTINE
from ml_platform.lake.store import Lake, in_predicate, locked

DECISIONS_KEY = "ml_platform.decisions"
OPEN, RELEASED, DISCARDED = STATES = ("open", "released", "discarded")
Row = dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """What a person decided on one refusal; `attempt` of its drop at that time, `corrections` as JSON where values were set."""

    quarantine_id: str
    source: str
    drop_id: str
    stage: str
    row_number: int | None
    rule: str
    attempt: int
    decision: str
    decided_by: str
    reason: str
    corrections: str | None
    decided_at: datetime


def quarantine_id(settled: str, stage: str, row_number: int | None, rule: str) -> str:
    """The stable name of a refusal. `settled`: the transaction that refused it at bronze, where a drop can be settled again; else the drop."""
    return hashlib.sha256(f"{settled}|{stage}|{row_number or ''}|{rule}".encode()).hexdigest()[:16]


def identified(rows: pa.Table) -> pa.Table:
    """Quarantine rows with a name each: those that an earlier version of the platform wrote have none."""
    if "quarantine_id" in rows.column_names and not rows["quarantine_id"].null_count:
        return rows
    named = [{**row, "quarantine_id": row.get("quarantine_id") or _name(row)} for row in rows.to_pylist()]
    return pa.Table.from_pylist(named, schema=QUARANTINE.schema)


def _name(row: Row) -> str:
    return quarantine_id(row["drop_id"], row["stage"], row["row_number"], row["rule"])


def refusals(lake: Lake, where: pc.Expression | None = None) -> pa.Table:
    """Rows of ops/quarantine, each with its name; none where nothing was ever refused."""
    if not lake.exists(QUARANTINE.name):
        return QUARANTINE.schema.empty_table()
    return identified(lake.read(QUARANTINE.name, where=where))


def of_source(lake: Lake, source: str) -> dict[str, Decision]:
    """Decisions by the name of their refusal; the first one on a refusal is final."""
    if not lake.exists(DECISIONS.name):
        return {}
    rows = lake.read(DECISIONS.name, where=pc.field("source") == source).sort_by("decided_at").to_pylist()
    return {row["quarantine_id"]: Decision(**row) for row in reversed(rows)}


def released_files(lake: Lake, source: str) -> set[tuple[str, int]]:
    """Drop and attempt of the files that were refused as a whole and released: they are due again."""
    if not lake.exists(DECISIONS.name):
        return set()
    whole = (pc.field("stage") == "bronze") & pc.field("row_number").is_null()
    where = (pc.field("source") == source) & (pc.field("decision") == RELEASED) & whole
    rows = lake.read(DECISIONS.name, ["drop_id", "attempt"], where).to_pylist()
    return {(row["drop_id"], row["attempt"]) for row in rows}


def discarded_at_silver(lake: Lake, source: str) -> list[Decision]:
    """Rows that a person keeps out of silver, whatever lookups find by now."""
    found = of_source(lake, source).values()
    return [one for one in found if (one.stage, one.decision) == ("silver", DISCARDED)]


def to_metadata(decided: Sequence[Decision]) -> str:
    """Decisions as JSON, for the metadata of the commit that makes them true."""
    return json.dumps([asdict(one) for one in decided], default=lambda value: value.isoformat())


def from_metadata(text: str) -> list[Decision]:
    """As `to_metadata` wrote them."""
    return [Decision(**{**row, "decided_at": datetime.fromisoformat(row["decided_at"])}) for row in json.loads(text)]


def decide(lake: Lake, source: str, decided: Sequence[Decision]) -> None:
    """Put decisions that change nothing at bronze into force: the log is their truth, the state follows (after a crash by the next projection)."""
    with locked(lake, "project"):
        record(lake, decided)
        apply(lake, source)


def record(lake: Lake, decided: Sequence[Decision]) -> None:
    """Add decisions to the log, each once."""
    known = {name for source in {one.source for one in decided} for name in of_source(lake, source)}
    new = [asdict(one) for one in decided if one.quarantine_id not in known]
    if new:
        lake.append(DECISIONS, pa.Table.from_pylist(new, schema=DECISIONS.schema))


def apply(lake: Lake, source: str) -> None:
    """Give the rows of ops/quarantine the state that was decided for them; safe to repeat."""
    decided = of_source(lake, source)
    if not decided:
        return
    waiting = refusals(lake, (pc.field("source") == source) & (pc.field("state") == OPEN))
    behind = {row["drop_id"] for row in waiting.to_pylist() if row["quarantine_id"] in decided}
    if behind:
        rows = restated(refusals(lake, pc.field("drop_id").isin(list(behind))).to_pylist(), decided)
        data = pa.Table.from_pylist(rows, schema=QUARANTINE.schema)
        lake.replace(QUARANTINE, data, in_predicate("drop_id", sorted(behind)))


def restated(rows: Iterable[Row], decided: Mapping[str, Decision]) -> list[Row]:
    """Quarantine rows with state, name and reason of the decision on them, if there is one."""
    return [
        {**row, **_state(decided[row["quarantine_id"]])} if row["quarantine_id"] in decided else row for row in rows
    ]


def _state(one: Decision) -> Row:
    return {
        "state": one.decision,
        "decided_by": one.decided_by,
        "reason": one.reason,
        "decided_at": one.decided_at,
    }
