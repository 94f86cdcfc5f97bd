"""The quarantine in the terminal: tables of refusals, one in full, and what became of an order.

Belongs here: rendering with rich; every text that came from a file is escaped. Does not belong here: reading (quarantine), options (cli_quarantine).
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.console import plain_table, printable
from ml_platform.quarantine import Outcome, Record

SHOWN_TEXT, SHOWN_OUTCOMES = 60, 20


def show_counts(console: Console, found: Sequence[Record]) -> None:
    """How much there is, by source, stage, rule and state."""
    counted = Counter((one.source, one.stage, one.rule, one.state) for one in found)
    table = plain_table("Quarantine by rule", "source", "stage", "rule", "state", "rows or files", text=4)
    for names, count in sorted(counted.items(), key=lambda one: (-one[1], one[0])):
        table.add_row(*map(escape, names), f"{count:,}")
    console.print(table)


def show_list(console: Console, found: Sequence[Record], limit: int) -> None:
    """The newest records, one per line."""
    newest = sorted(found, key=lambda one: one.quarantined_at, reverse=True)[:limit]
    console.print(_listed(f"The newest {len(newest)} of {len(found):,}", newest) if newest else "None of them.")
    if newest:
        console.print("`ml-platform quarantine show ID` shows one in full, and what can be done about it")


def _listed(title: str, found: Sequence[Record]) -> Table:
    table = plain_table(title, "id", "file", "rule", "value", "state", "row", text=5)
    for one in found:
        row = "whole file" if one.row_number is None else f"{one.row_number:,}"
        table.add_row(one.quarantine_id, _cell(one.path), _cell(one.rule), _cell(one.value or ""), one.state, row)
    return table


def _cell(text: str) -> str:
    shown = printable(text).replace("\n", " ")
    return escape(shown if len(shown) <= SHOWN_TEXT else f"{shown[:SHOWN_TEXT]}...")


def show_record(console: Console, one: Record, rule: str, options: Sequence[str]) -> None:
    """Everything about one refusal."""
    for name, text in _facts(one, rule):
        console.print(f"[bold]{name:12}[/] {escape(printable(text))}", soft_wrap=True)
    console.print("[bold]as it came[/]")
    console.print(printable(_pretty(one.raw or "")), markup=False, soft_wrap=True)
    console.print("[bold]what can be done[/]")
    for option in options:
        console.print(f"- {printable(option)}", markup=False, soft_wrap=True)


def _facts(one: Record, rule: str) -> Iterator[tuple[str, str]]:
    yield "id", one.quarantine_id
    yield "source", one.source
    yield "file", one.path
    yield "row", "the whole file" if one.whole else str(one.row_number)
    yield "refused at", f"{one.stage}, {one.quarantined_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "rule", f"{one.rule}: {rule}"
    yield "value", "(empty)" if one.value is None else one.value
    yield "drop", f"{one.drop_id}, {one.drop.state if one.drop else 'unknown to the ledger'}"
    yield "state", one.state
    if one.decided_at:
        yield "decided", f"{one.decided_at:%Y-%m-%d %H:%M:%S} UTC by {one.decided_by}: {one.reason}"


def _pretty(raw: str) -> str:
    """A row as indented JSON; a line or a path as it is."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return raw


def show_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """What became of each refusal, and how many of them it became of."""
    for one in outcomes[:SHOWN_OUTCOMES]:
        console.print(
            printable(f"{one.record.quarantine_id}  {one.record.place}: {one.words}"), markup=False, soft_wrap=True
        )
    if (more := len(outcomes) - SHOWN_OUTCOMES) > 0:
        console.print(f"... and {more:,} more")
    decided, left = sum(one.decided for one in outcomes), sum(not one.ok for one in outcomes)
    console.print(f"{decided:,} decided, {len(outcomes) - decided - left:,} decided before, {left:,} left as they are")
