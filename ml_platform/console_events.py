"""What the terminal shows of storage events.

Belongs here: events by outcome, and dead letters. Does not belong here: what they are (storage_events, lake.announcements).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.console import plain_table, printable

if TYPE_CHECKING:
    from ml_platform.lake.announcements import DeadLetter
    from ml_platform.status import Status

SHOWN = 5


def show_events(console: Console, status: "Status") -> None:
    """Storage events of a home, and messages that were none; nothing where no queue was ever read."""
    if status.events:
        table = plain_table("Storage events by outcome", "outcome", "events")
        for outcome, count in status.events.items():
            table.add_row(escape(outcome), f"{count:,}")
        console.print(table)
    if status.dead_letters:
        console.print(_dead_letters(status.dead_letters))
        console.print(
            f"[yellow]Messages that were no storage events[/]: {len(status.dead_letters):,} in ops/dead_letters; "
            "files that they told of are found by listing"
        )


def _dead_letters(letters: Sequence["DeadLetter"]) -> Table:
    table = plain_table("Dead letters", "received (UTC)", "why", "text", text=3)
    for letter in letters[:SHOWN]:
        text = printable(" ".join(letter.text.split()))
        table.add_row(f"{letter.received_at:%Y-%m-%d %H:%M:%S}", escape(letter.reason[:200]), escape(text[:60]))
    return table
