"""Tests of what the quarantine says: names of refusals, what is refused with which words, rules and ways out in words.

Belongs here: ids, sentences, homes of earlier versions. Does not belong here: what becomes of rows and files (test_rows, test_files).
"""

from dataclasses import replace

import pytest
from quarantine_home import DISCARD, FIFTH, GOOD, MANY, MINUS, SHORT, Home, release

from ml_platform.lake.schemas import QUARANTINE
from ml_platform.lake.store import TableSpec
from ml_platform.quarantine import (
    Order,
    QuarantineError,
    find,
)
from ml_platform.quarantine.words import rule_in_words


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


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("Ada", " ")])
def test_nothing_is_decided_without_a_name_and_a_reason(by: str, reason: str) -> None:
    with pytest.raises(QuarantineError, match="without a name and a reason"):
        Order("discard", by, reason)


def test_what_is_discarded_is_not_corrected() -> None:
    with pytest.raises(QuarantineError, match="leave the values out"):
        Order("discard", "Ada", "why", {"units": "1"})


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
