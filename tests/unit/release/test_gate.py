"""Every rule of the gate can pass and can fail, and says why."""

import json
from datetime import date

import pyarrow as pa
import pytest

from ml_platform.coverage import Coverage, count_coverage
from ml_platform.drift import INPUT_PROFILE, drifts
from ml_platform.gate import Facts, GateConfig, GateError, decide, explain_day, load_gate
from ml_platform.gate.rules import FIRST, NEW, REFRESH, RULES

EXACT = Coverage(expected=3, states={"fitted": 3})
SURE = {"difference_se": 0.001, "difference_units": 100.0, "excess_bias_se": 0.001, "excess_bias_units": 100.0}
CHALLENGER = {
    "contender": "challenger",
    "level": "fleet",
    "segment": "fleet",
    "error": 0.8,
    "bias": 0.02,
    "weekly_bias": 0.04,
    "excess_bias": 0.01,
    "difference": -0.06,
    "improved": 0.6,
    "origins": 1,
    "coverage_80": 0.82,
    "coverage_95": 0.96,
    "reaching_80": 0.12,
    "reaching_95": 0.03,
    "weight": 10.0,
    "rows": 2000,
    "series": 1000,
    **SURE,
}


def judged(champion=None, segments=(), floors=None, **challenger):
    """Rows of gold/fleet_evaluation: a good challenger, with whatever a test changes; segments: dicts of figures with a weight."""
    own = {**CHALLENGER, **challenger}
    rows = [own]
    if champion is not None:
        rows.append({"contender": "champion", "level": "fleet", "release_id": "r", "error": champion, "rows": 2000})
    known = {"floor_zero": 0.95, "floor_mean_28": 0.85} if floors is None else floors
    rows += [{"contender": name, "level": "fleet", "error": error, "rows": 2000} for name, error in known.items()]
    whole = [{**CHALLENGER, "level": "segment", "segment": "all", "difference": -0.06, **SURE}]
    rows += [{**CHALLENGER, "level": "segment", **one} for one in segments] or whole
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.Table.from_pylist([{name: row.get(name) for name in (*names, "release_id")} for row in rows])


def verdict(facts=None, gate=None, **rows):
    return decide(judged(**rows), EXACT, gate or GateConfig(), facts)


def rule(decision, name):
    return next(one for one in decision.rules if one.name == name)


def test_a_good_first_fleet_passes_by_the_floor_alone():
    decision = verdict()
    assert decision.promoted
    assert decision.kind == FIRST
    assert "no champion" in rule(decision, "error_against_champion").explanation
    assert decision.summary.startswith("promoted (first): ")


@pytest.mark.parametrize(("difference", "passes"), [(0.0, True), (0.01, True), (-0.3, True), (0.011, False)])
def test_a_refresh_may_be_worse_by_the_margin_only(difference, passes):
    decision = verdict(Facts(REFRESH), champion=0.8, difference=difference)
    assert decision.promoted is passes
    assert rule(decision, "error_against_champion").passed is passes


@pytest.mark.parametrize(
    ("difference", "error", "units", "passes"),
    [
        (-0.06, 0.02, 100.0, True),
        (-0.06, 0.03, 100.0, False),  # 2.4 errors are needed
        (-0.06, 0.02, 3.0, False),  # two degrees of freedom ask for 7
        (-0.06, 0.02, 1.0, False),  # one block tells no chance
        (0.0, 0.0, 100.0, False),  # as good is not better
        (-0.06, float("nan"), 100.0, False),
    ],
)
def test_a_new_recipe_must_be_better_beyond_noise(difference, error, units, passes):
    told = {"difference": difference, "difference_se": error, "difference_units": units}
    decision = verdict(Facts(NEW, differing=7), champion=0.85, **told)
    assert rule(decision, "error_against_champion").passed is passes
    assert decision.promoted is passes
    assert "a new recipe for 7 series" in rule(decision, "error_against_champion").explanation


def test_whoever_meets_a_champion_and_tells_nothing_of_itself_is_new():
    assert verdict(champion=0.9).kind == NEW


def test_the_floor_is_the_best_of_all_floors_not_the_weakest():
    decision = verdict(error=0.9)  # beats all-zero, not the mean of 28 days
    assert not decision.promoted
    assert "mean_28" in rule(decision, "error_against_floor").explanation
    assert decision.summary.startswith("stopped: ")


def test_a_tie_with_the_floor_is_no_skill():
    assert not verdict(error=0.85).promoted
    assert not verdict(error=0.84, gate=GateConfig(error_against_floor={"minimum_skill": 0.05})).promoted


@pytest.mark.parametrize(
    ("kind", "improved", "passes"), [(NEW, 0.4, True), (NEW, 0.39, False), (NEW, None, False), (REFRESH, 0.1, True)]
)
def test_a_new_recipe_improves_enough_of_the_value(kind, improved, passes):
    decision = verdict(Facts(kind), champion=0.85, improved=improved)
    assert rule(decision, "share_improved").passed is passes


def segment(name, weight, **figures):
    return {"segment": name, "weight": weight, **figures}


def test_no_segment_of_weight_is_worse_beyond_noise():
    large = segment("large", 99.0)
    for weight, difference, passes in ((1.0, 0.2, False), (0.9, 0.2, True), (1.0, 0.051, True)):
        decision = verdict(segments=[large, segment("one", weight, difference=difference)], champion=0.85)
        assert rule(decision, "worst_segment").passed is passes, (weight, difference)
    noisy = segment("one", 5.0, difference=0.2, difference_se=0.1)
    assert rule(verdict(segments=[large, noisy]), "worst_segment").passed
    stopped = rule(verdict(segments=[large, segment("one", 5.0, difference=0.2)]), "worst_segment")
    assert "1 of 2 segments are over it, such as one" in stopped.explanation
    assert "best floor" in stopped.explanation
    assert {one.segment: one.passed for one in stopped.details} == {"large": True, "one": False}


@pytest.mark.parametrize(
    ("figures", "passes"),
    [
        ({"difference": 0.26, "difference_units": 1.0, "difference_se": None}, False),  # one series, ruined
        ({"difference": 0.26, "difference_se": 0.5}, False),
        ({"difference": 0.24, "difference_units": 1.0, "difference_se": None}, True),
        ({"difference": None}, False),  # an error, and nothing to compare it with
        ({"difference": None, "error": None}, True),  # nothing to judge
        ({"excess_bias": 0.26, "excess_bias_units": 1.0, "excess_bias_se": None}, False),
        ({"excess_bias": 0.24, "excess_bias_units": 1.0, "excess_bias_se": None}, True),
    ],
)
def test_a_segment_of_few_series_cannot_hide_behind_noise(figures, passes):
    decision = verdict(segments=[segment("large", 95.0), segment("one", 5.0, **figures)], champion=0.85)
    assert decision.promoted is passes
    json.loads(decision.to_json(), parse_constant=pytest.fail)


def test_a_fleet_of_one_series_is_held_to_what_is_certain():
    for excess, passes in ((0.24, True), (0.26, False), (5.0, False)):
        found = rule(verdict(excess_bias=excess, excess_bias_se=None, excess_bias_units=1.0), "bias")
        assert (found.passed, found.value) == (passes, excess)


def test_intervals_that_hold_nothing_are_not_excused_by_few_series():
    assert not rule(verdict(series=1, rows=14, coverage_80=0.0), "interval_coverage").passed
    assert rule(verdict(series=1, rows=14, coverage_80=0.6), "interval_coverage").passed


def profile(**windows):
    """Rows of gold/input_profile of one input: a steady history of eight windows, and what a test says of the newest."""
    rows = [{"window": -place, "mean": 10.0 + place % 2, "known": 0.9 + 0.01 * (place % 2)} for place in range(1, 9)]
    rows += [{"window": int(name[1:]), "mean": mean, "known": known} for name, (mean, known) in windows.items()]
    told = [{"as_of": date(2024, 3, 31), "input": "price", "spread": 1.0, **row} for row in rows]
    return pa.Table.from_pylist(told, INPUT_PROFILE.schema)


@pytest.mark.parametrize(
    ("windows", "drifted"),
    [
        ({"_0": (10.5, 0.9), "_1": (10.5, 0.9)}, False),
        ({"_0": (10.5, 0.9), "_1": (20.0, 0.9)}, True),
        ({"_0": (10.5, 0.1), "_1": (10.5, 0.9)}, True),  # most cells went silent, the others are as ever
        ({"_0": (10.5, 0.9), "_1": (10.5, 0.1)}, False),  # the plan is not out yet
        ({}, True),
    ],
)
def test_an_input_drifts_by_its_mean_and_by_what_is_known_of_it(world, windows, drifted):
    (found,) = drifts(profile(**windows), world.config).values()
    assert (found > 1.0) is drifted


def test_an_input_of_which_nothing_is_known_any_more_has_drifted():
    found = rule(verdict(Facts(drifts={"price": float("inf"), "target": 0.0})), "input_drift")
    assert (found.passed, found.value) == (False, None)
    assert "nothing is known any more of price" in found.explanation


@pytest.mark.parametrize(("excess", "passes"), [(0.08, True), (0.085, False), (-0.5, True), (None, False)])
def test_bias_beyond_the_floor_and_beyond_noise_stops_the_fleet(excess, passes):
    assert rule(verdict(excess_bias=excess), "bias").passed is passes


def test_bias_of_a_segment_stops_too_and_of_a_small_one_is_shown():
    biased = {"excess_bias": 0.2}
    large = segment("large", 90.0)
    stopped = rule(verdict(segments=[large, segment("one", 10.0, **biased)]), "bias")
    assert not stopped.passed
    assert "1 segments are over it, such as one" in stopped.explanation
    shown = rule(verdict(segments=[large, segment("one", 0.5, **biased)]), "bias")
    assert shown.passed
    assert [(one.segment, one.passed, one.counts) for one in shown.details] == [
        ("large", True, True),
        ("one", False, False),
    ]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"coverage_80": 0.71}, "80 % hold 71.0%, too narrow"),
        ({"coverage_95": 0.88}, "95 % hold 88.0%, too narrow"),
        ({"reaching_80": 0.01}, "80 % hold 82.0%, too wide"),
        ({"coverage_95": None}, "intervals of 95 % are missing"),
    ],
)
def test_intervals_that_hold_too_little_or_say_nothing_fail(figures, words):
    assert rule(verdict(), "interval_coverage").passed
    found = rule(verdict(**figures), "interval_coverage")
    assert not found.passed
    assert words in found.explanation


def test_a_gain_too_good_to_be_true_is_looked_at_first():
    assert rule(verdict(error=0.43), "plausible_gain").passed
    assert not rule(verdict(error=0.42), "plausible_gain").passed
    assert not rule(verdict(error=0.3, champion=0.7, floors={}), "plausible_gain").passed


def test_forecasts_that_the_weights_do_not_give_are_found():
    assert not rule(verdict(Facts(recomputed=0.01)), "recomputed").passed
    assert rule(verdict(Facts(recomputed=None)), "recomputed").passed


@pytest.mark.parametrize(
    ("facts", "rows", "name"),
    [
        (Facts(behind=4), {}, "freshness"),
        (Facts(behind=None), {}, "freshness"),
        (Facts(judged=0.4), {}, "minimum_actuals"),
        (Facts(), {"rows": 27}, "minimum_actuals"),
        (Facts(drifts={"price": 1.5, "target": 0.0}), {}, "input_drift"),
    ],
)
def test_too_old_too_few_and_too_different_data_stop(facts, rows, name):
    assert rule(verdict(Facts(behind=3, judged=0.5, drifts={"price": 1.0})), name).passed
    decision = verdict(facts, **rows)
    assert not rule(decision, name).passed
    assert not decision.promoted


@pytest.mark.parametrize(
    "fault",
    [{"missing": ("s1",)}, {"unexpected": ("s9",)}, {"doubled": 1}, {"unexplained": 1}],
)
def test_coverage_is_exact_or_fails(fault):
    decision = decide(judged(), Coverage(expected=3, states={"fitted": 3}, **fault), GateConfig())
    assert not rule(decision, "coverage").passed
    assert not decision.promoted


def test_a_challenger_that_skips_judged_rows_fails():
    assert "1 judged rows without a forecast" in rule(verdict(rows=1999), "coverage").explanation


@pytest.mark.parametrize("error", [None, float("nan"), float("inf")])
def test_an_unknown_error_never_passes(error):
    assert not verdict(error=error, champion=0.9).promoted
    assert not verdict(champion=float("nan")).promoted
    assert not verdict(Facts(REFRESH), champion=0.85, difference=error).promoted


def test_nothing_judged_never_passes():
    decision = decide(judged().slice(0, 0), EXACT, GateConfig())
    assert {"error_against_floor", "bias", "minimum_actuals"} <= set(decision.stopped_by)


def test_a_rule_that_does_not_block_is_shown_and_stops_nothing():
    gate = GateConfig(bias={"blocks": False})
    decision = verdict(excess_bias=0.5, gate=gate)
    assert decision.promoted
    assert not rule(decision, "bias").passed
    assert "failed, does not block" in explain_day(decision, None)


def test_a_decision_is_readable_and_storable(world):
    decision = verdict(champion=0.9)
    assert [one["name"] for one in json.loads(decision.to_json())] == [one.name for one in decision.rules]
    text = explain_day(decision, world.day)
    assert text.count("\n|") == 2 + len(decision.rules)
    assert "skill 5.88%" in text
    rows = list(decision.rows())
    assert {row["rule"] for row in rows} == {one.name for one in decision.rules} <= set(RULES)
    assert {row["segment"] for row in rows if row["rule"] == "bias"} == {"fleet", "all"}


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
    path.write_text("error_against_champion: {refresh_margin: 0.2}\n")
    assert load_gate(path).error_against_champion.refresh_margin == 0.2
    assert load_gate(tmp_path / "absent.yaml") == GateConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("byas: {excess: 0.2}", ["byas: unknown rule; known rules are error_against_champion, error"]),
        ("bias: {excess: -1}", ["bias.excess: -1 cannot be used: should be greater than or equal to 0"]),
        ("bias: {exces: 1}", ["bias.exces: unknown key; known keys are blocks, certain, confidence, excess, weight"]),
        ("bias: much\nfreshness: {steps: x}", ["bias: 'much' cannot be used", "freshness.steps: 'x' cannot"]),
        ("- 1", ["rules are a mapping, not list; known rules are"]),
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
    assert "Config" not in str(found.value)


def test_the_packaged_gate_holds_the_defaults():
    from ml_platform.settings import Settings

    assert load_gate(Settings().configs / "gate.yaml") == GateConfig()
