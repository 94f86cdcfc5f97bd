"""Runs that a command starts and waits for.

Belongs here: running plans and telling where one failed. Does not belong here: which plans (cli, cli_releases), Dagster (launch starts it).
"""

from contextlib import closing
from pathlib import Path

import typer
from rich.console import Console

from ml_platform import console as show
from ml_platform.launch import Plan, log_path, run_jobs
from ml_platform.settings import Settings


def run_plans(
    settings: Settings, project: Path, console: Console, plans: list[Plan], watch: show.Stopwatch | None = None
) -> list[str]:
    """Run jobs and wait, and return the ids of their runs; where one fails, say where the log is and exit with code 1."""
    log, run_ids, watch = log_path(settings), list[str](), watch or show.Stopwatch()
    with closing(run_jobs(settings, project, plans, log)) as events:
        for plan in plans:
            end = show.follow(console, plan.job, events, watch)
            if not end.success:
                typer.echo(
                    f"ml-platform: job {plan.job} for {plan.first} to {plan.last} failed: {end.message or 'see its log'}\n"
                    f"  log: {log}",
                    err=True,
                )
                raise typer.Exit(1)
            run_ids.append(end.run_id)
        next(events, None)  # to the end of the process
    return run_ids
