"""The jobs `release` and `rollback`: decisions about releases, taken in the launchpad of the UI.

Belongs here: run config, and what a run shows of what it decided. Does not belong here: deciding (ml_platform.environments, approvals, takeback), the same
in a terminal (ml_platform.cli_releases).
"""

import os
from enum import Enum
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource
from pydantic import Field

from ml_platform import takeback
from ml_platform.approvals import APPROVED, Request, answer, ask, carry_approved
from ml_platform.catalogue import catalogue_as_of
from ml_platform.environments import Environment
from ml_platform.registry import champion_as_of
from ml_platform.scoring import score
from ml_platform.takeback import Moved
from ml_platform.warehouse.contents import published
from ml_platform.warehouse.marts import dbt_arguments
from resources.configuration import ConfigurationResource
from resources.environments import EnvironmentsResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource
from resources.warehouse import WarehouseResource


class Action(Enum):
    """What can be decided about a release in this environment."""

    promote = "promote"
    approve = "approve"
    reject = "reject"
    override = "override"
    withdraw = "withdraw"
    pin = "pin"
    unpin = "unpin"


class Decide(dg.Config):
    """Which release, what becomes of it here, who decides and why."""

    action: Action = Field(
        description="promote: ask for it, and carry it over once it is approved; approve or reject what was asked for; override: use what the gate stopped; "
        "withdraw, pin, unpin"
    )
    release: str = Field(description="its id, or the first letters of it; not asked for unpin")
    by: str = Field(description="who decides")
    reason: str = Field(description="why; it is kept with the decision")


class TakeBack(dg.Config):
    """Which release is used again (empty: the one before the champion), who decides and why."""

    to: str = Field(
        default="",
        description="id of the release to use again, or its first letters; empty: the one before the champion",
    )
    by: str = Field(description="who decides")
    reason: str = Field(description="why; it is kept with the decision")


@dg.op(
    description="Promotes, approves, rejects, overrides, withdraws or pins a release, with a name and a reason.",
    out=dg.Out(dg.Nothing),
)
def decide_release(
    context: dg.OpExecutionContext,
    config: Decide,
    configuration: ConfigurationResource,
    environments: EnvironmentsResource,
) -> None:
    """Carry the decision out."""
    model = configuration.forecast().name
    here, by, why = environments.vend(model), config.by, config.reason
    if config.action is Action.unpin:
        shown = _moved(takeback.unpin(here, by, why))
    elif config.action in (Action.promote, Action.approve, Action.reject):
        source = environments.vend(model, here.before)
        release_id = source.named(config.release)
        if config.action is Action.promote:
            shown = _promoted(context, here, source, ask(source, here, release_id, by, why))
        else:
            shown = request_metadata(answer(here, release_id, by, why, config.action is Action.approve))
    else:
        shown = _moved(getattr(takeback, config.action.value)(here, here.named(config.release), by, why))
    context.add_output_metadata({"environment": here.name, "by": by, "reason": why, **shown})


def _promoted(context: dg.OpExecutionContext, here: Environment, source: Environment, found: Request) -> dict[str, Any]:
    if found.state != APPROVED:
        return request_metadata(found)
    done = carry_approved(source, here, found)
    told: dict[str, Any] = {
        "release_id": done.release_id,
        "received": done.received,
        "smoke_score": dg.MetadataValue.json(dict(done.smoke)),
        "seconds": done.seconds,
    }
    words = (
        f"carried over from {source.name}, approved by {', '.join(found.approved_by) or 'nobody: no rule asks for it'}"
    )
    context.log_event(
        dg.AssetMaterialization("promoted_release", words, metadata=told, partition=done.as_of.isoformat())
    )
    return told


def request_metadata(one: Request) -> dict[str, Any]:
    """A request with its evidence, as the UI shows it."""
    rules = one.evidence.get("rules", [])
    lines = [
        f"| {rule['name']} | {'passed' if rule['passed'] else 'failed'} | {rule['explanation']} |" for rule in rules
    ]
    return {
        "release_id": one.release_id,
        "state": one.state,
        "asked_by": one.asked_by,
        "asked_because": one.reason,
        "approved_by": ", ".join(one.approved_by) or "nobody yet",
        "expires_at": dg.MetadataValue.timestamp(one.expires_at),
        "sealed_by": str(one.evidence.get("sealed_by")),
        "code_commit": str(one.evidence.get("code_commit")),
        "evidence": dg.MetadataValue.md("\n".join(["| rule | verdict | why |", "|---|---|---|", *lines])),
    }


def _moved(moved: Moved) -> dict[str, Any]:
    return {
        "champion_before": moved.before or "none",
        "champion": moved.after or "none",
        "out_of_use": ", ".join(moved.withdrawn) or "none",
        **({"alias_could_not_follow": moved.trouble} if moved.trouble else {}),
    }


@dg.op(description="Moves the pointer back to an earlier release: one commit.", out=dg.Out(dg.Nothing))
def take_back(
    context: dg.OpExecutionContext,
    config: TakeBack,
    configuration: ConfigurationResource,
    environments: EnvironmentsResource,
) -> None:
    """Use an earlier release again."""
    here = environments.vend(configuration.forecast().name)
    moved = takeback.rollback(here, config.by, config.reason, here.named(config.to) if config.to else None)
    context.add_output_metadata({"environment": here.name, "by": config.by, "reason": config.reason, **_moved(moved)})


@dg.op(
    description="Forecasts the newest published day with the champion as it is now, and publishes that in the place of what stands there.",
    ins={"start": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
)
def republish(
    context: dg.OpExecutionContext,
    configuration: ConfigurationResource,
    lake: LakeResource,
    registry: RegistryResource,
    spark: SparkResource,
    warehouse: WarehouseResource,
    dbt: DbtCliResource,
) -> None:
    """Score, stage, build the marts, switch."""
    store, config, target = lake.vend(), configuration.forecast(), warehouse.vend()
    pointers = published(store)
    if not pointers:
        context.log.info("nothing was published yet: nothing to publish anew")
        return
    day = pointers[-1].as_of
    champion = champion_as_of(store, day, same_day=True)
    if champion is None:
        raise dg.Failure(
            f"no release is used as of {day} any more: what is published stays; train that day, or roll back to a release"
        )
    inputs = spark.panel_inputs(store, configuration.contracts(), config)
    report = score(store, registry.vend(config.name), catalogue_as_of(inputs, day), config, day)
    target.stage(store, config, {day: champion.release_id})
    os.environ.update(target.environment())
    dbt.cli(["build", *dbt_arguments(config)], target_path=target.build_folder).wait()
    shown, made = target.mart_rows(), target.publish(store)
    told: dict[str, Any] = {"as_of": day.isoformat(), "release_id": champion.release_id, "rows": report.rows}
    context.add_output_metadata({**told, "published": len(made)})
    if not made:
        context.log.info("%s is what was published as of %s already", champion.release_id, day)
        return
    words = f"published in the place of {pointers[-1].release_id}"
    context.log_event(dg.AssetMaterialization("forecasts", words, metadata=told, partition=day.isoformat()))
    for name, rows in shown.items():
        context.log_event(dg.AssetMaterialization(name, words, metadata={**told, "dagster/row_count": rows}))


def release_job() -> dg.JobDefinition:
    """One op without partitions."""
    return dg.GraphDefinition(name="release", node_defs=[decide_release]).to_job(
        description="Decides about a release in this environment: fill in action, release, by and reason in the launchpad.",
        executor_def=dg.in_process_executor,
        config={"ops": {"decide_release": {"config": {"action": "promote", "release": "", "by": "", "reason": ""}}}},
    )


def rollback_job() -> dg.JobDefinition:
    """The pointer moves first, then its forecasts are published, in one run."""

    @dg.graph(name="rollback")
    def rollback() -> None:
        republish(start=take_back())

    return rollback.to_job(
        description="Uses an earlier release again and publishes its forecasts for the newest published day: fill in by and reason (and to) in the launchpad.",
        executor_def=dg.in_process_executor,
        config={"ops": {"take_back": {"config": {"by": "", "reason": "", "to": ""}}}},
    )
