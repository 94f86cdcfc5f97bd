"""Tests of ingestion: what becomes of drops, in real tables: versions, duplicates, bad files and rows, batches, blocks.

Belongs here: fates of drops at bronze (promises R1, R4, R5). Does not belong here: crashes (tests of the ledger), silver.
"""

import errno
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import feeds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform import expectations, ingestion
from ml_platform.calendar import Calendar
from ml_platform.checks import Blocked, CheckResult
from ml_platform.contracts import SourceContract
from ml_platform.delivery import Delivery
from ml_platform.ingestion import Ingestion, IngestionReport
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED, LedgerRow
from ml_platform.lake.schemas import QUARANTINE
from ml_platform.landing import LocalLanding, StorageError
from ml_platform.succession import Succession

READINGS: dict[str, Any] = {
    **feeds.READINGS,
    "columns": {
        "meter": {"type": "int64"},
        "at": {"type": "timestamp"},
        "units": {"type": "int64", "min": 0},
    },
}
EVENTS = SourceContract.model_validate(READINGS)
SNAPSHOT = SourceContract.model_validate(
    {**READINGS, "kind": "snapshot", "path": "*.parquet", "format": {"type": "parquet"}, "time": None, "key": ["meter"]}
)
YEAR = (date(2024, 1, 1), date(2024, 12, 31))
AT = "2024-01-05T10:00:00Z"
A, B = f"1,{AT},5", f"1,{AT},6\n2,{AT},7"
CLOCK = iter(range(1, 10_000))


@dataclass(frozen=True)
class Feed:
    """A source with its landing folder and lake."""

    root: Path
    one: Ingestion

    def land(self, name: str, *lines: str) -> None:
        """Every landing is a second later than the one before."""
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["meter,at,units", *lines]) + "\n")
        self.stamp(path)

    def land_parquet(self, name: str, units: Iterable[int]) -> None:
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = list(units)
        at = pa.array([datetime(2024, 1, 5, tzinfo=UTC)] * len(values), pa.timestamp("us", tz="UTC"))
        pq.write_table(pa.table({"meter": range(len(values)), "at": at, "units": values}), path)
        self.stamp(path)

    def allowing(self, share: float) -> "Feed":
        """The same under a contract that allows more refused rows."""
        return replace(self, one=replace(self.one, contract=EVENTS.model_copy(update={"max_quarantined": share})))

    def clear(self, name: str) -> None:
        (self.root / "landing" / "readings" / name).unlink(missing_ok=True)

    def stamp(self, path: Path) -> None:
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(CLOCK)
        os.utime(path, (at, at))

    def ingest(self, first: date = YEAR[0], last: date = YEAR[1]) -> IngestionReport:
        report = self.one.run(self.one.due(first, last))
        self.balance()
        return report

    def balance(self) -> None:
        """R5: rows in are accounted for per drop, and bronze holds what the ledger calls loaded."""
        for row in self.rows():
            assert row.balanced, row
            in_bronze = self.one.lake.count(self.one.contract.bronze_spec.name, pc.field("drop_id") == row.drop_id)
            assert in_bronze == (row.rows_loaded if row.state == LOADED else 0), row

    def rows(self) -> list[LedgerRow]:
        return sorted(ledger.of_source(self.one.lake, "readings"), key=lambda row: row.settled_at)

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def units(self) -> list[int]:
        return sorted(self.one.lake.read("bronze/raw_readings")["units"].to_pylist())

    def refusals(self) -> list[tuple[str, int | None, str, str | None]]:
        found = self.one.lake.read(QUARANTINE.name).to_pylist() if self.one.lake.exists(QUARANTINE.name) else []
        return sorted((r["path"], r["row_number"], r["rule"], r["value"]) for r in found)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(
        tmp_path,
        Ingestion(Lake(str(tmp_path / "lake")), LocalLanding(tmp_path / "landing"), EVENTS, "run-1", Calendar(*YEAR)),
    )


@pytest.fixture
def snapshot(tmp_path: Path) -> Feed:
    return Feed(
        tmp_path,
        Ingestion(Lake(str(tmp_path / "lake")), LocalLanding(tmp_path / "landing"), SNAPSHOT, "run-1", Calendar(*YEAR)),
    )


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


def test_whatever_a_file_holds_it_stops_no_other(feed: Feed) -> None:
    """Arrow knows no text for a tensor, and says so with an error of its own."""
    parquet = SourceContract.model_validate(
        {**READINGS, "path": "readings_{day}.parquet", "format": {"type": "parquet"}}
    )
    feed = replace(feed, one=replace(feed.one, contract=parquet))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, 2, 2)))
    folder = feed.root / "landing" / "readings"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(dict.fromkeys(parquet.columns, tensors)), folder / "readings_2024-01-05.parquet")
    feed.ingest()
    (row,) = feed.rows()
    assert (row.state, row.reason.split(":")[0]) == (QUARANTINED, "unreadable")


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


def test_bad_values_are_quarantined_with_file_row_rule_value_and_raw(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A, f"2,{AT},many", f"3,{AT},-4", f"4,{AT}", f"5,{AT},6", f"6,{AT},6")
    feed.ingest()
    (row,) = feed.rows()
    assert (row.state, row.rows_in, row.rows_loaded, row.rows_quarantined) == (LOADED, 6, 3, 3)
    assert feed.refusals() == [
        (row.path, 3, "not_int64:units", "many"),
        (row.path, 4, "below_minimum:units", "-4"),
        (row.path, 5, "malformed_row", "2 fields, the header has 3"),
    ]
    found = {r["row_number"]: r for r in feed.one.lake.read(QUARANTINE.name).to_pylist()}
    assert json.loads(found[3]["raw"]) == {"meter": "2", "at": AT, "units": "many"}
    assert found[5]["raw"] == f"4,{AT}"
    assert {(r["source"], r["stage"], r["state"], r["drop_id"]) for r in found.values()} == {
        ("readings", "bronze", "open", row.drop_id)
    }


def test_bad_files_are_quarantined_and_the_others_go_on(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    feed.land("what is this.txt", "x")
    (feed.root / "landing/readings/readings_2024-01-06.csv").write_bytes(b"")
    (feed.root / "landing/readings/readings_2024-01-07.csv").write_text("meter,at\n1,2\n1,3\n")
    (feed.root / "landing/readings/readings_2024-01-08.csv").write_bytes(b"meter,at,units\n\xff,1,1\n")
    feed.ingest()
    states = {
        row.path.removeprefix("readings/"): (row.state, (row.reason or "").split(":")[0], row.rows_in)
        for row in feed.rows()
    }
    assert states == {
        "readings_2024-01-05.csv": (LOADED, "", 1),
        "readings_2024-01-06.csv": (QUARANTINED, "empty_file", 0),
        "readings_2024-01-07.csv": (QUARANTINED, "missing_columns", 2),
        "readings_2024-01-08.csv": (QUARANTINED, "unreadable_csv", 0),
        "what is this.txt": (QUARANTINED, "unknown_format", 0),
    }
    assert [(path, number, rule) for path, number, rule, _ in feed.refusals()] == [
        (f"readings/{name}", None, reason)
        for name, (state, reason, _) in sorted(states.items())
        if state == QUARANTINED
    ]
    assert feed.one.due(*YEAR) == []


def test_a_name_that_is_no_text_is_quarantined(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    Path(os.fsdecode(os.fsencode(feed.root / "landing/readings") + b"/readings_2024-01-06\xff.csv")).write_text("x")
    feed.ingest()
    assert sorted(feed.states()) == [LOADED, QUARANTINED]


def test_a_file_that_vanished_or_cannot_be_read_is_quarantined(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (5, 6, 7):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}")
    drops = feed.one.due(*YEAR)
    (feed.root / "landing" / drops[0].path).unlink()
    whole = Path.open

    def locked(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.name == "readings_2024-01-06.csv":
            raise PermissionError(13, "Permission denied")
        return whole(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", locked)
        feed.one.run(drops)
    assert sorted((row.state, row.reason or "") for row in feed.rows()) == [
        (LOADED, ""),
        (QUARANTINED, "unreadable: the file cannot be read: Permission denied"),
        (QUARANTINED, "vanished: the file was gone when it was read"),
    ]
    assert feed.units() == [7]
    assert [rule for _, _, rule, _ in feed.refusals()] == ["vanished", "unreadable"]


def test_a_file_that_is_mostly_bad_is_refused_whole_and_the_others_go_on(feed: Feed) -> None:
    feed.land("readings_2024-01-04.csv", A)
    feed.land("readings_2024-01-05.csv", f"9,{AT},8", "x,y,z", "x,y,z")
    feed.ingest()
    good, bad = feed.rows()
    assert (good.state, bad.state) == (LOADED, QUARANTINED)
    assert bad.reason == "too_many_refused: 2 of 3 rows were refused, more than max_quarantined (50%) allows"
    assert (bad.rows_in, bad.rows_quarantined, bad.rows_loaded) == (3, 3, 0)
    assert feed.units() == [5]
    refused = feed.one.lake.read(QUARANTINE.name)["rule"].to_pylist()
    assert (len(refused), refused.count("too_many_refused")) == (3, 1)
    feed.land("readings_2024-01-05.csv", f"9,{AT},8")
    feed.ingest()
    assert feed.units() == [5, 8]


def test_a_suite_that_fails_blocks(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    feed.land("readings_2024-01-05.csv", A)
    monkeypatch.setattr(expectations, "validate", lambda *_: CheckResult("expectations", False, "planted"))
    with pytest.raises(Blocked, match="planted"):
        feed.ingest()
    assert feed.rows() == []


def test_drops_share_commits_by_rows_and_a_late_block_keeps_the_batches_before(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 6):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}", f"{day + 10},{AT},{day}")
    said: list[str] = []
    monkeypatch.setattr(
        expectations,
        "validate",
        lambda data, *_: CheckResult("expectations", 5 not in data["units"].to_pylist(), "planted"),
    )
    small = replace(feed, one=replace(feed.one, batch_rows=4, progress=said.append))
    with pytest.raises(Blocked):
        small.ingest()
    assert feed.one.lake.version("bronze/raw_readings") == 2
    assert len(feed.rows()) == 4
    assert said == ["readings: 2 drops, 4 rows loaded", "readings: 4 drops, 8 rows loaded"]
    feed.balance()


def test_the_report_of_several_batches_adds_up(feed: Feed) -> None:
    for day in range(1, 4):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}")
    report = replace(feed, one=replace(feed.one, batch_rows=1)).ingest()
    checks = {check.name: check for check in report.checks}
    assert checks["row_balance"].figures == {"drops": 3, "rows_in": 3}
    assert len(report.rows) == report.total("rows_in") == 3


def test_drops_are_due_by_day_and_those_outside_the_calendar_always(feed: Feed) -> None:
    for day in ("2024-01-05", "2024-01-06", "2023-12-31", "2025-01-01"):
        feed.land(f"readings_{day}.csv", A)
    feed.land("strange.txt", "x")
    fifth = date(2024, 1, 5)
    due = {drop.path.removeprefix("readings/") for drop in feed.one.due(fifth, fifth)}
    assert due == {"readings_2024-01-05.csv", "readings_2023-12-31.csv", "readings_2025-01-01.csv", "strange.txt"}


def test_what_happened_after_the_calendar_is_refused_and_what_was_before_is_history(feed: Feed) -> None:
    feed.land("readings_2025-01-01.csv", A)
    feed.land("readings_2023-12-31.csv", "2,2023-12-31T10:00:00Z,7")
    feed.ingest()
    before, after = feed.rows()
    assert (before.state, after.state) == (LOADED, QUARANTINED)
    assert after.reason == (
        "outside_calendar: day 2025-01-01 lies after the calendar (2024-01-01 to 2024-12-31): "
        "set ML_PLATFORM_LAST_DAY and land the file again, or correct its name"
    )


def test_an_open_calendar_ends_today(feed: Feed) -> None:
    today = datetime.now(UTC).date()
    feed.land(f"readings_{today + timedelta(days=2)}.csv", A)
    open_end = replace(feed, one=replace(feed.one, calendar=Calendar(YEAR[0])))
    open_end.one.run(open_end.one.due(YEAR[0], today))
    assert [row.state for row in feed.rows()] == [QUARANTINED]


def test_a_snapshot_is_due_whatever_the_day(snapshot: Feed) -> None:
    snapshot.land_parquet("first.parquet", [1])
    day = YEAR[0] - timedelta(days=1000)
    assert len(snapshot.one.due(day, day)) == 1


def test_a_drop_that_another_run_settled_meanwhile_is_left_alone(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops = feed.one.due(*YEAR)
    feed.one.run(drops)
    assert feed.one.run(drops) == IngestionReport()
    assert feed.units() == [5]


def test_a_drop_that_another_run_commits_at_the_same_time_is_refused(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops, spec = feed.one.due(*YEAR), feed.one.contract.bronze_spec
    feed.one.lake.append(spec, spec.schema.empty_table(), [drops[0].drop_id])
    with pytest.raises(RuntimeError, match="start this run again"):
        feed.one.run(drops)
    assert feed.one.lake.count("bronze/raw_readings") == 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the opening of some files fail, so many times; nobody waits."""
    monkeypatch.setattr("ml_platform.transient.time.sleep", lambda seconds: None)
    whole, left = Path.open, dict[str, list[Any]]()

    def opened(self: Path, *arguments: Any, **named: Any) -> Any:
        times = left.get(self.name, [0, 0])
        if times[0] > 0:
            times[0] -= 1
            raise OSError(times[1], os.strerror(times[1]))
        return whole(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", opened)
    return lambda name, number, times: left.update({name: [times, number]})


def test_an_error_that_passes_is_none(feed: Feed, disk: Callable[..., None]) -> None:
    feed.land("readings_2024-01-05.csv", A)
    disk("readings_2024-01-05.csv", errno.EIO, 2)
    assert feed.ingest().left == ()
    assert feed.units() == [5]


def test_an_error_that_stays_leaves_the_drop_due_and_stops_no_other(feed: Feed, disk: Callable[..., None]) -> None:
    said = list[str]()
    feed = replace(feed, one=replace(feed.one, progress=said.append))
    feed.land("readings_2024-01-05.csv", A)
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    disk("readings_2024-01-05.csv", errno.ESTALE, 99)
    report = feed.ingest()
    (left,) = report.left
    assert (left.path, left.reason) == ("readings/readings_2024-01-05.csv", "unreachable")
    assert "failed 4 times within" in left.words
    assert said[-1].endswith("1 left for the next look: readings/readings_2024-01-05.csv (unreachable)")
    assert feed.refusals() == []
    assert feed.units() == [8]
    disk("readings_2024-01-05.csv", errno.ESTALE, 0)
    assert feed.ingest().left == ()
    assert feed.units() == [5, 8]


def test_one_unreachable_file_after_the_other_is_an_unreachable_area(feed: Feed, disk: Callable[..., None]) -> None:
    """What was read before is committed, nothing is refused, and everything else stays due."""
    for day in range(5, 25):
        feed.land(f"readings_2024-01-{day:02d}.csv", f"{day},{AT},{day}")
        if day > 6:
            disk(f"readings_2024-01-{day:02d}.csv", errno.EIO, 99)
    with pytest.raises(StorageError, match=r"10 files in a row could not be read, they stay due: .* failed 4 times"):
        feed.ingest()
    feed.balance()
    assert feed.units() == [5, 6]
    assert feed.states() == [LOADED, LOADED]
    assert len(feed.one.due(*YEAR)) == 18


def test_a_full_disk_is_no_files_fault(feed: Feed, disk: Callable[..., None]) -> None:
    feed.land("readings_2024-01-05.csv", A)
    disk("readings_2024-01-05.csv", errno.ENOSPC, 1)
    with pytest.raises(OSError, match="No space left"):
        feed.ingest()
    assert feed.rows() == []
    feed.ingest()
    assert feed.units() == [5]


@pytest.mark.parametrize("more", ["6,", f"6,{AT},9\n"])
def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_look(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """Whether what was read of it were good rows or bad ones; what is in force stays so."""
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    feed.land("readings_2024-01-05.csv", B, "5")
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    path = feed.root / "landing/readings/readings_2024-01-05.csv"
    whole = ingestion.open_drop

    def growing(opened: Path, *arguments: Any) -> Any:
        if opened == path:
            with path.open("a") as file:
                file.write(more)
        return whole(opened, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "open_drop", growing)
        (left,) = feed.ingest().left
    assert (left.path, left.reason) == ("readings/readings_2024-01-05.csv", "changed")
    assert feed.units() == [5, 8]
    feed.land("readings_2024-01-05.csv", B)
    assert feed.ingest().left == ()
    assert feed.units() == [6, 7, 8]
    assert feed.states().count(QUARANTINED) == 0


def test_a_newer_version_than_the_listed_one_is_left_for_the_next_look(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops = feed.one.due(*YEAR)
    feed.land("readings_2024-01-05.csv", B)
    report = feed.one.run(drops)
    assert ([one.reason for one in report.left], report.rows) == (["changed"], ())
    feed.ingest()
    assert feed.units() == [6, 7]


def test_bytes_that_a_manifest_does_not_promise_are_refused(feed: Feed) -> None:
    told = EVENTS.model_copy(update={"landing": Delivery(complete="manifest")})
    said = list[str]()
    feed = replace(feed, one=replace(feed.one, contract=told, progress=said.append))
    feed.land("readings_2024-01-05.csv", A)
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    feed.land("readings_2024-01-07.csv", A)
    assert feed.ingest() == IngestionReport()
    assert said[-1].startswith("files that wait, not due yet: 3 of readings (no_manifest: ")
    folder = feed.root / "landing/readings"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if "07" not in path.name}
    promised = {name: {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    promised["readings_2024-01-05.csv"]["sha256"] = "0" * 64
    (folder / "_manifest.json").write_text(json.dumps({"files": promised}))
    feed.ingest()
    assert "1 of readings (not_in_manifest: readings/readings_2024-01-07.csv" in said[-2]
    assert {row.path[-6:-4]: (row.state, (row.reason or "").split(":")[0]) for row in feed.rows()} == {
        "05": (QUARANTINED, "manifest_mismatch"),
        "06": (LOADED, ""),
    }
    assert [(path[-6:-4], number, rule) for path, number, rule, _ in feed.refusals()] == [
        ("05", None, "manifest_mismatch")
    ]
    assert feed.units() == [8]
