"""Readings of a small town and its panel, computed by hand in plain Python.

Belongs here: lines of readings, landing them, the panel that must come of them. Does not belong here: the town itself (conftest), what is asked (tests).
"""

import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow.compute as pc

from ml_platform.series import series_id

METERS = ("1,Elm,HOME", "2,Elm,SHOP", "3,Oak,SHOP", "4,Oak,SHOP", "8,Oak,TEST", "9,Ivy,TEST")
STREETS = {1: "Elm", 2: "Elm", 3: "Oak", 4: "Oak"}
AS_OF = date(2024, 2, 6)
FIRST = date(2024, 1, 25)


def town_of(days: list[date], seed: int = 1) -> dict[date, list[str]]:
    """Lines of readings by day, at noon in New York; district 3 begins late."""
    source, lines, number = random.Random(seed), defaultdict(list), 0
    for day in days:
        for _ in range(source.randint(0, 6)):
            number += 1
            district = source.choice([1, 2, 3] if day > FIRST + timedelta(days=6) else [1, 2])
            meter, units = source.choice(list(STREETS)), source.randint(0, 9)
            lines[day].append(f"{number},{district},{meter},{day}T17:00:00Z,{units},{units}.25")
    return lines


def land(town: Any, lines: dict[date, list[str]], days: list[date]) -> None:
    for day in days:
        town.land("readings", f"readings_{day}.csv", *lines[day])


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def by_hand(
    lines: dict[date, list[str]], as_of: date, step_of: Any, steps: list[Any], missing: str
) -> dict[tuple[str, Any], Any]:
    """(series_id, step) -> (target, weight), on every step from a series' first one to the horizon."""
    target: Counter[Any] = Counter()
    weight: dict[Any, Decimal] = defaultdict(Decimal)
    for line in (one for day, some in lines.items() if day <= as_of for one in some):
        _, district, meter, at, units, amount = line.split(",")
        key = (series_id([district, STREETS[int(meter)]]), step_of(datetime.fromisoformat(at)))
        target[key] += int(units)
        weight[key] += Decimal(amount)
    found = {}
    last_past = max(step for step in steps if step <= step_of(datetime.combine(as_of, datetime.max.time(), UTC)))
    for one in {key[0] for key in target}:
        start = min(step for key, step in target if key == one)
        for step in steps:
            if step >= start:
                nothing = (0, Decimal(0)) if missing == "zero" and step <= last_past else (None, None)
                found[one, step] = (target[one, step], weight[one, step]) if (one, step) in target else nothing
    return found


def panel_values(town: Any) -> dict[tuple[str, Any], Any]:
    rows = town.panel().to_pylist()
    found = {(row["series_id"], row["date"]): (row["target"], row["weight"]) for row in rows}
    assert len(found) == len(rows)
    assert all(row["month"] == f"{row['date']:%Y-%m}" for row in rows)
    return found


PLAIN = {"known_future": ()}
PLAN_LINES = {
    # known on the day in the name; meter, district, first and last day, level, crew, tariff
    "2024-01-20": [
        "1,1,2024-01-29,2024-02-04,2,a,1.500",
        "2,1,2024-01-29,2024-02-04,0,a,2.500",
        "3,2,2024-01-29,2024-02-04,1,a,4.000",
    ],
    "2024-02-06": ["1,1,2024-02-05,2024-02-11,1,a,3.000"],
    "2024-02-07": ["3,1,2024-02-05,2024-02-11,1,a,9.000", "1,3,2024-01-29,2024-02-04,1,a,9.000"],
}


def panel_fates_of(town: Any) -> Counter[str]:
    rows = town.lake.read("ops/row_fates", where=pc.field("stage") == "panel").to_pylist()
    found: Counter[str] = Counter()
    for row in rows:
        found[f"{row['fate']}({row['rule']})" if row["rule"] else row["fate"]] += row["rows"]
    return found
