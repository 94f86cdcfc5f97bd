"""Tests of files in quarantine: a file that was refused as a whole is due again, stays refused, or is too old to come back.

Belongs here: whole files and their rows. Does not belong here: single rows (test_rows), crashes (test_crashes).
"""

from dataclasses import replace
from datetime import date

from quarantine_home import (
    AT,
    DISCARD,
    FIFTH,
    GOOD,
    MANY,
    MINUS,
    RELAXED,
    SHORT,
    SNAPSHOT,
    YEAR,
    Home,
    release,
    words_of,
)

from ml_platform.calendar import Calendar
from ml_platform.lake import ledger
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED
from ml_platform.lake.schemas import DECISIONS


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
