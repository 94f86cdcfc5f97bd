"""The job `erase`: an erasure asked for in the launchpad of the UI, by digest.

Belongs here: run config, and what a run shows. Does not belong here: erasing (ml_platform.erasure), the same in a terminal (ml_platform.cli_erase).
"""

from typing import Any

import dagster as dg
from pydantic import Field

from ml_platform.erasure.eraser import Request
from ml_platform.erasure.landed import LandingReport
from ml_platform.lake.erasures import Erasure
from resources.configuration import ConfigurationResource
from resources.erasure import eraser_of, landing_eraser_of
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.spark import SparkResource

PROBLEMS = 100


class Erase(dg.Config):
    """Whose rows go, by the digest of `ml-platform erase --dry-run`: Dagster keeps run config for ever, so a key has no place in it.

    Without a digest, what was cut off is completed.
    """

    source: str = Field(default="", description="source whose contract declares the column in `personal`")
    column: str = Field(default="", description="column that holds the key")
    digest: str = Field(default="", description="digest that a dry run printed; empty: complete what was cut off")
    by: str = Field(default="", description="who decides")
    reason: str = Field(default="", description="why; it is kept with the erasure")
    landing: bool = Field(default=False, description="rewrite the landed files instead of the lake")

    def request(self) -> Request:
        return Request(self.source, self.column, self.by, self.reason, digest=self.digest)


@dg.op(description="Erases a person's key, with a name and a reason.", out=dg.Out(dg.Nothing))
def erase_key(
    context: dg.OpExecutionContext,
    config: Erase,
    configuration: ConfigurationResource,
    landing: LandingResource,
    lake: LakeResource,
    spark: SparkResource,
) -> None:
    """Carry the erasure out; a run that leaves a file to be looked at by hand fails."""
    store = lake.vend()
    if config.landing and config.digest:
        report = landing_eraser_of(store, configuration, landing).erase(config.request())
        context.add_output_metadata(shown_files(report))
        if report.problems:
            raise dg.Failure(f"{len(report.problems)} files have to be looked at by hand", metadata=shown_files(report))
        return
    eraser = eraser_of(store, configuration, landing, spark, context.run_id, context.log.info)
    done = [eraser.erase(config.request())] if config.digest else eraser.complete()
    context.add_output_metadata(shown(done))


def erasure_job() -> dg.JobDefinition:
    """One op without partitions."""
    return dg.GraphDefinition(name="erase", node_defs=[erase_key]).to_job(
        description="Erases a person's key by its digest, or completes what was cut off where no digest is given.",
        executor_def=dg.in_process_executor,
    )


def shown(done: list[Erasure]) -> dict[str, Any]:
    """What was erased, without whose it was."""
    rows = {f"{one.source}.{one.column}, {name}": count for one in done for name, count in one.rows.items()}
    return {"erasures": len(done), "rows": dg.MetadataValue.json(rows)}


def shown_files(report: LandingReport) -> dict[str, Any]:
    """Files that were rewritten, and those that were left."""
    left = [f"{one.path}: {one.problem}" for one in report.problems]
    return {
        "rows": dg.MetadataValue.json({one.path: one.rows for one in report.files if not one.problem}),
        "left": dg.MetadataValue.json(left[:PROBLEMS]),
    }
