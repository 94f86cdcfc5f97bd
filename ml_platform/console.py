"""The terminal: tables and progress, from figures that others computed.

Belongs here: rendering with rich. Does not belong here: the state of a home (console_status), checking (doctor), starting runs (launch).
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.status import Status as Spinner
from rich.table import Table

from ml_platform.launch import Event

if TYPE_CHECKING:  # it brings the lake with it, which `ml-platform --help` does without
    from ml_platform.doctor import Check


@dataclass
class Stopwatch:
    """Seconds per stage, in the order in which the stages ended."""

    stages: list[tuple[str, str, float]] = field(default_factory=list)

    def note(self, stage: str, step: str, seconds: float) -> None:
        self.stages.append((stage, step, seconds))


def terminal() -> Console:
    """Standard output; without a terminal lines are not broken, so that logs can be searched."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


@contextmanager
def landing_progress(console: Console) -> Iterator[Progress]:
    """A bar per source on a terminal, nothing elsewhere."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield progress


def follow(console: Console, stage: str, events: Iterable[Event], watch: Stopwatch) -> Event:
    """Show a run while it happens: a line when a step ends, on a terminal also what runs right now. Returns the run's last event."""
    start, last = time.monotonic(), Event("run_end", success=False)
    with console.status(f"{stage}: starting") as spinner:
        for event in events:
            _show(console, stage, event, spinner, time.monotonic() - start)
            if event.kind == "step_end":
                watch.note(stage, event.step, event.seconds or 0.0)
            if event.kind == "run_end":
                last = event
                break
    watch.note(stage, "whole run", time.monotonic() - start)
    return last


def _show(console: Console, stage: str, event: Event, spinner: Spinner, elapsed: float) -> None:
    step, message = escape(event.step), escape(event.message)
    if event.kind == "step_start":
        spinner.update(f"{stage}: {step}")
    elif event.kind == "progress":
        spinner.update(f"{stage}: {step} {message}")
    elif event.kind == "step_end":
        mark = "[red]failed[/]" if event.success is False else "[green]done[/]"
        console.print(
            f"{elapsed:7.1f} s  {stage:8}  {step:32} {mark} in {event.seconds or 0:6.1f} s  {message}".rstrip()
        )


def printable(text: str) -> str:
    """Text from a file as a terminal may show it: control characters and marks that turn the reading direction are spelt out."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def plain_table(title: str, *columns: str, text: int = 1) -> Table:
    """A plain table: the first `text` columns are words, the others numbers."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    table.min_width = len(title)  # else a long title over a narrow table is broken
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < text else "right", overflow="fold")
    return table


def show_seconds(console: Console, watch: Stopwatch) -> None:
    """Where the time went."""
    table = plain_table("Seconds per stage", "stage", "step", "seconds", text=2)
    for stage, step, seconds in watch.stages:
        table.add_row(stage, step, f"{seconds:.1f}", style="bold" if step == "whole run" else "")
    console.print(table)


def show_checks(console: Console, checks: Iterable["Check"]) -> None:
    """One line per check, and what to do below each that is not ok."""
    for check in checks:
        mark = "[green]ok     [/]" if check.ok else "[red]missing[/]" if check.required else "[yellow]absent [/]"
        console.print(f"{mark} {check.name}: {escape(check.detail)}")
        if not check.ok:
            console.print(f"        {'' if check.required else 'not needed now; '}{escape(check.remedy)}")
