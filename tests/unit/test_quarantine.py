"""Tests of the quarantine: every way in and out of it at bronze, with an account of each file that is kept beside the platform.

Belongs here: releasing and discarding, crashes in between, what is refused with which words. Does not belong here: silver (integration), the
terminal (test_cli_quarantine).
"""

import csv
import json
import os
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import feeds
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform import expectations
from ml_platform.calendar import Calendar
from ml_platform.checks import Blocked, CheckResult
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, decisions, ledger
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED
from ml_platform.lake.schemas import DECISIONS, QUARANTINE
from ml_platform.lake.store import TableSpec
from ml_platform.landing import LocalLanding
from ml_platform.quarantine import (
    Order,
    Outcome,
    Quarantine,
    QuarantineError,
    Record,
    Selection,
    find,
    read_records,
    words,
)
from ml_platform.quarantine.words import rule_in_words

READINGS: dict[str, Any] = {
    **feeds.READINGS,
    "columns": {
        "meter": {"type": "int64"},
        "at": {"type": "timestamp"},
        "units": {"type": "int64", "min": 0, "unit": "kWh"},
        "note": {"type": "string", "nullable": True, "allowed": ["ok", "guess"]},
    },
    "panel": {"target": True},
}
RELAXED = {**READINGS, "columns": {**READINGS["columns"], "units": {"type": "int64"}}}
PARQUET = {**READINGS, "path": "readings_{day}*.parquet", "format": {"type": "parquet"}}
SNAPSHOT = {**READINGS, "kind": "snapshot", "path": "*.csv", "time": None, "panel": {}}
TARGET = {**READINGS, "name": "others"}
YEARS = timedelta(days=1000)
YEAR = Calendar(date(2024, 1, 1), date(2024, 12, 31))
AT = "2024-01-05T10:00:00Z"
FIFTH = "readings_2024-01-05.csv"
GOOD, MANY, MINUS, SHORT = f"1,{AT},5,ok", f"2,{AT},many,ok", f"3,{AT},-4,", f"4,{AT}"
CLOCK = iter(range(1, 10_000))


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


def crash(*arguments: object, **named: object) -> None:
    raise Crash


@dataclass(frozen=True)
class Home:
    """A source with landing, lake and quarantine; `contract` is today's."""

    root: Path
    contract: SourceContract

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    @property
    def quarantine(self) -> Quarantine:
        declared = [self.contract]
        if not self.contract.panel.target:
            declared.append(SourceContract.model_validate(TARGET))
        return Quarantine(Contracts(sources=tuple(declared)), self.door)

    def door(self, contract: SourceContract, calendar: Calendar = YEAR) -> Ingestion:
        return Ingestion(self.lake, LocalLanding(self.root / "landing"), contract, "by hand", calendar)

    def under(self, contract: dict[str, Any]) -> "Home":
        return replace(self, contract=SourceContract.model_validate(contract))

    def land(self, name: str, *lines: str, header: str = "meter,at,units,note") -> Path:
        """Every landing is a second later than the one before."""
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *lines]) + "\n")
        return self.stamp(path)

    def stamp(self, path: Path) -> Path:
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(CLOCK)
        os.utime(path, (at, at))
        return path

    def ingest(self, calendar: Calendar = YEAR) -> None:
        door = self.door(self.contract, calendar)
        door.run(door.due(calendar.first, calendar.last))
        self.balance()

    def decide(self, order: Order, *wanted: Record) -> list[Outcome]:
        outcomes = self.quarantine.decide(order, wanted)
        self.balance()
        return outcomes

    def all(self) -> list[Record]:
        return read_records(self.lake)

    def one(self, rule: str, state: str = "open") -> Record:
        (found,) = (record for record in self.all() if (record.rule, record.state) == (rule, state))
        return found

    def states(self) -> list[tuple[int | None, str, str]]:
        return sorted(((one.row_number, one.rule, one.state) for one in self.all()), key=str)

    def units(self) -> list[int]:
        return sorted(self.lake.read("bronze/raw_readings")["units"].to_pylist())

    def row(self) -> ledger.LedgerRow:
        (found,) = ledger.of_source(self.lake, "readings")
        return found

    def balance(self) -> None:
        """R5, counted from the files: every line of a loaded file is a row of bronze or a refusal that was not released."""
        for drop in ledger.of_source(self.lake, "readings"):
            assert drop.balanced, drop
            bronze = self.lake.count("bronze/raw_readings", pc.field("drop_id") == drop.drop_id)
            assert bronze == (drop.rows_loaded if drop.state == LOADED else 0)
            left = [one for one in self.all() if one.drop_id == drop.drop_id and one.state != "released"]
            if drop.state == LOADED:
                assert drop.rows_quarantined == len([one for one in left if not one.whole])
                assert drop.rows_in == self.lines(drop.path) == bronze + drop.rows_quarantined
        numbers = self.lake.read("bronze/raw_readings", ["drop_id", "row_number"]).to_pylist()
        assert len({(row["drop_id"], row["row_number"]) for row in numbers}) == len(numbers), "no row is there twice"

    def lines(self, path: str) -> int:
        file = self.root / "landing" / path
        if file.suffix == ".parquet":
            return int(pq.read_metadata(file).num_rows)
        with file.open(newline="") as text:
            return sum(1 for _ in csv.reader(text)) - 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, SourceContract.model_validate(READINGS))


def release(**corrections: str) -> Order:
    return Order("release", "Ada", "the meter was read again", corrections)


DISCARD = Order("discard", "Ada", "a broken meter")


def words_of(outcomes: list[Outcome]) -> str:
    (found,) = outcomes
    return found.words


def test_every_refusal_has_a_name_that_stays(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS, SHORT, GOOD, GOOD)
    home.ingest()
    names = [one.quarantine_id for one in home.all()]
    assert len(set(names)) == 3
    assert home.lake.read(QUARANTINE.name)["quarantine_id"].null_count == 0
    home.ingest()
    assert [one.quarantine_id for one in home.all()] == names
    assert find(home.lake, [names[0][:9], names[0]]) == [home.all()[0]]


@pytest.mark.parametrize(("text", "why"), [("zz", "none of them"), ("", "none of them")])
def test_an_id_that_means_nothing_is_named(home: Home, text: str, why: str) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    with pytest.raises(QuarantineError, match=f"'{text}', it is {why}; see `ml-platform quarantine list`"):
        find(home.lake, [text])


def test_an_id_that_fits_several_asks_for_more(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    same = [replace(one, quarantine_id=f"ab{n}") for n, one in enumerate(home.all())]
    monkeypatch.setattr("ml_platform.quarantine.records.read_records", lambda lake: same)
    with pytest.raises(QuarantineError, match="fits 2 of them: write more"):
        find(home.lake, ["ab"])


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


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("Ada", " ")])
def test_nothing_is_decided_without_a_name_and_a_reason(by: str, reason: str) -> None:
    with pytest.raises(QuarantineError, match="without a name and a reason"):
        Order("discard", by, reason)


def test_what_is_discarded_is_not_corrected() -> None:
    with pytest.raises(QuarantineError, match="leave the values out"):
        Order("discard", "Ada", "why", {"units": "1"})


# whole files


def test_a_file_outside_the_calendar_is_due_again_and_loads_once_the_calendar_holds_it(home: Home) -> None:
    home.land("readings_2025-01-05.csv", GOOD, MINUS)
    home.ingest()
    door = home.door(home.contract)
    assert door.due(YEAR.first, YEAR.last) == []
    assert "it is due again" in words_of(home.decide(release(), home.one("outside_calendar")))
    assert [drop.path for drop in door.due(YEAR.first, YEAR.last)] == ["readings/readings_2025-01-05.csv"]
    home.ingest(Calendar(YEAR.first, date(2025, 12, 31)))
    assert (home.row().state, home.row().attempt, home.units()) == (LOADED, 2, [5])
    assert home.states() == [(3, "below_minimum:units", "open"), (None, "outside_calendar", "released")]
    assert door.due(YEAR.first, YEAR.last) == []
    home.under(RELAXED).decide(release(), home.one("below_minimum:units"))
    assert (home.row().attempt, home.units()) == (3, [-4, 5])


def test_a_file_that_is_as_bad_as_before_is_refused_under_a_new_name(home: Home) -> None:
    home.land(FIFTH, "1,2", header="meter,at")
    home.ingest()
    first = home.one("missing_columns")
    home.decide(release(), first)
    home.ingest()
    second = home.one("missing_columns")
    assert (home.row().state, home.row().attempt) == (QUARANTINED, 2)
    assert second.quarantine_id != first.quarantine_id
    assert home.door(home.contract).due(YEAR.first, YEAR.last) == []
    assert "released already" in words_of(home.decide(release(), first))
    home.decide(release(), second)
    home.ingest()
    assert home.row().attempt == 3


def test_a_file_that_was_mostly_bad_takes_its_rows_with_it(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS, SHORT)
    home.ingest()
    whole, row = home.one("too_many_refused"), home.one("below_minimum:units")
    for order in (release(), DISCARD):
        text = words_of(home.decide(order, row))
        assert text == f"stays open: its file is refused as a whole: decide about the file, {whole.quarantine_id}"
    home.decide(release(), whole)
    assert {state for _, _, state in home.states()} == {"released"}
    patient = replace(home, contract=home.contract.model_copy(update={"max_quarantined": 0.9}))
    patient.ingest()
    assert (home.row().state, home.row().rows_loaded, home.row().rows_quarantined) == (LOADED, 1, 3)
    assert len([state for _, _, state in home.states() if state == "open"]) == 3
    patient.decide(release(units="7"), home.one("not_int64:units"))
    assert home.units() == [5, 7]


def test_a_discarded_file_stays_refused_with_its_rows(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, MINUS)
    home.ingest()
    home.decide(DISCARD, home.one("too_many_refused"))
    assert {state for _, _, state in home.states()} == {"discarded"}
    home.ingest()
    assert (home.row().state, home.row().attempt) == (QUARANTINED, 1)


def test_a_file_is_not_released_with_a_value_nor_once_it_has_gone_or_changed(home: Home) -> None:
    path = home.land(FIFTH, "1,2", header="meter,at")
    home.ingest()
    record = home.one("missing_columns")
    assert "no single value to set" in words_of(home.decide(release(units="1"), record))
    home.stamp(path)
    assert "does not lie in landing any more" in words_of(home.decide(release(), record))
    path.unlink()
    assert "land the file again" in words_of(home.decide(release(), record))
    assert not home.lake.exists(DECISIONS.name)


def test_a_file_is_not_released_over_a_newer_version(home: Home) -> None:
    home.land(FIFTH, "1,2", header="meter,at")
    home.ingest()
    record = home.one("missing_columns")
    home.land(FIFTH, GOOD)
    home.ingest()
    text = words_of(home.decide(release(), record))
    assert f"{record.path} was loaded after it" in text
    assert "the newer version rules" in text


def test_a_delivery_of_a_snapshot_is_not_released_over_a_newer_one(home: Home) -> None:
    home = home.under(SNAPSHOT)
    home.land("january.csv", "1,2", header="meter,at")
    home.ingest()
    home.land("february.csv", GOOD)
    home.ingest()
    text = words_of(home.decide(release(), home.one("missing_columns")))
    assert "readings/february.csv was loaded after it" in text
    home.ingest()
    assert home.units() == [5]


def test_a_newer_version_that_was_refused_replaces_the_older_one_once_it_is_released(home: Home) -> None:
    home.land(FIFTH, GOOD)
    home.ingest()
    home.land(FIFTH, f"1,{AT},6,ok", MINUS, MINUS)
    door = home.door(home.contract)
    door.run(door.due(YEAR.first, YEAR.last))
    assert home.units() == [5]
    relaxed = home.under(RELAXED)
    relaxed.quarantine.decide(release(), [home.one("too_many_refused")])
    relaxed.ingest()
    assert home.units() == [-4, -4, 6]
    assert sorted(row.state for row in ledger.of_source(home.lake, "readings")) == [LOADED, REPLACED]


def test_a_released_file_with_bytes_that_are_in_force_elsewhere_is_a_duplicate(home: Home) -> None:
    later = Calendar(YEAR.first, date(2025, 12, 31))
    home.land("readings_2025-01-05_a.csv", GOOD)
    home.ingest()
    home.land("readings_2025-01-05_b.csv", GOOD)
    home.ingest(later)
    home.decide(release(), home.one("outside_calendar"))
    home.ingest(later)
    assert sorted(row.state for row in ledger.of_source(home.lake, "readings")) == [DUPLICATE, LOADED]
    assert home.units() == [5]


# crashes, checks, other processes


@pytest.mark.parametrize("place", ["project", "_project_one", "record", "upsert", "apply"])
def test_a_crash_between_commit_and_projection_of_a_release_heals(
    home: Home, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The bronze commit is the truth: the row is there once, and so is the decision."""
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    record, bring = home.one("not_int64:units"), Ingestion.bring

    def dies(self: Ingestion, *arguments: Any) -> Any:
        monkeypatch.setattr(decisions if place in ("record", "apply") else ledger, place, crash)
        return bring(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ingestion, "bring", dies)
        with pytest.raises(Crash):
            home.quarantine.decide(release(units="7"), [record])
    monkeypatch.undo()
    assert home.units() == [5, 5, 7], "the commit stands"
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["open", "open"], "nothing followed from it yet"
    (one,) = home.decide(release(units="8"), record)
    assert (one.ok, one.decided, "released already" in one.words) == (True, False, True)
    assert home.units() == [5, 5, 7]
    assert home.states() == [(3, "not_int64:units", "released"), (4, "below_minimum:units", "open")]
    assert home.lake.count(DECISIONS.name) == 1


def test_a_crash_before_the_commit_leaves_everything_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append", crash)
        with pytest.raises(Crash):
            home.quarantine.decide(release(units="7"), home.all())
    home.balance()
    assert home.states() == [(3, "not_int64:units", "open")]
    home.decide(release(units="7"), *home.all())
    assert home.units() == [5, 7]


def test_a_discard_that_a_crash_cut_off_from_the_table_is_decided(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record = decisions.record

    def dies_afterwards(*arguments: Any) -> None:
        record(*arguments)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(decisions, "record", dies_afterwards)
        with pytest.raises(Crash):
            home.quarantine.decide(DISCARD, home.all())
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["open"]
    assert home.states() == [(3, "not_int64:units", "discarded")], "the log is the truth"
    home.ingest()
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["discarded"]
    assert "discarded already" in words_of(home.decide(release(units="7"), *home.all()))


def test_a_released_file_whose_run_dies_before_its_ledger_row_is_settled_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land("readings_2025-01-05.csv", GOOD)
    home.ingest()
    home.decide(release(), *home.all())
    later, door = Calendar(YEAR.first, date(2025, 12, 31)), home.door(home.contract, Calendar(YEAR.first))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "upsert", crash)
        with pytest.raises(Crash):
            door.run(door.due(YEAR.first, later.last))
    home.ingest(later)
    assert (home.row().state, home.row().attempt, home.units()) == (LOADED, 2, [5])


def test_of_two_that_release_at_once_one_waits_and_learns_what_was_decided(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record, bring, later = home.one("not_int64:units"), Ingestion.bring, []

    with ThreadPoolExecutor(1) as other:

        def meanwhile(self: Ingestion, *arguments: Any) -> Any:
            monkeypatch.setattr(Ingestion, "bring", bring)
            later.append(other.submit(home.quarantine.decide, release(units="7"), [record]))
            wait(later, timeout=0.5)
            assert not later[0].done()
            return bring(self, *arguments)

        monkeypatch.setattr(Ingestion, "bring", meanwhile)
        first = home.quarantine.decide(release(units="8"), [record])
    assert [one.decided for one in first] == [True]
    assert [(one.decided, "released already" in one.words) for one in later[0].result()] == [(False, True)]
    home.balance()
    assert home.units() == [5, 8]


def test_a_release_that_fails_a_check_commits_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    with monkeypatch.context() as patch:
        patch.setattr(expectations, "validate", lambda *_: CheckResult("expectations", False, "planted"))
        with pytest.raises(Blocked, match="planted"):
            home.decide(release(units="7"), *home.all())
    assert home.states() == [(3, "not_int64:units", "open")]
    assert home.units() == [5]


def test_a_home_of_an_earlier_version_is_brought_along(home: Home) -> None:
    """Its quarantine has no names and no columns for decisions."""
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    new, named = QUARANTINE.schema.names.index("quarantine_id"), [one.quarantine_id for one in home.all()]
    rows = home.lake.read(QUARANTINE.name).select(QUARANTINE.schema.names[:new])
    (home.root / "lake" / "ops" / "quarantine").rename(home.root / "gone")
    home.lake.append(TableSpec(QUARANTINE.name, rows.schema), rows)
    assert [one.quarantine_id for one in home.all()] == named
    home.decide(release(units="7"), home.one("not_int64:units"))
    assert home.states() == [(3, "not_int64:units", "released"), (4, "below_minimum:units", "open")]


# words


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("below_minimum:units", "units must be at least 0 kWh"),
        ("above_maximum:units", "units is no longer held to above_maximum by the contract"),
        ("not_allowed:note", "note must be one of ok, guess"),
        ("empty:meter", "meter must not be empty"),
        ("not_int64:meter", "meter must be a value of type int64"),
        ("not_int64:gone", "gone is no column of today's contract"),
        ("unknown_format", "a file's name must match 'readings_{day}*.csv'"),
        ("too_many_refused", "at most 50% of a file's rows may be refused"),
        ("missing_columns", "a file must have all columns: meter, at, units, note"),
        ("something_new", "rule 'something_new'"),
    ],
)
def test_a_rule_is_said_in_words(home: Home, rule: str, text: str) -> None:
    assert rule_in_words(rule, home.contract) == text


def test_what_can_be_done_is_said_with_commands(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY, GOOD)
    home.land("readings_2024-01-06.csv", "1,2", header="meter,at")
    home.ingest()
    row, file = home.one("not_int64:units"), home.one("missing_columns")
    assert [f"quarantine release {row.quarantine_id}" in text for text in home.quarantine.options(row)] == [
        True,
        False,
        False,
    ]
    assert any("--set COLUMN=VALUE" in text for text in home.quarantine.options(row))
    assert not any("--set" in text for text in home.quarantine.options(file))
    home.decide(DISCARD, row)
    assert home.quarantine.options(home.one(row.rule, "discarded")) == [
        "nothing: it was discarded by Ada (a broken meter)"
    ]


def test_a_row_without_its_ledger_row_waits_for_it(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    situation = words.Situation(home.door(home.contract))
    assert "run `ml-platform run ingest`" in (
        words.no_release(replace(home.one("not_int64:units"), drop=None), situation) or ""
    )
