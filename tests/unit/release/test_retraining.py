"""What asks for a training beside the schedule, and that it says why."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from ml_platform.lake import schemas
from ml_platform.registry.pointer import decide, seen
from ml_platform.retraining import Limits, RetrainingError, load_limits, needs

DECIDED = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)


@pytest.fixture
def home(world):
    """A champion of the world's day, a panel of 1,000 rows."""
    row = {"as_of": world.day, "release_id": "r", "promoted": True, "decided_at": DECIDED, "approved_by": "gate"}
    decide(world.lake, [{**row, "rules": "[]", "evidence": "{}", "decision": "promoted"}], seen(world.lake))
    world.put("gold/series_panel", pa.table({"series_id": ["a"] * 1000, "target": [1.0] * 1000}))
    return world


def later(world, days: int) -> dt.date:
    return world.day + dt.timedelta(days=days)


def asked(world, days: int, **limits: object) -> list[tuple[str, str]]:
    found = needs(world.lake, world.config, Limits(**limits), later(world, days))
    assert all(one.day == later(world, days) for one in found)
    return [(one.name, one.why) for one in found]


def touch(world, rows: int, date: dt.date, moment: dt.datetime) -> None:
    one = {"source": "sales", "silver_version": 1, "date": date, "series_id": "a", "change": "changed", "rows": rows}
    world.lake.append(schemas.TOUCHED, pa.Table.from_pylist([{**one, "touched_at": moment}], schemas.TOUCHED.schema))


def verdict(world, days: int, *, passed: bool, blocks: bool = True) -> None:
    row = {"as_of": later(world, days), "release_id": "c", "rule": "bias", "segment": "fleet", "passed": passed}
    row |= {"blocks": blocks, "decided_at": DECIDED}
    spec = schemas.GATE_VERDICTS
    world.lake.append(spec, pa.Table.from_pylist([{n: row.get(n) for n in spec.schema.names}], spec.schema))


def test_a_few_days_after_a_training_nothing_is_asked(home) -> None:
    assert asked(home, 6) == []
    assert needs(home.lake, home.config, Limits(), home.day) == [], "the day itself has its verdict"


def test_new_data_and_age_ask_by_steps_and_by_horizons(home) -> None:
    ((name, why),) = asked(home, 7)
    assert name == "new_data"
    assert "7 steps are complete since the champion of 2024-03-31" in why
    ((name, why),) = asked(home, 28)
    assert (name, "2.0 horizons ago" in why) == ("aging", True)
    assert asked(home, 28, age_horizons=None, new_steps=None) == []


def test_corrections_of_what_the_champion_had_seen_ask(home) -> None:
    after = DECIDED + dt.timedelta(hours=1)
    touch(home, 5, later(home, 1), after)  # of a day it has not seen
    touch(home, 5, home.day, DECIDED - dt.timedelta(hours=1))  # before it was decided about
    assert asked(home, 2, corrected_rows=0.001) == []
    touch(home, 5, home.day, after)
    ((name, why),) = asked(home, 2, corrected_rows=0.005)
    assert name == "corrected_data"
    assert "5 rows of dates up to 2024-03-31 were changed" in why
    assert asked(home, 2, corrected_rows=0.006) == []


def test_a_stopped_challenger_asks_for_another_on_a_newer_day(home) -> None:
    verdict(home, 1, passed=False, blocks=False)
    assert asked(home, 2) == []
    verdict(home, 1, passed=False)
    ((name, why),) = asked(home, 2)
    assert name == "failed_gate"
    assert "the gate stopped the fleet of 2024-04-01 (bias), and 2024-04-02 is complete since" in why
    assert asked(home, 2, failed_rules=False) == []


def test_days_that_were_taken_in_make_no_training_younger(home) -> None:
    row = {
        "as_of": later(home, 27),
        "release_id": "u",
        "promoted": True,
        "decided_at": DECIDED,
        "approved_by": "update",
    }
    decide(home.lake, [{**row, "rules": "[]", "evidence": "{}", "decision": "promoted"}], seen(home.lake))
    ((name, why),) = asked(home, 28)
    assert (name, "the champion is of 2024-03-31" in why) == ("aging", True)


def test_a_home_without_a_release_waits_for_somebody(world) -> None:
    assert needs(world.lake, world.config, Limits(), world.day) == []


def test_limits_come_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "retraining.yaml"
    assert load_limits(path) == Limits()
    path.write_text("new_steps: 3\nage_horizons: null\n")
    assert (load_limits(path).new_steps, load_limits(path).age_horizons) == (3, None)
    path.write_text("new_stepps: 3\nage_horizons: 0\n")
    with pytest.raises(RetrainingError) as found:
        load_limits(path)
    assert f"{path}: new_stepps" in str(found.value)
    assert f"{path}: age_horizons" in str(found.value)
