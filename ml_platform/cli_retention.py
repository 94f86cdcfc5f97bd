"""`ml-platform retention`: what compaction and removal would do, and doing it.

Belongs here: options, help that teaches, the table in the terminal, exit codes. Does not belong here: compacting and removing (maintenance).
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import plain_table, terminal
from ml_platform.settings import read_settings

if TYPE_CHECKING:
    from ml_platform.maintenance import Action, Due

RUN_ID = "ml-platform retention"


@errors_in_words
def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")] = False,
) -> None:
    """Show, table by table, what is due: small files to compact, and what is older than ML_PLATFORM_RETENTION_DAYS to remove.

    With `--apply` it is done, which leaves its account in `ops/maintenance`. Files that no version of a table within the retention needs do
    not come back. Runs beside everything else; safe to repeat, also after a crash. The same in the UI: the job `retention`.

    Example: `ml-platform retention`, then `ml-platform retention --apply`
    """
    from ml_platform.lake import Lake
    from ml_platform.maintenance import Maintenance

    settings, console = read_settings(), terminal()
    care = Maintenance(
        Lake(settings.lake), settings.root, timedelta(days=settings.retention_days), RUN_ID, lambda text: None
    )
    if not apply:
        _show_due(console, care.due(), settings.retention_days)
        return
    done = care.apply()
    _show_done(console, done)
    raise typer.Exit(int(any(one.action == "failed" for one in done)))


def _show_due(console: Console, due: list["Due"], days: int) -> None:
    columns = ("table", "reason", "files", "MB", "versions", "to compact", "files to remove", "of the log", "MB freed")
    table = plain_table(f"Due with a retention of {days} days", *columns, text=2)
    for one in due:
        counts = (one.small_files, one.dead_files, one.log_files)
        numbers = [f"{one.files:,}", _mb(one.bytes), f"{one.versions:,}", *(f"{count:,}" for count in counts)]
        table.add_row(one.table, escape(one.reason), *numbers, _mb(one.freed_bytes))
    console.print(table)
    console.print("Nothing was changed: `ml-platform retention --apply` does it")


def _show_done(console: Console, done: list["Action"]) -> None:
    table = plain_table("Done", "table", "action", "reason", "files", "MB", "versions", text=3)
    for one in done:
        words = (one.table, one.action, escape(one.reason or ""))
        table.add_row(*words, f"{one.files:,}", _mb(one.bytes), f"{one.versions:,}")
    console.print(table)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"
