"""`ml-platform quarantine`: list, show, release and discard what was refused.

Belongs here: options, help that teaches, exit codes. Does not belong here: deciding (quarantine), rendering (console_quarantine).
"""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import terminal
from ml_platform.settings import Settings, read_settings

if TYPE_CHECKING:
    from ml_platform.contracts import Contracts, SourceContract
    from ml_platform.ingestion import Ingestion
    from ml_platform.quarantine import Order, Quarantine, Record, Selection

RUN_ID = "ml-platform quarantine"
ANY = "any"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Refused rows and files: list, show, release or discard them. The same in the UI: the job `quarantine`.",
)

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids of `list`; their first letters do where they fit one alone.")
]
Source = Annotated[str | None, typer.Option(help="Only of this source.")]
Rule = Annotated[str | None, typer.Option(help="Only what broke this rule, such as `below_minimum:units`.")]
By = Annotated[str | None, typer.Option(help="Who decides. Default: the user of this system.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]


@app.command("list")
@errors_in_words
def list_(
    source: Source = None,
    rule: Rule = None,
    state: Annotated[str, typer.Option(help="`open`, `released`, `discarded` or `any`.")] = "open",
    limit: Annotated[int, typer.Option(min=0, help="How many to list, the newest first.")] = 20,
) -> None:
    """Show how much was refused, by rule and state, and the newest of it.

    Example: `ml-platform quarantine list --source loads --limit 50`
    """
    from ml_platform.console_quarantine import show_counts, show_list
    from ml_platform.lake.decisions import STATES
    from ml_platform.quarantine import Selection

    if state not in (*STATES, ANY):
        raise typer.BadParameter(f"'{state}' is none of {', '.join((*STATES, ANY))}", param_hint="--state")
    settings, console = read_settings(), terminal()
    found = _meant(Selection(source=source, rule=rule), settings)
    if not found:
        console.print("Nothing of that kind is in quarantine.")
        return
    show_counts(console, found)
    show_list(console, [one for one in found if state in (one.state, ANY)], limit)


@app.command()
@errors_in_words
def show(
    quarantine_id: Annotated[str, typer.Argument(metavar="ID", help="An id of `list`, or its first letters.")],
) -> None:
    """Show one refusal in full: where, why, the row as it came, and what can be done about it.

    Example: `ml-platform quarantine show 3f2a`
    """
    from ml_platform.console_quarantine import show_record
    from ml_platform.lake import Lake
    from ml_platform.quarantine import find, rule_in_words

    settings, console = read_settings(), terminal()
    (record,) = find(Lake(settings.lake), [quarantine_id])
    quarantine, contract = _quarantine(settings), _contracts(settings)[record.source]
    show_record(console, record, rule_in_words(record.rule, contract), quarantine.options(record))


@app.command()
@errors_in_words
def release(
    reason: Reason,
    ids: Ids = None,
    source: Source = None,
    rule: Rule = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="COLUMN=VALUE", help="A corrected value; may be repeated.")
    ] = None,
    by: By = None,
) -> None:
    """Let refused rows, or files, through the same door again; what still breaks the contract stays open and says why.

    Rows are judged by the contract as it is now, with the values of `--set` in the place of theirs. A file becomes due again. Rows that
    wait for a looked-up source are released by it: land it. Exit code 1 where something asked for stays as it is.

    Example: `ml-platform quarantine release 3f2a --set units=1 --reason "typing error, the owner confirmed"`
    """
    from ml_platform.quarantine import Order

    corrections = dict(map(_correction, values or ()))
    _decide(Order("release", by or user(), reason, corrections), _selection(ids, source, rule))


@app.command()
@errors_in_words
def discard(reason: Reason, ids: Ids = None, source: Source = None, rule: Rule = None, by: By = None) -> None:
    """Decide that refused rows, or files, stay out for good; they stay in the table and in the account.

    Example: `ml-platform quarantine discard --source loads --rule unknown_site --reason "sites of a trial"`
    """
    from ml_platform.quarantine import Order

    _decide(Order("discard", by or user(), reason), _selection(ids, source, rule))


def _selection(ids: list[str] | None, source: str | None, rule: str | None) -> "Selection":
    from ml_platform.quarantine import Selection

    if bool(ids) == bool(source and rule) or bool(source) != bool(rule):
        raise typer.BadParameter("say which: either ids, or --source together with --rule")
    return Selection(tuple(ids or ()), source, rule, None if ids else "open")


def _correction(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"'{text}' has no '=': write COLUMN=VALUE", param_hint="--set")
    return column.strip(), value


def user() -> str:
    """Who works here, by this system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise typer.BadParameter("this system does not know who you are: add --by NAME") from None


def _decide(order: "Order", selection: "Selection") -> None:
    from ml_platform.console_quarantine import show_outcomes

    settings = read_settings()
    outcomes = _quarantine(settings).decide(order, _meant(selection, settings))
    show_outcomes(terminal(), outcomes)
    raise typer.Exit(int(not all(one.ok for one in outcomes)))


def _meant(selection: "Selection", settings: Settings) -> "list[Record]":
    """The records of a selection. A source that nobody declared finds nothing, and is no answer: ContractError."""
    from ml_platform.lake import Lake

    if selection.source:
        _ = _contracts(settings)[selection.source]
    return selection.read(Lake(settings.lake))


def _contracts(settings: Settings) -> "Contracts":
    from ml_platform.contract_files import load_contracts

    return load_contracts(settings.configs)


def _quarantine(settings: Settings) -> "Quarantine":
    from ml_platform.ingestion import Ingestion
    from ml_platform.lake import Lake
    from ml_platform.landing import open_landing
    from ml_platform.quarantine import Quarantine

    def door(contract: "SourceContract") -> "Ingestion":
        return Ingestion(
            Lake(settings.lake),
            open_landing(settings),
            contract,
            RUN_ID,
            settings.calendar,
            settings.batch_rows,
            settings.suite_rows,
        )

    return Quarantine(_contracts(settings), door)
