"""The desk: a person's decision about refusals, carried out.

Belongs here: orders, what became of them, and which way each refusal goes. Does not belong here: why one cannot be released (words), a row's
way through the door (redelivery), the log (lake.decisions).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from ml_platform.bronze import Bronze
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import decisions
from ml_platform.lake.clock import Clock
from ml_platform.lake.decisions import DECISIONS_KEY, DISCARDED, RELEASED, Decision
from ml_platform.lake.ledger import LedgerRow
from ml_platform.quarantine.records import BRONZE, QuarantineError, Record
from ml_platform.quarantine.redelivery import Redelivered, redeliver
from ml_platform.quarantine.words import Situation, no_decision, no_release, options
from ml_platform.settlement import Batch

ROWS_PER_COMMIT = 10_000
DUE_AGAIN = "released: it is due again, and the next run settles it (`make ui` starts one, or `ml-platform run score`)"
IN_BRONZE = "released: it is in bronze, and silver takes it up with the next run (`make ui` starts one, or `ml-platform run score`)"


@dataclass(frozen=True)
class Order:
    """What a person decides, who and why; `corrections` are values by column that take the place of refused ones."""

    action: Literal["release", "discard"]
    by: str
    reason: str
    corrections: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.by.strip() or not self.reason.strip():
            raise QuarantineError("nothing is decided without a name and a reason: give both")
        if self.corrections and self.action == "discard":
            raise QuarantineError("what is discarded is not corrected: leave the values out, or release it")

    @property
    def state(self) -> str:
        return RELEASED if self.action == "release" else DISCARDED


@dataclass(frozen=True)
class Outcome:
    """What became of one refusal: `decided` now, or in the wanted state already (`ok` in both cases), or why not."""

    record: Record
    words: str
    decided: bool = False
    ok: bool = False


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of one home: `door` opens the ingestion of a source."""

    contracts: Contracts
    door: Callable[[SourceContract], Ingestion]

    def decide(self, order: Order, wanted: Sequence[Record]) -> list[Outcome]:
        """Carry an order out, source by source; what cannot be done stays as it is and says why. Safe to repeat.

        QuarantineError where a corrected column is none of a source; checks.Blocked where released rows fail a check.
        """
        by_source = {name: list(some) for name, some in groupby(sorted(wanted, key=_source), _source)}
        for name in by_source:
            _require_columns(order, self.contracts[name])
        return [one for name, some in by_source.items() for one in self._decide(order, self.contracts[name], some)]

    def options(self, record: Record) -> list[str]:
        """What can be done about a refusal, in words with commands."""
        return options(record, Situation(self.door(self.contracts[record.source])))

    def _decide(self, order: Order, contract: SourceContract, wanted: Sequence[Record]) -> Iterator[Outcome]:
        door = self.door(contract)
        with door.turn():
            door.recover()  # what a crash cut off is decided already
            desk = Desk(order, door, Situation(door))
            due = list[Record]()
            for record in wanted:
                settled = desk.settled(record)
                if settled:
                    yield settled
                else:
                    due.append(record)
            yield from desk.carry_out(due)


@dataclass(frozen=True)
class Desk:
    """One order at one source."""

    order: Order
    door: Ingestion
    situation: Situation

    def settled(self, record: Record) -> Outcome | None:
        """What is to be said of a refusal without doing anything; None where the order can be carried out."""
        now = self.situation.known.get(record.quarantine_id)
        if now is None:
            return Outcome(record, "it has left quarantine by itself", ok=self.order.action == "release")
        if not now.open:
            return Outcome(
                now, f"it was {now.state} already, by {now.decided_by}: {now.reason}", ok=now.state == self.order.state
            )
        return Outcome(now, f"stays open: {why}") if (why := self._objection(now)) else None

    def _objection(self, record: Record) -> str | None:
        if self.order.action == "discard":
            return no_decision(record, self.situation)
        if record.whole and self.order.corrections:
            return "a whole file has no single value to set: correct the file and land it again, or release it as it is"
        return no_decision(record, self.situation) or no_release(record, self.situation)

    def carry_out(self, due: Sequence[Record]) -> Iterator[Outcome]:
        """Rows of bronze go through the door; a discarded refusal and a released file need the log alone."""
        release = self.order.action == "release"
        rows = [one for one in due if release and not one.whole]
        others = [one for one in due if not release or one.whole]
        self._log(others)
        words = DUE_AGAIN if release else "discarded"
        yield from (Outcome(one, words, decided=True, ok=True) for one in others)
        yield from self._release(rows)

    def _log(self, due: Sequence[Record]) -> None:
        """What is decided about a file holds for its rows, too."""
        files = {one.drop_id for one in due if one.whole}
        own = [
            one for one in self.situation.known.values() if one.open and one.stage == BRONZE and one.drop_id in files
        ]
        both = {one.quarantine_id: one for one in (*due, *own)}
        if both:
            decisions.decide(self.door.lake, self.door.contract.name, [self._decision(one) for one in both.values()])

    def _release(self, rows: Sequence[Record]) -> Iterator[Outcome]:
        bronze, clock = self.door.bronze(), Clock.of(self.door.lake, self.door.contract.name)
        for drops in _portions(rows):
            again = {drop.drop_id: self._redeliver(drop, some, bronze, clock) for drop, some in drops}
            through = [one for _, some in drops for one in some if one.row_number not in again[one.drop_id].broken]
            settled = [one.settled for one in again.values() if one.settled]
            if settled:
                decided = decisions.to_metadata([self._decision(one) for one in through])
                self.door.bring(Batch(settled), bronze, {DECISIONS_KEY: decided})
            yield from (_outcome(one, again[one.drop_id]) for _, some in drops for one in some)

    def _redeliver(self, drop: LedgerRow, rows: Sequence[Record], bronze: Bronze, clock: Clock) -> Redelivered:
        raws = {one.row_number: one.raw or "" for one in rows if one.row_number is not None}
        return redeliver(drop, raws, self.order.corrections, self.door, bronze, clock)

    def _decision(self, one: Record) -> Decision:
        corrections = json.dumps(dict(self.order.corrections), ensure_ascii=False) if self.order.corrections else None
        return Decision(
            quarantine_id=one.quarantine_id,
            source=one.source,
            drop_id=one.drop_id,
            stage=one.stage,
            row_number=one.row_number,
            rule=one.rule,
            attempt=one.drop.attempt if one.drop else 1,
            decision=self.order.state,
            decided_by=self.order.by,
            reason=self.order.reason,
            corrections=corrections,
            decided_at=datetime.now(UTC),
        )


def _outcome(record: Record, again: Redelivered) -> Outcome:
    why = again.broken.get(record.row_number or 0)
    return Outcome(record, f"stays open: {why}") if why else Outcome(record, IN_BRONZE, decided=True, ok=True)


def _portions(rows: Sequence[Record]) -> Iterator[list[tuple[LedgerRow, list[Record]]]]:
    """Rows by drop, as many drops as share a commit: its metadata names every row."""
    portion, count = list[tuple[LedgerRow, list[Record]]](), 0
    for _, some in groupby(sorted(rows, key=lambda one: one.drop_id), lambda one: one.drop_id):
        own = list(some)
        assert own[0].drop is not None  # else `no_release` had spoken
        portion, count = [*portion, (own[0].drop, own)], count + len(own)
        if count >= ROWS_PER_COMMIT:
            yield portion
            portion, count = [], 0
    if portion:
        yield portion


def _require_columns(order: Order, contract: SourceContract) -> None:
    if strange := [name for name in order.corrections if name not in contract.columns]:
        known = ", ".join(contract.columns)
        raise QuarantineError(f"source '{contract.name}' has no column {', '.join(strange)} to set: it has {known}")


def _source(record: Record) -> str:
    return record.source
