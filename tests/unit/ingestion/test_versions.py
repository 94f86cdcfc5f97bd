"""Tests of versions: newer, older and equal bytes of a path, duplicates and their heirs, deliveries of a snapshot (promise R4).

Belongs here: which bytes are in force at bronze. Does not belong here: bad files (test_refusals), crashes (tests of the ledger), silver.
"""

import random
from dataclasses import replace
from datetime import date

import pyarrow.compute as pc
import pytest
from ingestion_feed import AT, EVENTS, A, B, Feed

from ml_platform.ingestion import IngestionReport
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED
from ml_platform.succession import Succession


def test_rows_carry_their_drop_day_number_and_time(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A, f"9,{AT},1")
    report = feed.ingest()
    (row,) = feed.rows()
    assert (row.state, row.rows_in, row.rows_loaded, row.drop_day, row.run_id) == (
        LOADED,
        2,
        2,
        date(2024, 1, 5),
        "run-1",
    )
    assert row.table_version == feed.one.lake.version("bronze/raw_readings")
    assert report.total("rows_loaded") == 2
    assert all(check.passed for check in report.checks)
    bronze = feed.one.lake.read("bronze/raw_readings").sort_by("row_number")
    assert bronze.schema.equals(EVENTS.bronze_spec.schema)
    assert bronze["row_number"].to_pylist() == [2, 3]
    assert set(bronze["drop_id"].to_pylist()) == {row.drop_id}
    assert set(bronze["ingested_at"].to_pylist()) == {row.settled_at}


def test_a_b_a_ends_as_a(feed: Feed) -> None:
    for content in (A, B, A):
        feed.land("readings_2024-01-05.csv", content)
        feed.ingest()
    assert feed.units() == [5]
    assert feed.states() == [REPLACED, REPLACED, LOADED]


def test_the_same_bytes_landed_again_add_no_rows(feed: Feed) -> None:
    for _ in range(2):
        feed.land("readings_2024-01-05.csv", B)
        feed.ingest()
    assert feed.units() == [6, 7]
    first, second = feed.rows()
    assert (second.state, second.rows_in, second.rows_duplicate, second.reason) == (
        DUPLICATE,
        2,
        2,
        f"same bytes as {first.path}",
    )


def test_a_duplicate_whose_twin_is_replaced_takes_its_place(feed: Feed) -> None:
    """In the same commit: its bytes are in force nowhere else by then. A second duplicate stays one."""
    for name in "abc":
        feed.land(f"readings_2024-01-05_{name}.csv", A)
    feed.ingest()
    assert feed.states() == [LOADED, DUPLICATE, DUPLICATE]
    feed.land("readings_2024-01-05_a.csv", B)
    feed.ingest()
    assert sorted(feed.units()) == [5, 6, 7]
    rows = {(row.path[-5], row.state): row for row in feed.rows()}
    assert set(rows) == {("a", REPLACED), ("a", LOADED), ("b", LOADED), ("c", DUPLICATE)}
    assert (rows["b", LOADED].attempt, rows["c", DUPLICATE].attempt) == (2, 2)
    assert rows["b", LOADED].first_seen_at < rows["a", LOADED].first_seen_at < rows["b", LOADED].settled_at
    assert rows["c", DUPLICATE].reason == f"same bytes as {rows['b', LOADED].path}"
    known = {row["units"]: row["ingested_at"] for row in feed.one.lake.read("bronze/raw_readings").to_pylist()}
    assert known[5] < known[6], "what takes over was there before what it was replaced by"
    assert feed.ingest() == IngestionReport()
    feed.balance()


def test_a_duplicate_that_was_cleared_from_landing_takes_the_place_of_its_twin(feed: Feed) -> None:
    """It was landed and accounted for: its rows stay, with those that were refused, though nobody can read it any more."""
    feed = feed.allowing(0.5)
    content = (A, f"3,{AT},-1", f"4,{AT},9")
    for name in "ab":
        feed.land(f"readings_2024-01-05_{name}.csv", *content)
    feed.ingest()
    feed.clear("readings_2024-01-05_b.csv")
    feed.land("readings_2024-01-05_a.csv", B)
    feed.ingest()
    assert feed.units() == [5, 6, 7, 9]
    old, new, heir = feed.rows()
    assert (old.state, new.state, heir.state, heir.path[-5], heir.reason) == (REPLACED, LOADED, LOADED, "b", None)
    assert (heir.rows_in, heir.rows_loaded, heir.rows_quarantined, heir.rows_duplicate) == (3, 2, 1, 0)
    own = feed.one.lake.read("bronze/raw_readings", where=pc.field("drop_id") == heir.drop_id).sort_by("row_number")
    assert (own["units"].to_pylist(), own["row_number"].to_pylist()) == ([5, 9], [2, 4])
    assert [(path[-5], number) for path, number, _, _ in feed.refusals()] == [("a", 3), ("b", 3)]
    assert feed.ingest() == IngestionReport()


def test_rows_pass_by_a_duplicate_that_is_replaced_in_the_same_batch_and_go_on_from_heir_to_heir(feed: Feed) -> None:
    for name in "abcd":
        feed.land(f"readings_2024-01-05_{name}.csv", A, f"3,{AT},8")
    feed.ingest()
    for name in "cd":
        feed.clear(f"readings_2024-01-05_{name}.csv")
    for name in "ab":
        feed.land(f"readings_2024-01-05_{name}.csv", f"9,{AT},{ord(name)}")
    feed.ingest()
    assert feed.units() == [5, 8, ord("a"), ord("b")]
    assert sorted((row.path[-5], row.state, row.attempt) for row in feed.rows()) == [
        ("a", LOADED, 1),
        ("a", REPLACED, 1),
        ("b", DUPLICATE, 1),
        ("b", LOADED, 1),
        ("c", LOADED, 2),
        ("d", DUPLICATE, 2),
    ]
    feed.land("readings_2024-01-05_c.csv", f"9,{AT},{ord('c')}")
    feed.ingest()
    assert feed.units() == [5, 8, ord("a"), ord("b"), ord("c")]
    assert [(row.path[-5], row.attempt) for row in feed.rows()][-1] == ("d", 3)


def test_a_duplicate_whose_bytes_an_earlier_version_left_in_force_nowhere_is_read_again(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        feed.land(f"readings_2024-01-05_{name}.csv", A)
    feed.ingest()
    feed.land("readings_2024-01-05_a.csv", B)
    with monkeypatch.context() as earlier:
        earlier.setattr(Succession, "complete", lambda self, batch, in_force: batch)
        feed.ingest()
    assert feed.units() == [6, 7]
    feed.ingest()
    assert feed.units() == [5, 6, 7]


def test_a_duplicate_whose_path_went_on_is_no_heir(feed: Feed) -> None:
    """Its path stands for other bytes by then, be they loaded, or themselves a duplicate."""
    for name, content in (("a", A), ("b", A), ("c", A), ("d", B)):
        feed.land(f"readings_2024-01-05_{name}.csv", content)
    feed.ingest()
    feed.land("readings_2024-01-05_b.csv", B)
    feed.land("readings_2024-01-05_c.csv", f"3,{AT},8")
    feed.ingest()
    feed.land("readings_2024-01-05_a.csv", f"4,{AT},9")
    feed.ingest()
    assert feed.units() == [6, 7, 8, 9]
    assert feed.ingest() == IngestionReport()


def test_whatever_comes_and_goes_the_last_bytes_of_every_path_are_in_force_once(feed: Feed) -> None:
    """Landing again, overwriting, copying and clearing at random: what was cleared still counts with what it last held."""
    chance, last, feed = random.Random(2), dict[str, str](), feed.allowing(0.9)
    for _ in range(10):
        for name in chance.sample("abcd", 2):
            feed.land(f"readings_2024-01-05_{name}.csv", chance.choice([A, B, f"4,{AT},-1\n5,{AT},9"]))
        last |= {path.name: path.read_text() for path in (feed.root / "landing" / "readings").iterdir()}
        feed.ingest()
        units = [int(line.rsplit(",", 1)[1]) for content in set(last.values()) for line in content.splitlines()[1:]]
        assert feed.units() == sorted(one for one in units if one >= 0)
        feed.clear(f"readings_2024-01-05_{chance.choice('abcd')}.csv")
    assert feed.ingest() == IngestionReport(), "nothing waits for a second look"


def test_a_file_that_becomes_the_same_as_another_is_its_duplicate_and_its_old_rows_go(feed: Feed) -> None:
    feed.land("readings_2024-01-05_a.csv", A)
    feed.land("readings_2024-01-05_b.csv", B)
    feed.ingest()
    feed.land("readings_2024-01-05_b.csv", A)
    feed.ingest()
    assert feed.units() == [5]
    assert sorted((row.path[-5], row.state) for row in feed.rows()) == [
        ("a", LOADED),
        ("b", DUPLICATE),
        ("b", REPLACED),
    ]
    feed.balance()


def test_nothing_landed_is_nothing_written(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    before = {name: feed.one.lake.version(name) for name in ("bronze/raw_readings", "ops/ledger")}
    assert feed.ingest() == IngestionReport()
    assert {name: feed.one.lake.version(name) for name in before} == before


def test_the_same_bytes_under_another_path_of_the_day_name_the_first(feed: Feed) -> None:
    feed.land("readings_2024-01-05_a.csv", A)
    feed.land("readings_2024-01-05_b.csv", A)
    feed.land("readings_2024-01-06_a.csv", A)
    feed.ingest()
    assert [(row.path[-16:], row.state, row.reason) for row in feed.rows()] == [
        ("2024-01-05_a.csv", LOADED, None),
        ("2024-01-05_b.csv", DUPLICATE, "same bytes as readings/readings_2024-01-05_a.csv"),
        ("2024-01-06_a.csv", LOADED, None),
    ]
    assert feed.units() == [5, 5]


def test_an_overwritten_file_replaces_its_rows_in_one_commit(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    feed.ingest()
    version = feed.one.lake.version("bronze/raw_readings")
    feed.land("readings_2024-01-05.csv", B)
    feed.ingest()
    assert feed.units() == [6, 7, 8]
    assert feed.one.lake.version("bronze/raw_readings") == (version or 0) + 1
    old, _, new = feed.rows()
    assert (old.state, old.reason, old.table_version) == (
        REPLACED,
        f"replaced by drop {new.drop_id}",
        new.table_version,
    )


def test_a_file_without_rows_is_refused_and_leaves_what_is_in_force(feed: Feed) -> None:
    """Else a header would make a day complete, and forecasts of nothing."""
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    feed.land("readings_2024-01-05.csv")
    feed.ingest()
    assert (feed.units(), feed.states()) == ([5], [LOADED, QUARANTINED])
    assert feed.rows()[1].reason.startswith("empty_file: the file has no row")


def test_a_file_that_may_be_empty_leaves_no_rows(feed: Feed) -> None:
    feed = replace(feed, one=replace(feed.one, contract=EVENTS.model_copy(update={"may_be_empty": True})))
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    feed.land("readings_2024-01-05.csv")
    feed.ingest()
    assert feed.units() == []
    feed.land("readings_2024-01-05.csv", B)
    feed.ingest()
    assert feed.units() == [6, 7]


def test_a_broken_version_leaves_the_good_one_in_force(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    path = feed.root / "landing/readings/readings_2024-01-05.csv"
    path.write_bytes(b"")
    feed.stamp(path)
    feed.ingest()
    assert feed.states() == [LOADED, QUARANTINED]
    assert feed.units() == [5]


def test_a_snapshot_is_replaced_by_every_delivery_that_differs(snapshot: Feed) -> None:
    snapshot.land_parquet("first.parquet", [1, 2])
    snapshot.ingest()
    snapshot.land_parquet("second.parquet", [3])
    snapshot.ingest()
    assert snapshot.units() == [3]
    snapshot.land_parquet("third.parquet", [3])
    snapshot.land_parquet("first.parquet", [1, 2])
    snapshot.ingest()
    assert snapshot.units() == [1, 2]
    assert snapshot.states() == [REPLACED, REPLACED, DUPLICATE, LOADED]


def test_two_deliveries_of_a_snapshot_at_once_leave_the_newer(snapshot: Feed) -> None:
    snapshot.land_parquet("b.parquet", [1])
    snapshot.land_parquet("a.parquet", [2, 3])
    snapshot.ingest()
    assert snapshot.units() == [2, 3]
    assert snapshot.states() == [REPLACED, LOADED]
