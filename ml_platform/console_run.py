"""The end of a run in the terminal: what it settled, and what was decided.

Belongs here: rendering with rich. Does not belong here: finding it (status.runs), the run's steps (console).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from ml_platform.console_status import published_words

if TYPE_CHECKING:
    from ml_platform.status import ReleaseStatus
    from ml_platform.status.runs import RunOutcome

SHOWN_VERDICTS = 5


def show_outcome(console: Console, job: str, found: "RunOutcome") -> None:
    """A line for the files, one for each verdict, one for what is published."""
    for line in _lines(job, found):
        console.print(line, soft_wrap=True)


def _lines(job: str, found: "RunOutcome") -> Iterator[str]:
    if found.drops:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(found.drops.items()))
        rows = ", ".join(
            f"{count:,} {name.removeprefix('rows_')}"
            for name, count in found.rows.items()
            if count and name != "rows_in"
        )
        yield f"Files settled: {states}; {found.rows['rows_in']:,} rows in{f': {rows}' if rows else ''}."
        if found.rows["rows_quarantined"] or "quarantined" in found.drops:
            yield "[yellow]Some of it was refused[/]: `ml-platform quarantine list` says what and why."
    elif job not in ("retrain", "update"):
        yield "No file was due: everything that landed on those days is settled."
    for one in found.judged[:SHOWN_VERDICTS]:
        yield _verdict(one)
    if (more := len(found.judged) - SHOWN_VERDICTS) > 0:
        yield f"... and {more:,} fleets of earlier days"
    if found.published:
        yield published_words(found.published)


def _verdict(one: "ReleaseStatus") -> str:
    if one.promoted:
        return f"Fleet as of {one.as_of}: [green]promoted[/], release {one.release_id}."
    failed = ", ".join(rule.name for rule in one.rules if not rule.passed)
    return f"Fleet as of {one.as_of}: [yellow]not promoted[/] ({escape(failed)}); the champion stays."
