"""Tests of catalogue and panel: equal to a computation by hand in plain Python.

Belongs here: what the panel holds, on the engine sail with real tables. Does not belong here: how it comes to that (test_by_day), silver, arrays, models.
"""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from panel_town import AS_OF, FIRST, METERS, PLAIN, PLAN_LINES, by_hand, days_between, land, panel_values, town_of

from ml_platform import features
from ml_platform.catalogue import catalogue_as_of, write_catalogue
from ml_platform.contracts import ContractError
from ml_platform.series import series_id, shard_of

pytestmark = pytest.mark.integration


def test_a_daily_panel_equals_the_one_by_hand(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF + timedelta(days=2)))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    report = town.make_panel(AS_OF, **PLAIN)
    steps = days_between(min(lines), AS_OF + timedelta(days=3))
    assert panel_values(town) == by_hand(lines, AS_OF, lambda at: at.date(), steps, "zero")
    assert report.rows == town.panel().num_rows
    assert {check.name for check in report.checks} == set(features.CHECKS)
    assert town.panel().schema.equals(features.panel_spec(town.inputs(**PLAIN)).schema)


def test_gaps_stay_empty(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, missing="gap", **PLAIN)
    steps = days_between(min(lines), AS_OF + timedelta(days=3))
    assert panel_values(town) == by_hand(lines, AS_OF, lambda at: at.date(), steps, "gap")


def test_weeks_that_begin_on_thursday(town: Any) -> None:
    first = date(2024, 1, 3)
    lines = town_of(days_between(first, AS_OF), seed=4)
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, frequency="W-THU", missing="gap", **PLAIN)

    def thursday(at: datetime) -> date:
        return at.date() - timedelta(days=(at.weekday() - 3) % 7)

    steps = [date(2023, 12, 28) + timedelta(weeks=n) for n in range(8)]
    assert steps[-4] == date(2024, 1, 25), "the week of the as-of day is not over: it is the first one to forecast"
    over = {day: rows for day, rows in lines.items() if day < steps[-3]}
    assert panel_values(town) == by_hand(over, AS_OF, thursday, steps, "gap")


def test_an_hourly_panel_equals_the_one_by_hand(make_town: Any) -> None:
    town = make_town("utc", (", business_timezone: America/New_York", ""))
    source, lines = random.Random(2), defaultdict(list)
    for number in range(60):
        at = datetime(2024, 1, 31, 5, 30, tzinfo=UTC) + timedelta(minutes=source.randint(0, 2400))
        lines[at.date()].append(f"{number},1,{source.choice([1, 3])},{at:%Y-%m-%dT%H:%M:%SZ},{number},1.10")
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    as_of = max(lines)
    town.make_panel(as_of, frequency="h", horizon=5, season_lengths=(24,), **PLAIN)
    steps = [
        datetime(2024, 1, 31, tzinfo=UTC) + timedelta(hours=n)
        for n in range(24 * len(days_between(date(2024, 1, 31), as_of)) + 5)
    ]
    assert panel_values(town) == by_hand(
        lines, as_of, lambda at: at.replace(minute=0, second=0, microsecond=0), steps, "zero"
    )


def test_hours_of_a_local_business_day_are_refused(town: Any) -> None:
    """The calendar of hours is UTC: a local day would lose its first or last hours without a word."""
    town.land("meters", "meters.csv", *METERS)
    land(town, town_of([FIRST]), [FIRST])
    town.prepare("meters", "readings")
    with pytest.raises(ContractError, match="business_timezone"):
        town.make_panel(AS_OF, frequency="h", **PLAIN)


def test_the_catalogue_knows_series_as_of_a_day(town: Any) -> None:
    def reading(number: int, day: str, meter: int = 1, district: int = 1) -> str:
        return f"{number},{district},{meter},{day}T17:00:00Z,1,1.00"

    rows = [
        ("2023-05-01", 3, 1),
        ("2023-05-02", 3, 1),
        ("2024-01-10", 1, 1),
        ("2024-01-10", 2, 1),
        ("2024-01-12", 2, 1),
    ]
    rows += [
        ("2024-01-12", 1, 1),
        ("2024-01-20", 1, 1),
        ("2024-01-10", 3, 2),
        ("2024-01-10", 8, 1),
        ("2024-01-10", 9, 1),
    ]
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-20.csv", *(reading(n, *row) for n, row in enumerate(rows)))
    town.prepare("meters", "readings")
    inputs = town.inputs(min_active_days=2)
    found = {(row["district"], row["street"]): row for row in write_catalogue(inputs, date(2024, 1, 15)).to_pylist()}
    elm = found[1, "Elm"]
    assert (elm["first_date"], elm["last_date"], elm["active_days"], elm["state"]) == (
        date(2024, 1, 10),
        date(2024, 1, 12),
        2,
        "active",
    )
    assert elm["kind"] == "HOME"  # two of each by then: the first by alphabet
    assert (elm["series_id"], elm["shard"]) == (series_id([1, "Elm"]), shard_of(series_id([1, "Elm"]), 16))
    assert (found[1, "Oak"]["state"], found[1, "Oak"]["reason"]) == ("dormant", "no row for more than 182 days")
    assert (found[2, "Oak"]["state"], found[2, "Oak"]["reason"]) == ("new", "fewer than 2 active days: not judged")
    assert (found[1, "Ivy"]["state"], found[1, "Ivy"]["reason"], found[1, "Ivy"]["active_days"]) == (
        "excluded",
        "not_for_sale",
        0,
    )
    assert len(found) == 4
    later = {
        row["street"]: row for row in catalogue_as_of(inputs, date(2024, 1, 20)).to_pylist() if row["district"] == 1
    }
    assert later["Elm"]["active_days"] == 3
    at = {day: catalogue_as_of(inputs, date(2024, 1, day)).to_pylist() for day in (12, 13, 15)}
    before = {day: next(row for row in rows if row["series_id"] == elm["series_id"]) for day, rows in at.items()}
    assert [before[day]["days_before_fold"] for day in (12, 13, 15)] == [0, 1, 2], "a fold is three days long"
    version = town.lake.version("silver/series_catalogue")
    write_catalogue(inputs, date(2024, 1, 15))
    assert town.lake.version("silver/series_catalogue") == version


def test_covariates_are_shares_and_means_of_what_was_known(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    lines = {
        day: [
            f"{10 * n + district},{district},{meter},{day}T17:00:00Z,1,1.00"
            for district, meter in ((1, 1), (2, 3), (3, 1), (4, 3))
        ]
        for n, day in enumerate(days_between(FIRST, AS_OF))
    }
    land(town, lines, list(lines))
    for day, plans in PLAN_LINES.items():
        town.land("plans", f"plans_{day}.csv", *plans)
    town.prepare("meters", "readings", "plans")
    town.make_panel(AS_OF)
    found = {
        (row["series_id"], row["date"]): (row["share_planned"], row["mean_tariff"], row["known_from"])
        for row in town.panel().to_pylist()
    }

    def said(district: int, street: str, day: date) -> Any:
        return found[series_id([district, street]), day]

    first, second, nothing = date(2024, 1, 20), date(2024, 2, 6), date(2024, 1, 28)
    # one of the two meters of Elm street is planned; the mean is over both plans
    assert said(1, "Elm", date(2024, 2, 1)) == (0.5, 2.0, first)
    # one of three meters of Oak street (the test meter is one of them)
    assert said(2, "Oak", date(2024, 2, 4)) == (1 / 3, 4.0, first)
    # the future is known as far as the newest drop of the as-of day says, and nothing that came later
    assert said(1, "Elm", date(2024, 2, 9)) == (0.5, 3.0, second)
    # district 2 is covered, the source speaks of the day and has no row: 0, and no mean
    assert said(2, "Oak", date(2024, 2, 9)) == (0.0, None, second)
    # the source says nothing of the day
    assert said(1, "Elm", nothing) == (None, None, None)
    # districts of which the source never spoke, or only after the as-of day
    assert said(4, "Oak", date(2024, 2, 1)) == (None, None, first)
    assert said(3, "Elm", date(2024, 2, 1)) == (None, None, first)
