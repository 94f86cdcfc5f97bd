"""`ml-platform status`: the state of a home, or of one file.

Belongs here: options, help that teaches. Does not belong here: reading the state (status), rendering (console_status, console_events, console_file).
"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import terminal
from ml_platform.settings import Settings, read_settings

if TYPE_CHECKING:
    from ml_platform.status import Status


@errors_in_words
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    file: Annotated[str, typer.Option(help="What became of this file: its path below landing/, or its name.")] = "",
) -> None:
    """Show ledger, quarantine, odd drops, fleet, errors, release and freshness; or one file with all its versions.

    Example: `ml-platform status`, for scripts `ml-platform status --json | jq .complete_day`,
    `ml-platform status --file readings_2017-03-01.csv`
    """
    from ml_platform.console_events import show_events
    from ml_platform.console_status import show_status

    settings, console = read_settings(), terminal()
    if file:
        _show_files(settings, console, file, as_json=as_json)
        return
    found = read_home(settings)
    if as_json:
        _echo_json(asdict(found) | {"waiting": found.waiting})
    else:
        console.print(f"Home {settings.root}", markup=False)
        show_status(console, found)
        show_events(console, found)


def _show_files(settings: Settings, console: Console, name: str, *, as_json: bool) -> None:
    from ml_platform.console_file import show_file
    from ml_platform.contract_files import load_contracts
    from ml_platform.status.files import file_status

    found = file_status(name, settings, load_contracts(settings.configs))
    if as_json:
        _echo_json([asdict(one) for one in found])
    else:
        for one in found:
            show_file(console, one)


def read_home(settings: Settings) -> "Status":
    """The state of a home with its contracts and its landing area."""
    from ml_platform.contract_files import load_contracts
    from ml_platform.lake import Lake
    from ml_platform.status import read_status
    from ml_platform.status.ingestion import with_ingestion

    lake, contracts = Lake(settings.lake), load_contracts(settings.configs)
    found = read_status(lake, contracts.target.name, contracts.target.drops_per_day)
    return with_ingestion(found, settings, contracts)


def _echo_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=str, indent=2, ensure_ascii=False))
