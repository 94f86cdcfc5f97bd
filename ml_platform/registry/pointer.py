"""The pointer: which release a day uses, as the decisions of gold/promoted_release say it.

Belongs here: reading and appending decisions, the champion as of a day. Does not belong here: who may decide (approvals), the alias in MLflow, which
follows (promotion).

A release is used while its newest decision says so. One commit moves the pointer; every commit names the one it was decided after, so that of two at
the same time one is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from ml_platform.lake import AlreadyCommittedError, Lake, schemas

PROMOTED, STOPPED, WITHDRAWN, REINSTATED, PINNED, UNPINNED = (
    "promoted",
    "stopped",
    "withdrawn",
    "reinstated",
    "pinned",
    "unpinned",
)
ORDER = "promoted_release"  # transaction id whose version counts the decisions


class ConflictError(RuntimeError):
    """Another decision came first; names it."""


@dataclass(frozen=True)
class Champion:
    """The promoted release that a day uses."""

    as_of: date
    release_id: str


@dataclass(frozen=True)
class Standing:
    """Where a release stands: its newest decision, when and by whom, and whether it is used."""

    as_of: date
    release_id: str
    promoted: bool
    decision: str
    decided_at: datetime
    decided_by: str
    reason: str

    @property
    def order(self) -> tuple[date, datetime, str]:
        return self.as_of, self.decided_at, self.release_id


COLUMNS = ("as_of", "release_id", "promoted", "decided_at", "approved_by", "decision", "reason")


def decisions(lake: Lake) -> list[dict[str, Any]]:
    """Every decision without its rules, oldest first; tables of an earlier version of the platform have no words for some."""
    spec = schemas.PROMOTED_RELEASE
    if not lake.exists(spec.name):
        return []
    known = lake.dataset(spec.name).schema.names
    rows = lake.read(spec.name, [name for name in COLUMNS if name in known]).to_pylist()
    return sorted(rows, key=lambda row: (row["decided_at"], row["release_id"]))


def standings(lake: Lake) -> dict[str, Standing]:
    """Where every release stands, by its id; pins are left out, see `pinned`."""
    found: dict[str, Standing] = {}
    for row in decisions(lake):
        word = row.get("decision") or (PROMOTED if row["promoted"] else STOPPED)
        if word not in (PINNED, UNPINNED):
            by, why = str(row["approved_by"] or ""), str(row.get("reason") or "")
            found[row["release_id"]] = Standing(
                row["as_of"], row["release_id"], bool(row["promoted"]), word, row["decided_at"], by, why
            )
    return found


def pinned(lake: Lake) -> str | None:
    """The release that stays champion whatever else is promoted; None where there is none."""
    words = [row for row in decisions(lake) if row.get("decision") in (PINNED, UNPINNED)]
    return str(words[-1]["release_id"]) if words and words[-1]["decision"] == PINNED else None


def champion_as_of(lake: Lake, day: date, same_day: bool) -> Champion | None:
    """The promoted release with the greatest as-of day up to `day`; of several of one day the one decided last; a pinned one before all others.

    `same_day` False leaves out releases of `day` itself: a repeated judgement meets the same opponent (DESIGN section 3).
    """
    known = standings(lake)
    used = [one for one in known.values() if one.promoted and (one.as_of < day or (same_day and one.as_of == day))]
    held = pinned(lake)
    newest = max((one for one in used if one.release_id == held), default=None, key=lambda one: one.order)
    newest = newest or max(used, default=None, key=lambda one: one.order)
    return Champion(newest.as_of, newest.release_id) if newest else None


def seen(lake: Lake) -> int:
    """How many commits of decisions there are: what the next one is decided after."""
    return max(lake.reached(schemas.PROMOTED_RELEASE.name, ORDER), 0)


def decision_row(
    as_of: date, release_id: str, decision: str, actor: str, reason: str, evidence: Mapping[str, Any], *,
    used: bool, rules: str = "[]",
) -> dict[str, Any]:  # fmt: skip
    """A decision of now, as `decide` takes it; `used` is whether the release is used from then on."""
    return {
        "as_of": as_of,
        "release_id": release_id,
        "promoted": used,
        "decided_at": datetime.now(UTC),
        "approved_by": actor,
        "rules": rules,
        "evidence": json.dumps(dict(evidence), ensure_ascii=False, default=str),
        "decision": decision,
        "reason": reason,
    }


def decide(lake: Lake, rows: Sequence[Mapping[str, Any]], after: int, once: str = "") -> bool:
    """Append decisions in one commit; False where the same `once` was appended before.

    ConflictError where others decided since `after` (see `seen`).
    """
    spec = schemas.PROMOTED_RELEASE
    if once and lake.reached(spec.name, once) >= 0:
        return False
    lake.migrate(spec)
    number = after + 1
    told = [{**{name: row.get(name) for name in spec.schema.names}, "number": number} for row in rows]
    table = pa.Table.from_pylist(told, spec.schema)
    try:
        lake.append(spec, table, transactions={ORDER: number, **({once: 1} if once else {})})
    except AlreadyCommittedError:
        newest = decisions(lake)[-1]
        raise ConflictError(
            f"another decision came first: release {newest['release_id']} was {newest.get('decision') or 'decided'} at {newest['decided_at']:%Y-%m-%d %H:%M:%S} UTC; "
            "look at what stands now (ml-platform releases list) and try again"
        ) from None
    return True
