"""Approvals: who asked for a release, who agreed or refused, and what became of it.

Belongs here: requests of an environment, their rule, their log. Does not belong here: carrying a release over (environments), the gate's verdict (gate).

The log of requests only grows; what a request is follows from its rows.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.audit import Entry
from ml_platform.environments import Carried, Environment, StageError, carry, is_used, require_used
from ml_platform.lake import AlreadyCommittedError, schemas
from ml_platform.registry import ConflictError

PENDING, APPROVED, REJECTED, EXPIRED, PROMOTED = "pending", "approved", "rejected", "expired", "promoted"
REQUESTED = "requested"  # the first row of each
LOG = "release_requests"  # transaction id whose version counts the commits


class ApprovalError(StageError):
    """A decision that somebody may not take, or that is not due; names the rule and the way out."""


@dataclass(frozen=True)
class Request:
    """A request to use a release in an environment: who asked and why, until when, who approved, what it is now, and the evidence."""

    request_id: str
    release_id: str
    as_of: date
    asked_by: str
    reason: str
    at: datetime
    expires_at: datetime
    source: str
    approved_by: tuple[str, ...]
    state: str
    evidence: Mapping[str, Any]

    @property
    def open(self) -> bool:
        return self.state in (PENDING, APPROVED)


def require_words(actor: str, reason: str) -> None:
    """Every decision of a person has a name and a reason."""
    for what, text in (("name (--by)", actor), ("reason (--reason)", reason)):
        if not text.strip():
            raise ApprovalError(f"a decision needs a {what}: it is kept with the decision, for good")


def requests(environment: Environment, now: datetime | None = None) -> list[Request]:
    """Every request of an environment, oldest first; one that nobody answered in time is expired."""
    spec, lake = schemas.REQUESTS, environment.lake
    if not lake.exists(spec.name):
        return []
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(lake.read(spec.name).to_pylist(), key=lambda row: row["at"]):
        groups.setdefault(row["request_id"], []).append(row)
    return [_request(rows, environment, now or datetime.now(UTC)) for rows in groups.values()]


def _request(rows: list[dict[str, Any]], environment: Environment, now: datetime) -> Request:
    first, last = rows[0], rows[-1]
    approvers = tuple(dict.fromkeys(row["actor"] for row in rows if row["state"] == APPROVED))
    state = last["state"] if last["state"] in (REJECTED, EXPIRED, PROMOTED) else PENDING
    if state == PENDING:
        enough = len(approvers) >= environment.rule.approvals
        state = EXPIRED if now > first["expires_at"] else APPROVED if enough else PENDING
    return Request(
        first["request_id"],
        first["release_id"],
        first["as_of"],
        first["actor"],
        first["reason"],
        first["at"],
        first["expires_at"],
        first["source"],
        approvers,
        state,
        json.loads(first["evidence"] or "{}"),
    )


def open_request(environment: Environment, release_id: str) -> Request | None:
    """The request for a release that still waits, or that is approved and not carried out."""
    return next((one for one in requests(environment) if one.release_id == release_id and one.open), None)


def _carried_out(target: Environment, release_id: str) -> Request | None:
    if not is_used(target, release_id):
        return None
    done = [one for one in requests(target) if one.release_id == release_id and one.state == PROMOTED]
    return done[-1] if done else None


def ask(source: Environment, target: Environment, release_id: str, actor: str, reason: str) -> Request:
    """Ask for a release that is used in the environment before.

    The request that is open already, where there is one; the one that was carried out, where the release is used.
    """
    require_words(actor, reason)
    standing = require_used(source, release_id)
    known = open_request(target, release_id) or _carried_out(target, release_id)
    if known is not None:
        return known
    sealed, now = source.registry.open(release_id), datetime.now(UTC)
    evidence = {
        "gate": sealed.manifest.gate,
        "rules": sealed.evidence.get("rules", []),
        "sealed_by": sealed.manifest.origin.created_by,
        "code_commit": sealed.manifest.origin.code_commit,
        "decided_in": {source.name: standing.decided_by},
    }
    name = hashlib.sha256(f"{release_id}|{target.name}|{now.isoformat()}".encode()).hexdigest()[:12]
    row = {
        "request_id": name,
        "release_id": release_id,
        "as_of": sealed.manifest.as_of,
        "state": REQUESTED,
        "actor": actor,
        "reason": reason,
        "at": now,
        "expires_at": now + timedelta(days=target.rule.expires_days),
        "source": source.name,
        "evidence": json.dumps(evidence, default=str),
    }
    _append(target, row)
    target.audit.append(Entry("request", release_id, actor, reason, {"from": source.name}), once=f"request:{name}")
    made = open_request(target, release_id)
    assert made is not None, "it was written, and cannot have expired"
    return made


def answer(target: Environment, release_id: str, actor: str, reason: str, approve: bool) -> Request:
    """Approve or reject the open request for a release.

    ApprovalError where there is none, where the rule of the environment does not let this person decide, or where they did already.
    """
    require_words(actor, reason)
    found = open_request(target, release_id)
    if found is None:
        raise ApprovalError(_nothing_open(target, release_id))
    if approve:
        _require_may_approve(target, found, actor)
    _append(target, {**_later(found, actor, reason), "state": APPROVED if approve else REJECTED})
    word = "approve" if approve else "reject"
    target.audit.append(
        Entry(word, release_id, actor, reason, {"request": found.request_id}), once=f"{word}:{found.request_id}:{actor}"
    )
    return next(one for one in requests(target) if one.request_id == found.request_id)


def _nothing_open(target: Environment, release_id: str) -> str:
    past = [one for one in requests(target) if one.release_id == release_id]
    last = f"the last one is {past[-1].state}" if past else "nobody has asked for it"
    return (
        f"release {release_id} has no open request in {target.name} ({last}): "
        f"ml-platform promote {release_id} --to {target.name} --by NAME --reason WHY"
    )


def _require_may_approve(target: Environment, found: Request, actor: str) -> None:
    rule, who = target.rule, actor.strip().casefold()
    if rule.approvers and who not in (one.casefold() for one in rule.approvers):
        raise ApprovalError(
            f"{actor} may not approve for {target.name}: {', '.join(rule.approvers)} may (environments.yaml)"
        )
    if not rule.own_training and who == str(found.evidence.get("sealed_by", "")).casefold():
        raise ApprovalError(
            f"release {found.release_id} was sealed in the name of {actor}: in {target.name} somebody else has to approve it"
        )
    if not rule.own_request and who == found.asked_by.strip().casefold():
        raise ApprovalError(
            f"{actor} asked for release {found.release_id}: in {target.name} somebody else has to approve it"
        )
    if who in (one.strip().casefold() for one in found.approved_by):
        raise ApprovalError(
            f"{actor} has approved release {found.release_id} already: {target.name} asks for {rule.approvals} people"
        )


def carry_approved(source: Environment, target: Environment, found: Request) -> Carried:
    """Carry out an approved request; the same again where a crash came between."""
    if found.state != APPROVED:
        raise ApprovalError(
            f"the request for release {found.release_id} in {target.name} is {found.state}, not approved"
        )
    actor = ", ".join(found.approved_by) or found.asked_by
    done = carry(source, target, found.release_id, actor, found.reason)
    _append(target, {**_later(found, actor, "carried out"), "state": PROMOTED})
    return done


def lapse(target: Environment) -> list[Request]:
    """Write down which requests nobody answered in time."""
    late = [one for one in requests(target) if one.state == EXPIRED]
    if late:
        told = target.lake.read(schemas.REQUESTS.name, ["request_id"], pc.field("state") == EXPIRED)["request_id"]
        late = [one for one in late if one.request_id not in told.to_pylist()]
    for one in late:
        _append(target, {**_later(one, "platform", "nobody answered in time"), "state": EXPIRED})
        entry = Entry("expire", one.release_id, "platform", "nobody answered in time", {"request": one.request_id})
        target.audit.append(entry, once=f"expire:{one.request_id}")
    return late


def _later(found: Request, actor: str, reason: str) -> dict[str, Any]:
    return {
        "request_id": found.request_id,
        "release_id": found.release_id,
        "as_of": found.as_of,
        "actor": actor,
        "reason": reason,
        "at": datetime.now(UTC),
        "expires_at": found.expires_at,
        "source": found.source,
    }


def _append(target: Environment, row: Mapping[str, Any]) -> None:
    spec, lake = schemas.REQUESTS, target.lake
    after = max(lake.reached(spec.name, LOG), 0)
    table = pa.Table.from_pylist([{name: row.get(name) for name in spec.schema.names}], spec.schema)
    try:
        lake.append(spec, table, transactions={LOG: after + 1})
    except AlreadyCommittedError:
        raise ConflictError(
            f"somebody else decided about a request of {target.name} at the same moment: ml-platform releases pending --in {target.name}, and try again"
        ) from None
