"""The job `retention`: dry by default, applied where it is told, and what its run shows."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ml_platform.lake import TableSpec
from ml_platform.lake.compaction import MANY
from ml_platform.lake.schemas import MAINTENANCE
from resources import build_resources

SPEC = TableSpec("gold/things", pa.schema([("id", pa.int64())]))
APPLY = {"ops": {"retain": {"config": {"apply": True}}}}


@pytest.fixture
def run(home):
    """Run the job as the launchpad does, with the resources of the home."""
    from sensors.retention_job import retention_job

    made = build_resources(home.settings)
    resources = {name: made[name] for name in ("lake", "maintenance")}
    for number in range(MANY):
        home.lake.append(SPEC, pa.table({"id": [number]}))
    return lambda config=None: retention_job().execute_in_process(
        run_config=config, resources=resources, instance=home.instance, raise_on_error=False
    )


def shown(result):
    (output,) = [event.step_output_data for event in result.all_events if event.is_successful_output]
    table = output.metadata["tables"]
    return output.metadata["dry_run"].value, {record.data["table"]: record.data for record in table.records}


def test_by_default_a_run_shows_what_is_due_and_changes_nothing(home, run):
    version = home.lake.version(SPEC.name)
    result = run()
    dry, tables = shown(result)
    assert (result.success, dry, tables[SPEC.name]["small_files"]) == (True, True, MANY)
    assert home.lake.version(SPEC.name) == version
    assert not home.lake.exists(MAINTENANCE.name)


def test_applied_it_compacts_and_leaves_its_account_under_the_run(home, run):
    result = run(APPLY)
    dry, tables = shown(result)
    assert (result.success, dry, tables[SPEC.name]["action"]) == (True, False, "compacted")
    assert len(home.lake.table(SPEC.name).file_uris()) == 1
    (row,) = home.lake.read(MAINTENANCE.name).to_pylist()
    assert (row["table"], row["action"], row["files"], row["run_id"]) == (SPEC.name, "compacted", MANY, result.run_id)


def test_a_table_that_fails_fails_the_run_once_the_others_are_done(home, run):
    broken = TableSpec("gold/a_broken", SPEC.schema)
    home.lake.append(broken, pa.table({"id": [1]}))
    (Path(home.lake.uri(broken.name)) / "_delta_log" / f"{1:020}.json").write_text("{no json")
    result = run(APPLY)
    assert not result.success
    assert len(home.lake.table(SPEC.name).file_uris()) == 1


def test_the_schedule_is_off_and_applies_once_it_is_on(home, defs):
    schedule = home.trigger("daily_retention")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    tick = schedule.evaluate_tick(dg.build_schedule_context(instance=home.instance))
    assert tick.run_requests[0].run_config == APPLY
    assert dg.validate_run_config(defs.resolve_job_def("retention"), APPLY)
