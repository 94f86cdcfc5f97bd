"""Pulls: the job that brings new rows of databases into landing, and the sensor that asks for it.

Belongs here: when a source is pulled, and what a run shows of it. Does not belong here: pulling (ml_platform.pull), the same in a terminal
(ml_platform.cli_pull), what becomes of the files (data_drops).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.pull import Puller, PullError, PullReport, pulled
from ml_platform.settings import Settings
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.landing import LandingResource
from sensors.data_drops import UNFINISHED

PULL = "pull"
LOOK_SECONDS = 30
SHOWN = 100


class Sources(dg.Config):
    """Which sources a run pulls."""

    sources: list[str] = Field(default=[], description="names of sources that declare `pull`; empty: all of them")


def pull_job(settings: Settings) -> dg.JobDefinition:
    """One op over the sources; URLs of databases come from the settings and never from config, which the UI shows."""

    @dg.op(
        description="Rows that are new in the databases become files in landing.",
        out=dg.Out(dg.Nothing),
    )
    def land(
        context: dg.OpExecutionContext,
        config: Sources,
        configuration: ConfigurationResource,
        landing: LandingResource,
        lake: LakeResource,
    ) -> None:
        """Pull every source; one that fails stops no other, and fails the run."""
        reports, failed = list[PullReport](), list[PullError]()
        for contract in pulled(configuration.contracts(), config.sources):
            puller = Puller(lake.vend(), landing.vend(), contract, settings.databases, context.log.info)
            try:
                reports.append(puller.run())
                context.log.info(_line(reports[-1]))
            except PullError as why:
                failed.append(why)
                context.log.warning(str(why))
        context.add_output_metadata(shown(reports, failed))
        if failed:
            raise dg.Failure("; ".join(map(str, failed)), metadata=shown(reports, failed), allow_retries=False)

    return dg.GraphDefinition(name=PULL, node_defs=[land]).to_job(
        description="Lands what is new in the databases that sources pull from; the drop sensor takes the files up.",
        executor_def=dg.in_process_executor,
    )


def pulls(contracts: Contracts) -> dg.SensorDefinition:
    """Asks for a run over the sources whose time has come: `every` minutes after they were asked for before."""

    @dg.sensor(
        name="pulls",
        job_name=PULL,  # by name: Dagster would copy a sensor that holds a job of ops, which it calls beta
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Every source with `pull` is pulled after as many minutes as its contract says, one run at a time.",
    )
    def pulls(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.instance.get_runs_count(dg.RunsFilter(job_name=PULL, statuses=UNFINISHED)):
            return dg.SkipReason("a pull is still at work: what is due comes after it")
        now, asked = datetime.now(UTC), _read(context.cursor)
        due = [source.name for source in pulled(contracts) if _is_due(source, asked, now)]
        if not due:
            return dg.SkipReason("every source was pulled within the minutes of its contract")
        cursor = json.dumps({name: at.isoformat() for name, at in {**asked, **dict.fromkeys(due, now)}.items()})
        config = {"ops": {"land": {"config": {"sources": due}}}}
        return dg.SensorResult([dg.RunRequest(run_config=config)], cursor=cursor)

    return pulls


def _read(cursor: str | None) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(at) for name, at in json.loads(cursor or "{}").items()}


def _is_due(source: SourceContract, asked: Mapping[str, datetime], now: datetime) -> bool:
    assert source.pull
    return source.name not in asked or now - asked[source.name] >= timedelta(minutes=source.pull.every)


def shown(reports: Sequence[PullReport], failed: Sequence[PullError]) -> dict[str, Any]:
    """What a run has landed, file by file, and what failed."""
    files = [(report.source, one) for report in reports for one in report.files]
    columns = [dg.TableColumn("source"), dg.TableColumn("file"), dg.TableColumn("rows", "int")]
    records = [dg.TableRecord({"source": source, "file": one.path, "rows": one.rows}) for source, one in files]
    return {
        "rows": sum(report.rows for report in reports),
        "files": len(files),
        **{f"{report.source}_landed_up_to": report.newest for report in reports},
        "landed": dg.MetadataValue.table(records[:SHOWN], dg.TableSchema(columns)),
        "failed": "; ".join(map(str, failed)) or "none",
    }


def _line(report: PullReport) -> str:
    return f"{report.source}: {report.rows:,} rows in {len(report.files)} files, landed up to {report.newest}"
