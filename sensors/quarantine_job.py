"""The job `quarantine`: a decision about refused rows or files, taken in the launchpad of the UI.

Belongs here: run config, and what a run shows of what it decided. Does not belong here: deciding (ml_platform.quarantine), the same in a
terminal (ml_platform.cli_quarantine).
"""

from collections import Counter
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from ml_platform.quarantine import Order, Outcome, Quarantine, QuarantineError, Selection
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.spark import SparkResource

SHOWN = 100


class Action(Enum):
    """What can be decided."""

    release = "release"
    discard = "discard"


class Decide(dg.Config):
    """Which refusals (ids, or a source and a rule), what becomes of them, who decides and why; `set` are corrected values by column."""

    action: Action = Field(description="release: through the same door again; discard: out for good")
    by: str = Field(description="who decides")
    reason: str = Field(description="why; it is kept with the decision")
    ids: list[str] = Field(default=[], description="ids of ops/quarantine, or their first letters")
    source: str = Field(default="", description="instead of ids, together with rule: everything open of this source")
    rule: str = Field(default="", description="the rule that was broken, such as below_minimum:units")
    set: dict[str, str] = Field(default={}, description="for release: values by column in the place of refused ones")

    def order(self) -> Order:
        return Order(self.action.value, self.by, self.reason, self.set)

    def selection(self) -> Selection:
        if bool(self.ids) == bool(self.source and self.rule) or bool(self.source) != bool(self.rule):
            raise QuarantineError("say which: either ids, or source together with rule")
        return Selection(tuple(self.ids), self.source or None, self.rule or None, None if self.ids else "open")


@dg.op(description="Releases or discards refused rows and files, with a name and a reason.", out=dg.Out(dg.Nothing))
def decide(
    context: dg.OpExecutionContext,
    config: Decide,
    configuration: ConfigurationResource,
    landing: LandingResource,
    lake: LakeResource,
    spark: SparkResource,
) -> None:
    """Carry the order out; a run that could decide nothing fails."""
    store, order = lake.vend(), config.order()
    quarantine = Quarantine(
        configuration.contracts(),
        lambda contract: landing.ingestion(store, contract, context.run_id, spark.suite_rows, context.log.info),
    )
    outcomes = quarantine.decide(order, config.selection().read(store))
    for one in outcomes[:SHOWN]:
        (context.log.info if one.ok else context.log.warning)(_line(one))
    context.add_output_metadata(shown(order, outcomes))
    if outcomes and not any(one.ok for one in outcomes):
        raise dg.Failure(f"nothing was decided: {_line(outcomes[0])}", metadata=shown(order, outcomes))


def quarantine_job() -> dg.JobDefinition:
    """One op without partitions; the drop sensor finds what a release changed and asks for the run that makes silver anew."""
    return dg.GraphDefinition(name="quarantine", node_defs=[decide]).to_job(
        description="Decides about refused rows and files: fill in action, by, reason and ids (or source and rule) in the launchpad.",
        executor_def=dg.in_process_executor,
    )


def shown(order: Order, outcomes: list[Outcome]) -> dict[str, Any]:
    """What a run decided, without the values of rows: they may be nobody's business in a log."""
    counts = Counter("decided" if one.decided else "decided before" if one.ok else "left" for one in outcomes)
    records = [
        dg.TableRecord({"id": one.record.quarantine_id, "place": one.record.place, "outcome": one.words})
        for one in outcomes
    ]
    columns = [dg.TableColumn(name) for name in ("id", "place", "outcome")]
    return {
        "action": order.action,
        "by": order.by,
        "reason": order.reason,
        "columns_set": ", ".join(order.corrections) or "none",
        **{name.replace(" ", "_"): counts[name] for name in ("decided", "decided before", "left")},
        "outcomes": dg.MetadataValue.table(records[:SHOWN], dg.TableSchema(columns)),
    }


def _line(one: Outcome) -> str:
    return f"{one.record.quarantine_id}, {one.record.place}: {one.words}"
