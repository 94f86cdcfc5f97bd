"""The state of a home: figures added up from small tables whose sums are known by hand."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.schemas import (
    ALERTS,
    DEAD_LETTERS,
    LEDGER,
    PROMOTED_RELEASE,
    PUBLISHED,
    QUARANTINE,
    ROW_FATES,
    STORAGE_EVENTS,
)
from ml_platform.launch import Plan
from ml_platform.settings import Settings
from ml_platform.status import read_status, refusals_at, scores
from ml_platform.status.runs import run_outcome

DAY, NEXT = date(2017, 1, 1), date(2017, 1, 2)
FLEET = pa.schema(
    [
        ("as_of", pa.date32()),
        ("series_id", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("family", pa.string()),
    ]
)
FORECASTS = pa.schema([("as_of", pa.date32()), ("release_id", pa.string()), ("series_id", pa.string())])


def at(hour: int) -> datetime:
    return datetime(2026, 1, 1, hour, tzinfo=UTC)


def drop(source: str, day: date, state: str, *, hour: int = 1, **rows: int) -> dict[str, Any]:
    counts = {f"rows_{name}": rows.get(name, 0) for name in ("in", "loaded", "quarantined", "duplicate", "erased")}
    return {
        "drop_id": f"{source}{day}{state}{hour}",
        "source": source,
        "drop_day": day,
        "state": state,
        "settled_at": at(hour),
        **counts,
    }


def put(lake: Lake, spec: TableSpec, rows: list[dict[str, Any]]) -> None:
    lake.append(spec, pa.Table.from_pylist(rows, schema=spec.schema))


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings.lake)


def test_an_empty_home_is_a_state_too(lake: Lake) -> None:
    status = read_status(lake, "meter")
    assert (status.sources, status.complete_day, status.fleet, status.published, status.newest_arrival) == (
        (),
        None,
        None,
        None,
        None,
    )


def test_drops_and_rows_by_source(lake: Lake) -> None:
    put(
        lake,
        LEDGER,
        [
            drop("meter", DAY, "loaded", **{"in": 10, "loaded": 8, "quarantined": 2}),
            drop("meter", NEXT, "loaded", hour=5, **{"in": 4, "loaded": 4}),
            drop("meter", date(2017, 1, 3), "quarantined", hour=3, **{"in": 7, "quarantined": 7}),
            drop("sites", DAY, "duplicate", hour=2, **{"in": 3, "duplicate": 3}),
        ],
    )
    meter, sites = read_status(lake, "meter").sources
    assert (meter.source, meter.drops, dict(meter.states)) == ("meter", 3, {"loaded": 2, "quarantined": 1})
    assert (meter.rows_in, meter.rows_loaded, meter.rows_quarantined, meter.balanced) == (21, 12, 9, True)
    assert (meter.newest_day, meter.newest_arrival) == (NEXT, at(5)), "a refused drop is no newest day"
    assert (sites.states, sites.rows_duplicate, sites.newest_day) == ({"duplicate": 1}, 3, None)
    assert read_status(lake).newest_arrival == at(5)


def test_a_source_that_does_not_balance_says_so(lake: Lake) -> None:
    put(lake, LEDGER, [drop("meter", DAY, "loaded", **{"in": 10, "loaded": 9})])
    assert not read_status(lake).sources[0].balanced


@pytest.mark.parametrize(("drops_per_day", "newest"), [(1, NEXT), (2, DAY), (3, None)])
def test_a_day_is_complete_with_enough_drops(lake: Lake, drops_per_day: int, newest: date | None) -> None:
    put(lake, LEDGER, [drop("meter", day, "loaded", hour=hour) for day, hour in ((DAY, 1), (DAY, 2), (NEXT, 1))])
    assert read_status(lake, "meter", drops_per_day).complete_day == newest
    assert read_status(lake, "other").complete_day is None


def test_fates_are_summed_over_drops_and_periods(lake: Lake) -> None:
    fate = {"source": "meter", "stage": "silver", "rule": None, "fate": "kept"}
    rows = [{**fate, "drop_id": d, "period": p, "rows": 5} for d in "ab" for p in ("2017-01", "2017-02")]
    put(
        lake,
        ROW_FATES,
        [*rows, {**fate, "drop_id": "a", "period": "2017-01", "fate": "excluded", "rule": "unit", "rows": 2}],
    )
    found = [(one.fate, one.rule, one.rows) for one in read_status(lake).fates]
    assert found == [("kept", "", 20), ("excluded", "unit", 2)]


def test_refusals_by_rule_with_the_newest_example(lake: Lake) -> None:
    row = {"source": "meter", "stage": "bronze", "rule": "type", "path": "meter/a.csv", "state": "open"}
    put(
        lake,
        QUARANTINE,
        [
            {**row, "drop_id": "a", "row_number": 7, "value": "x", "quarantined_at": at(1)},
            {**row, "drop_id": "b", "row_number": 9, "value": "y", "path": "meter/b.csv", "quarantined_at": at(2)},
            {**row, "drop_id": "c", "rule": "empty", "path": "meter/c.csv", "quarantined_at": at(1)},
        ],
    )
    found = [(one.rule, one.count, one.example) for one in read_status(lake).refusals]
    assert found == [("type", 2, "b.csv row 9: y"), ("empty", 1, "c.csv")]


def test_refusals_of_one_stage_are_those_of_its_source_that_nobody_decided(lake: Lake) -> None:
    assert refusals_at(lake, "meter", "bronze") == ()
    row = {"source": "meter", "stage": "bronze", "rule": "type", "path": "meter/a.csv", "state": "open"}
    others = [{"source": "sites"}, {"stage": "silver"}, {"state": "discarded"}, {"state": "released"}]
    rows = [{**row, **other, "drop_id": str(n), "quarantined_at": at(1)} for n, other in enumerate([{}, {}, *others])]
    put(lake, QUARANTINE, rows)
    assert [(one.rule, one.count) for one in refusals_at(lake, "meter", "bronze")] == [("type", 2)]


def test_only_the_newest_fleet_counts(lake: Lake) -> None:
    old = [{"as_of": DAY, "series_id": "1", "state": "fitted", "family": "ses"}]
    new = [
        {"as_of": NEXT, "series_id": "1", "state": "fitted", "family": "tsb", "reason": None},
        {"as_of": NEXT, "series_id": "2", "state": "fitted", "family": "tsb", "reason": None},
        {"as_of": NEXT, "series_id": "3", "state": "fallback", "family": "segment", "reason": "too_short"},
    ]
    put(lake, TableSpec("gold/candidate_fleet", FLEET), old + new)
    fleet = read_status(lake).fleet
    assert fleet is not None
    assert (fleet.as_of, fleet.states, fleet.families, fleet.reasons) == (
        NEXT,
        {"fitted": 2, "fallback": 1},
        {"tsb": 2},
        {"too_short": 1},
    )


def contender(name: str, error: float | None, level: str = "fleet") -> dict[str, Any]:
    return {
        "as_of": DAY,
        "contender": name,
        "level": level,
        "weighted_rmsse": error,
        "wape": 1.1,
        "bias": -0.02,
        "coverage_80": 0.81,
        "coverage_95": None,
    }


def test_skill_is_measured_against_the_best_floor() -> None:
    rows = [
        contender("floor_zero", 1.0),
        contender("challenger", 0.72),
        contender("floor_mean_182", 0.8),
        contender("family_ses", 0.7),
    ]
    found = scores(pa.Table.from_pylist([*rows, contender("challenger", 0.1, "segment"), contender("champion", None)]))
    assert [one.contender for one in found] == ["challenger", "floor_mean_182", "floor_zero"], (
        "best first, no families, no unknowns"
    )
    assert [round(one.skill or 0, 4) for one in found] == [0.1, 0.0, -0.25]
    assert (dict(found[0].intervals), found[0].bias, found[0].is_floor, found[1].is_floor) == (
        {"80": 0.81},
        -0.02,
        False,
        True,
    )


def test_skill_needs_a_floor() -> None:
    assert scores(pa.Table.from_pylist([contender("challenger", 0.7)]))[0].skill is None


def test_champion_is_the_newest_promoted_release_and_not_the_newest_judged(lake: Lake) -> None:
    rules = json.dumps(
        [{"name": "fleet_bias", "value": 0.2, "limit": 0.1, "passed": False, "explanation": "off by 20 %", "extra": 1}]
    )
    rows = [
        {"as_of": DAY, "release_id": "a", "promoted": True, "decided_at": at(1), "approved_by": "gate", "rules": "[]"},
        {
            "as_of": NEXT,
            "release_id": "b",
            "promoted": False,
            "decided_at": at(2),
            "approved_by": "gate",
            "rules": rules,
        },
    ]
    put(lake, PROMOTED_RELEASE, rows)
    status = read_status(lake)
    assert status.champion is not None
    assert status.judged is not None
    assert (status.champion.release_id, status.judged.release_id) == ("a", "b")
    assert [(one.name, one.passed, one.explanation) for one in status.judged.rules] == [
        ("fleet_bias", False, "off by 20 %")
    ]


def test_published_is_the_newest_pointer_with_its_own_forecasts(lake: Lake) -> None:
    put(lake, PUBLISHED, [{"as_of": DAY, "release_id": r, "published_at": at(h)} for r, h in (("a", 1), ("b", 2))])
    rows = [
        {"as_of": DAY, "release_id": r, "series_id": s} for r, s in (("a", "1"), ("b", "1"), ("b", "2"), ("b", "2"))
    ]
    put(lake, TableSpec("gold/forecasts", FORECASTS), rows)
    published = read_status(lake).published
    assert published is not None
    assert (published.release_id, published.series, published.rows) == ("b", 2, 3)


def test_refused_files_the_newest_first_and_by_path_within_an_instant(lake: Lake) -> None:
    refused = {"reason": "empty_file: the file has no bytes", "etag": "e"}
    put(
        lake,
        LEDGER,
        [
            {**drop("meter", DAY, "quarantined", hour=hour), **refused, "path": f"meter/{name}.csv", "drop_id": name}
            for name, hour in (("c", 1), ("b", 2), ("a", 2))
        ],
    )
    status = read_status(lake, "meter")
    assert [one.path for one in status.refused_files] == ["meter/a.csv", "meter/b.csv", "meter/c.csv"]
    assert status.refused_files[0].reason == "empty_file: the file has no bytes"
    assert status.complete_day is None


def test_failed_runs_and_forecasts_that_lag(lake: Lake) -> None:
    put(lake, LEDGER, [drop("meter", day, "loaded", hour=1) for day in (DAY, NEXT)])
    assert read_status(lake, "meter").unpublished == (), "without a champion there is nothing to lag behind"
    put(lake, PROMOTED_RELEASE, [{"as_of": DAY, "release_id": "r", "promoted": True, "decided_at": at(1)}])
    put(lake, PUBLISHED, [{"as_of": DAY, "release_id": "r", "published_at": at(2)}])
    alert = {"job": "score", "run_id": "x", "steps": "forecasts", "message": "no space"}
    put(lake, ALERTS, [{**alert, "raised_at": at(hour)} for hour in (1, 3, 2)])
    put(lake, LEDGER, [drop("meter", date(2017, 1, 5), "loaded", hour=2)])
    status = read_status(lake, "meter")
    assert status.missing_days == (date(2017, 1, 3), date(2017, 1, 4))
    assert status.unpublished == (NEXT, date(2017, 1, 5))
    assert [one.raised_at for one in status.alerts] == [at(3), at(2), at(1)]


def test_events_by_outcome_and_dead_letters_the_newest_first(lake: Lake) -> None:
    told = [("a", "settled"), ("b", "settled"), ("c", "ignored(marker)")]
    put(lake, STORAGE_EVENTS, [{"row_id": name, "outcome": outcome} for name, outcome in told])
    letter = {"text": "?", "reason": "it is no object", "dequeue_count": 1}
    put(lake, DEAD_LETTERS, [{**letter, "message_id": str(hour), "received_at": at(hour)} for hour in (1, 3, 2)])
    status = read_status(lake)
    assert dict(status.events) == {"settled": 2, "ignored(marker)": 1}
    assert [one.message_id for one in status.dead_letters] == ["3", "2", "1"]


def test_the_end_of_a_run_knows_what_that_run_settled_and_what_was_decided_of_its_days(lake: Lake) -> None:
    put(
        lake,
        LEDGER,
        [
            {**drop("meter", DAY, "loaded", **{"in": 10, "loaded": 8, "quarantined": 2}), "run_id": "mine"},
            {**drop("meter", NEXT, "quarantined", **{"in": 7, "quarantined": 7}), "run_id": "mine"},
            {**drop("sites", DAY, "loaded", **{"in": 3, "loaded": 3}), "run_id": "another"},
        ],
    )
    verdict = {"promoted": True, "decided_at": at(1), "approved_by": "gate", "rules": "[]"}
    put(lake, PROMOTED_RELEASE, [{**verdict, "as_of": day, "release_id": day.isoformat()} for day in (DAY, NEXT)])
    found = run_outcome(lake, Plan("everything", NEXT, NEXT), "mine")
    assert (found.drops, found.rows["rows_in"], found.rows["rows_quarantined"]) == (
        {"loaded": 1, "quarantined": 1},
        17,
        9,
    )
    assert [one.as_of for one in found.judged] == [NEXT]
    assert run_outcome(lake, Plan("retrain", DAY, NEXT), "mine").drops == {}
    assert run_outcome(lake, Plan("ingest", DAY, NEXT), "mine").judged == ()
    assert run_outcome(Lake(f"{lake.root}-empty"), Plan("everything", DAY, NEXT), "mine").judged == ()
