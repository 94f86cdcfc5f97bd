"""Tests of catalogue and panel: equal to a computation by hand in plain Python, from scratch and day by day.

Belongs here: what the panel holds, on the engine sail with real tables. Does not belong here: silver, arrays, models.
"""

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform import backlog, features
from ml_platform.catalogue import catalogue_as_of, write_catalogue
from ml_platform.checks import Blocked
from ml_platform.contracts import ContractError
from ml_platform.examples import example_forecasts
from ml_platform.features import target_per_day
from ml_platform.lake import TableSpec
from ml_platform.lake.compaction import compact
from ml_platform.lake.files import written
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.names import SERIES_CATALOGUE, SERIES_PANEL
from ml_platform.lake.schemas import forecasts as forecasts_spec
from ml_platform.lake.store import folder
from ml_platform.maintenance import tables, vacuum
from ml_platform.preparation import MONTHS_KEY
from ml_platform.series import series_id, shard_of

pytestmark = pytest.mark.integration
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
    version = town.lake.version("silver/series_catalogue")
    write_catalogue(inputs, date(2024, 1, 15))
    assert town.lake.version("silver/series_catalogue") == version


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


@pytest.mark.parametrize(("column", "check"), [("target", "target_balance"), ("rows", "complete_calendar")])
def test_a_blocked_panel_commits_nothing(town: Any, monkeypatch: pytest.MonkeyPatch, column: str, check: str) -> None:
    town.land("meters", "meters.csv", *METERS)
    land(town, town_of([FIRST], seed=2), [FIRST])
    town.prepare("meters", "readings")
    wanted = features._wanted
    with monkeypatch.context() as patch:
        off = (1, 0) if column == "rows" else (0, 1)
        patch.setattr(features, "_wanted", lambda grid: tuple(a + b for a, b in zip(wanted(grid), off, strict=True)))
        with pytest.raises(Blocked, match=check):
            town.make_panel(FIRST, **PLAIN)
    assert town.lake.count(SERIES_PANEL) == 0
    assert town.make_panel(FIRST, **PLAIN).rows == town.lake.count(SERIES_PANEL) > 0


def test_history_that_no_series_holds_blocks(town: Any) -> None:
    """The balance is taken from history itself: a catalogue that is too old loses rows, and that is seen."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-25.csv", "1,1,1,2024-01-25T17:00:00Z,3,3.00")
    town.prepare("meters", "readings")
    town.make_panel(FIRST, **PLAIN)
    town.land("readings", "readings_2024-01-26.csv", "2,7,1,2024-01-26T17:00:00Z,4,4.00")
    town.prepare("readings")
    with pytest.raises(Blocked, match="target_balance"):
        features.write_panel(town.inputs(**PLAIN), FIRST + timedelta(days=1))


def test_what_is_missing_is_named(town: Any) -> None:
    with pytest.raises(ContractError, match=r"known_future \['rain'\] in forecast.yaml"):
        _ = town.inputs(known_future=("rain",)).covariates
    with pytest.raises(ContractError, match="no day of source 'readings' is complete"):
        town.inputs().newest_day()
    town.land("meters", "meters.csv", *METERS)
    land(town, town_of([FIRST], seed=2), [FIRST])
    town.prepare("meters", "readings")
    assert town.inputs().newest_day() == FIRST
    with pytest.raises(ContractError, match="has no row up to 2023-12-31"):
        town.make_panel(date(2023, 12, 31), **PLAIN)


def test_examples_and_volume_are_read_from_the_panel(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, **PLAIN)
    volume = target_per_day(town.lake, AS_OF)
    expected = {day: sum(int(line.split(",")[4]) for line in some) for day, some in lines.items()}
    assert {row["date"]: row["target"] for row in volume.to_pylist() if row["target"]} == {
        d: v for d, v in expected.items() if v
    }
    config = town.inputs().config
    spec = forecasts_spec(config.interval_columns, town.panel().schema.field("date").type)
    town.lake.ensure(spec)
    history, made, titles = example_forecasts(town.lake, config, AS_OF, "none", number=2)
    active = catalogue_as_of(town.inputs(**PLAIN), AS_OF).filter(pc.field("state") == "active")
    assert set(titles) <= set(active["series_id"].to_pylist())
    assert len(titles) == 2
    assert set(history["series_id"].to_pylist()) == set(titles)
    assert made.num_rows == 0
    assert all(" / " in title for title in titles.values())


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


def test_every_row_that_silver_kept_has_a_fate_at_the_panel(town: Any) -> None:
    """Kept, beyond the as-of day, or of a series that is excluded; a day later it is another one."""
    lines = town_of(days_between(FIRST, AS_OF + timedelta(days=2)))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    beyond = [len(rows) for day, rows in lines.items() if day > AS_OF]
    kept = town.lake.count("silver/readings_history")
    assert all(beyond)
    for day, waiting in ((AS_OF, sum(beyond)), (AS_OF + timedelta(days=2), 0)):
        town.make_panel(day, **PLAIN)
        found = panel_fates_of(town)
        assert sum(found.values()) == kept
        assert found["waiting(after_as_of)"] == waiting
        excluded = town.lake.read(SERIES_CATALOGUE, where=pc.field("state") == "excluded")["series_id"].to_pylist()
        assert (found["excluded(excluded_series)"] > 0) == bool(excluded)


def panel_fates_of(town: Any) -> Counter[str]:
    rows = town.lake.read("ops/row_fates", where=pc.field("stage") == "panel").to_pylist()
    found: Counter[str] = Counter()
    for row in rows:
        found[f"{row['fate']}({row['rule']})" if row["rule"] else row["fate"]] += row["rows"]
    return found


def test_rows_that_silver_lost_without_an_account_block_the_panel(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    spec = TableSpec("silver/readings_history", town.lake.dataset("silver/readings_history").schema, ("month",))
    town.lake.remove(spec, "reading_id = 1")
    with pytest.raises(Blocked, match="row_fates"):
        town.make_panel(AS_OF, **PLAIN)


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
