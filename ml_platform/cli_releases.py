"""`ml-platform promote, approve, reject, rollback, releases, audit`: the way of a release, and who decided what.

Belongs here: options, help that teaches, exit codes. Does not belong here: deciding (environments, approvals, takeback), rendering (console_releases).
"""

import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ml_platform.cli_errors import errors_in_words
from ml_platform.console import terminal
from ml_platform.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_platform.environments import Environment
    from ml_platform.takeback import Moved

By = Annotated[str, typer.Option(help="Your name: it is kept with the decision.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
ReleaseId = Annotated[str, typer.Argument(metavar="RELEASE", help="Its id, or the first letters of one.")]
In = Annotated[str | None, typer.Option("--in", help="dev, qa or prod. Default: the environment of the settings.")]
To = Annotated[str, typer.Option(help="The environment to use it in: qa or prod.")]

releases = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Releases: list, compare, pin, take out of use. `promote`, `approve` and `rollback` move them.",
)
audit = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Every decision about releases, in a chain that can be proven.",
)


def _environment(name: str | None, settings: Settings | None = None) -> "Environment":
    from ml_platform.environments import Environment
    from ml_platform.forecasting import load_config

    own = settings or read_settings()
    return Environment.open(own, name or own.environment, load_config(own.configs / "forecast.yaml").name)


def _decide(where: str | None, move: "Callable[[Environment], Moved]", *, republish: bool = False) -> "Environment":
    """Let somebody's decision move the pointer of an environment, and show what it changed."""
    from ml_platform.console_releases import show_moved, show_published

    environment, begun = _environment(where), time.monotonic()
    show_moved(terminal(), environment.name, move(environment), time.monotonic() - begun)
    if not republish:
        show_published(terminal(), environment)
    return environment


@errors_in_words
def promote(release: ReleaseId, to: To, by: By, reason: Reason) -> None:
    """Take a release into the next environment: its bytes are copied and verified, it forecasts the data there, and its champion changes.

    Where the environment asks for approvals, this asks for them first; once approved, the sensor of that environment carries it on, or this command given again.

    Example: `ml-platform promote 2017-12-17-4f --to qa --by ada --reason "weekly release"`
    """
    from ml_platform.approvals import APPROVED, ask, carry_approved
    from ml_platform.console_releases import show_carried, show_request

    target, console = _environment(to), terminal()
    source = _environment(target.before)
    release_id = source.named(release)
    found = ask(source, target, release_id, by, reason)
    if found.state != APPROVED:
        show_request(console, target, found)
        return
    show_carried(console, carry_approved(source, target, found))


@errors_in_words
def approve(release: ReleaseId, to: To, by: By, reason: Reason) -> None:
    """Agree to a release that somebody asked for; the rule of the environment says who may.

    Example: `ml-platform approve 2017-12-17-4f --to prod --by grace --reason "looked at the card, segments hold"`
    """
    _answer(release, to, by, reason, approve_it=True)


@errors_in_words
def reject(release: ReleaseId, to: To, by: By, reason: Reason) -> None:
    """Refuse a release that somebody asked for; a new request has to be made for it.

    Example: `ml-platform reject 2017-12-17-4f --to prod --by grace --reason "promotion week, wait for Monday"`
    """
    _answer(release, to, by, reason, approve_it=False)


def _answer(release: str, to: str, by: str, reason: str, *, approve_it: bool) -> None:
    from ml_platform.approvals import answer
    from ml_platform.console_releases import show_request

    target = _environment(to)
    release_id = _environment(target.before).named(release)
    show_request(terminal(), target, answer(target, release_id, by, reason, approve_it))


@errors_in_words
def rollback(
    by: By,
    reason: Reason,
    to: Annotated[
        str | None, typer.Option(help="The release to use again. Default: the one before the champion.")
    ] = None,
    where: In = None,
    republish: Annotated[bool, typer.Option(help="Forecast the newest published day with it and publish that.")] = True,
) -> None:
    """Use an earlier release again: the pointer moves at once, then its forecasts are published in the place of the newer one's.

    Releases that came after it are withdrawn: every day that used them uses the older one from then on.

    Example: `ml-platform rollback --by ada --reason "bias in PRODUCE since Tuesday"`
    """
    from ml_platform.takeback import rollback as take_back

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run below is ended too
    environment = _decide(
        where, lambda here: take_back(here, by, reason, here.named(to) if to else None), republish=republish
    )
    if republish:
        _republish(environment)


def _republish(environment: "Environment") -> None:
    from ml_platform.cli_runs import run_plans
    from ml_platform.launch import Plan, require_project
    from ml_platform.warehouse.contents import published

    pointers = published(environment.lake)
    if not pointers:
        terminal().print("nothing was published yet: nothing to publish anew")
        return
    day, settings = pointers[-1].as_of, read_settings().of(environment.name)
    run_plans(settings, require_project(), terminal(), [Plan("publish", day, day)])


@releases.command("list")
@errors_in_words
def list_(
    where: In = None, limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20
) -> None:
    """Show every release of an environment: which is champion, which are used, which are not and why.

    Example: `ml-platform releases list --in prod`
    """
    from ml_platform.console_releases import show_standings

    show_standings(terminal(), _environment(where), limit)


@releases.command()
@errors_in_words
def pending(
    where: Annotated[str | None, typer.Option("--in", help="qa or prod. Default: both.")] = None,
) -> None:
    """Show what somebody asked for and nobody carried out yet, with its evidence.

    Example: `ml-platform releases pending --in prod`
    """
    from ml_platform.approvals import requests
    from ml_platform.console_releases import show_request
    from ml_platform.environments import ORDER

    console, names = terminal(), [where] if where else list(ORDER[1:])
    waiting = [(here, one) for here in map(_environment, names) for one in requests(here) if one.open]
    for here, one in waiting:
        show_request(console, here, one)
    if not waiting:
        console.print(f"nothing waits in {' or '.join(names)}")


@releases.command()
@errors_in_words
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A release, by its id or its first letters.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    where: In = None,
    limit: Annotated[int, typer.Option(min=0, help="How many series to list, the largest changes first.")] = 10,
) -> None:
    """Compare two releases: which series changed family, error or forecast.

    Example: `ml-platform releases diff 2017-12-10-1a 2017-12-17-4f`
    """
    from ml_platform.comparison import compare
    from ml_platform.console_releases import show_comparison

    environment = _environment(where)
    names = [environment.named(one) for one in (first, second)]
    show_comparison(terminal(), compare(environment.lake, environment.registry, *names), limit)


@releases.command()
@errors_in_words
def pin(release: ReleaseId, by: By, reason: Reason, where: In = None) -> None:
    """Keep a release champion whatever else is promoted, until `unpin`.

    Example: `ml-platform releases pin 2017-12-10-1a --by ada --reason "audit week"`
    """
    from ml_platform.takeback import pin as hold

    _decide(where, lambda environment: hold(environment, environment.named(release), by, reason))


@releases.command()
@errors_in_words
def unpin(by: By, reason: Reason, where: In = None) -> None:
    """Let the newest promoted release be champion again.

    Example: `ml-platform releases unpin --by ada --reason "audit is over"`
    """
    from ml_platform.takeback import unpin as let_go

    _decide(where, lambda environment: let_go(environment, by, reason))


@releases.command()
@errors_in_words
def withdraw(release: ReleaseId, by: By, reason: Reason, where: In = None) -> None:
    """Take one release out of use, also one whose bytes were changed; the one before it is used instead.

    Example: `ml-platform releases withdraw 2017-12-17-4f --by ada --reason "its folder was damaged"`
    """
    from ml_platform.takeback import withdraw as take_out

    _decide(where, lambda environment: take_out(environment, environment.named(release), by, reason))


@releases.command()
@errors_in_words
def override(release: ReleaseId, by: By, reason: Reason, where: In = None) -> None:
    """Use a release that the gate stopped, or that was withdrawn: you answer for it.

    Example: `ml-platform releases override 2017-12-17-4f --by ada --reason "neutral change of code, reviewed"`
    """
    from ml_platform.takeback import override as use_anyway

    _decide(where, lambda environment: use_anyway(environment, environment.named(release), by, reason))


@audit.command()
@errors_in_words
def verify(where: In = None) -> None:
    """Prove the chain: rows that were edited, removed, doubled, reordered or not signed are named; exit code 1 where there are any.

    Example: `ml-platform audit verify --in prod`
    """
    environment, console = _environment(where), terminal()
    faults, size = environment.audit.verify(), len(environment.audit.rows())
    for one in faults:
        console.print(f"row {one.number} {one.what}", markup=False, soft_wrap=True)
    if faults:
        console.print(f"{len(faults)} faults in {size:,} decisions of {environment.name}")
        raise typer.Exit(1)
    console.print(f"{size:,} decisions of {environment.name}: the chain holds")


@audit.command("list")
@errors_in_words
def decisions(
    where: In = None, limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20
) -> None:
    """Show who decided what about which release, and why.

    Example: `ml-platform audit list --in prod`
    """
    from ml_platform.console_releases import show_audit

    environment = _environment(where)
    show_audit(terminal(), environment.audit.rows(), limit)
