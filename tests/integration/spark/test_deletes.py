"""Tests of deletes: rows that take their key out of silver, in any order of deliveries, with an account that balances.

Belongs here: sources that declare `deletes`, on the engine sail. Does not belong here: other fates (test_silver), erasure, the JVM (test_jvm).
"""

from itertools import permutations
from typing import Any

import pytest

from ml_platform.fates import DELETED

pytestmark = pytest.mark.integration
METERS = ("1,Elm,HOME", "2,Elm,HOME", "8,Oak,TEST")
DECLARED = (
    (
        '  amount: {type: "decimal(12,2)"}\n',
        '  amount: {type: "decimal(12,2)"}\n  op: {type: string, nullable: true}\n',
    ),
    ("max_quarantined: 0.9\n", 'max_quarantined: 0.9\ndeletes: {column: op, values: [D, "it\'s gone"]}\n'),
)
JANUARY, FEBRUARY = "2024-01-10T15:00:00Z", "2024-02-10T15:00:00Z"
GONE = f"deleted({DELETED})"


def reading(number: int, op: str = "", at: str = JANUARY, meter: int = 1, units: int = 5) -> str:
    return f"{number},1,{meter},{at},{units},1.50,{op}"


@pytest.fixture
def town(make_town: Any) -> Any:
    found = make_town("deletes", *DECLARED)
    found.land("meters", "meters.csv", *METERS)
    return found


def land(town: Any, day: str, *rows: str, part: str = "") -> None:
    town.land("readings", f"readings_2024-{day}{part}.csv", *rows, more=",op")


def kept(town: Any) -> list[tuple[int, int]]:
    return [(row["reading_id"], row["units"]) for row in town.silver("readings")]


def test_a_delete_takes_its_key_and_a_later_row_brings_it_back(town: Any) -> None:
    land(town, "01-10", reading(1), reading(1, units=6), reading(2))
    land(town, "01-11", reading(1, "D", units=0))
    town.prepare("meters", "readings")
    assert kept(town) == [(2, 5)]
    assert town.fates("readings") == {GONE: 3, "kept": 1}
    land(town, "01-12", reading(1, units=9))
    town.prepare("readings")
    assert kept(town) == [(1, 9), (2, 5)]
    assert town.fates("readings") == {GONE: 3, "kept": 2}
    land(town, "01-13", reading(1, "it's gone"), reading(1, units=7), reading(1, units=7))
    town.prepare("readings")
    assert kept(town) == [(1, 7), (2, 5)]
    assert town.fates("readings") == {GONE: 5, "duplicate(key_occurs_again)": 1, "kept": 2}


def test_a_delete_meets_its_key_in_another_month_and_keeps_it_out(town: Any) -> None:
    """Also when that month is made anew for other rows alone."""
    land(town, "01-31", reading(1), reading(2))
    land(town, "02-10", reading(1, "D", at=FEBRUARY))
    town.prepare("meters", "readings")
    assert kept(town) == [(2, 5)]
    land(town, "01-30", reading(3))
    (report,) = town.prepare("readings")
    assert report.months == ("2024-01",)
    assert kept(town) == [(2, 5), (3, 5)]
    assert town.fates("readings") == {GONE: 2, "kept": 2}


def test_where_a_file_without_the_delete_replaces_one_with_it_the_key_comes_back(town: Any) -> None:
    land(town, "01-31", reading(1), reading(2))
    land(town, "02-10", reading(1, "D", at=FEBRUARY), reading(4, at=FEBRUARY))
    town.prepare("meters", "readings")
    assert kept(town) == [(2, 5), (4, 5)]
    land(town, "02-10", reading(4, at=FEBRUARY))
    town.prepare("readings")
    assert kept(town) == [(1, 5), (2, 5), (4, 5)]


def test_a_delete_needs_no_lookup_and_no_exclusion_holds_it_up(town: Any) -> None:
    land(town, "01-10", reading(1), reading(2), reading(3))
    land(town, "01-11", reading(1, "D", meter=7), reading(2, "D", meter=8), reading(99, "D"))
    town.prepare("meters", "readings")
    assert kept(town) == [(3, 5)]
    assert town.fates("readings") == {GONE: 5, "kept": 1}


def test_a_row_that_waited_for_its_lookup_follows_the_delete(town: Any) -> None:
    land(town, "01-10", reading(1, meter=7), reading(2, meter=7))
    land(town, "01-11", reading(1, "D"))
    town.prepare("meters", "readings")
    assert town.fates("readings") == {GONE: 1, "quarantined(unknown_meter)": 2}
    town.land("meters", "meters.csv", *METERS, "7,Ash,HOME")
    town.prepare("meters", "readings")
    assert kept(town) == [(2, 5)]
    assert town.fates("readings") == {GONE: 2, "kept": 1}


def test_the_order_of_arrival_within_days_does_not_matter(make_town: Any) -> None:
    """Drop days rule: each order of three deliveries, prepared one by one, ends the same."""
    found = set()
    deliveries = (("01-10", reading(1)), ("01-11", reading(1, "D")), ("01-12", reading(1, units=8)))
    for number, order in enumerate(permutations(deliveries)):
        town = make_town(f"order-{number}", *DECLARED)
        town.land("meters", "meters.csv", *METERS)
        town.prepare("meters")
        for day, row in order:
            land(town, day, row)
            town.prepare("readings")
        found.add((*kept(town), *town.fates("readings").items()))
    assert found == {((1, 8), (GONE, 2), ("kept", 1))}


def test_the_panel_follows_a_delete(town: Any) -> None:
    from datetime import date

    land(town, "01-10", reading(1, units=5), reading(2, units=3))
    town.land("plans", "plans_2024-01-05.csv", "1,1,2024-01-08,2024-01-14,3,north,1.5")
    town.prepare("meters", "plans", "readings")
    town.make_panel(date(2024, 1, 12))
    land(town, "01-11", reading(1, "D"))
    town.prepare("readings")
    town.make_panel(date(2024, 1, 12))
    assert sum(value or 0 for value in town.panel()["target"].to_pylist()) == 3
