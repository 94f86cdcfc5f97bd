"""The audit: every decision about a release, in a table that only grows, each row bound to the one before.

Belongs here: appending to the chain, reading it. Does not belong here: hashes (audit_chain), what a proof looks at (audit_proof), deciding (promotion, approvals, takeback).

A row's hash covers its content and the hash of the row before, and is signed: whoever edits, removes or reorders a row would have to make every later
hash anew, and has no key to sign them. The newest number and hash stand, signed, beside the keys as well: rows that are cut off the end are missed, also where
the whole table goes. A row about a decision holds a hash of its rows in gold/promoted_release, so that these cannot be edited or added to either.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.audit_chain import GENESIS, Head, HeadFile, details_of, digest_of, digest_of_decision
from ml_platform.audit_proof import Fault, Proof
from ml_platform.lake import AlreadyCommittedError, Lake, schemas
from ml_platform.registry.pointer import ORDER
from ml_platform.registry.signing import KeyFile, Signature, SignatureError, Signer, check

CHAIN = "audit"  # transaction id whose version is the number of the newest row
DECISIONS = "audit_decisions"  # and that of the newest decision about a release that the chain has
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
            head = Head(number=row["number"], hash=row["hash"], signature="")
            self._head.write(head.model_copy(update={"signature": self._sign(head.bound)}))
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
            told = replace(entry, details={**entry.details, "decision": number, "rows": digest_of_decision(own)})
            added += self.append(told, DECISIONS, number) is not None
        return added

    @property
    def _head(self) -> HeadFile:
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
        name, log = schemas.PROMOTED_RELEASE.name, schemas.AUDIT.name
        proof = Proof(
            environment=self.environment,
            rows=self.rows(),
            head=self._head.read(),
            decisions=self._stored(name),
            requests=self._stored(schemas.REQUESTS.name),
            written=self.lake.reached(log, CHAIN),
            followed=self.lake.reached(log, DECISIONS),
            decided=self.lake.reached(name, ORDER),
            unsigned=self._unsigned,
        )
        return list(proof.faults())

    def _stored(self, name: str) -> list[dict[str, Any]]:
        return list(self.lake.read(name).to_pylist()) if self.lake.exists(name) else []

    def vouched(self, action: str, request_id: str) -> tuple[str, ...]:
        """Who, by signed rows of the chain, took an action on a request."""
        own = (row for row in self.rows() if row["action"] == action and details_of(row).get("request") == request_id)
        return tuple(
            dict.fromkeys(row["actor"] for row in own if digest_of(row) == row["hash"] and not self._unsigned(row))
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
