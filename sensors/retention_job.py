"""The job `retention` and its schedule: compacts tables and removes what is older than the retention.

Belongs here: run config with a dry run as its default, what a run shows, when it runs. Does not belong here: compacting and removing
(ml_platform.maintenance), the same in a terminal (ml_platform.cli_retention).
"""

from dataclasses import asdict, fields
from typing import Any

import dagster as dg
from pydantic import Field

from ml_platform.contracts import Contracts
from ml_platform.maintenance import Action, Due
from resources.lake import LakeResource
from resources.maintenance import MaintenanceResource


class Retain(dg.Config):
    """Whether to do it. By default nothing is changed: the run shows what would be done."""

    apply: bool = Field(default=False, description="false: show what is due; true: compact and remove it")


@dg.op(
    description="Compacts tables with many small files; removes versions and intermediates older than the retention.",
    out=dg.Out(dg.Nothing),
)
def retain(
    context: dg.OpExecutionContext, config: Retain, lake: LakeResource, maintenance: MaintenanceResource
) -> None:
    """Show what is due, or do it; a run in which a table failed fails after all others are done."""
    care = maintenance.vend(lake.vend(), context.run_id, context.log.info)
    if not config.apply:
        context.log.info("a dry run: nothing is changed; set `apply: true` in the launchpad to do it")
        context.add_output_metadata(shown(care.due(), Due))
        return
    done = care.apply()
    context.add_output_metadata(shown(done, Action))
    if failed := [one for one in done if one.action == "failed"]:
        reasons = "; ".join(f"{one.table}: {one.reason}" for one in failed)
        raise dg.Failure(f"{len(failed)} tables could not be kept up: {reasons}", metadata=shown(done, Action))


def retention_job() -> dg.JobDefinition:
    """One op without partitions."""
    return dg.GraphDefinition(name="retention", node_defs=[retain]).to_job(
        description="Shows what is due; with `apply: true` in the launchpad it compacts small files and removes what is older than the retention.",
        executor_def=dg.in_process_executor,
    )


def daily_retention(job: dg.JobDefinition, contracts: Contracts) -> dg.ScheduleDefinition:
    """Every night, applied; off until somebody switches it on: what it removes does not come back."""
    zone = contracts.target.time.business_timezone if contracts.target.time else "UTC"
    return dg.ScheduleDefinition(
        name="daily_retention",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone=zone,
        run_config={"ops": {"retain": {"config": {"apply": True}}}},
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Compacts small files and removes what is older than ML_PLATFORM_RETENTION_DAYS. Off until it is switched on.",
    )


def shown(rows: list[Due] | list[Action], kind: type[Due] | type[Action]) -> dict[str, Any]:
    """What is due, or was done, as a table in the UI."""
    columns = [field.name for field in fields(kind)]
    records = [dg.TableRecord({name: _cell(value) for name, value in asdict(row).items()}) for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    return {"dry_run": kind is Due, "tables": dg.MetadataValue.table(records, schema)}


def _cell(value: object) -> str | int:
    return value if isinstance(value, int) else str(value or "")
