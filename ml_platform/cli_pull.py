"""`ml-platform pull`: new rows of databases become files in landing.

Belongs here: options, help that teaches, exit codes. Does not belong here: pulling (pull).
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import terminal
from ml_platform.settings import Settings, read_settings

if TYPE_CHECKING:
    from ml_platform.contracts import SourceContract
    from ml_platform.pull import Puller


@errors_in_words
def pull(
    source: Annotated[str, typer.Argument(help="A source that declares `pull`. Default: all of them.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show window and row count of the next pull; land nothing.")
    ] = False,
) -> None:
    """Land what is new in the databases that sources pull from.

    A pull goes on where the last landed file ends; where nothing is new it lands nothing. With `make ui` running, sources are pulled by
    themselves and the drop sensor takes the files up; without it, `ml-platform run ingest` does. One source that fails stops no other:
    exit code 1, and a line that says why.

    Example: `ml-platform pull loads --dry-run`, then `ml-platform pull`
    """
    from ml_platform.contract_files import load_contracts
    from ml_platform.pull import PullError, pulled

    settings, console = read_settings(), terminal()
    contracts = pulled(load_contracts(settings.configs), [source] if source else [])
    if not contracts:
        console.print("no source declares `pull`: docs/pull.md shows how")
    failed = list[PullError]()
    for contract in contracts:
        try:
            (_preview if dry_run else _pull)(_puller(settings, contract, console), console)
        except PullError as why:
            failed.append(why)
            typer.echo(f"ml-platform: {why}", err=True)
    raise typer.Exit(int(bool(failed)))


def _puller(settings: Settings, contract: "SourceContract", console: Console) -> "Puller":
    from ml_platform.lake import Lake
    from ml_platform.landing import open_landing
    from ml_platform.pull import Puller

    progress = lambda text: console.print(text, markup=False, soft_wrap=True)  # noqa: E731
    return Puller(Lake(settings.lake), open_landing(settings), contract, settings.databases, progress)


def _pull(puller: "Puller", console: Console) -> None:
    report = puller.run()
    what = f"{report.rows:,} rows in {len(report.files)} files" if report.files else "nothing new"
    console.print(f"{report.source}: {what}; landed up to {report.newest}", markup=False, soft_wrap=True)


def _preview(puller: "Puller", console: Console) -> None:
    found = puller.preview()
    again = f", {found.looked_at_again:,} of them looked at again" if found.looked_at_again else ""
    window = f"{found.start} to {found.end}"
    console.print(f"{found.source}: {window}: {found.rows:,} rows{again}", markup=False, soft_wrap=True)
