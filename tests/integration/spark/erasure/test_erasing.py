"""Tests of erasure in the lake: a person's key leaves every table and every old version, all is accounted for, and others are as they were.

Belongs here: the eraser on real tables and the engine sail. Does not belong here: crashes, ways back, other processes (beside), landing, formats and texts
(tests/unit/erasure).
"""

import json
import stat
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow.compute as pc
import pytest
from inhabited import DECLARED, METERS, NAME, PERSON, eraser, land, reading, request, state, traces

from ml_platform.erasure.eraser import Request
from ml_platform.erasure.persons import ErasureError, secret_file
from ml_platform.lake import erasures, ledger
from ml_platform.lake.schemas import ERASURES, QUARANTINE
from ml_platform.touched import touched_since

pytestmark = pytest.mark.integration


ERASED = {
    "silver": [(1, 1, 5), (6, 2, 5), (10, 3, 5)],
    "bronze": [1, 6, 10],
    "fates": {"erased": 7, "kept": 3, "superseded(replaced_drop)": 2},
    "quarantine": [(3, "below_minimum:units", "released")],
}


def finished(town: Any) -> None:
    """The end of every way there: nothing is left, all is accounted for, and others are as they were."""
    found = state(town)
    assert {name: found[name] for name in ERASED} == ERASED
    assert all(row.balanced for row in ledger.of_source(town.lake, "readings"))
    town.balance("readings")
    assert traces(town, PERSON) == []
    assert erasures.pending(town.lake) == []


def test_a_key_leaves_every_table_and_every_old_version(town: Any) -> None:
    before = town.lake.version("silver/readings_history")
    surveyed = eraser(town).survey(request())
    assert surveyed.rows == {"bronze/raw_readings": 5, "silver/readings_history": 4, QUARANTINE.name: 3}
    assert town.lake.version("silver/readings_history") == before
    assert not town.lake.exists(ERASURES.name)
    eraser(town).erase(request())
    finished(town)
    (row,) = town.lake.read(ERASURES.name).to_pylist()
    assert (row["requested_by"], row["reason"], row["place"]) == ("Ada", "she asked for it", "lake")
    assert json.loads(row["rows"]) == surveyed.rows
    assert row["digest"] == surveyed.digest
    assert row["completed_at"] >= row["requested_at"]
    assert stat.S_IMODE(secret_file(town.lake).stat().st_mode) == 0o600
    touched = touched_since(town.lake, town.contracts["readings"], before)
    assert set(touched["change"].to_pylist()) == {"removed"}
    assert {str(day) for day in touched["date"].to_pylist()} == {"2024-01-10", "2024-01-11", "2024-02-10", "2024-02-11"}


def test_history_and_tables_go_on_after_an_erasure(town: Any) -> None:
    commits = len(town.lake.commits_after("bronze/raw_readings", -1))
    eraser(town).erase(request())
    assert len(town.lake.commits_after("bronze/raw_readings", -1)) > commits, "what each commit said stays"
    land(town, "2024-02-12", reading(11, 4, "2024-02-12"))
    (report,) = town.prepare("readings")
    assert report.months == ("2024-02",)
    assert [row["reading_id"] for row in town.silver("readings")] == [1, 6, 10, 11]
    assert town.prepare("readings")[0].months == ()


def test_a_repetition_changes_nothing(town: Any) -> None:
    first = eraser(town).erase(request())
    names = ("bronze/raw_readings", "silver/readings_history", QUARANTINE.name, ledger.LEDGER.name, ERASURES.name)
    before = [town.lake.version(name) for name in names]
    assert eraser(town).erase(request(f"+{PERSON} ")).erasure_id == first.erasure_id
    assert eraser(town).erase(Request("readings", "person", "Bob", "again", digest=first.digest)) == first
    assert [town.lake.version(name) for name in names] == before


def test_a_hostile_text_is_a_key_like_others(town: Any) -> None:
    land(
        town,
        "2024-03-01",
        reading(60, 5, "2024-03-01", name=f"  {NAME} "),
        reading(61, 5, "2024-03-01", units=-1, name=NAME),
    )
    town.prepare("readings")
    assert traces(town, NAME)
    eraser(town).erase(request(NAME, "name"))
    assert traces(town, NAME) == []
    assert [row["reading_id"] for row in town.silver("readings")] == [1, 5, 6, 8, 9, 10]
    town.balance("readings")


@pytest.mark.parametrize("compacting", [False, True])
def test_texts_of_one_file_go_one_after_the_other(make_town: Any, compacting: bool) -> None:
    town = make_town("texts", *DECLARED)
    town.land("meters", "meters.csv", *METERS)
    names = ("Anna", "Bert", "Carl", "Dora")
    land(town, "2024-01-10", *(reading(number, number, name=name) for number, name in enumerate(names)))
    land(
        town,
        "2024-01-11",
        reading(10, 1, "2024-01-11", name="Bert"),
        reading(11, 2, "2024-01-11", units=-1, name="Carl"),
    )
    town.prepare("meters", "readings")
    for name, rows in (("Anna", 1), ("Bert", 2), ("Carl", 1)):
        assert eraser(town).erase(request(name, "name")).rows["bronze/raw_readings"] == rows
        assert traces(town, name) == []
        if compacting:
            town.lake.table("bronze/raw_readings").optimize.compact()
        town.balance("readings")
    kept = town.lake.read("bronze/raw_readings", where=pc.field("name").isin(["Dora", "Carl"])).to_pylist()
    assert [row["name"] for row in kept] == ["Dora"]
    assert town.lake.count("bronze/raw_readings", pc.field("drop_id") == kept[0]["drop_id"]) == 1
    land(town, "2024-01-10", reading(20, 4, name="Emil"))
    town.prepare("readings")
    assert [row["name"] for row in town.silver("readings")] == ["Emil"]


def test_a_number_that_a_file_spelled_with_a_fraction_goes_too(make_town: Any) -> None:
    """It was refused as no whole number: quarantine holds it, and landing."""
    town = make_town("fractions", *DECLARED)
    town.land("meters", "meters.csv", *METERS)
    land(town, "2024-01-10", reading(1, PERSON), reading(2, f"{PERSON}.0"), reading(3, 5))
    town.prepare("meters", "readings")
    assert eraser(town).erase(request()).rows == {
        "bronze/raw_readings": 1,
        "silver/readings_history": 1,
        QUARANTINE.name: 1,
    }
    assert traces(town, PERSON) == []
    (row,) = ledger.of_source(town.lake, "readings")
    assert (row.rows_in, row.rows_loaded, row.rows_quarantined, row.rows_erased) == (3, 1, 0, 2)


def test_an_erasure_is_settled_after_all_before_it_whatever_the_clock_says(make_town: Any) -> None:
    town = make_town("clock", *DECLARED)
    town.land("meters", "meters.csv", *METERS)
    land(town, "2024-01-10", reading(1, PERSON), reading(2, 2))
    land(town, "2024-01-11", reading(3, 2, "2024-01-11"))
    town.prepare("meters", "readings")
    rows = ledger.of_source(town.lake, "readings")
    ahead = [replace(row, settled_at=row.settled_at + timedelta(days=1000)) for row in rows]
    ledger.upsert(town.lake, ahead)
    eraser(town).erase(request())
    (row,) = [one for one in ledger.of_source(town.lake, "readings") if one.rows_erased]
    assert row.settled_at > max(one.settled_at for one in ahead)


def test_a_snapshot_and_what_looks_it_up(make_town: Any) -> None:
    """The key of a snapshot was taken into another source's silver: both are made anew, and forget."""
    town = make_town("snapshot", ("key: [meter_id]\n", "key: [meter_id]\npersonal: [kind]\n"))
    town.land("meters", "meters.csv", "1,Elm,Zyx77", "2,Oak,HOME")
    town.land("readings", "readings_2024-01-10.csv", *(f"{n},1,{n},2024-01-10T15:00:00Z,5,1.50" for n in (1, 2)))
    town.prepare("meters", "readings")
    found = eraser(town).erase(request("Zyx77", "kind", "meters"))
    assert found.rows["silver/readings_history"] == 1
    assert traces(town, "Zyx77") == []
    assert [row["reading_id"] for row in town.silver("readings")] == [2]
    assert town.fates("readings") == {"kept": 1, "quarantined(unknown_meter)": 1}
    town.land("meters", "meters.csv", "1,Elm,Zyx77", "2,Oak,SHOP")
    town.prepare("meters", "readings")
    assert [row["meter_id"] for row in town.silver("meters")] == [2]
    assert traces(town, "Zyx77") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"column": "units"},
            r"column 'units' of source 'readings' is not declared as a person's key \(declared: person, name\)",
        ),
        ({"value": "many"}, "the value is no int64, which column 'person'"),
    ],
)
def test_what_cannot_be_erased_says_why_and_never_the_value(town: Any, changes: dict[str, str], words: str) -> None:
    asked = Request(**{"source": "readings", "column": "person", "by": "Ada", "reason": "x", "value": "1", **changes})
    with pytest.raises(ErasureError, match=words) as raised:
        eraser(town).erase(asked)
    assert "many" not in str(raised.value)
    assert "many" not in repr(asked)
    assert not town.lake.exists(ERASURES.name)
