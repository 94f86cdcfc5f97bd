"""Schedule, failure sensor and jobs."""

from datetime import UTC, date, datetime

import dagster as dg
import pyarrow as pa
import pytest

from assets.partitions import complete_days_in
from ml_platform.gate.update import BY_UPDATE
from ml_platform.lake.schemas import ALERTS, PROMOTED_RELEASE
from sensors.jobs import build_jobs, range_tags


def retraining(home, moment=datetime(2031, 5, 5, tzinfo=UTC)):
    context = dg.build_schedule_context(instance=home.instance, scheduled_execution_time=moment)
    return home.trigger("daily_retraining")(context)


def updating(home):
    return home.trigger("daily_update")(dg.build_schedule_context(instance=home.instance))


def released(home, *days, by="gate", promoted=True):
    rows = [{"as_of": day, "release_id": f"{day}-{by}", "promoted": promoted, "approved_by": by} for day in days]
    home.lake.append(PROMOTED_RELEASE, pa.Table.from_pylist(rows, PROMOTED_RELEASE.schema))


def test_nothing_is_retrained_before_a_day_is_complete(home):
    assert "no day of source 'sales' is complete" in retraining(home).skip_message


def test_the_newest_complete_day_is_retrained_whatever_the_clock_says(home):
    home.land_days("2017-02-01", "2017-02-02")
    home.settle()
    home.land_days("2017-02-03")  # landed, not loaded
    for moment in (datetime(2017, 2, 3, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)):
        assert retraining(home, moment).partition_key == "2017-02-02"
        assert retraining(home, moment).run_key is None


def test_a_day_with_a_fleet_is_left_alone_until_the_next_is_complete(home):
    home.land_days("2017-02-01")
    home.settle()
    released(home, date(2017, 2, 1), promoted=False)
    assert "2017-02-01, has its release" in retraining(home).skip_message
    home.land_days("2017-02-02")
    home.settle()
    assert retraining(home).partition_key == "2017-02-02"


def test_a_day_that_was_updated_is_trained_all_the_same(home):
    home.land_days("2017-02-01")
    home.settle()
    released(home, date(2017, 2, 1), by=BY_UPDATE)
    assert retraining(home).partition_key == "2017-02-01"
    released(home, date(2017, 2, 1))
    assert "has its release" in retraining(home).skip_message


def test_days_between_trainings_are_updated_once_there_is_a_champion(home):
    assert "no day of source 'sales' is complete" in updating(home).skip_message
    home.land_days("2017-02-01", "2017-02-02")
    home.settle()
    assert "no release older than 2017-02-02 is promoted: train first" in updating(home).skip_message
    released(home, date(2017, 2, 1))
    assert updating(home).partition_key == "2017-02-02"
    released(home, date(2017, 2, 2), by=BY_UPDATE)
    assert "2017-02-02, has its release" in updating(home).skip_message


def test_a_failed_run_leaves_an_alert(home):
    @dg.op
    def breaks():
        raise RuntimeError("the disk is full")

    @dg.job
    def score():
        breaks()

    with dg.instance_for_test() as instance:
        result = score.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            "run_failures", result.get_run_failure_event(), instance, result.dagster_run
        )
        home.trigger("run_failures")(context.for_run_failure())
    (alert,) = home.lake.read(ALERTS.name).to_pylist()
    assert (alert["job"], alert["run_id"], alert["steps"]) == ("score", result.run_id, "breaks")
    assert alert["message"]
    assert abs((datetime.now(UTC) - alert["raised_at"]).total_seconds()) < 60


def test_updating_is_for_homes_that_ask_for_it(home):
    assert home.trigger("daily_update").default_status.value == "STOPPED"


def test_all_triggers_run_by_default(home):
    for name in ("data_drops", "silent_feeds", "run_failures", "daily_retraining"):
        assert home.trigger(name).default_status.value == "RUNNING"


@pytest.mark.parametrize(
    ("job", "has", "lacks"),
    [
        ("ingest", {"raw_sales", "products_current", "promotions_history"}, {"series_catalogue", "forecasts"}),
        (
            "retrain",
            {"series_catalogue", "series_panel", "candidate_fleet", "promoted_release", "forecasts"},
            {"raw_sales", "sales_history", "updated_fleet"},
        ),
        (
            "update",
            {"series_catalogue", "series_panel", "updated_fleet", "promoted_release", "forecasts", "forecast_latest"},
            {"raw_sales", "sales_history", "candidate_fleet", "fleet_evaluation"},
        ),
        (
            "score",
            {"raw_sales", "series_panel", "forecasts", "forecast_latest"},
            {"candidate_fleet", "fleet_evaluation", "updated_fleet", "promoted_release"},
        ),
        ("everything", {"raw_sales", "candidate_fleet", "forecasts", "forecast_latest"}, {"updated_fleet"}),
    ],
)
def test_jobs_hold_what_they_say(defs, job, has, lacks):
    names = {key.path[-1] for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}
    assert names >= has
    assert not names & lacks


def test_jobs_run_in_one_process(home):
    assert {job.executor_def.name for job in build_jobs(home.contracts).values()} == {"in_process"}


def test_range_tags_are_dagsters(defs):
    """A typo here would make a run over days a run over nothing."""
    from dagster._core.storage import tags

    assert range_tags("a", "b") == {tags.ASSET_PARTITION_RANGE_START_TAG: "a", tags.ASSET_PARTITION_RANGE_END_TAG: "b"}


def test_days_that_are_not_complete_are_logged_and_left_out(home):
    home.land_days("2017-02-01")
    home.settle()
    context = dg.build_asset_context(partition_key_range=dg.PartitionKeyRange("2017-02-01", "2017-02-03"))
    days = dg.DailyPartitionsDefinition("2017-01-01")

    class Seen:
        partition_keys = days.get_partition_keys_in_range(dg.PartitionKeyRange("2017-02-01", "2017-02-03"))
        log = context.log

    assert complete_days_in(Seen(), home.lake, home.contracts.target) == [date(2017, 2, 1)]
