"""The one partitions definition, its one backfill policy, and what a run makes of them.

Belongs here: days. Does not belong here: any other dimension; series are never partitions.
"""

import warnings
from datetime import date, timedelta

import dagster as dg

from ml_platform.contracts import SourceContract
from ml_platform.lake import Lake, ledger

# backfill policies are called beta by this version of Dagster; the pin in pyproject.toml keeps it
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)

POLICY = dg.BackfillPolicy.single_run()  # one for all: a job that mixes policies becomes one run per day


def days_of(first: date, last: date | None) -> dg.DailyPartitionsDefinition:
    """Business days from `first` to `last` (both included); without an end they go on to the day that has begun somewhere on Earth."""
    if last is None:
        return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="Etc/GMT-14", end_offset=1)
    return dg.DailyPartitionsDefinition(first.isoformat(), (last + timedelta(days=1)).isoformat())


def days_in(context: dg.AssetExecutionContext) -> list[date]:
    """The days of the run, oldest first."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def complete_days_in(context: dg.AssetExecutionContext, lake: Lake, target: SourceContract) -> list[date]:
    """Those days of the run at which the target is complete in the ledger; the others are logged and left out."""
    complete, asked = set(ledger.complete_days(lake, target.name, target.drops_per_day)), days_in(context)
    left_out = [day.isoformat() for day in asked if day not in complete]
    if left_out:
        context.log.info(f"{len(left_out)} days are not complete in the ledger and are left out: {left_out[:10]}")
    return [day for day in asked if day in complete]
