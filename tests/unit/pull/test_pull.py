"""Pulls of a real PostgreSQL: increments, boundaries, late commits, crashes, repetition, two at once.

Belongs here: that no row is lost or doubled on its way into landing and bronze. Does not belong here: values and types, errors (files of their own).
"""

import threading
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from ml_platform.calendar import Calendar
from ml_platform.ingestion import Ingestion
from ml_platform.lake import ledger
from ml_platform.pull import PullError, database

DAY, NOON = date(2024, 3, 1), "2024-03-01T12"


def test_an_empty_table_lands_nothing(shop: Any) -> None:
    report = shop.pull()
    assert (report.files, report.rows, shop.names(), shop.unfinished()) == ((), 0, [], [])


def test_increments_follow_each_other_without_loss_or_double(shop: Any) -> None:
    shop.insert(1, 2, 3)
    (first,) = shop.pull().files
    assert first.path.startswith("orders/orders_2024-03-01_begin_20240301T120300000000Z_")
    shop.insert(4, 5)
    (second,) = shop.pull().files
    assert second.path.startswith("orders/orders_2024-03-01_20240301T120300000000Z_20240301T120500000000Z_")
    assert (first.rows, second.rows, shop.ids()) == (3, 2, [1, 2, 3, 4, 5])


def test_a_repeated_pull_lands_nothing(shop: Any) -> None:
    shop.insert(*range(1, 30))
    shop.pull()
    before = shop.names()
    assert [shop.pull().files for _ in range(3)] == [(), (), ()]
    assert shop.names() == before


@pytest.mark.parametrize("overlap", [0, 600])
def test_rows_of_one_watermark_that_come_in_two_commits_are_both_landed(shop: Any, overlap: int) -> None:
    shop = shop.having(overlap=overlap)
    shop.insert(1, 2)
    shop.insert(10, 11, at=shop.of_table()[-1][1], step=0)
    shop.pull()
    shop.insert(5, 12, at=shop.of_table()[-1][1], step=0)
    shop.pull()
    assert set(shop.ids()) == {1, 2, 5, 10, 11, 12}
    assert shop.pull().files == ()


def test_rows_of_one_watermark_are_never_parted(shop: Any) -> None:
    shop = shop.having(rows_per_file=3)
    shop.insert(1, 2)
    shop.insert(*range(10, 18), at=shop.of_table()[-1][1] + timedelta(minutes=1), step=0)
    shop.insert(20, 21, at=shop.of_table()[-1][1] + timedelta(minutes=1))
    shop.pull()
    tables = [pq.read_table(shop.landing / "orders" / name) for name in shop.names()]
    assert sorted(table.num_rows for table in tables) == [2, 10]
    assert shop.ids() == [1, 2, *range(10, 18), 20, 21]


def test_a_file_ends_with_its_business_day(shop: Any) -> None:
    given = shop.contract.model_dump(mode="json")
    given["time"]["business_timezone"] = "America/New_York"
    object.__setattr__(shop, "contract", type(shop.contract).model_validate(given))
    shop.insert(*range(1, 49), step=3600)
    shop.pull()
    days = [name.split("_")[1] for name in shop.names()]
    assert days == ["2024-03-01", "2024-03-02", "2024-03-03"]
    assert [pq.read_table(shop.landing / "orders" / name).num_rows for name in shop.names()] == [16, 24, 8]
    shop.insert(49, step=3600)
    (one,) = shop.pull().files
    assert "orders_2024-03-03_" in one.path


def test_a_transaction_that_commits_late_is_found_within_the_overlap(shop: Any) -> None:
    shop.insert(1, 2)
    with shop.engine.connect() as late:
        late.execute(text(f"insert into {shop.table} (order_id, changed_at) values (9, '{NOON}:02:30+00')"))
        shop.insert(3, 4)
        shop.pull()
        assert shop.ids() == [1, 2, 3, 4]
        late.commit()
    (one,) = shop.pull().files
    assert one.rows == 5, "the rows within the overlap come again with it"
    assert set(shop.ids()) == {1, 2, 3, 4, 9}
    assert shop.pull().files == (), "once it has landed there is nothing new"


def test_what_commits_later_than_the_overlap_allows_is_not_found(shop: Any) -> None:
    """What the guide says of the overlap is true in both directions."""
    shop = shop.having(overlap=60)
    shop.insert(1, 2, 3, 4)
    shop.pull()
    shop.insert(9, at=shop.of_table()[0][1] + timedelta(seconds=30))
    shop.insert(5)
    shop.pull()
    assert set(shop.ids()) == {1, 2, 3, 4, 5}


def test_rows_younger_than_the_lag_wait(shop: Any) -> None:
    shop = shop.having(lag=3600)
    shop.sql("insert into {table} (order_id, changed_at) values (1, now() - interval '2 hours'), (2, now())")
    shop.pull()
    assert shop.ids() == [1]
    assert (shop.puller().preview().rows, shop.having(lag=0).puller().preview().rows) == (1, 2)


def test_a_lag_that_grows_brings_nothing_twice(shop: Any) -> None:
    shop.sql("insert into {table} (order_id, changed_at) values (1, now() - interval '2 minutes'), (2, now())")
    shop.pull()
    assert shop.having(lag=60).pull().files == ()
    assert shop.ids() == [1, 2]


def test_a_row_that_is_deleted_within_the_overlap_brings_the_others_once_more_and_no_more(shop: Any) -> None:
    shop.insert(1, 2, 3)
    shop.pull()
    shop.sql("delete from {table} where order_id = 3")
    assert [shop.pull().rows for _ in range(3)] == [2, 0, 0]
    shop.insert(4)
    assert shop.pull().rows == 1
    assert shop.ids() == [1, 1, 2, 2, 3, 4]


def test_a_day_that_is_not_over_waits_where_whole_days_are_asked_for(shop: Any) -> None:
    given = shop.contract.model_dump(mode="json")
    given["time"]["business_timezone"] = "Asia/Tokyo"
    given["pull"]["whole_days"] = True
    object.__setattr__(shop, "contract", type(shop.contract).model_validate(given))
    midnight = "date_trunc('day', now() at time zone 'Asia/Tokyo') at time zone 'Asia/Tokyo'"
    last = f"(1, {midnight} - interval '1 microsecond')"
    shop.sql(f"insert into {{table}} (order_id, changed_at) values {last}, (2, {midnight}), (3, now())")
    shop.pull()
    assert shop.ids() == [1]


def test_a_row_of_the_future_does_not_stop_what_comes_before_it(shop: Any) -> None:
    shop.sql("insert into {table} (order_id, changed_at) values (1, now() + interval '9 years')")
    shop.insert(2)
    shop.pull()
    shop.insert(3)
    shop.pull()
    assert shop.ids() == [2, 3]


@pytest.mark.parametrize("point", ["mid_file", "before_rename", "after_rename"])
@pytest.mark.parametrize("survives", [0, 1, 2])
def test_a_killed_pull_is_completed_by_the_next_one_without_loss_or_double(
    shop: Any, point: str, survives: int
) -> None:
    shop = shop.having(rows_per_file=10)
    shop.insert(*range(1, 41))
    shop.crash(point, survives)
    whole = survives // 2 if point == "mid_file" else survives + (point == "after_rename")  # two batches make a file
    assert shop.ids() == list(range(1, 10 * whole + 1)), "what landed before the crash is whole, and nothing else has"
    shop.insert(*range(41, 46))
    shop.pull()
    assert shop.ids() == list(range(1, 46))
    assert shop.unfinished() == []
    assert shop.pull().files == ()


def test_two_pulls_at_once_take_turns(shop: Any) -> None:
    shop = shop.having(rows_per_file=5)
    shop.insert(*range(1, 51))
    reports: list[Any] = []
    pulls = [threading.Thread(target=lambda: reports.append(shop.pull())) for _ in range(4)]
    for one in pulls:
        one.start()
    for one in pulls:
        one.join()
    assert sorted(len(report.files) for report in reports) == [0, 0, 0, 10]
    assert shop.ids() == list(range(1, 51))


def test_files_that_were_cleared_away_are_known_by_the_ledger(shop: Any) -> None:
    shop.insert(1, 2, 3)
    shop.pull()
    shop.ingest()
    for name in shop.names():
        (shop.landing / "orders" / name).unlink()
    assert shop.pull().files == ()
    shop.insert(4)
    shop.pull()
    assert shop.ids() == [4]


def test_a_file_that_is_lost_before_it_was_read_is_pulled_again_with_what_follows_it(shop: Any) -> None:
    for number in (1, 2, 3):
        shop.insert(2 * number, 2 * number + 1, step=1200)
        shop.pull()
    (lost,) = [name for name in shop.names() if "T130000" in name and "T134000" in name]
    (shop.landing / "orders" / lost).unlink()
    assert set(shop.ids()) == {2, 3, 6, 7}
    shop.pull()
    assert set(shop.ids()) == {2, 3, 4, 5, 6, 7}


def test_a_file_that_vanished_while_it_was_read_is_pulled_again(shop: Any) -> None:
    shop.insert(1, 2)
    shop.pull()
    (name,) = shop.names()
    ingestion = Ingestion(shop.lake, shop.store, shop.contract, "run", Calendar(DAY, DAY))
    drops = ingestion.due(DAY, DAY)
    (shop.landing / "orders" / name).unlink()
    ingestion.run(drops)
    assert [row.state for row in ledger.of_source(shop.lake, "orders")] == ["quarantined"]
    shop.pull()
    shop.ingest()
    assert shop.ids() == [1, 2]
    assert shop.lake.count("bronze/raw_orders") == 2


def test_a_file_that_was_torn_is_pulled_again(shop: Any) -> None:
    """A power cut can leave a name without its bytes."""
    shop.insert(1, 2)
    shop.pull()
    path = shop.landing / "orders" / shop.names()[0]
    path.write_bytes(path.read_bytes()[:100])
    shop.ingest()
    assert shop.lake.count("bronze/raw_orders") == 0
    shop.pull()
    shop.ingest()
    assert shop.lake.count("bronze/raw_orders") == 2
    assert shop.pull().files == ()


def test_files_of_others_in_the_folder_do_not_move_the_watermark(shop: Any) -> None:
    folder = shop.landing / "orders"
    folder.mkdir(parents=True)
    for name in (
        "orders_2024-03-01_by_hand.parquet",
        "orders_2024-02-31_begin_20240231T990000000000Z_" + "a" * 16 + ".parquet",
    ):
        (folder / name).write_text("x")
    shop.insert(1)
    assert shop.pull().rows == 1


def test_a_pull_sees_one_state_of_the_table(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that change while they are read are read as they were, and the change comes with the next pull."""
    monkeypatch.setattr(database, "BATCH", 2)
    shop = shop.having(rows_per_file=2)
    shop.insert(*range(1, 9))
    changes = iter([f"update {shop.table} set changed_at = '{NOON}:30:00+00', note = 'new' where order_id = 7"])
    replace(shop.puller(), progress=lambda _: [shop.sql(one) for one in changes]).run()
    assert shop.ids() == list(range(1, 9))
    assert "new" not in shop.landed()["note"].to_pylist()
    shop.pull()
    assert "new" in shop.landed()["note"].to_pylist()


def test_a_server_that_stops_in_mid_pull_is_waited_for(
    frail_shop: Any, postgres_of_its_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BATCH", 50)
    shop = frail_shop.having(rows_per_file=100)
    shop.insert(*range(1, 2001), step=1)
    progress = iter(range(3))

    def restart(_: str) -> None:
        if next(progress, None) == 2:
            postgres_of_its_own.stop()
            threading.Timer(0.2, postgres_of_its_own.start).start()

    puller = replace(shop.puller(), first_pause=1.0, progress=restart)
    assert puller.run().rows == 2000
    assert shop.ids() == list(range(1, 2001))


def test_a_server_that_stays_away_fails_the_pull_and_the_next_one_completes(
    frail_shop: Any, postgres_of_its_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BATCH", 50)
    shop = frail_shop.having(rows_per_file=100)
    shop.insert(*range(1, 2001), step=1)
    puller = replace(shop.puller(), progress=lambda _: postgres_of_its_own.stop())
    with pytest.raises(PullError, match=r"failed 4 times .* database 'shop': the database does not answer") as failed:
        puller.run()
    assert postgres_of_its_own.password not in str(failed.value)
    landed = shop.ids()
    assert landed
    assert landed == list(range(1, len(landed) + 1))
    assert shop.unfinished() == []
    postgres_of_its_own.start()
    shop.pull()
    assert shop.ids() == list(range(1, 2001))


def test_bronze_and_ledger_are_the_table_after_increments_and_crashes(shop: Any) -> None:
    shop = shop.having(rows_per_file=10, overlap=120)
    for step, point in enumerate(["before_rename", "after_rename", "mid_file", "before_rename", "after_rename"]):
        shop.insert(*range(step * 40 + 1, step * 40 + 41), step=1800)
        shop.crash(point, survives=step % 3)
        if step % 2:
            shop.ingest()
        shop.pull()
        shop.ingest()
    columns = list(shop.contract.columns)
    bronze = shop.lake.read("bronze/raw_orders", columns).sort_by("order_id")
    assert [tuple(row.values()) for row in bronze.to_pylist()] == shop.of_table()
    rows = ledger.of_source(shop.lake, "orders")
    assert {row.state for row in rows} == {"loaded"}
    assert sum(row.rows_loaded for row in rows) == len(shop.of_table()) == 200
    assert len(rows) == len(shop.names())
