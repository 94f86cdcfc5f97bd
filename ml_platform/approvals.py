"""Approvals: who asked for a release, who agreed or refused, and what became of it.

Belongs here: requests of an environment, their rule, their log. Does not belong here: carrying a release over (environments), the gate's verdict (gate).

The log of requests only grows; what a request is follows from its rows.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.audit import Entry
from ml_platform.audit_proof import OF_REQUEST
from ml_platform.environments import Carried, Environment, StageError, carry, is_used, require_used
from ml_platform.lake import AlreadyCommittedError, schemas
from ml_platform.registry import ConflictError

PENDING, APPROVED, REJECTED, EXPIRED, PROMOTED = "pending", "approved", "rejected", "expired", "promoted"
FINAL = (REJECTED, EXPIRED, PROMOTED)  # the first of them stands
REQUESTED, BEGUN = "requested", "begun"  # the first row of each; from then on it is carried out, and cannot be rejected
LOG = "release_requests"  # transaction id whose version counts the commits


class ApprovalError(StageError):
    """A decision that somebody may not take, or that is not due; names the rule and the way out."""


@dataclass(frozen=True)
class Request:
    """A request to use a release in an environment: who asked and why, until when, who approved of how many, what it is now, and the evidence.

    begun: it is being carried out, so that nobody can reject it any more. closed: what ended it, by whom and why; empty while it is open.
    """

    request_id: str
    release_id: str
    as_of: date
    asked_by: str
    reason: str
    at: datetime
    expires_at: datetime
    source: str
    approved_by: tuple[str, ...]
    approvals: int
    state: str
    evidence: Mapping[str, Any]
    begun: bool
    closed: str

    @property
    def open(self) -> bool:
        return self.state in (PENDING, APPROVED)


def require_words(actor: str, reason: str) -> None:
    """Every decision of a person has a name and a reason."""
    for what, text in (("name (--by)", actor), ("reason (--reason)", reason)):
        if not person(text):
            raise ApprovalError(f"a decision needs a {what}: it is kept with the decision, for good")


def person(name: str) -> str:
    """A name as it is compared: without case, blanks at its ends, and letters that nobody sees."""
    folded = unicodedata.normalize("NFKC", name)
    return " ".join("".join(one for one in folded if unicodedata.category(one) != "Cf").split()).casefold()


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
    first, states = rows[0], [row["state"] for row in rows]
    approvers = tuple(dict.fromkeys(row["actor"] for row in rows if row["state"] == APPROVED))
    evidence = json.loads(first["evidence"] or "{}")
    # a rule that is loosened later is for later requests
    approvals = max(environment.rule.approvals, int(evidence.get("approvals", 0)))
    state = next((one for one in states if one in FINAL), PENDING)  # whatever came at the same moment
    if state == PENDING:
        late = now > first["expires_at"] and BEGUN not in states
        state = EXPIRED if late else APPROVED if len(approvers) >= approvals else PENDING
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
        approvals,
        state,
        evidence,
        BEGUN in states,
        next((f"{row['state']} by {row['actor']}: {row['reason']}" for row in rows if row["state"] in FINAL), ""),
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
    standing, after = require_used(source, release_id), _last(target)
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
        "approvals": target.rule.approvals,
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
    _log(target, REQUESTED, row)
    _append(target, row, after)
    made = open_request(target, release_id)
    assert made is not None, "it was written, and cannot have expired"
    return made


def answer(target: Environment, release_id: str, actor: str, reason: str, approve: bool) -> Request:
    """Approve or reject the open request for a release.

    ApprovalError where there is none, where the rule of the environment does not let this person decide, or where they did already.
    """
    require_words(actor, reason)
    after, found = _last(target), open_request(target, release_id)
    if found is None:
        raise ApprovalError(_nothing_open(target, release_id))
    if found.begun:
        raise ApprovalError(
            f"release {release_id} is being carried over to {target.name} already: to take it back, ml-platform rollback --in {target.name}"
        )
    if approve:
        _require_may_approve(target, found, actor)
    row = {**_later(found, actor, reason), "state": APPROVED if approve else REJECTED}
    _log(target, row["state"], row)
    _append(target, row, after)
    return next(one for one in requests(target) if one.request_id == found.request_id)


def _nothing_open(target: Environment, release_id: str) -> str:
    past = [one for one in requests(target) if one.release_id == release_id]
    last = f"the last one is {past[-1].state}" if past else "nobody has asked for it"
    return (
        f"release {release_id} has no open request in {target.name} ({last}): "
        f"ml-platform promote {release_id} --to {target.name} --by NAME --reason WHY"
    )


def _require_may_approve(target: Environment, found: Request, actor: str) -> None:
    rule, who = target.rule, person(actor)
    if rule.approvers and who not in map(person, rule.approvers):
        raise ApprovalError(
            f"{actor} may not approve for {target.name}: {', '.join(rule.approvers)} may (environments.yaml)"
        )
    if not rule.own_training and who == person(str(found.evidence.get("sealed_by", ""))):
        raise ApprovalError(
            f"release {found.release_id} was sealed in the name of {actor}: in {target.name} somebody else has to approve it"
        )
    if not rule.own_request and who == person(found.asked_by):
        raise ApprovalError(
            f"{actor} asked for release {found.release_id}: in {target.name} somebody else has to approve it"
        )
    if who in map(person, found.approved_by):
        raise ApprovalError(
            f"{actor} has approved release {found.release_id} already: {target.name} asks for {found.approvals} people"
        )


def carry_approved(source: Environment, target: Environment, found: Request) -> Carried:
    """Carry out an approved request; the same again where a crash came between, and what was taken back since stays so.

    ApprovalError where it is not approved (any more), or where the audit has no signed approvals for it.
    """
    after, now = _last(target), _again(target, found)
    if now.state != APPROVED:
        raise ApprovalError(f"the request for release {found.release_id} in {target.name} is {now.state}, not approved")
    vouched = target.audit.vouched("approve", found.request_id)
    if len({person(one) for one in vouched}) < now.approvals:
        raise ApprovalError(
            f"the audit of {target.name} has {len(vouched)} signed approvals of release {found.release_id}, {now.approvals} are asked for: "
            f"ml-platform audit verify --in {target.name}"
        )
    actor = ", ".join(now.approved_by) or now.asked_by
    if not now.begun:
        _append(target, {**_later(now, actor, "begun"), "state": BEGUN}, after)
    why = f"{now.reason} (asked by {now.asked_by})"
    done = carry(source, target, now.release_id, actor, why, approved=vouched, once=f"request:{now.request_id}")
    _append(target, {**_later(now, actor, "carried out"), "state": PROMOTED}, _last(target))
    return done


def _again(target: Environment, found: Request) -> Request:
    """The request as it is now."""
    return next(one for one in requests(target) if one.request_id == found.request_id)


def lapse(target: Environment) -> list[Request]:
    """Write down which requests nobody answered in time."""
    after, late = _last(target), [one for one in requests(target) if one.state == EXPIRED]
    if late:
        told = target.lake.read(schemas.REQUESTS.name, ["request_id"], pc.field("state") == EXPIRED)["request_id"]
        late = [one for one in late if one.request_id not in told.to_pylist()]
    for one in late:
        row = {**_later(one, "platform", "nobody answered in time"), "state": EXPIRED}
        _log(target, EXPIRED, row)
        _append(target, row, after)
        after += 1
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


def _log(target: Environment, state: str, row: Mapping[str, Any]) -> None:
    """The decision in the audit, before it is in the log of requests: a row there that nobody has signed for was not made by the platform."""
    action, request_id, actor = OF_REQUEST[state], row["request_id"], row["actor"]
    entry = Entry(action, row["release_id"], actor, row["reason"], {"request": request_id, "from": row["source"]})
    target.audit.append(entry, once=f"{action}:{request_id}:{actor}")


def _last(target: Environment) -> int:
    """How many commits the log of requests has: what the next one is written after."""
    return max(target.lake.reached(schemas.REQUESTS.name, LOG), 0)


def _append(target: Environment, row: Mapping[str, Any], after: int) -> None:
    """Add a row, if nobody has added one since `after`; else ConflictError."""
    spec, lake = schemas.REQUESTS, target.lake
    table = pa.Table.from_pylist([{name: row.get(name) for name in spec.schema.names}], spec.schema)
    try:
        lake.append(spec, table, transactions={LOG: after + 1})
    except AlreadyCommittedError:
        raise ConflictError(
            f"somebody else decided about a request of {target.name} at the same moment: ml-platform releases pending --in {target.name}, and try again"
        ) from None
