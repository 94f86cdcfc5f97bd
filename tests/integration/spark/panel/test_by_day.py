"""Tests of the panel day by day: it is the one from scratch, and only what was touched is made anew.

Belongs here: as-of days, corrections, months, compaction. Does not belong here: what the panel holds (test_by_hand).
"""

import json
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from panel_town import (
    AS_OF,
    FIRST,
    METERS,
    PLAIN,
    PLAN_LINES,
    days_between,
    land,
    panel_fates_of,
    panel_values,
    town_of,
)

from ml_platform import backlog
from ml_platform.lake import TableSpec
from ml_platform.lake.compaction import compact
from ml_platform.lake.files import written
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.lake.store import folder
from ml_platform.maintenance import tables, vacuum
from ml_platform.preparation import MONTHS_KEY

pytestmark = pytest.mark.integration


def test_nothing_newer_than_the_as_of_day_is_in_the_panel(town: Any, make_town: Any) -> None:
    """A home that holds the future makes the panel of one that does not know it."""
    lines, homes = town_of(days_between(FIRST, AS_OF + timedelta(days=5))), []
    for name, knows in (("past", AS_OF), ("future", AS_OF + timedelta(days=5))):
        home = make_town(name)
        home.land("meters", "meters.csv", *METERS)
        land(home, lines, [day for day in lines if day <= knows])
        for day, plans in PLAN_LINES.items():
            if date.fromisoformat(day) <= knows:
                home.land("plans", f"plans_{day}.csv", *plans)
        home.prepare("meters", "readings", "plans")
        home.make_panel(AS_OF)
        homes.append(home.panel())
    assert homes[0].equals(homes[1])


def test_day_by_day_is_the_panel_from_scratch(town: Any, make_town: Any) -> None:
    """A day more, a late row, a new series, a correction, plans for the past and for a district that had none."""
    lines = town_of(days_between(FIRST, AS_OF + timedelta(days=1)), seed=3)
    late = [f"9001,1,3,{FIRST - timedelta(days=30)}T17:00:00Z,4,4.00", f"9002,5,1,{FIRST}T17:00:00Z,2,2.00"]

    def happen(home: Any, number: int) -> None:
        """The `number`-th thing that happens to a home."""
        if number == 0:
            home.land("meters", "meters.csv", *METERS)
            land(home, lines, [day for day in lines if day <= AS_OF])
            home.land("plans", "plans_2024-01-20.csv", *PLAN_LINES["2024-01-20"])
        elif number == 1:
            land(home, lines, [AS_OF + timedelta(days=1)])
        elif number == 2:
            home.land("readings", "readings_2024-02-07_late.csv", *late)
        elif number == 3:
            home.land("readings", f"readings_{FIRST + timedelta(days=1)}.csv", *lines[FIRST + timedelta(days=1)][1:])
        else:
            home.land("plans", "plans_2024-02-07.csv", *PLAN_LINES["2024-02-07"])

    slow = make_town("slow")
    for number, as_of in enumerate([AS_OF, *[AS_OF + timedelta(days=1)] * 4]):
        happen(slow, number)
        slow.prepare("meters", "readings", "plans")
        slow.make_panel(as_of)
    fast = make_town("fast")
    for number in range(5):
        happen(fast, number)
    fast.prepare("meters", "readings", "plans")
    fast.make_panel(AS_OF + timedelta(days=1))
    assert slow.panel().equals(fast.panel())
    assert slow.panel().num_rows > 100


def test_a_plan_that_becomes_known_with_the_day_changes_the_past(town: Any, make_town: Any) -> None:
    """It lay in silver before, unseen; its drop day is after the first as-of day and its validity in an older month."""
    lines = town_of(days_between(FIRST, AS_OF + timedelta(days=1)), seed=3)
    homes = []
    for name, days in (("slow", [AS_OF, AS_OF + timedelta(days=1)]), ("fast", [AS_OF + timedelta(days=1)])):
        home = make_town(name)
        home.land("meters", "meters.csv", *METERS)
        land(home, lines, list(lines))
        home.land("plans", "plans_2024-01-20.csv", *PLAN_LINES["2024-01-20"])
        home.land("plans", "plans_2024-02-07.csv", "2,2,2024-01-26,2024-01-27,1,a,9.000")
        home.prepare("meters", "readings", "plans")
        for day in days:
            home.make_panel(day)
        homes.append(home.panel())
    assert homes[0].equals(homes[1])


def test_only_months_from_the_first_touched_one_are_made_anew_and_nothing_changed_is_no_commit(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, **PLAIN)
    before, version = town.files(SERIES_PANEL), town.lake.version(SERIES_PANEL)
    again = town.make_panel(AS_OF, **PLAIN)
    assert (again.months, again.checks, town.lake.version(SERIES_PANEL)) == ((), (), version)
    town.land("readings", "readings_2024-02-07.csv", "777,1,1,2024-02-05T17:00:00Z,3,3.00")
    town.prepare("readings")
    report = town.make_panel(AS_OF, **PLAIN)
    assert report.months == ("2024-02",)
    after = town.files(SERIES_PANEL)
    assert after["2024-01"] == before["2024-01"]
    assert after["2024-02"] != before["2024-02"]


def test_an_older_as_of_day_takes_newer_months_away(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, **PLAIN)
    older = FIRST + timedelta(days=3)
    town.make_panel(older, **PLAIN)
    assert sorted(town.files(SERIES_PANEL)) == ["2024-01"]
    assert max(date for _, date in panel_values(town)) == older + timedelta(days=3)


def split(town: Any, name: str) -> None:
    """The same table in more files: each month in one per row."""
    table = town.lake.table(name)
    spec = TableSpec(name, pa.schema(table.schema().to_arrow()), ("month",))
    rows, inputs = town.lake.read(name), town.lake.last_metadata(name, INPUTS_KEY)
    files = [
        one for row in range(rows.num_rows) for one in written(rows.slice(row, 1), folder(town.lake, name), ["month"])
    ]
    months = rows["month"].unique().to_pylist()
    town.lake.adopt(spec, files, months, {INPUTS_KEY: json.dumps(inputs), MONTHS_KEY: "[]"})


def test_compaction_and_vacuum_make_neither_silver_nor_panel_anew(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters")
    split(town, "silver/meters_current")
    town.prepare("readings")
    split(town, "silver/readings_history")
    town.make_panel(AS_OF, **PLAIN)
    split(town, SERIES_PANEL)
    panel, silver = town.panel(), town.silver("readings")
    compacted = {name: compact(town.lake, name, many=2).files for name in tables(town.lake)}
    assert min(compacted[name] for name in ("silver/meters_current", "silver/readings_history", SERIES_PANEL)) > 1
    vacuum(town.lake, tables(town.lake), timedelta(0))
    versions = {name: town.lake.version(name) for name in tables(town.lake)}
    assert backlog.unprepared(town.lake, town.contracts) == []
    assert [report.months for report in town.prepare("meters", "readings")] == [(), ()]
    assert town.make_panel(AS_OF, **PLAIN).months == ()
    assert {name: town.lake.version(name) for name in tables(town.lake)} == versions
    assert town.panel().equals(panel)
    assert town.silver("readings") == silver
    town.land("readings", "readings_2024-02-07.csv", "777,1,1,2024-02-05T17:00:00Z,3,3.00")
    assert town.prepare("readings")[0].months == ("2024-02",), "what is new is seen as before"
    assert town.make_panel(AS_OF, **PLAIN).months == ("2024-02",)


def test_rows_that_come_again_with_the_same_values_make_no_older_month_anew(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, **PLAIN)
    before = town.files(SERIES_PANEL)
    town.land("readings", f"readings_{AS_OF}_again.csv", *lines[FIRST])
    (report,) = town.prepare("readings")
    assert "2024-01" in report.months
    assert town.make_panel(AS_OF, **PLAIN).months == ("2024-02",)
    assert town.files(SERIES_PANEL)["2024-01"] == before["2024-01"]
    assert panel_fates_of(town)["kept"] == town.lake.count("silver/readings_history")


def test_a_correction_of_a_weeks_later_month_reaches_the_week(town: Any, make_town: Any) -> None:
    """The week of Thursday 2024-01-25 holds days of its own month alone, that of 2024-02-29 also days of March."""
    days = days_between(date(2024, 2, 20), date(2024, 4, 2))
    lines, weekly = town_of(days, seed=5), {"frequency": "W-THU", "missing": "gap", **PLAIN}
    late = "9001,1,1,2024-03-02T17:00:00Z,50,50.00"
    homes = []
    for name in ("late", "once"):
        home = make_town(name)
        home.land("meters", "meters.csv", *METERS)
        land(home, lines, list(lines))
        if name == "late":
            home.prepare("meters", "readings")
            home.make_panel(days[-1], **weekly)
        home.land("readings", "readings_2024-04-02_late.csv", late)
        home.prepare("meters", "readings")
        home.make_panel(days[-1], **weekly)
        homes.append(home.panel())
    assert homes[0].equals(homes[1])
    assert max(value for value in homes[0]["target"].to_pylist() if value is not None) >= 50
