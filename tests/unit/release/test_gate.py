"""Every rule of the gate can pass and can fail, and says why."""

import json

import pyarrow as pa
import pytest

from ml_platform.coverage import Coverage, count_coverage
from ml_platform.gate import GateConfig, GateError, decide, explain_day, load_gate

EXACT = Coverage(expected=3, states={"fitted": 3})


def judged(challenger=0.8, champion=None, bias=0.02, floors=None, floor_bias=0.0, rows=10):
    contenders = {"challenger": (challenger, bias, rows)}
    if champion is not None:
        contenders["champion"] = (champion, 0.0, 10)
    for name, error in (floors or {"floor_zero": 0.95, "floor_mean_28": 0.85}).items():
        contenders[name] = (error, floor_bias, 10)
    table = [
        {
            "contender": n,
            "release_id": "r" if n == "champion" else None,
            "level": "fleet",
            "weighted_rmsse": e,
            "bias": b,
            "rows": r,
        }
        for n, (e, b, r) in contenders.items()
    ]
    wrong_level = {**table[0], "level": "segment", "weighted_rmsse": 99.0}
    return pa.Table.from_pylist([*table, wrong_level])


def rule(decision, name):
    return next(one for one in decision.rules if one.name == name)


def test_a_good_first_fleet_passes_by_the_floor_alone():
    decision = decide(judged(), EXACT, GateConfig())
    assert decision.promoted
    assert "no champion" in rule(decision, "error_against_champion").explanation
    assert decision.summary.startswith("promoted: ")


@pytest.mark.parametrize(("champion", "passes"), [(0.8, True), (0.793, True), (0.79, False)])
def test_the_champion_may_be_better_by_the_tolerance_only(champion, passes):
    decision = decide(judged(champion=champion), EXACT, GateConfig(champion_tolerance=0.01))
    assert decision.promoted is passes
    assert rule(decision, "error_against_champion").limit == pytest.approx(champion * 1.01)


def test_the_floor_is_the_best_of_all_floors_not_the_weakest():
    decision = decide(judged(challenger=0.9), EXACT, GateConfig())  # beats all-zero, not the mean of 28 days
    assert not decision.promoted
    assert "mean_28" in rule(decision, "error_against_floor").explanation
    assert "stopped: " in decision.summary


def test_a_tie_with_the_floor_is_no_skill():
    assert not decide(judged(challenger=0.85), EXACT, GateConfig()).promoted
    assert not decide(judged(challenger=0.84), EXACT, GateConfig(minimum_skill=0.05)).promoted


@pytest.mark.parametrize(
    ("bias", "floor_bias", "passes"),
    [(0.10, 0.0, True), (-0.11, 0.0, False), (0.12, -0.10, True), (0.14, 0.10, False), (0.11, 0.05, False)],
)
def test_bias_stays_below_ten_percent_or_three_points_above_the_best_floor(bias, floor_bias, passes):
    decision = decide(judged(bias=bias, floor_bias=floor_bias), EXACT, GateConfig())
    assert rule(decision, "fleet_bias").passed is passes
    assert decision.promoted is passes


@pytest.mark.parametrize(
    "fault",
    [{"missing": ("s1",)}, {"unexpected": ("s9",)}, {"doubled": 1}, {"unexplained": 1}],
)
def test_coverage_is_exact_or_fails(fault):
    decision = decide(judged(), Coverage(expected=3, states={"fitted": 3}, **fault), GateConfig())
    assert not rule(decision, "coverage").passed
    assert not decision.promoted


def test_a_challenger_that_skips_judged_rows_fails():
    decision = decide(judged(rows=9), EXACT, GateConfig())
    assert "1 judged rows without a forecast" in rule(decision, "coverage").explanation


@pytest.mark.parametrize("error", [None, float("nan"), float("inf")])
def test_an_unknown_error_never_passes(error):
    assert not decide(judged(challenger=error, champion=0.9), EXACT, GateConfig()).promoted
    assert not decide(judged(champion=float("nan")), EXACT, GateConfig()).promoted
    assert not decide(judged(bias=None), EXACT, GateConfig()).promoted


def test_nothing_judged_never_passes():
    empty = judged().slice(0, 0)
    decision = decide(empty, EXACT, GateConfig())
    assert [one.passed for one in decision.rules] == [True, False, False, True]


def test_a_decision_is_readable_and_storable(world):
    decision = decide(judged(champion=0.9), EXACT, GateConfig())
    assert [one["name"] for one in json.loads(decision.to_json())] == [one.name for one in decision.rules]
    text = explain_day(decision, world.day)
    assert text.count("\n|") == 6
    assert "skill 5.88%" in text


def test_counting_finds_lost_doubled_foreign_and_silent_series():
    catalogue = pa.table({"series_id": ["a", "b", "c", "d"], "state": ["active", "new", "excluded", "dormant"]})
    rows = [
        ("a", "fitted", None),
        ("b", "fallback", None),
        ("b", "fitted", None),
        ("c", "fitted", None),
        ("x", "fitted", None),
    ]
    fleet = pa.table(
        {
            "series_id": [r[0] for r in rows],
            "state": [r[1] for r in rows],
            "reason": pa.array([r[2] for r in rows], pa.string()),
        }
    )
    found = count_coverage(catalogue, fleet)
    assert (found.expected, found.missing, found.unexpected, found.doubled, found.unexplained) == (
        3,
        ("d",),
        ("c", "x"),
        1,
        1,
    )
    assert found.share == pytest.approx(2 / 3)
    assert not found.exact


def test_counting_accepts_a_whole_fleet(world):
    assert count_coverage(world.catalogue_of(5), world.fleet_of(5, world.day)).exact


def test_limits_come_from_yaml(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("champion_tolerance: 0.2\n")
    assert load_gate(path).champion_tolerance == 0.2
    assert load_gate(tmp_path / "absent.yaml") == GateConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("champion_tolerence: 0.2", ["champion_tolerence: unknown key; known keys are champion_tolerance, minimum"]),
        ("maximum_bias: -1", ["maximum_bias: -1 cannot be used: should be greater than or equal to 0"]),
        ("maximum_bias: much\nminimum_skill: 2", ["maximum_bias: 'much' cannot be used", "minimum_skill: 2 cannot"]),
        ("- 1", ["a gate is a mapping of keys, not list; known keys are"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_gate_that_cannot_be_used_is_told_key_by_key(tmp_path, text, words):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(GateError) as found:
        load_gate(path)
    for expected in words:
        assert f"{path}: {expected}" in str(found.value)
    assert "pydantic" not in str(found.value)
    assert "GateConfig" not in str(found.value)


def test_the_packaged_gate_has_the_promised_limits():
    from ml_platform.settings import Settings

    gate = load_gate(Settings().configs / "gate.yaml")
    assert (gate.maximum_bias, gate.bias_over_floor, gate.minimum_skill) == (0.10, 0.03, 0.0)
