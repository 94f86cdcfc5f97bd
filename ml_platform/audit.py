"""The audit: every decision about a release, in a table that only grows, each row bound to the one before.

Belongs here: appending to the chain, proving it. Does not belong here: deciding (promotion, approvals, rollback).

A row's hash covers its content and the hash of the row before, and is signed: whoever edits, removes or reorders a row would have to make every later
hash anew, and has no key to sign them. The number of the newest row stands in the table's transaction log as well, so that cutting rows off the end
is seen, too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
            entry = _entry(next(row for row in rows if row["number"] == number))
            added += self.append(entry, DECISIONS, number) is not None
        return added

    def _newest(self) -> Mapping[str, Any] | None:
        number = self.lake.reached(schemas.AUDIT.name, CHAIN)
        if number < 0:
            return None
        rows = self.lake.read(schemas.AUDIT.name, where=pc.field("number") == number).to_pylist()
        return rows[0] if rows else {"number": number, "hash": GENESIS}

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
        signature = (self.signer or KeyFile(self.keys)).sign(digest.encode())
        return {**row, "hash": digest, "signature": signature.model_dump_json()}

    def rows(self) -> list[dict[str, Any]]:
        """Every decision, oldest first."""
        if not self.lake.exists(schemas.AUDIT.name):
            return []
        return list(self.lake.read(schemas.AUDIT.name).sort_by("number").to_pylist())

    def verify(self) -> list[Fault]:
        """What is wrong with the chain: rows that were edited, removed, doubled, reordered or not signed by a trusted key; empty where nothing is."""
        return [*self._faults(), *self._not_followed()]

    def _faults(self) -> Iterator[Fault]:
        previous, expected = GENESIS, 1
        for row in self.rows():
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
        newest = self.lake.reached(schemas.AUDIT.name, CHAIN)
        for number in range(expected, newest + 1):
            yield Fault(number, "is missing at the end: the table's log says that it was written")

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
