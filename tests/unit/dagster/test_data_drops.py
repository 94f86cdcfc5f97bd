"""The sensor on new drops: what becomes a run, what is skipped, and how it bears failures."""

import functools
import json
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime

import dagster as dg
import pyarrow as pa
import pytest
from azure.storage.blob import ContainerClient
from pydantic import SecretStr

from ml_platform import backlog
from ml_platform.contracts import Contracts
from ml_platform.delivery import Delivery
from ml_platform.lake import decisions, ledger
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.schemas import PROMOTED_RELEASE, PUBLISHED
from ml_platform.preparation import silver_spec
from ml_platform.warehouse import DuckDBWarehouse
from sensors.data_drops import ATTEMPTS, BATCH_TAG, UNFINISHED, Cursor

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def request(result):
    """The one request of a tick: days, batch, key."""
    assert isinstance(result, dg.SensorResult), result
    (found,) = result.run_requests
    return found


def skipped(result):
    """Why a tick asked for nothing."""
    if isinstance(result, dg.SkipReason):
        return result.skip_message
    assert not result.run_requests, result
    return result.skip_reason.skip_message


def promote(home, day):
    row = {
        "as_of": date.fromisoformat(day),
        "release_id": f"{day}-a",
        "promoted": True,
        "decided_at": datetime.now(UTC),
    }
    home.lake.append(PROMOTED_RELEASE, pa.Table.from_pylist([row], schema=PROMOTED_RELEASE.schema))


def publish(home, *days):
    rows = [{"as_of": date.fromisoformat(day), "release_id": "a", "published_at": datetime.now(UTC)} for day in days]
    home.lake.append(PUBLISHED, pa.Table.from_pylist(rows, schema=PUBLISHED.schema))


def days(result):
    return tuple(request(result).tags[name] for name in RANGE)


def test_an_empty_home_is_skipped_with_a_reason(home):
    assert "in the ledger" in skipped(home.tick())


def test_what_landed_becomes_one_run_over_its_days(home):
    home.land_days("2017-02-03", "2017-02-01")
    home.land("promotions/promotions_2017-01-30_week_05.parquet", "products/products.parquet")
    result = home.tick()
    assert days(result) == ("2017-01-30", "2017-02-03")
    assert request(result).tags["ml_platform/work"] == "4 drops"


def test_what_is_in_the_ledger_is_not_asked_for_again(home):
    home.land_days("2017-02-01", "2017-02-02")
    home.settle()
    assert skipped(home.tick())
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
    assert skipped(home.tick())


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
    assert f"1 drops failed {ATTEMPTS} times" in skipped(home.tick(cursor))


def test_a_new_file_ends_the_waiting(home):
    home.land_days("2017-02-01")
    waiting = Cursor(attempts={request(home.tick()).tags[BATCH_TAG]: ATTEMPTS}).text()
    assert skipped(home.tick(waiting))
    home.land_days("2017-02-02")
    result = home.tick(waiting)
    assert days(result) == ("2017-02-01", "2017-02-02")
    assert list(Cursor.read(result.cursor).attempts.values()) == [1]


def test_a_lost_cursor_blocks_nothing(home):
    """The run key counts the runs of the batch, so that a new cursor does not meet the key of a failed run."""
    home.land_days("2017-02-01")
    first = request(home.tick())
    home.instance.add_run(dg.DagsterRun("score", status=dg.DagsterRunStatus.FAILURE, tags=first.tags))
    again = request(home.tick())
    assert again.tags == first.tags
    assert again.run_key != first.run_key


def test_a_great_landing_comes_in_batches(home, monkeypatch):
    monkeypatch.setattr(backlog, "look", functools.partial(backlog.look, most=3))
    home.land_days(*(f"2017-02-{number:02d}" for number in range(1, 8)))
    result = home.tick()
    assert request(result).tags["ml_platform/work"] == "3 drops"
    assert days(result) == ("2017-02-01", "2017-02-03")
    assert days(home.tick(result.cursor)) == ("2017-02-04", "2017-02-06")


def test_a_look_ends_with_its_time_and_the_next_goes_on_from_there(home, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(backlog.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(backlog, "LEAST", 2)
    monkeypatch.setattr(backlog, "look", functools.partial(backlog.look, seconds=1))
    home.land_days(*(f"2017-02-{number:02d}" for number in range(1, 6)))
    home.settle()
    home.land_days("2017-02-06")
    first = home.tick()
    assert "3 files looked at" in skipped(first)
    assert days(home.tick(first.cursor)) == ("2017-02-06", "2017-02-06")


def test_a_batch_beyond_a_cut_look_is_patient_too(home, monkeypatch):
    """Two batches that fail by turns: each is asked for three times and no more, though no tick sees both."""
    monkeypatch.setattr(backlog, "look", functools.partial(backlog.look, most=2))
    home.land_days(*(f"2017-02-{number:02d}" for number in range(1, 5)))
    cursor, asked = None, 0
    for _ in range(20):
        result = home.tick(cursor)
        cursor, asked = result.cursor, asked + len(result.run_requests or ())
    assert asked == 2 * ATTEMPTS


def test_a_warehouse_that_was_never_switched_to_is_asked_for(home):
    """Between the two steps of publishing: the pointer is there, and the file still waits beside the live one."""
    home.land_days("2017-02-01")
    home.settle()
    promote(home, "2017-02-01")
    publish(home, "2017-02-01")
    assert skipped(home.tick())
    staged = DuckDBWarehouse(home.settings.warehouse).staged
    staged.parent.mkdir(parents=True)
    staged.touch()
    result = home.tick()
    assert days(result) == ("2017-02-01", "2017-02-01")
    assert request(result).tags["ml_platform/work"] == "a staged warehouse"


def test_a_complete_day_without_published_forecasts_is_asked_for_until_it_has_them(home):
    """A run that ended between its bronze commit and its marts: every drop is in the ledger, and the forecasts are missing."""
    home.land_days("2017-02-01", "2017-02-02", "2017-02-03")
    home.settle()
    assert skipped(home.tick()), "before the first promotion there is nothing to forecast with"
    promote(home, "2017-02-01")
    publish(home, "2017-02-01")
    cursor = None
    for _ in range(ATTEMPTS):
        result = home.tick(cursor)
        assert days(result) == ("2017-02-02", "2017-02-03")
        assert request(result).tags["ml_platform/work"] == "forecasts of 2 days"
        cursor = result.cursor
    assert f"forecasts of 2 days failed {ATTEMPTS} times" in skipped(home.tick(cursor))
    publish(home, "2017-02-02", "2017-02-03")
    assert "is published" in skipped(home.tick(cursor))


def test_missing_forecasts_wait_for_every_run_because_it_may_be_publishing_them(home):
    home.land_days("2017-02-01")
    home.settle()
    promote(home, "2017-02-01")
    home.instance.add_run(dg.DagsterRun("retrain", status=dg.DagsterRunStatus.STARTED))
    assert skipped(home.tick())


def test_drops_that_failed_too_often_do_not_hold_up_missing_forecasts(home):
    home.land_days("2017-02-01")
    home.settle()
    promote(home, "2017-02-01")
    home.land("promotions/promotions_2017-01-30_week_05.parquet")
    first = home.tick()
    assert days(first) == ("2017-01-30", "2017-02-01")
    tired = Cursor(attempts={request(first).tags[BATCH_TAG]: ATTEMPTS}).text()
    second = home.tick(tired)
    assert request(second).tags["ml_platform/work"] == "forecasts of 1 days"
    assert sorted(Cursor.read(second.cursor).attempts.values()) == [1, ATTEMPTS]


def settle_again(home, path, version):
    """As a release from quarantine does: a drop that is known has a newer bronze version."""
    (row,) = [one for one in ledger.of_source(home.lake, "sales") if one.path == path]
    ledger.upsert(home.lake, [replace(row, attempt=row.attempt + 1, table_version=version)])


def silver_of(home, version):
    """A silver table that was made from this bronze version."""
    spec = silver_spec(home.contracts["sales"], home.contracts)
    inputs = json.dumps({"contract": "c", "bronze": version, "lookups": {}})
    home.lake.append(spec, spec.schema.empty_table(), metadata={INPUTS_KEY: inputs})


def test_a_drop_that_a_release_changed_is_brought_to_silver(home):
    home.land_days("2017-02-01", "2017-02-02", "2017-02-03")
    home.settle()
    settle_again(home, "sales/sales_2017-02-02.csv", 4)
    assert skipped(home.tick()), "before the first silver there is nothing to make anew"
    silver_of(home, 4)
    assert skipped(home.tick())
    settle_again(home, "sales/sales_2017-02-02.csv", 5)
    result = home.tick()
    assert days(result) == ("2017-02-02", "2017-02-03")
    assert request(result).tags["ml_platform/work"] == "silver for 1 drops"
    home.instance.add_run(dg.DagsterRun("ingest", status=dg.DagsterRunStatus.STARTED))
    assert skipped(home.tick()), "that run may be on its way to silver"


def test_a_silver_that_cannot_be_made_is_asked_for_until_patience_ends(home):
    home.land_days("2017-02-01")
    home.settle()
    silver_of(home, 4)
    settle_again(home, "sales/sales_2017-02-01.csv", 5)
    cursor = None
    for _ in range(ATTEMPTS):
        cursor = home.tick(cursor).cursor
    assert f"silver for 1 drops failed {ATTEMPTS} times" in skipped(home.tick(cursor))
    settle_again(home, "sales/sales_2017-02-01.csv", 6)
    assert request(home.tick(cursor)), "another release ends the waiting"


def test_a_file_that_was_released_is_due_again(home):
    home.land("sales/sales_2031-01-01.csv")
    home.land_days("2017-02-01")
    home.settle(ledger.QUARANTINED)
    assert skipped(home.tick())
    (row,) = [one for one in ledger.of_source(home.lake, "sales") if "2031" in one.path]
    decided = dict.fromkeys(("quarantine_id", "rule", "decided_by", "reason"), "x")
    place = {"source": "sales", "drop_id": row.drop_id, "stage": "bronze", "row_number": None, "corrections": None}
    one = decisions.Decision(**decided, **place, attempt=1, decision="released", decided_at=datetime.now(UTC))
    decisions.record(home.lake, [one])
    result = home.tick()
    assert request(result).tags["ml_platform/work"] == "1 drops"
    ledger.upsert(home.lake, [replace(row, attempt=2)])
    assert skipped(home.tick()), "it was settled once more"


def test_a_day_after_the_calendar_is_nobodys_newest_day(home):
    home.land_days("2017-02-01", "2031-01-01")
    home.settle()  # as an earlier version did
    promote(home, "2017-02-01")
    assert days(home.tick()) == ("2017-02-01", "2017-02-01")


def test_names_that_begin_with_a_dot_or_underscore_are_no_drops(home):
    home.land("sales/.sales_2017-02-01.csv.123", "sales/_SUCCESS")
    assert skipped(home.tick())


def told(home, **landing):
    """The home, where files of sales are due by what their contract says of deliveries."""
    sources = home.contracts.sources
    sales = home.contracts["sales"].model_copy(update={"landing": Delivery(**landing)})
    return replace(home, contracts=Contracts(sources=tuple(sales if one.name == "sales" else one for one in sources)))


def test_files_that_wait_are_named_in_the_reason_for_skipping(home):
    home = told(home, complete="success")
    home.land_days("2017-02-01", "2017-02-02")
    assert "files that wait, not due yet: 2 of sales (no_success: sales/sales_2017-02-01.csv" in skipped(home.tick())
    home.land("sales/_SUCCESS")
    assert days(home.tick()) == ("2017-02-01", "2017-02-02")


def test_a_run_says_what_waits_beside_it(home):
    home = told(home, stable_seconds=600)
    home.land_days("2017-02-01")
    home.land("promotions/promotions_2017-01-30_week_05.parquet")
    tags = request(home.tick()).tags
    assert tags["ml_platform/work"] == "1 drops"
    assert tags["ml_platform/waits"].startswith(
        "1 of sales (unstable: sales/sales_2017-02-01.csv: it changed less than 600 s ago"
    )


def test_what_lands_in_a_container_is_found_there(home, azurite_server):
    name = f"c{uuid.uuid4().hex}"
    update = {"landing_url": f"{azurite_server.blob_url}/{name}", "storage_key": SecretStr(azurite_server.key)}
    cloud = replace(home, settings=home.settings.model_copy(update=update))
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as container:
        container.create_container()
        container.upload_blob("sales/sales_2017-02-03.csv", b"x")
        assert "in the ledger" in skipped(home.tick()), "the folder is another area"
        assert days(cloud.tick()) == ("2017-02-03", "2017-02-03")
