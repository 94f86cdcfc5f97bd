"""Warnings about odd drops: the sample's real days, planted faults, and histories that say nothing.

Belongs here: judging a ledger that is made by hand. Does not belong here: how Dagster shows it (integration), pictures (test_plots_drops).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from ml_platform.calendar import Calendar
from ml_platform.contract_files import load_contracts
from ml_platform.contracts import SourceContract
from ml_platform.drop_history import figures
from ml_platform.drop_warnings import CHECKS, FRESH, MAKE, REFUSED, ROWS, DropHistory, drop_history
from ml_platform.lake.schemas import LEDGER
from ml_platform.samples import complete_journey
from ml_platform.settings import PACKAGED_CONFIGS

START = date(2024, 1, 1)  # a Monday
OPEN, YEAR_2017 = Calendar(START), Calendar(date(2017, 1, 1), date(2017, 12, 31))
Row = dict[str, Any]
Fault = Callable[[Row], list[Row]]

METER: dict[str, Any] = {
    "name": "meter",
    "kind": "events",
    "description": "Readings.",
    "owner": "team:grid",
    "path": "{day}*.csv",
    "format": {"type": "csv"},
    "columns": {"id": {"type": "int64"}, "at": {"type": "timestamp"}},
    "key": ["id"],
    "time": {"column": "at"},
}


def contract(**changes: Any) -> SourceContract:
    return SourceContract.model_validate(METER | changes)


def drop(day: date, rows: int = 1000, *, late: float = 0.2, name: str = "", **changes: Any) -> Row:
    """A loaded file of a day, which came `late` days after the day's end."""
    came = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1 + late)
    counts = {"rows_in": rows, "rows_loaded": rows, "rows_quarantined": 0, "rows_duplicate": 0, "rows_erased": 0}
    place = {"source": "meter", "path": f"meter/{day}{name}.csv", "drop_id": f"{day}{name}{came}", "drop_day": day}
    times = {"first_seen_at": came, "settled_at": came}
    return {**place, **counts, **times, "state": "loaded", "length": 40 * rows, "attempt": 1} | changes


def ledger(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=LEDGER.schema)


def judged(
    rows: list[Row], source: SourceContract | None = None, calendar: Calendar = OPEN, **more: Any
) -> DropHistory:
    at = more.pop("now", max((row["settled_at"] for row in rows), default=datetime(2024, 6, 1, tzinfo=UTC)))
    return drop_history(ledger(rows), source or contract(), calendar, at, **more)


def odd(found: DropHistory, check: str) -> list[date]:
    return [one.day for one in found.warnings if one.check == check]


def days(count: int, first: date = START) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


@pytest.fixture(scope="module")
def sample() -> Mapping[date, int]:
    """Rows of the sample's real business days."""
    moments = complete_journey._read("transactions", [complete_journey.TIME_COLUMN])[complete_journey.TIME_COLUMN]
    counted = pc.value_counts(complete_journey._local_day(moments)).to_pylist()
    return {one["values"]: one["counts"] for one in sorted(counted, key=lambda one: one["values"])}


THANKSGIVING = [date(2017, 11, day) for day in (21, 22, 23, 24, 25)]
FEASTS = [date(2017, 4, 16), date(2017, 7, 4), *THANKSGIVING, date(2017, 12, 23)]  # Easter, Independence Day, Christmas
NEARLY = [date(2017, 5, 4), date(2017, 12, 22)]  # at the edge of what is usual


def test_the_sample_warns_on_its_feasts_alone(sample: Mapping[date, int]) -> None:
    sales = load_contracts(PACKAGED_CONFIGS / "retail")["sales"]
    found = judged([drop(day, rows) for day, rows in sample.items()], sales, YEAR_2017)
    assert sorted(one.day for one in found.warnings) == FEASTS
    assert {one.check for one in found.warnings} == {ROWS}
    assert (len(sample), found.judged[ROWS]) == (364, 336)
    without = sales.model_copy(update={"expect": sales.expect.model_copy(update={"holidays": ()})})
    found = judged([drop(day, rows) for day, rows in sample.items()], without, YEAR_2017)
    assert odd(found, FRESH) == [date(2017, 12, 25)], "the day on which the shops were closed"


FAULTS: dict[str, tuple[str, Fault]] = {
    "half the rows": (ROWS, lambda row: [drop(row["drop_day"], row["rows_in"] // 2)]),
    "double rows": (ROWS, lambda row: [drop(row["drop_day"], row["rows_in"] * 2)]),
    "no rows": (ROWS, lambda row: [drop(row["drop_day"], 0)]),
    "three days late": (FRESH, lambda row: [drop(row["drop_day"], row["rows_in"], late=3.2)]),
    "missing": (FRESH, lambda row: []),
    "refused as a whole": (FRESH, lambda row: [{**row, "state": "quarantined", "reason": "empty_file: x"}]),
    "20 % refused": (REFUSED, lambda row: [{**row, "rows_quarantined": row["rows_in"] // 5}]),
    "the same bytes twice": (
        REFUSED,
        lambda row: [row, drop(row["drop_day"], 0, name="b", state="duplicate", rows_duplicate=row["rows_in"])],
    ),
    "in two files": (MAKE, lambda row: [drop(row["drop_day"], row["rows_in"] // 2, name=one) for one in "ab"]),
    "an emptied column": (MAKE, lambda row: [{**row, "length": row["rows_in"] * 25}]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_found(name: str, sample: Mapping[date, int]) -> None:
    """On days that are odd themselves a fault can hide: more rows than usual, halved, are usual ones. Those are left out, and counted."""
    check, fault = FAULTS[name]
    whole = {day: drop(day, rows) for day, rows in sample.items()}
    odd_anyway = {*FEASTS, *NEARLY}
    tried = [day for day in list(sample)[35:-1:6] if day not in odd_anyway]
    assert len(tried) > 50
    source = contract(expect={"holidays": ["12-25"]})
    for day in tried:
        rows = [row for other in sample for row in (fault(whole[other]) if other == day else [whole[other]])]
        found = judged(rows, source, Calendar(date(2017, 1, 1)), now=datetime(2018, 1, 1, tzinfo=UTC))
        assert day in odd(found, check), f"{name} on {day}"
        assert [one for one in found.warnings if one.day not in {day, *odd_anyway}] == [], (
            f"{name} on {day} blames others"
        )


def test_a_warning_says_source_day_value_range_and_way_out() -> None:
    rows = [drop(day) for day in days(60)]
    rows[50] = drop(START + timedelta(days=50), 400)
    rows[45] = drop(START + timedelta(days=45), late=9.2)
    found = {one.name: one for one in judged(rows).checks(days(60))}
    words = found[ROWS].description
    assert words.startswith("meter 2024-02-20 (Tue): 400 rows, usual is 714 to 1,400. ")
    assert "expect: {holidays}" in words
    assert "9.2 days from its end to its arrival, usual is at most 1.2" in found[FRESH].description
    assert (found[ROWS].passed, found[ROWS].figures["warnings"], found[REFUSED].passed) == (False, 1, True)


def test_warnings_stay_for_the_newest_days_and_missing_ones_until_they_come() -> None:
    rows = [drop(day, 300 if n == 40 else 1000) for n, day in enumerate(days(60)) if n != 39]
    names = lambda found: {one.check for one in found}  # noqa: E731
    assert names(judged(rows).recent()) == {FRESH}
    assert names(judged(rows).recent([START + timedelta(days=40)])) == {FRESH, ROWS}
    assert names(judged(rows[:44]).recent()) == {FRESH, ROWS}
    assert names(judged([*rows, drop(START + timedelta(days=39), late=15)]).recent()) == set()


def test_a_missing_day_that_counts_as_zeros_says_so() -> None:
    rows = [drop(day) for day in days(60) if day != START + timedelta(days=40)]
    (one,) = judged(rows, zeros=True).warnings
    assert "0 of 1 files are loaded" in one.words
    assert "observed zeros (`missing: zero`" in one.words
    assert "zeros" not in judged(rows).warnings[0].words


def test_growth_is_followed_and_a_half_day_in_it_is_found() -> None:
    grown = [round(1000 * 1.05 ** (n / 7)) for n in range(200)]
    rows = [drop(day, count) for day, count in zip(days(200), grown, strict=True)]
    assert judged(rows).warnings == ()
    rows[150] = drop(START + timedelta(days=150), grown[150] // 2)
    assert odd(judged(rows), ROWS) == [START + timedelta(days=150)]


def test_a_new_level_warns_for_some_weeks_and_becomes_usual() -> None:
    found = judged([drop(day, 1000 if n < 100 else 2000) for n, day in enumerate(days(200))])
    last = max(odd(found, ROWS))
    assert START + timedelta(days=100) in odd(found, ROWS)
    assert last < START + timedelta(days=130)


@pytest.mark.parametrize("count", [0, 1, 2, 27])
def test_a_short_history_is_not_judged_and_says_why(count: int) -> None:
    found = judged([drop(day, 10 ** (n % 5)) for n, day in enumerate(days(count))])
    assert found.warnings == ()
    for one in found.checks():
        assert one.passed
        assert one.description.startswith("not judged: fewer than 4 ")


def test_a_history_that_landed_at_once_has_no_lag_and_one_by_one_it_has() -> None:
    landed = datetime(2026, 1, 1, tzinfo=UTC)
    at_once = [drop(day, first_seen_at=landed + timedelta(seconds=n)) for n, day in enumerate(days(300))]
    assert not np.isfinite(figures(ledger(at_once), contract(), OPEN).lag).any()
    assert judged(at_once, now=landed).warnings == (), "nor is anything overdue"
    then = [drop(day, late=700 - n) for n, day in enumerate(days(40, START + timedelta(days=300)))]
    assert odd(judged([*at_once, *then], now=landed), FRESH) == [], "a replay that catches up is never late"
    ended = Calendar(START, START + timedelta(days=365))
    assert not np.isfinite(figures(ledger(then), contract(), ended).lag).any(), "long after its calendar's end"


def test_an_outage_delivers_late_days_together() -> None:
    late = {50: 3.2, 51: 2.2, 52: 1.3, 53: 0.3}  # all came in one night
    rows = [drop(day, late=late.get(n, 0.2)) for n, day in enumerate(days(60))]
    assert sorted(odd(judged(rows), FRESH)) == [START + timedelta(days=n) for n in (50, 51, 52)]


def test_a_feed_that_falls_silent_is_overdue_day_by_day() -> None:
    rows = [drop(day) for day in days(60)]
    now = datetime(2024, 3, 5, 6, tzinfo=UTC)  # the newest day is Thursday 2024-02-29
    assert odd(judged(rows, now=now), FRESH) == [date(2024, 3, day) for day in (3, 2, 1)]
    assert odd(judged(rows, calendar=Calendar(START, date(2024, 3, 1)), now=now), FRESH) == [date(2024, 3, 1)]
    off = contract(expect={"holidays": ["03-01", "2024-03-02"]})
    assert odd(judged(rows, off, now=now), FRESH) == [date(2024, 3, 3)]


def test_a_feed_of_weekdays_misses_no_weekend() -> None:
    week = [day for day in days(84) if day.weekday() < 5]
    assert judged([drop(day) for day in week]).warnings == ()
    gone = date(2024, 1, 10)  # in the second week: what comes after shows the habit
    assert odd(judged([drop(day) for day in week if day != gone]), FRESH) == [gone]


def test_a_weekly_and_a_monthly_feed() -> None:
    weekly = [drop(day) for day in days(200)[::7]]
    gone = weekly.pop(20)
    assert odd(judged(weekly), FRESH) == [gone["drop_day"]]
    monthly = [drop(date(2023 + n // 12, n % 12 + 1, 1), 400 if n == 14 else 1000) for n in range(20)]
    found = judged(monthly, calendar=Calendar(date(2023, 1, 1)))
    assert (odd(found, ROWS), odd(found, FRESH)) == ([date(2024, 3, 1)], [])


def test_a_snapshot_is_compared_with_the_deliveries_before_it() -> None:
    source = contract(kind="snapshot", path="*.csv", time=None)
    rows = [drop(day, 1000, state="replaced") for day in days(9)] + [drop(START + timedelta(days=9), 500)]
    found = judged(rows, source)
    assert odd(found, ROWS) == [START + timedelta(days=9)]
    assert "a snapshot has no days" in found.unjudged[FRESH]


def test_only_what_is_in_force_counts() -> None:
    """A corrected file replaces the odd one; a file of no day, refused by its name, belongs to none."""
    rows = [drop(day) for day in days(60)]
    day = START + timedelta(days=50)
    rows[50] = drop(day, 400)
    assert odd(judged(rows), ROWS) == [day]
    rows[50]["state"] = "replaced"
    misnamed = drop(date(2026, 1, 1), 5, state="quarantined", reason="unknown_format: no name matches")
    found = judged([*rows, drop(day, 1000, late=5), misnamed], now=datetime(2024, 3, 1, tzinfo=UTC))
    assert found.warnings == ()
    assert found.figures.days[-1].item() == START + timedelta(days=59)


@pytest.mark.parametrize("odd_day", [date(1, 1, 1), date(207, 1, 5), date(9999, 12, 31)])
def test_a_mistyped_year_makes_no_history_of_centuries(odd_day: date) -> None:
    rows = [*(drop(day) for day in days(60)), {**drop(START, 7, name="x"), "drop_day": odd_day}]
    found = judged(rows, now=datetime(2024, 3, 1, tzinfo=UTC))
    assert (found.warnings, len(found.figures.days)) == ((), 60)


def test_a_day_of_two_files_is_there_with_the_second() -> None:
    source = contract(drops_per_day=2)
    rows = [drop(day, name=name, late=late) for day in days(60) for name, late in (("a", 0.1), ("b", 0.3))]
    rows[2 * 50 + 1] = drop(START + timedelta(days=50), name="b", late=3.3)
    assert odd(judged(rows, source), FRESH) == [START + timedelta(days=50)]
    del rows[2 * 50 + 1]
    (missing,) = [one for one in judged(rows, source).warnings if one.check == FRESH]
    assert "1 of 2 files are loaded" in missing.words
    newest = judged(rows[: 2 * 50 + 1], source)
    assert odd(newest, FRESH) == [], "the second file of the newest day may still come"


@pytest.mark.parametrize(
    ("expect", "check"),
    [
        ({"warn": False}, None),
        ({"rows": False}, ROWS),
        ({"refused": False}, REFUSED),
        ({"files": False, "row_bytes": False}, MAKE),
        ({"missing": False, "late_days": False}, FRESH),
    ],
)
def test_every_check_can_be_switched_off(expect: dict[str, Any], check: str | None) -> None:
    day, again = START + timedelta(days=50), START + timedelta(days=51)
    rows = [drop(one) for one in days(60) if one not in (day, again)]
    rows += [{**drop(day, 100, name=one, late=4), "rows_quarantined": 50, "length": 50_000} for one in "abc"]
    assert {one.check for one in judged(rows).warnings} == set(CHECKS)
    found = judged(rows, contract(expect=expect))
    off = set(CHECKS) if check is None else {check}
    assert {one.check for one in found.warnings} == set(CHECKS) - off
    assert all("switched off" in found.unjudged[name] for name in off)


@pytest.mark.parametrize("holiday", ["13-01", "2024-02-30", "1224", ""])
def test_a_holiday_that_is_no_day_is_refused(holiday: str) -> None:
    with pytest.raises(ValueError, match="is no day"):
        contract(expect={"holidays": [holiday]})


def test_limits_do_not_make_silver_anew() -> None:
    assert contract().fingerprint == contract(expect={"rows": 3.0}).fingerprint
    assert contract().fingerprint != contract(may_be_empty=True).fingerprint


ROW = st.builds(
    drop,
    st.dates(date(2024, 1, 1), date(2024, 4, 1)),
    st.integers(0, 10**9),
    late=st.floats(-30, 400),
    name=st.sampled_from("ab"),
    state=st.sampled_from(["loaded", "quarantined", "duplicate", "replaced"]),
    rows_quarantined=st.integers(0, 10**9),
    rows_duplicate=st.integers(0, 10**9),
    length=st.integers(0, 10**12),
    reason=st.sampled_from([None, "", "unknown_format: x", "empty_file: y"]),
)


@limits(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=40), st.sampled_from(["events", "snapshot"]), st.integers(1, 3))
def test_no_ledger_breaks_the_warnings(rows: list[Row], kind: str, drops_per_day: int) -> None:
    """They come after the commit: whatever lies in a ledger, they must not fail a run."""
    time = {"time": None} if kind == "snapshot" else {}
    source = contract(kind=kind, drops_per_day=drops_per_day, expect={"at_least": 2, "weeks": 3}, **time)
    for now in (datetime(2024, 3, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)):
        found = judged(rows, source, now=now)
        assert len(found.checks()) == len(CHECKS)
        assert all(one.words for one in found.warnings)
