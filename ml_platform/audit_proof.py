"""The audit's proof: every row of the chain, and whatever it is about, compared with what was written.

Belongs here: finding what was edited, removed, added, reordered or not signed. Does not belong here: reading and writing the chain (audit).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_platform.audit_chain import GENESIS, HASHED, Head, details_of, digest_of, digest_of_decision

Row = Mapping[str, Any]
OF_REQUEST = {"requested": "request", "approved": "approve", "rejected": "reject", "expired": "expire"}


@dataclass(frozen=True)
class Fault:
    """A row of the chain that is not as it was written, by its number."""

    number: int
    what: str


@dataclass(frozen=True)
class Proof:
    """What is compared: rows of the chain by number, the head, rows of gold/promoted_release and of ops/release_requests.

    written: the newest number by the table's log; followed: the newest decision that the chain has by its log, decided: the newest there is.
    unsigned: why the signature of a row does not hold, None where it does.
    """

    environment: str
    rows: Sequence[Row]
    head: Head | None
    decisions: Sequence[Row]
    requests: Sequence[Row]
    written: int
    followed: int
    decided: int
    unsigned: Callable[[Row], str | None]

    def faults(self) -> Iterator[Fault]:
        """Whatever is not as it was written."""
        whole = [row for row in self.rows if all(row[name] is not None for name in HASHED)]
        for row in self.rows:
            if row not in whole:
                yield Fault(row["number"] or 0, "is no row that was written: values are missing")
        yield from self._of_the_chain(whole)
        yield from self._of_the_end(whole)
        if self.decided > self.followed:
            words = "of gold/promoted_release was decided and is not in the chain: the next decision adds it"
            yield Fault(self.decided, words)
        yield from self._of_decisions(whole)
        yield from self._of_requests(whole)

    def _of_the_chain(self, rows: Sequence[Row]) -> Iterator[Fault]:
        previous, expected = GENESIS, 1
        for row in rows:
            number = row["number"]
            if row["environment"] != self.environment:
                yield Fault(number, f"is of the environment {row['environment']}, not of {self.environment}")
            if number > expected:
                yield Fault(expected, f"is missing: row {number} follows")
            if number < expected:
                yield Fault(number, "is there twice")
            if row["previous"] != previous:
                yield Fault(number, "does not follow the row before it: one of both was edited, removed or reordered")
            if digest_of(row) != row["hash"]:
                yield Fault(number, "was edited: its content does not have its hash")
            elif why := self.unsigned(row):
                yield Fault(number, why)
            previous, expected = row["hash"], number + 1

    def _of_the_end(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """Rows that were cut off: the table's log, or the head beside the keys, knows of them."""
        head, last = self.head, rows[-1]["number"] if rows else 0
        if head is not None and (why := self.unsigned({"hash": head.bound, "signature": head.signature})):
            yield Fault(last, f"is the newest, and the head beside the keys cannot say so: it {why}")
            head = None
        who = {"the table's log": self.written, "the signed head beside the keys": head.number if head else 0}
        for name, number in who.items():
            if number > last:
                yield Fault(
                    number, f"is missing at the end, with all after row {last}: {name} says that it was written"
                )
        own = next((row["hash"] for row in rows if head and row["number"] == head.number), None)
        if head is not None and head.number <= last and own != head.hash:
            yield Fault(head.number, "is not the row that the signed head beside the keys stands for")

    def _of_decisions(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """Decisions of gold/promoted_release that are not as the chain has them."""
        told = {details["decision"]: (row, details) for row in rows if "decision" in (details := details_of(row))}
        stored: dict[int, list[Row]] = {}
        for row in self.decisions:
            stored.setdefault(row.get("number") or 0, []).append(row)
        for number, own in sorted(stored.items()):
            if number not in told and number <= self.followed:
                ids = ", ".join(sorted({row["release_id"] for row in own})[:3])
                words = f"of gold/promoted_release ({ids}) was decided past the chain, or by a version without one"
                yield Fault(number, words)
            elif number in told and told[number][1].get("rows") != digest_of_decision(own):
                words = f"is about decision {number} of gold/promoted_release, which was edited or added to since"
                yield Fault(told[number][0]["number"], words)
        for number in sorted(told.keys() - stored.keys()):
            yield Fault(
                told[number][0]["number"], f"is about decision {number} of gold/promoted_release, which is gone"
            )

    def _of_requests(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """What people decided about requests, by the table of requests, that the chain does not have."""
        known = {(row["action"], row["actor"], details_of(row).get("request")) for row in rows}
        for row in self.requests:
            action = OF_REQUEST.get(row["state"])
            if action and (action, row["actor"], row["request_id"]) not in known:
                words = f"of ops/release_requests ({row['release_id']}, {row['state']} by {row['actor']}) is not in the chain"
                yield Fault(0, words)
