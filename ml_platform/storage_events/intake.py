"""Intake: messages leave the queue for tables, and never the other way round.

Belongs here: one batch after the other, written before it is deleted, within a bound of count and time. Does not belong here: reading a message
(messages), what it means (outcomes).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ml_platform.lake import Lake, announcements
from ml_platform.lake.announcements import Announcement, DeadLetter
from ml_platform.storage_events import outcomes
from ml_platform.storage_events.messages import MessageError, parse
from ml_platform.storage_events.outcomes import Scope
from ml_platform.storage_events.queue import EventQueue, Message

BATCH, MOST, SECONDS = 256, 5_000, 5.0  # a tick has a minute for everything
MOST_DELIVERIES = 20  # a message that came so often has never been brought to its end
LONGEST_TEXT = 4_096


@dataclass
class Intake:
    """What was taken out of a queue: messages, rows of events by outcome, rows that were known already, dead letters."""

    messages: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    dead: int = 0

    def words(self) -> str:
        """One line, every message in it."""
        counts = {**dict(sorted(self.outcomes.items())), "known already": self.duplicates, "dead letters": self.dead}
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{self.messages} messages: {said or 'nothing'}"


def drain(
    queue: EventQueue, lake: Lake, scope: Scope, *, most: int = MOST, seconds: float = SECONDS, batch: int = BATCH
) -> Intake:
    """Take messages in until none waits, there were `most`, or the time is up; what is left waits for the next look."""
    until, taken = time.monotonic() + seconds, Intake()
    while taken.messages < most and time.monotonic() < until:
        messages = queue.receive(min(batch, most - taken.messages))
        if not messages:
            break
        _take(messages, lake, scope, taken)
        for message in messages:  # only now: what is deleted stands in a table
            queue.delete(message)
    return taken


def _take(messages: Sequence[Message], lake: Lake, scope: Scope, taken: Intake) -> None:
    """One commit with every event of a batch, one with its dead letters."""
    now = datetime.now(UTC)
    rows, dead = list[Announcement](), list[DeadLetter]()
    for message in messages:
        found, fault = _read(message, scope, now)
        rows += found
        if fault:
            dead.append(DeadLetter(message.message_id, _cut(message.text), fault, message.dequeue_count, now))
    new = announcements.record(lake, rows) if rows else []
    announcements.bury(lake, dead)
    taken.messages += len(messages)
    taken.outcomes.update(row.outcome for row in new)
    taken.duplicates += len(rows) - len(new)
    taken.dead += len(dead)


def _read(message: Message, scope: Scope, now: datetime) -> tuple[list[Announcement], str]:
    """Rows that a message makes, and why it is a dead letter (empty: it is none)."""
    if message.dequeue_count > MOST_DELIVERIES:
        return [], f"received {message.dequeue_count} times, and never deleted"
    try:
        found = parse(message.text)
    except MessageError as why:
        return [], str(why)
    return [row for event in found.events for row in outcomes.announcements(event, scope, now)], found.fault


def _cut(text: str) -> str:
    """The beginning of a text, as a table can hold it: half a character is spelt out."""
    return text[:LONGEST_TEXT].encode(errors="backslashreplace").decode()
