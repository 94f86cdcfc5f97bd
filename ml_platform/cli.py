"""The command line `ml-platform`: words to functions of the library, functions' results to the terminal.

Belongs here: options, help that teaches, exit codes. Does not belong here: anything that another caller could want; Dagster, which is
started as a subprocess.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ml_platform import (
    __version__,
    cli_erase,
    cli_explain,
    cli_pull,
    cli_quarantine,
    cli_releases,
    cli_retention,
    cli_status,
)
from ml_platform import console as show
from ml_platform.cli_errors import errors_in_words
from ml_platform.cli_runs import run_plans
from ml_platform.launch import Job, Plan, find_project, require_project
from ml_platform.settings import Settings, read_settings, unknown_variables

DAY = ["%Y-%m-%d"]
SHOWN_REFUSED = 10

app = typer.Typer(
    name="ml-platform",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From a file drop to a promoted fleet of forecasting models and a forecast that SQL can read.\n\n"
    "Everything lies below ML_PLATFORM_HOME (default `.platform`). Begin with `ml-platform doctor`, then `ml-platform demo`.",
)
app.add_typer(cli_quarantine.app, name="quarantine")
app.add_typer(cli_releases.releases, name="releases")
app.add_typer(cli_releases.audit, name="audit")
for command in (cli_releases.promote, cli_releases.approve, cli_releases.reject, cli_releases.rollback):
    app.command()(command)
app.command()(cli_pull.pull)
app.command()(cli_retention.retention)
app.command()(cli_erase.erase)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ml-platform {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself; its help stands above."""
    if odd := unknown_variables():
        typer.echo(f"ml-platform: nothing reads {', '.join(odd)}; docs/settings.md lists the settings", err=True)


@app.command()
@errors_in_words
def demo() -> None:
    """Land the grocery sample and run the whole chain on it: about two minutes on two cores. For data of yours: `ml-platform run`.

    Lands 2017-01-01 to 2017-12-17 as 351 daily files with products and promotions, ingests them, trains a model per series, judges the
    fleet, promotes it and publishes its forecasts. Run twice, the second run changes nothing.

    Example: `ml-platform demo && ml-platform status`, then `make ui`.
    """
    from ml_platform.console_status import show_status
    from ml_platform.plans import require_days
    from ml_platform.samples import complete_journey as sample

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run below is ended too
    settings, project, console, watch = read_settings(), require_project(), show.terminal(), show.Stopwatch()
    sample.require_sources(settings.configs)
    plans = [Plan("ingest", sample.FIRST_DAY, sample.LAST_DAY), Plan("retrain", sample.LAST_DAY, sample.LAST_DAY)]
    for plan in plans:
        require_days(settings, plan)
    started = time.monotonic()
    console.print(f"[bold]The sample through the whole chain[/], home {settings.root}\n")
    _land_sample(settings, console, watch, sample.LAST_DAY)
    run_plans(settings, project, console, plans, watch)
    console.print()
    show_status(console, cli_status.read_home(settings))
    show.show_seconds(console, watch)
    _show_next_steps(settings, console, time.monotonic() - started)


def _land_sample(settings: Settings, console: Console, watch: show.Stopwatch, last_day: date) -> list[str]:
    from ml_platform.landing import open_landing
    from ml_platform.samples.complete_journey import SOURCES, land_until, require_sources

    require_sources(settings.configs)
    started, landing = time.monotonic(), open_landing(settings)
    with show.landing_progress(console) as progress:
        tasks = {source: progress.add_task(f"landing {source}", total=None) for source in SOURCES}
        report = lambda source, done, total: progress.update(tasks[source], completed=done, total=total)  # noqa: E731
        written = land_until(landing, last_day, progress=report)
    seconds = time.monotonic() - started
    watch.note("land", "whole run", seconds)
    console.print(f"{seconds:7.1f} s  {'land':8}  {len(written)} files written to {landing.locate()}")
    return written


def _show_next_steps(settings: Settings, console: Console, seconds: float) -> None:
    from ml_platform.samples.complete_journey import QUERY

    warehouse = os.path.relpath(settings.warehouse)
    query = f"duckdb.connect({warehouse!r}, read_only=True).sql({QUERY!r}).show()"
    lines = {
        "make ui": "the graph, the checks and the pictures, on 127.0.0.1:3000",
        ".venv/bin/ml-platform status": "these figures at any time",
        ".venv/bin/ml-platform land --sample-days 1": "the next day arrives; while `make ui` runs it is forecast without a click",
        f'.venv/bin/python -c "import duckdb; {query}"': "the forecasts in SQL",
        "docs/index.md": "how it works; docs/own-data.md: the same with data of yours",
    }
    console.print(f"\n[bold]Done in {seconds:.0f} s.[/] Where to look next:")
    for command, what in lines.items():
        console.print(f"  {command}\n      {what}", markup=False, soft_wrap=True)


@app.command()
@errors_in_words
def run(
    job: Annotated[Job, typer.Argument(help="What to run over the days.")],
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First day.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day, included.")] = None,
) -> None:
    """Run a job over days, once, and wait: with `ingest` and then `retrain` data of yours get their first fleet.

    - `ingest`: landed files of the days into bronze and silver. Default: the first to the last landed day.

    - `retrain`: panel, fleet, verdict, release, forecasts and marts, as of every complete day. Default: the newest complete day.

    - `update`: panel, then the champion's fleet with the days since taken in, its release, forecasts and marts: fresh coefficients in
    seconds, nothing is trained. Needs a promoted release of an earlier day. Default: the newest complete day.

    - `score`: landed files of the days, then forecasts and marts by the champion; trains nothing. Default: days that landed or lag.

    - `everything`: all of that. Default: the first to the last landed day. **Every complete day of the range gets a fleet of its own**,
      which costs as much as a `retrain` each: it replays a history. For a first fleet use `ingest` and `retrain`.

    Example: `ml-platform run ingest && ml-platform run retrain`, for a replay `ml-platform run everything --from 2026-03-01 --to 2026-03-07`
    """
    from ml_platform.console_run import show_outcome
    from ml_platform.contract_files import load_contracts
    from ml_platform.lake import Lake
    from ml_platform.plans import Planner
    from ml_platform.status.runs import run_outcome

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run below is ended too
    settings, project, console, started = read_settings(), require_project(), show.terminal(), time.monotonic()
    planner = Planner(settings, load_contracts(settings.configs))
    plan = planner.plan(job, first.date() if first else None, last.date() if last else None)
    console.print(f"[bold]{job}[/] for {plan.first} to {plan.last}, home {settings.root}")
    if job in ("retrain", "everything"):
        console.print(f"Fleets to train: {len(planner.days_to_train(plan)):,}, one for each complete day.")
    (run_id,) = run_plans(settings, project, console, [plan])
    console.print(f"\n[bold]Done in {time.monotonic() - started:.0f} s.[/] `ml-platform status` shows the whole home.")
    show_outcome(console, job, run_outcome(Lake(settings.lake), plan, run_id))


@app.command()
@errors_in_words
def land(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of yours, together with --source.", exists=True, dir_okay=False)
    ] = None,
    source: Annotated[str, typer.Option(help="Declared source that the files belong to.")] = "",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Land files whose names do not fit; they end in quarantine.")
    ] = False,
    sample_days: Annotated[int | None, typer.Option(min=1, help="Land the next N business days of the sample.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=DAY, help="Land the sample up to this day.")] = None,
) -> None:
    """Put files where the platform finds them, whole: under a hidden name first, then renamed.

    With `make ui` running, the drop sensor picks them up within a minute; without it, `ml-platform run ingest` does.

    Example: `ml-platform land --sample-days 1` lands the sample's next business day, `ml-platform land --until 2017-03-31` its first
    quarter, `ml-platform land --source sales sales_2018-01-01.csv` a file of yours
    """
    if bool(files) != bool(source):
        raise typer.BadParameter("name both: ml-platform land --source NAME FILE...")
    if sum(map(bool, (files, sample_days, until))) != 1:
        raise typer.BadParameter("choose one: files of yours with --source, or --sample-days, or --until DAY")
    from ml_platform.contract_files import load_contracts
    from ml_platform.landing import land_files, open_landing
    from ml_platform.samples import complete_journey as sample

    settings, console = read_settings(), show.terminal()
    landing = open_landing(settings)
    if files and source:
        contract = load_contracts(settings.configs)[source]
        written = land_files(landing, contract, files, anyway=anyway)
    elif sample_days:
        sample.require_sources(settings.configs)
        written = sample.land_next(landing, sample_days)
    else:
        assert until is not None
        written = _land_sample(settings, console, show.Stopwatch(), until.date())
    for path in written[:10]:
        console.print(f"landed {path}", markup=False)
    if len(written) > 10:
        console.print(f"... and {len(written) - 10:,} more")
    if not written:
        console.print("nothing to land: those days are landed already, or the sample has ended (2017-12-31)")


app.command()(cli_status.status)
app.command()(cli_explain.explain)


@app.command()
@errors_in_words
def doctor(port: Annotated[int, typer.Option(min=1, max=65_535, help="Port that `make ui` will use.")] = 3000) -> None:
    """Say what is missing for the current settings and how to get it; exit code 1 if something required is.

    Example: `ML_PLATFORM_ENGINE=jvm ml-platform doctor` checks for Java too
    """
    from ml_platform.doctor import examine

    checks = examine(read_settings(), find_project(), port)
    show.show_checks(show.terminal(), checks)
    raise typer.Exit(int(any(check.required and not check.ok for check in checks)))


@app.command()
@errors_in_words
def forecast(
    config: Annotated[Path, typer.Option(help="forecast.yaml: series, time, target, frequency, horizon and more.")],
    history: Annotated[Path, typer.Option(help="Observed rows, Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="Where the forecasts go, Parquet or CSV by the ending.")],
    future: Annotated[Path | None, typer.Option(help="Rows after the history with known-future covariates.")] = None,
    static: Annotated[Path | None, typer.Option(help="One row of attributes per series.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="The last time that is observed; by default the newest one.")
    ] = None,
) -> None:
    """Forecast tables of yours with the kernel alone: no lake, no Dagster.

    Example: `ml-platform forecast --config forecast.yaml --history sales.parquet --out forecasts.csv`
    """
    from ml_platform.jobs.forecast import run_forecast
    from ml_platform.jobs.progress import show_progress

    show_progress()
    report = run_forecast(config=config, history=history, future=future, static=static, out=out, as_of=as_of)
    states = ", ".join(f"{count:,} {state}" for state, count in report.states.items())
    typer.echo(
        f"{report.rows:,} forecasts of {report.series:,} series ({states}), the first of {report.first}, written to {report.out}"
    )
    for how, count in report.filled.items():
        typer.echo(f"  covariates after the history: {how.replace('_', ' ')} for {count:,} series", err=True)
    for what, texts in (("left out", report.refused), ("forecast without it", report.failed)):
        for text in texts[:SHOWN_REFUSED]:
            typer.echo(f"  {what}: {show.printable(text)}", err=True)
        if (more := len(texts) - SHOWN_REFUSED) > 0:
            typer.echo(f"  and {more:,} more", err=True)


def main() -> None:
    """The program: a command, and at its end the end of the process, with its exit code.

    The interpreter is not taken down first: threads that a library has only just started abort a process meanwhile (SIGABRT), once in twenty
    short commands that refuse something.
    """
    try:
        app()
    except SystemExit as end:  # typer ends every command so, with a number
        with suppress(OSError):  # nobody reads on: `ml-platform status | head`
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    main()
