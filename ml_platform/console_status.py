"""The state of a home in the terminal: tables, and what is to be done.

Belongs here: rendering with rich what status has read. Does not belong here: reading the lake (status), storage events (console_events),
one file (console_file).
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.console import plain_table, printable

if TYPE_CHECKING:  # it brings the lake with it, which `ml-platform --help` does without
    from ml_platform.status import PublishedStatus, ReleaseStatus, Score, Status

SHOWN_FATES, SHOWN_FILES, SHOWN_ALERTS, SHOWN_WARNINGS, SHOWN_RULES = 20, 6, 3, 5, 10


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
    if status.warnings:
        yield _warnings(status)
    if status.fleet:
        yield _counts(f"Series by state, as of {status.fleet.as_of}", ("state", "series"), status.fleet.states)
        if status.fleet.reasons:
            yield _counts("Why a series is not fitted by itself", ("reason", "series"), status.fleet.reasons)
        yield _counts("Fitted series by the family that weighs most", ("family", "series"), status.fleet.families)
    elif status.catalogue:
        yield _counts("Series by state", ("state", "series"), status.catalogue)
    if status.scores:
        yield _errors(status.scores)


def _drops(status: "Status") -> Table:
    table = plain_table(
        "Drops by source and state",
        "source",
        "state",
        "rows in",
        "= loaded",
        "+ quarantined",
        "+ duplicate",
        "+ erased",
        "newest day",
        text=2,
    )
    for source in status.sources:
        states = ", ".join(f"{count} {state}" for state, count in source.states.items())
        rows = (source.rows_loaded, source.rows_quarantined, source.rows_duplicate, source.rows_erased)
        whole = f"{source.rows_in:,}" if source.balanced else f"[red]{source.rows_in:,} IS NOT[/]"
        table.add_row(source.source, states, whole, *(f"{one:,}" for one in rows), str(source.newest_day or "-"))
    return table


def _fates(status: "Status") -> Table:
    table = plain_table("Rows by fate", "source", "stage", "fate", "rule", "rows", text=4)
    for fate in status.fates[:SHOWN_FATES]:
        table.add_row(fate.source, fate.stage, fate.fate, fate.rule, f"{fate.rows:,}")
    return table


def _refusals(status: "Status") -> Table:
    table = plain_table("Quarantine by rule", "source", "stage", "rule", "newest example", "refused", text=4)
    for refusal in status.refusals[:SHOWN_RULES]:
        table.add_row(
            refusal.source, refusal.stage, refusal.rule, escape(printable(refusal.example[:70])), f"{refusal.count:,}"
        )
    return table


def _refused_files(status: "Status") -> Table:
    table = plain_table("Files refused as a whole", "file", "reason", "settled (UTC)", text=3)
    for file in status.refused_files[:SHOWN_FILES]:
        table.add_row(
            escape(printable(file.path)), escape(printable(file.reason)), f"{file.settled_at:%Y-%m-%d %H:%M:%S}"
        )
    if (more := len(status.refused_files) - SHOWN_FILES) > 0:
        table.add_row(f"and {more} more in ops/ledger", "", "", style="dim")
    return table


def _warnings(status: "Status") -> Table:
    table = plain_table("Odd drops of the newest days, and missing ones", "source", "day", "what is odd", text=3)
    for one in status.warnings[:SHOWN_WARNINGS]:
        table.add_row(one.source, f"{one.day:%a} {one.day}", one.words)
    if (more := len(status.warnings) - SHOWN_WARNINGS) > 0:
        table.add_row(f"and {more:,} more", "", "", style="dim")
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
    if status.published:
        console.print(f"\n{published_words(status.published)}")


def published_words(shown: "PublishedStatus") -> str:
    """What SQL reads now."""
    return f"[bold]Published[/] as of {shown.as_of}: {shown.rows:,} forecasts of {shown.series:,} series, release {shown.release_id}"


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
    yield from _behind(status)
    if status.undeclared:
        yield f"[yellow]Of no contract[/], under landing/: {escape(printable(', '.join(status.undeclared)))}: nothing there is read"
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


def _behind(status: "Status") -> Iterator[str]:
    """What ingestion has not come to yet, or did not come to."""
    for one in status.waiting_files:
        since = f"{'' if one.files == 1 else 'the oldest '}since {one.since:%Y-%m-%d %H:%M:%S} UTC"
        yield f"[yellow]Files wait[/]: {escape(printable(one.words))}, {since}: {way_out(due=one.due)}"
    if status.cut_off:
        yield f"[yellow]A crash cut commits off from the ledger[/] ({_counted(status.cut_off)}): the next run completes them, `ml-platform run ingest`"
    if status.lagging:
        yield f"[yellow]Silver lags behind bronze[/] (drops: {_counted(status.lagging)}): `make ui` makes it, or `ml-platform run ingest`"
    if status.refusals:
        first, count = status.refusals[0], sum(one.count for one in status.refusals)
        yield (
            f"[yellow]Refusals are open[/]: {count:,}, most of them {escape(first.rule)}: "
            f"`ml-platform quarantine list --source {first.source} --rule {escape(first.rule)}`"
        )
    if status.warnings:
        yield "[yellow]Drops are odd[/]: ask who delivers; limits and holidays are in `expect` of the contract, see docs/sources.md"


def way_out(*, due: bool) -> str:
    """How the waiting of files ends."""
    return (
        "due, `make ui` or `ml-platform run score` reads it"
        if due
        else "not due yet, docs/sources.md (deliveries) says how it ends"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
