"""Runs from a shell: events as JSON lines, and the exit code."""

import json

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

from ml_platform.launch import Plan
from sensors import launch

FIRST, LAST = "2017-02-01", "2017-02-03"


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2017-01-01"), backfill_policy=dg.BackfillPolicy.single_run())
def landed(context: dg.AssetExecutionContext) -> None:
    context.log.info("%s days", len(context.partition_keys))
    context.log.warning("not for the terminal")


@dg.asset(deps=[landed])
def breaks() -> None:
    raise ValueError("the panel has a hole")


@dg.asset(deps=[breaks])
def after() -> None:
    """Never reached."""


LOCATION = dg.Definitions(
    [landed, breaks, after],
    jobs=[
        dg.define_asset_job("ingest", [landed], executor_def=dg.in_process_executor),
        dg.define_asset_job("score", [landed, breaks, after], executor_def=dg.in_process_executor),
    ],
)


@pytest.fixture(autouse=True)
def location(monkeypatch, settings, environment):
    monkeypatch.setattr(launch, "code_location", lambda: LOCATION)
    monkeypatch.setattr(launch, "POLL_SECONDS", 0.05)
    for kept in (ReconstructableJob.get_definition, ReconstructableJob.get_repository_definition):
        kept.cache_clear()  # Dagster keeps the last job by its name


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_a_good_run_tells_its_steps_and_ends_with_zero(capsys):
    assert launch.main([f"ingest:{FIRST}:{LAST}"]) == 0
    said = events(capsys)
    assert [one["event"] for one in said] == ["run_start", "step_start", "progress", "step_end", "run_end"]
    assert said[2] == {"event": "progress", "step": "landed", "message": "3 days"}
    assert said[3]["seconds"] > 0
    assert said[-1]["success"]
    assert said[-1]["seconds"] > 0
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert run.run_id == said[-1]["run_id"]
        assert instance.get_materialized_partitions(landed.key) == {"2017-02-01", "2017-02-02", "2017-02-03"}


def test_a_failed_run_says_why_and_ends_with_one(capsys):
    assert launch.main([f"score:{FIRST}:{LAST}", f"ingest:{FIRST}:{LAST}"]) == 1
    said = events(capsys)
    (failed,) = [one for one in said if one["event"] == "step_end" and not one["success"]]
    assert failed["step"] == "breaks"
    assert "the panel has a hole" in said[-1]["message"]
    assert not said[-1]["success"]
    assert [one["step"] for one in said if one["event"] == "run_start"] == ["score"], "nothing runs after a failure"


def test_ghosts_are_ended_first():
    launch.main([f"ingest:{FIRST}:{FIRST}"])
    with dg.DagsterInstance.get() as instance:
        ghost = dg.DagsterRun("score", status=dg.DagsterRunStatus.STARTED, tags={"ml_platform/process": "1@1"})
        instance.add_run(ghost)
        launch.main([f"ingest:{FIRST}:{FIRST}"])
        assert instance.get_run_by_id(ghost.run_id).status == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("text", ["train:2017-01-01:2017-01-02", "ingest:2017-01-01", "ingest:yesterday:today"])
def test_a_plan_that_nobody_can_follow_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        launch.main([text])
    assert stopped.value.code == 2
    assert "JOB:FROM:TO" in capsys.readouterr().err


def test_the_code_location_is_definitions_py(monkeypatch):
    monkeypatch.undo()
    launch.code_location.cache_clear()
    try:
        assert launch.job_named("retrain").name == "retrain"
        assert Plan.read("retrain:2017-01-01:2017-01-01").job == "retrain"
    finally:
        launch.code_location.cache_clear()
