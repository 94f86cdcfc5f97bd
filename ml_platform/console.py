"""The terminal: tables and progress, from figures that others computed.

Belongs here: rendering with rich. Does not belong here: reading the lake (status), checking (doctor), starting runs (launch).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
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

if TYPE_CHECKING:  # both bring the lake with them, which `ml-platform --help` does without
    from ml_platform.doctor import Check
    from ml_platform.status import ReleaseStatus, Score, Status

SHOWN_FATES, SHOWN_FILES, SHOWN_ALERTS = 30, 20, 3


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


def show_status(console: Console, status: "Status") -> None:
    """Everything `ml-platform status` and the end of the demo show."""
    if not status.sources:
        console.print(
            "Nothing has been loaded yet: `ml-platform land`, then `make ui` or `ml-platform run ingest`; or `ml-platform demo`."
        )
    for table in _tables(status) if status.sources else ():
        console.print(table)
    _show_release(console, status)
    _show_freshness(console, status)
    for line in _to_do(status):
        console.print(line)


def _tables(status: "Status") -> Iterator[Table]:
    yield _drops(status)
    if status.fates:
        yield _fates(status)
    if status.refusals:
        yield _refusals(status)
    if status.refused_files:
        yield _refused_files(status)
    if status.alerts:
        yield _alerts(status)
    if status.fleet:
        yield _counts(f"Series by state, as of {status.fleet.as_of}", ("state", "series"), status.fleet.states)
        if status.fleet.reasons:
            yield _counts("Why a series is not fitted by itself", ("reason", "series"), status.fleet.reasons)
        yield _counts("Fitted series by the family that weighs most", ("family", "series"), status.fleet.families)
    elif status.catalogue:
        yield _counts("Series by state", ("state", "series"), status.catalogue)
    if status.scores:
        yield _errors(status.scores)


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


def _drops(status: "Status") -> Table:
    table = plain_table(
        "Drops by source and state",
        "source",
        "state",
        "drops",
        "rows in",
        "loaded",
        "quarantined",
        "duplicate",
        "erased",
        "newest day",
        text=2,
    )
    for source in status.sources:
        states = ", ".join(f"{count} {state}" for state, count in source.states.items())
        rows = (source.rows_in, source.rows_loaded, source.rows_quarantined, source.rows_duplicate, source.rows_erased)
        table.add_row(
            source.source, states, f"{source.drops:,}", *(f"{one:,}" for one in rows), str(source.newest_day or "-")
        )
    return table


def _fates(status: "Status") -> Table:
    table = plain_table("Rows by fate", "source", "stage", "fate", "rule", "rows", text=4)
    for fate in status.fates[:SHOWN_FATES]:
        table.add_row(fate.source, fate.stage, fate.fate, fate.rule, f"{fate.rows:,}")
    return table


def _refusals(status: "Status") -> Table:
    table = plain_table("Quarantine by rule", "source", "stage", "rule", "newest example", "refused", text=4)
    for refusal in status.refusals[:SHOWN_FATES]:
        table.add_row(refusal.source, refusal.stage, refusal.rule, escape(refusal.example[:70]), f"{refusal.count:,}")
    return table


def _refused_files(status: "Status") -> Table:
    table = plain_table("Files refused as a whole", "file", "reason", "settled (UTC)", text=3)
    for file in status.refused_files[:SHOWN_FILES]:
        table.add_row(escape(file.path), escape(file.reason), f"{file.settled_at:%Y-%m-%d %H:%M:%S}")
    if (more := len(status.refused_files) - SHOWN_FILES) > 0:
        table.add_row(f"and {more} more in ops/ledger", "", "", style="dim")
    return table


def _alerts(status: "Status") -> Table:
    table = plain_table("Failed runs (ops/alerts)", "when (UTC)", "job", "steps", "why", text=4)
    for alert in status.alerts[:SHOWN_ALERTS]:
        why = alert.message.strip().splitlines()[0] if alert.message.strip() else ""
        table.add_row(f"{alert.raised_at:%Y-%m-%d %H:%M:%S}", alert.job, alert.steps, escape(why[:200]))
    return table


def _counts(title: str, columns: tuple[str, str], counts: Mapping[str, int]) -> Table:
    table, total = plain_table(title, *columns, "share"), sum(counts.values())
    for name, count in counts.items():
        table.add_row(str(name), f"{count:,}", f"{count / total:.1%}")
    table.add_row("all", f"{total:,}", "", style="dim")
    return table


def _errors(scores: tuple["Score", ...]) -> Table:
    levels = sorted({level for score in scores for level in score.intervals}, key=int)
    inside = [f"inside {level} %" for level in levels]
    table = plain_table(
        "Error on the newest fold, which chose nothing",
        "contender",
        "weighted RMSSE",
        "skill",
        "WAPE by segment and week",
        "bias",
        *inside,
    )
    for score in scores:
        kind = "simple: " if score.is_floor else ""
        name = kind + score.contender.removeprefix("floor_").replace("_", " ")
        shares = (_percent(score.intervals.get(level)) for level in levels)
        row = (
            f"{score.weighted_rmsse:.4f}",
            _percent(score.skill, digits=2),
            _percent(score.wape_week),
            _percent(score.bias, sign=True),
            *shares,
        )
        table.add_row(name, *row, style="" if score.is_floor else "bold")
    return table


def _percent(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    return "-" if value is None else f"{value * 100:{'+' if sign else ''}.{digits}f} %"


def _show_release(console: Console, status: "Status") -> None:
    for release, words in ((status.champion, "Champion"), (status.judged, "Newest verdict")):
        if release and (words == "Champion" or release != status.champion):
            _show_rules(console, release, words)
    if shown := status.published:
        console.print(
            f"\n[bold]Published[/] as of {shown.as_of}: {shown.rows:,} forecasts of {shown.series:,} series, release {shown.release_id}"
        )


def _show_rules(console: Console, release: "ReleaseStatus", words: str) -> None:
    verdict = "[green]promoted[/]" if release.promoted else "[yellow]not promoted[/]"
    console.print(
        f"\n[bold]{words}[/] {release.release_id}, as of {release.as_of}: {verdict} by {escape(release.approved_by or 'the gate')}"
    )
    for rule in release.rules:
        mark = "[green]passed[/]" if rule.passed else "[red]failed[/]"
        console.print(f"  {mark}  {rule.name}: {escape(rule.explanation)}")


def _show_freshness(console: Console, status: "Status") -> None:
    arrival = status.newest_arrival
    words = f"{arrival:%Y-%m-%d %H:%M:%S} UTC" if arrival else "never"
    console.print(f"\nNewest complete day {status.complete_day or '-'}; newest drop settled {words}")


def _to_do(status: "Status") -> Iterator[str]:
    """What has not come to its end, with the command that brings it there."""
    if status.waiting:
        counts = ", ".join(f"{count:,} {source}" for source, count in status.waiting.items())
        yield f"[yellow]Files wait[/] under landing/ ({counts}): `make ui` takes them up, or `ml-platform run score`"
    for one in status.held:
        yield f"[yellow]Files that are not due yet[/]: {escape(one.words)}"
    if status.undeclared:
        yield f"[yellow]Folders without a contract[/] under landing/: {escape(', '.join(status.undeclared))}: nothing there is read"
    if status.complete_day and not status.judged:
        yield "[yellow]No fleet has been trained yet[/]: `ml-platform run retrain`"
    if status.missing_days:
        first = ", ".join(map(str, status.missing_days[:5])) + (", ..." if len(status.missing_days) > 5 else "")
        yield (
            f"[yellow]Days without a complete delivery[/]: {len(status.missing_days):,} between the first and the newest ({first}). "
            "With `missing: zero` they count as observed zeros: land their files, or say `missing: gap` in forecast.yaml"
        )
    if status.unpublished:
        days, newest = len(status.unpublished), status.unpublished[-1]
        yield f"[yellow]Forecasts lag[/]: {days} complete days up to {newest} are not published: `make ui` makes them, or `ml-platform run score`"


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
