"""`ml-platform erase`: a person's key leaves the lake, or landed files.

Belongs here: options, help that teaches, exit codes. Does not belong here: erasing (erasure).
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli_errors import errors_in_words
from ml_platform.cli_quarantine import user
from ml_platform.console import printable, terminal
from ml_platform.settings import Settings, read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from ml_platform.erasure.eraser import Eraser, Request
    from ml_platform.erasure.landed import LandingEraser, LandingReport
    from ml_platform.lake.erasures import Erasure

NOBODY = "No row holds the key: is it written as in the rows?"
AGAIN = "Nothing was left to do: these are the rows of that day"


@errors_in_words
def erase(
    source: Annotated[str, typer.Option(help="The source whose contract declares the column in `personal`.")] = "",
    column: Annotated[str, typer.Option(help="The column that holds the key.")] = "",
    value: Annotated[
        str | None, typer.Option(help="The key. Left out, it is asked for and stays out of the shell's history.")
    ] = None,
    digest: Annotated[str, typer.Option(help="In the place of the key: the digest that a dry run printed.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept with the erasure.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides. Default: the user of this system.")] = None,
    landing: Annotated[bool, typer.Option("--landing", help="Rewrite the landed files instead of the lake.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
) -> None:
    """Erase a person's key: every row, refused line and old version that holds it; it never comes in again. See docs/erasure.md.

    Twice: the lake first, then with `--landing` the files that arrived. Exit code 1 where a file has to be looked at by hand. Without options:
    complete what a crash cut off.

    Example: `ml-platform erase --source visits --column person_id --value 2457 --reason "request 17" --dry-run`
    """
    from ml_platform.erasure.eraser import Request

    settings, console = read_settings(), terminal()
    if not source and not column:
        _show_completed(console, _eraser(settings).complete())
        return
    if not source or not column or not reason:
        raise typer.BadParameter("say whose rows and why: --source, --column and --reason")
    asked = value if value is not None or digest else typer.prompt("The key to erase", hide_input=True)
    request = Request(source, column, by or user(), reason, asked or "", digest)
    if landing:
        _erase_landing(_landing_eraser(settings), request, console, dry_run=dry_run)
    elif dry_run:
        found = _eraser(settings).survey(request)
        _show_lake(console, found, "would be erased", "" if any(found.rows.values()) else NOBODY)
    else:
        started = datetime.now(UTC)
        found = _eraser(settings).erase(request)
        before = found.completed_at is not None and found.completed_at < started
        here = any(found.rows.values())
        _show_lake(console, found, "erased", AGAIN if before else "" if here else f"{NOBODY} It never comes in now")


def _show_lake(console: "Console", one: "Erasure", what: str, note: str = "") -> None:
    when = f" on {one.completed_at:%Y-%m-%d %H:%M} UTC by {one.requested_by}" if one.completed_at else ""
    lines = [
        f"{one.source}.{one.column} {what}{when}; digest {one.digest}",
        *(f"  {rows:>9,} rows of {table}" for table, rows in one.rows.items()),
        *([note] if note else []),
    ]
    for line in lines:
        console.print(printable(line), markup=False, soft_wrap=True)


def _show_completed(console: "Console", found: "list[Erasure]") -> None:
    for one in found:
        _show_lake(console, one, "completed")
    if not found:
        console.print("Nothing is pending.")


def _erase_landing(eraser: "LandingEraser", request: "Request", console: "Console", *, dry_run: bool) -> None:
    report = eraser.survey(request) if dry_run else eraser.erase(request)
    _show_landing(console, report, "would be taken out" if dry_run else "taken out; the next run settles the file")
    raise typer.Exit(int(bool(report.problems)))


def _show_landing(console: "Console", report: "LandingReport", what: str) -> None:
    for one in report.files:
        words = f"LEFT: {one.problem}" if one.problem else f"{one.rows:,} rows {what}"
        console.print(printable(f"{one.path}: {words}"), markup=False, soft_wrap=True)
    if not report.files:
        console.print("No landed file holds the key.")


def _eraser(settings: Settings) -> "Eraser":
    from ml_platform.contract_files import load_contracts
    from ml_platform.contracts import SourceContract
    from ml_platform.erasure.eraser import RUN_ID, Eraser
    from ml_platform.forecasting import load_config
    from ml_platform.ingestion import Ingestion
    from ml_platform.lake import Lake
    from ml_platform.landing import open_landing
    from ml_platform.preparation import Preparation

    lake, contracts = Lake(settings.lake), load_contracts(settings.configs)
    forecast = settings.configs / "forecast.yaml"
    series = load_config(forecast).series if forecast.exists() else ()

    def door(contract: SourceContract) -> Ingestion:
        return Ingestion(lake, open_landing(settings), contract, RUN_ID, settings.calendar)

    def prepare(contract: SourceContract) -> Preparation:
        return Preparation(lake, contracts, contract, settings.engine, settings.suite_rows, series=series)

    return Eraser(lake, contracts, door, prepare)


def _landing_eraser(settings: Settings) -> "LandingEraser":
    from ml_platform.contract_files import load_contracts
    from ml_platform.erasure.landed import LandingEraser
    from ml_platform.formats import Limits
    from ml_platform.lake import Lake
    from ml_platform.landing import open_landing

    return LandingEraser(
        Lake(settings.lake), open_landing(settings), load_contracts(settings.configs), Limits(**settings.limits)
    )
