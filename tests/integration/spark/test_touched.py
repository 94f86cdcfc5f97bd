"""Tests of what is touched: exactly the dates and series whose kept rows a commit of silver changed, each once.

Belongs here: late, corrected, moved, replaced, deleted and released rows, crashes around the commit. Does not belong here: which months are made anew (test_silver).
"""

import json
from datetime import date
from typing import Any

import pytest

from ml_platform.lake.schemas import TOUCHED
from ml_platform.lake.staging import Staging
from ml_platform.series import series_id
from ml_platform.touched import touched_since

pytestmark = pytest.mark.integration
METERS = ("1,Elm,HOME", "2,Oak,HOME", "8,Oak,TEST")
ELM, OAK = (1, "Elm"), (1, "Oak")


def reading(number: int, at: str, meter: int = 1, units: int = 5) -> str:
    return f"{number},1,{meter},{at}T15:00:00Z,{units},1.50"


def at(town: Any) -> int:
    return int(town.lake.version("silver/readings_history"))


def since(town: Any, version: int, source: str = "readings") -> list[tuple[date | None, Any, str, int]]:
    rows = touched_since(town.lake, town.contracts[source], version).to_pylist()
    found = [
        (row["date"], row["key"] and tuple(json.loads(row["key"]).values()), row["change"], row["rows"]) for row in rows
    ]
    return sorted(found, key=str)


@pytest.fixture
def filled(town: Any) -> Any:
    town.land("meters", "meters.csv", *METERS)
    days = ("2024-01-28", "2024-01-29", "2024-01-30", "2024-01-31", "2024-02-01")
    for number, day in enumerate(days):
        town.land("readings", f"readings_{day}.csv", reading(2 * number, day), reading(2 * number + 1, day, meter=2))
    town.prepare("meters", "readings")
    return town


def test_a_first_build_is_one_row(filled: Any) -> None:
    assert since(filled, -1) == [(None, None, "all", 10)]
    assert since(filled, -1, "meters") == []


def test_a_file_three_days_late_touches_exactly_its_dates_and_series(filled: Any) -> None:
    before = at(filled)
    filled.land("readings", "readings_2024-02-01_late.csv", reading(50, "2024-01-29"), reading(51, "2024-01-30", 2))
    (report,) = filled.prepare("readings")
    assert since(filled, before) == [(date(2024, 1, 29), ELM, "added", 1), (date(2024, 1, 30), OAK, "added", 1)]
    found = touched_since(filled.lake, filled.contracts["readings"], before)
    assert set(found["silver_version"].to_pylist()) == {report.version}
    assert set(found["series_id"].to_pylist()) == {series_id(ELM), series_id(OAK)}
    assert since(filled, report.version) == []


def test_a_correction_that_changes_nothing_touches_nothing(filled: Any) -> None:
    """The same rows come from another file, at another place, on another day: only their provenance differs."""
    before = at(filled)
    filled.land("readings", "readings_2024-02-02.csv", reading(3, "2024-01-29", 2), reading(0, "2024-01-28"))
    (report,) = filled.prepare("readings")
    assert report.version > before
    assert since(filled, before) == []


def test_a_correction_touches_its_date_and_a_moved_row_both(filled: Any) -> None:
    before = at(filled)
    filled.land("readings", "readings_2024-02-02.csv", reading(0, "2024-01-28", units=6), reading(9, "2024-01-30", 2))
    filled.prepare("readings")
    assert since(filled, before) == [
        (date(2024, 1, 28), ELM, "changed", 1),
        (date(2024, 1, 30), OAK, "added", 1),
        (date(2024, 2, 1), OAK, "removed", 1),
    ]


def test_a_row_that_moves_to_another_series_touches_both(filled: Any) -> None:
    before = at(filled)
    filled.land("readings", "readings_2024-02-02.csv", reading(0, "2024-01-28", meter=2))
    filled.prepare("readings")
    day = date(2024, 1, 28)
    assert since(filled, before) == [(day, ELM, "removed", 1), (day, OAK, "added", 1)]


def test_a_replaced_file_touches_what_it_no_longer_holds(filled: Any) -> None:
    before = at(filled)
    filled.land("readings", "readings_2024-01-30.csv", reading(4, "2024-01-30"))
    filled.prepare("readings")
    assert since(filled, before) == [(date(2024, 1, 30), OAK, "removed", 1)]


def test_a_lookup_that_brings_a_row_and_moves_others_touches_them_alone(filled: Any) -> None:
    filled.land("readings", "readings_2024-02-02.csv", reading(60, "2024-02-02", meter=7))
    filled.prepare("readings")
    before = at(filled)
    assert since(filled, 0)[0][0] != date(2024, 2, 2)
    filled.land("meters", "meters.csv", "1,Elm,HOME", "2,Oak,HOME", "8,Oak,TEST", "7,Ash,HOME")
    (_, report) = filled.prepare("meters", "readings")
    assert report.months == ("2024-01", "2024-02")
    assert since(filled, before) == [(date(2024, 2, 2), (1, "Ash"), "added", 1)]


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("step", ["before the commit", "after the commit", "in the record"])
def test_a_crash_neither_loses_nor_doubles_what_is_touched(
    filled: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, commit = at(filled), Staging.commit

    def dies(self: Staging, *arguments: Any) -> int:
        if step == "after the commit":
            commit(self, *arguments)
        raise Crash

    filled.land("readings", "readings_2024-02-01_late.csv", reading(50, "2024-01-29"))
    with monkeypatch.context() as patch:
        if step == "in the record":
            patch.setattr("ml_platform.touched.Touches.record", dies)
        else:
            patch.setattr(Staging, "commit", dies)
        with pytest.raises(Crash):
            filled.prepare("readings")
    wanted = [(date(2024, 1, 29), ELM, "added", 1)]
    assert since(filled, before) == (wanted if step == "after the commit" else [])
    filled.lake.table("silver/readings_history").vacuum(
        retention_hours=0, enforce_retention_duration=False, dry_run=False
    )
    assert since(filled, before) == (wanted if step == "after the commit" else []), "another commit makes nothing true"
    filled.land("readings", "readings_2024-02-02.csv", reading(70, "2024-02-02", 2))
    filled.prepare("readings")
    filled.prepare("readings")
    assert since(filled, before) == [*wanted, (date(2024, 2, 2), OAK, "added", 1)]
    assert filled.lake.count(TOUCHED.name) == 3


def test_what_came_between_is_no_part_of_the_version(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer commits to the table while its months are made: what is touched has the version that they got."""
    before, adopt = at(filled), type(filled.lake).adopt

    def second(self: Any, *arguments: Any) -> int:
        self.table("silver/readings_history").alter.set_table_properties(
            {"delta.logRetentionDuration": "interval 9 days"}
        )
        return int(adopt(self, *arguments))

    filled.land("readings", "readings_2024-02-01_late.csv", reading(50, "2024-01-29"))
    with monkeypatch.context() as patch:
        patch.setattr(type(filled.lake), "adopt", second)
        (report,) = filled.prepare("readings")
    assert report.version == before + 2
    assert touched_since(filled.lake, filled.contracts["readings"], before)["silver_version"].to_pylist() == [
        before + 2
    ]
    assert len(since(filled, before)) == 1
