"""Tests of rows in quarantine: released, corrected or discarded, each is accounted for once.

Belongs here: single rows of files that were loaded. Does not belong here: whole files (test_files), crashes (test_crashes), silver (integration).
"""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from quarantine_home import (
    AT,
    DISCARD,
    FIFTH,
    GOOD,
    MANY,
    MINUS,
    PARQUET,
    READINGS,
    RELAXED,
    SHORT,
    YEAR,
    YEARS,
    Home,
    release,
    words_of,
)

from ml_platform.lake import ledger
from ml_platform.lake.schemas import DECISIONS, QUARANTINE
from ml_platform.quarantine import (
    QuarantineError,
    Selection,
)


def test_a_row_that_still_breaks_the_contract_stays_open_and_says_why(home: Home) -> None:
    home.land(FIFTH, GOOD, MINUS)
    home.ingest()
    version = home.lake.version("bronze/raw_readings")
    (one,) = home.decide(release(), home.one("below_minimum:units"))
    assert (one.decided, one.ok) == (False, False)
    assert one.words == "stays open: it breaks the contract: units must be at least 0 kWh"
    assert home.states() == [(3, "below_minimum:units", "open")]
    assert (home.lake.version("bronze/raw_readings"), home.lake.exists(DECISIONS.name)) == (version, False)


def test_a_row_is_released_once_the_contract_is_relaxed(home: Home) -> None:
    home.land(FIFTH, GOOD, MINUS)
    home.ingest()
    before, relaxed = home.row(), home.under(RELAXED)
    (one,) = relaxed.decide(release(), home.one("below_minimum:units"))
    assert (one.decided, one.ok, "silver takes it up with the next run" in one.words) == (True, True, True)
    after, version = home.row(), home.lake.version("bronze/raw_readings")
    assert home.units() == [-4, 5]
    assert (after.rows_in, after.rows_loaded, after.rows_quarantined) == (2, 2, 0)
    assert (after.attempt, after.transaction, after.table_version) == (2, f"{before.drop_id}#2", version)
    assert home.lake.reached("bronze/raw_readings", after.transaction) == 1
    (row,) = home.lake.read("bronze/raw_readings", where=pc.field("units") < 0).to_pylist()
    assert (row["row_number"], row["drop_id"], row["drop_day"]) == (3, before.drop_id, date(2024, 1, 5))
    assert row["ingested_at"] > before.settled_at, "it is known from now on"
    assert home.door(home.contract).due(YEAR.first, YEAR.last) == []


def test_a_released_row_keeps_who_why_and_what_was_set(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    home.decide(release(units="7", note=""), home.one("not_int64:units"))
    assert home.units() == [5, 7]
    (kept,) = home.lake.read(QUARANTINE.name).to_pylist()
    assert (kept["state"], kept["decided_by"], kept["reason"]) == ("released", "Ada", "the meter was read again")
    assert kept["decided_at"] is not None
    assert json.loads(kept["raw"])["units"] == "many", "what came is kept as it came"
    (logged,) = home.lake.read(DECISIONS.name).to_pylist()
    assert (logged["quarantine_id"], logged["decision"], logged["attempt"]) == (kept["quarantine_id"], "released", 1)
    assert json.loads(logged["corrections"]) == {"units": "7", "note": ""}
    (row,) = home.lake.read("bronze/raw_readings", where=pc.field("units") == 7).to_pylist()
    assert row["note"] is None, "an empty text is a missing value"


def test_an_empty_text_stays_one_and_only_a_person_makes_it_a_missing_value(home: Home) -> None:
    """It would have been loaded as it came, had another value of its row not been refused."""
    columns = {**READINGS["columns"], "note": {"type": "string"}}
    lines = {**READINGS, "path": "readings_{day}*.jsonl", "format": {"type": "jsonl"}, "columns": columns}
    home = home.under({**lines, "max_quarantined": 0.9})
    path = home.land(FIFTH.replace("csv", "jsonl"))
    rows = [{"meter": meter, "at": AT, "units": units, "note": ""} for meter, units in ((1, 5), (2, -1), (3, -2))]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    home.door(home.contract).run(home.door(home.contract).due(YEAR.first, YEAR.last))
    second, third = home.all()
    (one,) = home.quarantine.decide(release(units="6"), [second])
    (other,) = home.quarantine.decide(release(units="7", note=""), [third])
    assert (one.decided, other.words) == (True, "stays open: it breaks the contract: note must not be empty")
    notes = home.lake.read("bronze/raw_readings").sort_by("meter")["note"].to_pylist()
    assert notes == ["", ""]


def test_released_rows_are_newer_than_all_before_them_whatever_the_clock_says(home: Home) -> None:
    """The newest row of a key wins: a clock that was set back must not turn that round."""
    home.land(FIFTH, GOOD, MANY)
    home.land("readings_2024-01-05_b.csv", GOOD, GOOD, MINUS, MANY)
    home.ingest()
    ahead = [replace(row, settled_at=row.settled_at + YEARS) for row in ledger.of_source(home.lake, "readings")]
    ledger.upsert(home.lake, ahead)
    home.decide(release(units="8"), *home.all())
    before, times = (
        max(row.settled_at for row in ahead),
        {row.settled_at for row in ledger.of_source(home.lake, "readings")},
    )
    assert min(times) > before
    assert len(times) == 2, "one after the other"
    released = home.lake.read("bronze/raw_readings", where=pc.field("units") == 8)
    assert pc.min(released["ingested_at"]).as_py() > before


def test_rows_that_were_released_go_over_to_a_duplicate_that_takes_the_place_of_its_twin(home: Home) -> None:
    home.land(FIFTH, GOOD, GOOD, MANY, MINUS)
    home.land("readings_2024-01-05_b.csv", GOOD, GOOD, MANY, MINUS)
    home.ingest()
    home.decide(release(units="7", note="guess"), home.one("not_int64:units"))
    home.decide(DISCARD, home.one("below_minimum:units"))
    home.land(FIFTH, f"9,{AT},9,ok")
    home.ingest()
    assert home.units() == [5, 5, 7, 9]
    assert [one.state for one in home.all() if one.drop and one.drop.path.endswith("_b.csv")] == ["open"]
    home.decide(release(units="4"), home.one("below_minimum:units"))
    assert home.units() == [4, 5, 5, 7, 9]


def test_a_corrected_value_is_screened_like_any_other(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record = home.one("not_int64:units")
    assert "units must be at least 0" in words_of(home.decide(release(units="-1"), record))
    assert "units must be a value of type int64" in words_of(home.decide(release(units="1.5"), record))
    assert "note must be one of ok, guess" in words_of(home.decide(release(units="1", note="x"), record))
    assert home.units() == [5]
    with pytest.raises(QuarantineError, match="'readings' has no column unit to set: it has meter, at, units, note"):
        home.decide(release(unit="1"), record)


def test_a_line_without_its_fields_is_released_with_all_of_them(home: Home) -> None:
    home.land(FIFTH, GOOD, SHORT, GOOD)
    home.ingest()
    record = home.one("malformed_row")
    assert "it has no meter, at, units, note: set each of them" in words_of(home.decide(release(), record))
    assert "it has no note" in words_of(home.decide(release(meter="4", at=AT, units="9"), record))
    home.decide(release(meter="4", at=AT, units="9", note="guess"), record)
    assert home.units() == [5, 5, 9]


def test_released_twice_is_there_once(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, GOOD)
    home.ingest()
    record = home.one("not_int64:units")
    home.decide(release(units="7"), record)
    version = home.lake.version("bronze/raw_readings")
    for again in (record, home.one("not_int64:units", "released")):
        (one,) = home.decide(release(units="8"), again)
        assert (one.decided, one.ok) == (False, True)
        assert one.words == "it was released already, by Ada: the meter was read again"
    assert home.units() == [5, 5, 7]
    assert home.lake.version("bronze/raw_readings") == version
    assert home.lake.count(DECISIONS.name) == 1
    (other,) = home.decide(DISCARD, record)
    assert (other.ok, "it was released already" in other.words) == (False, True)


def test_several_rows_of_several_files_share_a_commit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (5, 6, 7):
        home.land(f"readings_2024-01-0{day}.csv", GOOD, MANY, MINUS, GOOD)
    home.ingest()
    version = home.lake.version("bronze/raw_readings") or 0
    asked = Selection(source="readings", rule="not_int64:units", state="open").read(home.lake)
    assert [one.decided for one in home.decide(release(units="7"), *asked)] == [True] * 3
    assert home.lake.version("bronze/raw_readings") == version + 1
    assert home.units().count(7) == 3
    monkeypatch.setattr("ml_platform.quarantine.desk.ROWS_PER_COMMIT", 2)
    home.under(RELAXED).decide(release(), *Selection(rule="below_minimum:units").read(home.lake))
    assert home.lake.version("bronze/raw_readings") == version + 3, "two files, then one"
    assert {row.attempt for row in ledger.of_source(home.lake, "readings")} == {3}


def test_some_rows_go_and_others_stay(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    outcomes = home.under(RELAXED).decide(release(), *home.all())
    assert {one.record.rule: one.decided for one in outcomes} == {"not_int64:units": False, "below_minimum:units": True}
    assert home.states() == [(3, "not_int64:units", "open"), (4, "below_minimum:units", "released")]


def test_a_row_of_a_parquet_file_comes_back_with_its_types(home: Home) -> None:
    home = home.under(PARQUET)
    at = pa.array([datetime(2024, 1, 5, 10, 0, 0, 250, tzinfo=UTC)] * 4, pa.timestamp("us", tz="UTC"))
    table = pa.table(
        {"meter": [1, 2, 3, 4], "at": at, "units": [5.0, -6.0, 7.5, None], "note": ["ok", None, "ok", "ok"]}
    )
    path = home.root / "landing" / "readings" / "readings_2024-01-05.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    home = replace(home, contract=home.contract.model_copy(update={"max_quarantined": 0.9}))
    home.ingest()
    assert [rule for _, rule, _ in home.states()] == ["below_minimum:units", "not_int64:units", "empty:units"]
    relaxed = home.under({**PARQUET, "columns": RELAXED["columns"]})
    assert [one.decided for one in relaxed.decide(release(), *home.all())] == [True, False, False]
    relaxed.decide(release(units="8"), home.one("not_int64:units"), home.one("empty:units"))
    assert home.units() == [-6, 5, 8, 8]
    bronze = home.lake.read("bronze/raw_readings")
    assert (len(set(bronze["at"].to_pylist())), sorted(bronze["meter"].to_pylist())) == (1, [1, 2, 3, 4])


def test_a_row_whose_file_was_replaced_stays_out(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record = home.one("not_int64:units")
    home.land(FIFTH, GOOD, GOOD, GOOD)
    home.ingest()
    text = words_of(home.decide(release(units="7"), record))
    assert text.startswith("stays open: its file is replaced (replaced by drop ")
    assert text.endswith("what is in force now rules")
    assert home.units() == [5, 5, 5]
    assert home.decide(DISCARD, record)[0].decided, "so that the list ends"


def test_discarded_rows_stay_in_the_table_and_in_the_account(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    before = home.row()
    assert words_of(home.decide(DISCARD, home.one("not_int64:units"))) == "discarded"
    assert home.states() == [(3, "not_int64:units", "discarded"), (4, "below_minimum:units", "open")]
    assert home.row() == before
    found = {row["rule"]: row for row in home.lake.read(QUARANTINE.name).to_pylist()}
    assert (found["not_int64:units"]["state"], found["not_int64:units"]["decided_by"]) == ("discarded", "Ada")
    (again,) = home.decide(DISCARD, home.one("not_int64:units", "discarded"))
    assert (again.ok, again.decided) == (True, False)
    assert "it was discarded already" in words_of(home.decide(release(units="7"), again.record))
    home.under(RELAXED).decide(release(), home.one("below_minimum:units"))
    assert home.units() == [-4, 5, 5]
