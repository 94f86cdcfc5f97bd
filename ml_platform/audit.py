"""The audit: every decision about a release, in a table that only grows, each row bound to the one before.

Belongs here: appending to the chain, proving it. Does not belong here: deciding (promotion, approvals, rollback).

A row's hash covers its content and the hash of the row before, and is signed: whoever edits, removes or reorders a row would have to make every later
hash anew, and has no key to sign them. The newest number and hash stand, signed, beside the keys as well: rows that are cut off the end are missed, also where
the whole table goes. A row about a decision holds a hash of its rows in gold/promoted_release, so that these cannot be edited or added to either.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ml_platform.durable import put_in_place
from ml_platform.lake import AlreadyCommittedError, Lake, schemas
from ml_platform.registry.pointer import ORDER
from ml_platform.registry.signing import KeyFile, Signature, SignatureError, Signer, check

CHAIN = "audit"  # transaction id whose version is the number of the newest row
DECISIONS = "audit_decisions"  # and that of the newest decision about a release that the chain has
GENESIS = "0" * 64
HASHED = ("number", "at", "environment", "action", "release_id", "actor", "reason", "details", "previous")
ACTIONS = (
    "promote",
    "stop",
    "request",
    "approve",
    "reject",
    "expire",
    "override",
    "rollback",
    "withdraw",
    "reinstate",
    "pin",
    "unpin",
)
OF_REQUEST = {"requested": "request", "approved": "approve", "rejected": "reject", "expired": "expire"}
BOUND = ("as_of", "release_id", "promoted", "decided_at", "approved_by", "rules", "evidence", "decision", "reason")
TRIES = 50  # others may write in between


@dataclass(frozen=True)
class Entry:
    """One decision: what was done to which release, by whom and why; details as JSON can hold them."""

    action: str
    release_id: str
    actor: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A row of the chain that is not as it was written, by its number."""

    number: int
    what: str


@dataclass(frozen=True)
class Audit:
    """The chain of one environment in its lake. keys: folder of trusted keys; signer: who signs rows, the key of that folder where nobody else is given."""

    lake: Lake
    environment: str
    keys: Path
    signer: Signer | None = None

    def append(self, entry: Entry, once: str = "", version: int = 1) -> int | None:
        """Add a decision and return its number; None where `once` was added before, with this version or a later one.

        Two writers: the second finds its number taken, reads the chain again, and takes the next.
        """
        spec = schemas.AUDIT
        for _ in range(TRIES):
            if once and self.lake.reached(spec.name, once) >= version:
                return None
            row = self._row(entry, self._newest())
            ids = {CHAIN: row["number"], **({once: version} if once else {})}
            try:
                self.lake.append(spec, pa.Table.from_pylist([row], schema=spec.schema), transactions=ids)
            except AlreadyCommittedError:
                continue
            self._head.write(Head(number=row["number"], hash=row["hash"], signature=self._sign(row["hash"])))
            return int(row["number"])
        raise RuntimeError(f"table {spec.name}: {TRIES} others wrote while one decision was to be added; try again")

    def follow(self) -> int:
        """Add every decision of gold/promoted_release that the chain lacks, as after a crash between the two; how many that were."""
        name, added = schemas.PROMOTED_RELEASE.name, 0
        last = self.lake.reached(schemas.AUDIT.name, DECISIONS)
        if not self.lake.exists(name) or self.lake.reached(name, ORDER) <= last:
            return 0
        rows = self.lake.read(name, where=pc.field("number") > last).sort_by("number").to_pylist()
        for number in sorted({row["number"] for row in rows}):
            own = [row for row in rows if row["number"] == number]
            entry = _entry(own[0])
            told = replace(entry, details={**entry.details, "decision": number, "rows": _digest_of_decision(own)})
            added += self.append(told, DECISIONS, number) is not None
        return added

    @property
    def _head(self) -> "HeadFile":
        return HeadFile(self.keys / f"audit-{self.environment}.json")

    def _newest(self) -> Mapping[str, Any] | None:
        """The row that the next one follows. Where rows were cut off, the next one follows what the head knows: the gap stays to be seen."""
        number, head = self.lake.reached(schemas.AUDIT.name, CHAIN), self._head.read()
        if head is not None and head.number > number:
            return {"number": head.number, "hash": head.hash}
        if number < 0:
            return None
        rows = self.lake.read(schemas.AUDIT.name, where=pc.field("number") == number).to_pylist()
        return rows[0] if rows else {"number": number, "hash": GENESIS}

    def _sign(self, digest: str) -> str:
        return (self.signer or KeyFile(self.keys)).sign(digest.encode()).model_dump_json()

    def _row(self, entry: Entry, before: Mapping[str, Any] | None) -> dict[str, Any]:
        row = {
            "number": (before["number"] if before else 0) + 1,
            "at": datetime.now(UTC),
            "environment": self.environment,
            "action": entry.action,
            "release_id": entry.release_id,
            "actor": entry.actor,
            "reason": entry.reason,
            "details": json.dumps(dict(entry.details), sort_keys=True, ensure_ascii=False, default=str),
            "previous": before["hash"] if before else GENESIS,
        }
        digest = digest_of(row)
        return {**row, "hash": digest, "signature": self._sign(digest)}

    def rows(self) -> list[dict[str, Any]]:
        """Every decision, oldest first."""
        if not self.lake.exists(schemas.AUDIT.name):
            return []
        return list(self.lake.read(schemas.AUDIT.name).sort_by("number").to_pylist())

    def verify(self) -> list[Fault]:
        """What is wrong with the chain: rows that were edited, removed, doubled, reordered or not signed by a trusted key; empty where nothing is."""
        rows = self.rows()
        whole = [row for row in rows if all(row[name] is not None for name in HASHED)]
        odd = [
            Fault(row["number"] or 0, "is no row that was written: values are missing")
            for row in rows
            if row not in whole
        ]
        return [*odd, *self._faults(whole), *self._not_followed(), *self._decisions(whole), *self._requests(whole)]

    def vouched(self, action: str, request_id: str) -> tuple[str, ...]:
        """Who, by signed rows of the chain, took an action on a request."""
        own = (row for row in self.rows() if row["action"] == action and _details(row).get("request") == request_id)
        return tuple(
            dict.fromkeys(row["actor"] for row in own if digest_of(row) == row["hash"] and not self._unsigned(row))
        )

    def _faults(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
        previous, expected, hashes = GENESIS, 1, dict[int, str]()
        for row in rows:
            hashes[row["number"]] = row["hash"]
            if row["environment"] != self.environment:
                yield Fault(row["number"], f"is of the environment {row['environment']}, not of {self.environment}")
            if row["number"] != expected:
                yield (
                    Fault(expected, f"is missing: row {row['number']} follows")
                    if row["number"] > expected
                    else Fault(row["number"], "is there twice")
                )
            if row["previous"] != previous:
                yield Fault(
                    row["number"], "does not follow the row before it: one of both was edited, removed or reordered"
                )
            if digest_of(row) != row["hash"]:
                yield Fault(row["number"], "was edited: its content does not have its hash")
            elif why := self._unsigned(row):
                yield Fault(row["number"], why)
            previous, expected = row["hash"], row["number"] + 1
        head = self._head.read()
        newest = max(self.lake.reached(schemas.AUDIT.name, CHAIN), head.number if head else 0)
        for number in range(expected, newest + 1):
            yield Fault(
                number,
                "is missing at the end: the table's log, or the signed head beside the keys, says that it was written",
            )
        if (
            head is not None
            and (head.number in hashes or head.number < expected)
            and hashes.get(head.number) != head.hash
        ):
            yield Fault(head.number, "is not the row that the signed head beside the keys stands for")
        if head is not None and (why := self._unsigned({"hash": head.hash, "signature": head.signature})):
            yield Fault(head.number, f"is the head's, which {why}")

    def _decisions(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
        """Decisions of gold/promoted_release that are not as the chain has them."""
        name = schemas.PROMOTED_RELEASE.name
        stored = self.lake.read(name).to_pylist() if self.lake.exists(name) else []
        told = {_details(row)["decision"]: row for row in rows if "decision" in _details(row)}
        for number in sorted({row.get("number") or 0 for row in stored}):
            own = [row for row in stored if (row.get("number") or 0) == number]
            if number not in told and number <= self.lake.reached(schemas.AUDIT.name, DECISIONS):
                ids = ", ".join(sorted({row["release_id"] for row in own})[:3])
                yield Fault(
                    number, f"of gold/promoted_release ({ids}) was decided past the chain, or by a version without one"
                )
            elif number in told and _details(told[number])["rows"] != _digest_of_decision(own):
                yield Fault(
                    told[number]["number"],
                    f"is about decision {number} of gold/promoted_release, which was edited or added to since",
                )
        for number in sorted(told.keys() - {row.get("number") for row in stored}):
            yield Fault(told[number]["number"], f"is about decision {number} of gold/promoted_release, which is gone")

    def _requests(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
        """What people decided about requests, by the table of requests, that the chain does not have."""
        name = schemas.REQUESTS.name
        known = {(row["action"], row["actor"], _details(row).get("request")) for row in rows}
        for row in self.lake.read(name).to_pylist() if self.lake.exists(name) else ():
            action = OF_REQUEST.get(row["state"])
            if action and (action, row["actor"], row["request_id"]) not in known:
                yield Fault(
                    0,
                    f"of ops/release_requests ({row['release_id']}, {row['state']} by {row['actor']}) is not in the chain",
                )

    def _not_followed(self) -> Iterator[Fault]:
        """Decisions that the chain lacks."""
        decided = self.lake.reached(schemas.PROMOTED_RELEASE.name, ORDER)
        if decided > self.lake.reached(schemas.AUDIT.name, DECISIONS):
            yield Fault(
                decided, "of gold/promoted_release was decided and is not in the chain: the next decision adds it"
            )

    def _unsigned(self, row: Mapping[str, Any]) -> str | None:
        try:
            check(self.keys, str(row["hash"]).encode(), Signature.model_validate_json(row["signature"]))
        except (SignatureError, ValueError) as why:
            return f"is not signed by a trusted key: {why}"
        return None


def _details(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["details"] or "{}")
    return found


def _digest_of_decision(rows: Sequence[Mapping[str, Any]]) -> str:
    """sha256 over all rows of a commit to gold/promoted_release."""
    told = sorted(json.dumps([_plain(row.get(name)) for name in BOUND], ensure_ascii=False) for row in rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


class Head(BaseModel):
    """Number and hash of the newest row, signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    hash: str
    signature: str


@dataclass(frozen=True)
class HeadFile:
    """Where the head is kept."""

    path: Path

    def read(self) -> Head | None:
        """What it says; None where there is none, a head that nothing follows where it cannot be read."""
        try:
            return Head.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return Head(number=0, hash="", signature="")

    def write(self, head: Head) -> None:
        """Put it in place, unless a newer one is there."""
        known = self.read()
        if known is not None and known.number >= head.number:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        building = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        building.write_text(head.model_dump_json())
        put_in_place(building, self.path)


def _entry(row: Mapping[str, Any]) -> Entry:
    """A decision as its commit tells it; what was done to which release stands in the evidence where the row's own words do not say it."""
    told = json.loads(row["evidence"] or "{}")
    action = told.pop("action", None) or ("promote" if row["promoted"] else "stop")
    release_id = told.pop("release_id", None) or row["release_id"]
    return Entry(action, release_id, row["approved_by"] or "", row["reason"] or "", told)


def digest_of(row: Mapping[str, Any]) -> str:
    """sha256 over the columns that a row is bound by, in their order, times in UTC to the microsecond."""
    told = [row[name].astimezone(UTC).isoformat() if name == "at" else row[name] for name in HASHED]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()
