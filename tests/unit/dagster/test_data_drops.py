"""The sensor on new drops: what becomes a run, what is skipped, and how it bears failures."""

import sys

import dagster as dg
import pytest

from ml_platform.lake import ledger
from sensors.data_drops import ATTEMPTS, UNFINISHED, Cursor, batch_of, due_drops

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def request(result):
    """The one request of a tick: days, batch, key."""
    assert isinstance(result, dg.SensorResult), result
    (found,) = result.run_requests
    return found


def days(result):
    return tuple(request(result).tags[name] for name in RANGE)


def test_an_empty_home_is_skipped_with_a_reason(home):
    assert "in the ledger" in home.tick().skip_message


def test_what_landed_becomes_one_run_over_its_days(home):
    home.land_days("2017-02-03", "2017-02-01")
    home.land("promotions/promotions_2017-01-30_week_05.parquet", "products/products.parquet")
    result = home.tick()
    assert days(result) == ("2017-01-30", "2017-02-03")
    assert request(result).tags["ml_platform/drops"] == "4"


def test_what_is_in_the_ledger_is_not_asked_for_again(home):
    home.land_days("2017-02-01", "2017-02-02")
    home.settle()
    assert isinstance(home.tick(), dg.SkipReason)
    home.land_days("2017-02-03")
    assert days(home.tick()) == ("2017-02-03", "2017-02-03")


def test_a_corrected_file_is_a_new_drop(home):
    (path,) = home.land_days("2017-02-01")
    home.settle()
    path.write_text("something else")
    assert days(home.tick()) == ("2017-02-01", "2017-02-01")


def test_a_late_day_is_scored_up_to_the_newest_complete_day(home):
    home.land_days("2017-02-08", "2017-02-09")
    home.settle()
    home.land_days("2017-02-02")
    assert days(home.tick()) == ("2017-02-02", "2017-02-09")


@pytest.mark.parametrize("name", ["sales/notes.txt", "sales/sales_2031-01-01.csv", "products/half.parquet"])
def test_files_without_a_day_of_the_calendar_come_along_with_the_newest_one(home, name):
    home.land_days("2017-02-08")
    home.settle()
    home.land(name)
    assert days(home.tick()) == ("2017-02-08", "2017-02-08")


def test_without_any_complete_day_they_go_with_the_first(home):
    home.land("sales/notes.txt")
    assert days(home.tick()) == ("2017-01-01", "2017-01-01")


def test_refused_drops_are_settled_too(home):
    home.land("sales/notes.txt")
    home.settle(ledger.QUARANTINED)
    assert isinstance(home.tick(), dg.SkipReason)


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED"])
def test_while_a_run_is_at_work_nothing_is_asked_for(home, status):
    home.land_days("2017-02-01")
    run = dg.DagsterRun("score", status=dg.DagsterRunStatus[status])
    home.instance.add_run(run)
    assert "still at work" in home.tick().skip_message
    home.instance.delete_run(run.run_id)
    assert request(home.tick())


def test_a_run_in_the_queue_is_one_at_work():
    """Dagster lets nobody make a queued run by hand."""
    assert dg.DagsterRunStatus.QUEUED in UNFINISHED


def test_a_run_of_another_job_holds_nothing_up(home):
    home.land_days("2017-02-01")
    home.instance.add_run(dg.DagsterRun("retrain", status=dg.DagsterRunStatus.STARTED))
    assert request(home.tick())


def test_a_batch_that_fails_is_asked_for_again_and_then_waits(home):
    home.land_days("2017-02-01")
    cursor, keys = None, set()
    for _ in range(ATTEMPTS):
        result = home.tick(cursor)
        cursor = result.cursor
        keys.add(request(result).run_key)
        home.instance.add_run(dg.DagsterRun("score", status=dg.DagsterRunStatus.FAILURE, tags=request(result).tags))
    assert len(keys) == ATTEMPTS, "a key that was used once would never start again"
    assert f"failed {ATTEMPTS} times" in home.tick(cursor).skip_message


def test_a_new_file_ends_the_waiting(home):
    home.land_days("2017-02-01")
    waiting = Cursor(batch_of(due_drops(home.settings, home.contracts)), ATTEMPTS).text()
    assert isinstance(home.tick(waiting), dg.SkipReason)
    home.land_days("2017-02-02")
    result = home.tick(waiting)
    assert days(result) == ("2017-02-01", "2017-02-02")
    assert Cursor.read(result.cursor).attempts == 1


def test_a_lost_cursor_blocks_nothing(home):
    """The run key counts the runs of the batch, so that a new cursor does not meet the key of a failed run."""
    home.land_days("2017-02-01")
    first = request(home.tick())
    home.instance.add_run(dg.DagsterRun("score", status=dg.DagsterRunStatus.FAILURE, tags=first.tags))
    again = request(home.tick())
    assert again.tags == first.tags
    assert again.run_key != first.run_key


def test_a_great_landing_comes_in_batches(home, monkeypatch):
    monkeypatch.setattr(sys.modules[Cursor.__module__], "MAX_DROPS", 3)
    home.land_days(*(f"2017-02-{number:02d}" for number in range(1, 8)))
    assert request(home.tick()).tags["ml_platform/drops"] == "3"
    assert days(home.tick()) == ("2017-02-01", "2017-02-03")


def test_names_that_begin_with_a_dot_or_underscore_are_no_drops(home):
    home.land("sales/.sales_2017-02-01.csv.123", "sales/_SUCCESS")
    assert isinstance(home.tick(), dg.SkipReason)


def test_a_batch_has_one_name_whatever_the_order(home):
    home.land_days("2017-02-01", "2017-02-02")
    drops = due_drops(home.settings, home.contracts)
    assert batch_of(drops) == batch_of(drops[::-1]) != batch_of(drops[:1])
