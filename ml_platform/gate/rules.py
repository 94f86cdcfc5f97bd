"""The gate: written rules that a challenger must pass, each with its value, its limit and a sentence.

Belongs here: what each rule looks at. Does not belong here: limits (config), computing figures (evaluation), acting on the verdict (promotion).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import pyarrow as pa

from ml_platform.coverage import Coverage
from ml_platform.evaluation.figures import FLEET, ZERO
from ml_platform.evaluation.noise import Estimate
from ml_platform.gate.config import Bias, GateConfig, RuleConfig, WorstSegment
from ml_platform.gate.decision import Decision, Detail, Rule

Row = Mapping[str, Any]
FIRST, REFRESH, NEW = "first", "refresh", "new"
MOST_NOISE = 0.2  # of an interval's coverage: a handful of series cannot excuse one that holds nothing
FEW_IN_TAIL = 30  # rows that should lie above an interval, from which on none of them reaching it says something
UNKNOWN = "no judged series has a weight and a scale"
TEXTS = {
    "error_against_champion": "The objective's error against the champion's: no worse beyond a margin (refresh), or better beyond noise (new recipe).",
    "error_against_floor": "The objective's error against that of the best simple floor.",
    "share_improved": "Share of the value in series that a new recipe forecasts no worse.",
    "worst_segment": "No segment of weight loses more than it may, beyond noise.",
    "bias": "Sums by week, of the fleet and of segments, beside the best floor's.",
    "interval_coverage": "Intervals hold as much as they say, and are not so wide that they say nothing.",
    "plausible_gain": "The gain is no larger than progress can be: future may have leaked.",
    "recomputed": "The judged forecasts are what the fleet's weights make of its families.",
    "coverage": "Every expected series has its row, with a reason where it has no model of its own.",
    "minimum_actuals": "There is enough to judge by.",
    "freshness": "The newest observation is not too old.",
    "input_drift": "Target and covariates are like what they were within a year.",
    "recipe_of_champion": "Of an update: weights and pools are the champion's to the letter.",
    "age_of_training": "Of an update: its training is not too long ago.",
}
RULES = tuple(TEXTS)


@dataclass(frozen=True)
class Facts:
    """What the rules need beside the figures of the judged fold.

    kind: first (nobody to beat), refresh (the champion's settings and choice, fitted anew) or new; differing: series whose choice is another than the
    champion's. behind: steps between the newest observation and the as-of day, None where nothing was observed. recomputed: how far the judged
    forecasts are from what the fleet's weights make of its families, None where that is not known. drifts: by input, see InputDrift. judged: judged
    series over fitted ones.
    """

    kind: str = FIRST
    differing: int = 0
    behind: int | None = 0
    recomputed: float | None = 0.0
    drifts: Mapping[str, float] = field(default_factory=dict)
    judged: float = 1.0


@dataclass(frozen=True)
class Judged:
    """The figures of one as-of day by contender: of the fleet, and of the challenger by segment."""

    fleet: Mapping[str, Row]
    segments: tuple[Row, ...]

    @classmethod
    def of(cls, evaluation: pa.Table) -> "Judged":
        """From rows of gold/fleet_evaluation."""
        rows = evaluation.to_pylist()
        own = (row for row in rows if row["level"] != FLEET and row["contender"] == "challenger")
        return cls({row["contender"]: row for row in rows if row["level"] == FLEET}, tuple(own))

    @property
    def challenger(self) -> Row:
        return self.fleet.get("challenger", {})

    @property
    def champion(self) -> Row | None:
        return self.fleet.get("champion")

    def floor(self, level: bool = False) -> tuple[str, Row | None]:
        """Name and figures of the best floor; `level`: of those that say how much."""
        errors = [
            (error, name)
            for name, row in self.fleet.items()
            if name.startswith("floor_")
            and not (level and name == ZERO)
            and (error := number(row, "error")) is not None
        ]
        best = min(errors)[1] if errors else ""
        return best.removeprefix("floor_"), self.fleet.get(best)

    def shares(self) -> Iterator[tuple[Row, float]]:
        """Every segment with its share of the weight, the heaviest first."""
        total = sum(number(row, "weight") or 0.0 for row in self.segments)
        told = [(row, (number(row, "weight") or 0.0) / total if total else 0.0) for row in self.segments]
        yield from sorted(told, key=lambda one: (-one[1], str(one[0]["segment"])))


def decide(evaluation: pa.Table, coverage: Coverage, config: GateConfig, facts: Facts | None = None) -> Decision:
    """Judge the challenger by gold/fleet_evaluation of one as-of day, the count of the series, and the facts of the day."""
    judged, known = (
        Judged.of(evaluation),
        facts or Facts(NEW if "champion" in evaluation["contender"].to_pylist() else FIRST),
    )
    rules = (
        _against_champion(judged, config, known),
        _against_floor(judged, config),
        _improved(judged, config, known),
        _worst_segment(judged, config),
        _bias(judged, config),
        _intervals(judged, config),
        _plausible(judged, config),
        _recomputed(config, known),
        exact_coverage(coverage, judged.fleet, config.coverage),
        _actuals(judged, config, known),
        _fresh(config, known),
        _drift(config, known),
    )
    return Decision(rules, known.kind)


def number(row: Row | None, name: str) -> float | None:
    """A figure of a row; None where it is not known."""
    value = (row or {}).get(name)
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None


def _estimate(row: Row, name: str) -> Estimate | None:
    """A figure with its noise; None where it is not known."""
    value = number(row, name)
    if value is None:
        return None
    error, units = number(row, f"{name}_se"), number(row, f"{name}_units")
    return Estimate(value, math.inf if error is None else error, units or 0.0)


def _rule(
    name: str,
    config: RuleConfig,
    value: float | None,
    limit: float | None,
    passed: bool,
    words: str,
    details: Sequence[Detail] = (),
) -> Rule:
    return Rule(name, value, limit, passed, words, config.blocks, tuple(details))


def _against_champion(judged: Judged, config: GateConfig, facts: Facts) -> Rule:
    name, own = "error_against_champion", config.error_against_champion
    error, champion = number(judged.challenger, "error"), judged.champion
    if champion is None:
        return _rule(name, own, error, None, True, "there is no champion yet as of this day: the floor alone judges")
    theirs, told = number(champion, "error"), _estimate(judged.challenger, "difference")
    if error is None or theirs is None or told is None:
        return _rule(name, own, error, theirs, False, f"the error of challenger or champion is unknown: {UNKNOWN}")
    words = f"error {error:.4f} against {theirs:.4f} of the champion {champion['release_id'] or ''}".rstrip()
    if facts.kind == REFRESH:
        passed = told.value <= own.refresh_margin
        verdict = f"a refresh, {told.value:+.2%}, allowed are {own.refresh_margin:+.2%}"
        return _rule(name, own, told.value, own.refresh_margin, passed, f"{words}: {verdict}")
    bound = told.value + told.noise(own.confidence)
    certain = f"by chance up to {bound:+.2%}" if math.isfinite(bound) else "too few blocks to tell chance"
    origins = int(number(judged.challenger, "origins") or 1)
    where = f" over {origins} origins" if origins > 1 else ""
    verdict = f"a new recipe for {facts.differing:,} series, {told.value:+.2%}{where}, {certain}, must stay below 0"
    return _rule(name, own, bound if math.isfinite(bound) else None, 0.0, bound < 0, f"{words}: {verdict}")


def _against_floor(judged: Judged, config: GateConfig) -> Rule:
    own, error = config.error_against_floor, number(judged.challenger, "error")
    name, floor = judged.floor()
    theirs = number(floor, "error")
    if error is None or theirs is None:
        words = f"the error of challenger or floors is unknown: {UNKNOWN}"
        return _rule("error_against_floor", own, error, theirs, False, words)
    limit, skill = theirs * (1 - own.minimum_skill), 1 - error / theirs if theirs else 0.0
    words = f"error {error:.4f} against {theirs:.4f} of the best simple floor {name}: skill {skill:.2%}, must exceed {own.minimum_skill:.2%}"
    return _rule("error_against_floor", own, error, limit, error < limit, words)


def _improved(judged: Judged, config: GateConfig, facts: Facts) -> Rule:
    name, own = "share_improved", config.share_improved
    if facts.kind != NEW:
        return _rule(name, own, None, own.minimum, True, "asked of a new recipe that meets a champion")
    share = number(judged.challenger, "improved")
    if share is None:
        return _rule(name, own, None, own.minimum, False, f"the share of improved series is unknown: {UNKNOWN}")
    words = f"{share:.1%} of the value lies in series that are forecast no worse, at least {own.minimum:.1%} have to"
    return _rule(name, own, share, own.minimum, share >= own.minimum, words)


def _worst_segment(judged: Judged, config: GateConfig) -> Rule:
    name, own = "worst_segment", config.worst_segment
    other = "the champion" if judged.champion is not None else "the best floor"
    details = [
        _segment(row, share >= own.weight, _estimate(row, "difference"), own, own.maximum)
        for row, share in judged.shares()
    ]
    return _of_segments(name, own, own.maximum, details, f"error above that of {other}, beyond noise")


def _beyond(told: Estimate, own: WorstSegment | Bias, limit: float) -> tuple[float, bool]:
    """What a figure is beyond noise, and whether that keeps the limit; above `certain`, or where its noise is unknown, it counts as it is."""
    noise = told.noise(own.confidence)
    if told.value > own.certain or not math.isfinite(noise):
        return told.value, told.value <= own.certain
    return told.value - noise, told.value - noise <= limit


def _segment(row: Row, counts: bool, told: Estimate | None, own: WorstSegment | Bias, limit: float) -> Detail:
    """A rule's look at a segment. Without a figure nothing is known of it - unless its error is, and there is none to compare it with."""
    if told is None:
        return Detail(row["segment"], None, limit, not number(row, "error"), counts)
    value, passed = _beyond(told, own, limit)
    return Detail(row["segment"], value, limit, passed, counts)


def _of_segments(name: str, own: RuleConfig, limit: float, details: Sequence[Detail], what: str) -> Rule:
    """A rule about every segment that is large enough, told by the worst of them."""
    counted = [one for one in details if one.counts]
    known = [one for one in counted if one.value is not None]
    failed = [one.segment for one in counted if not one.passed]
    if not known:
        words = f"; {', '.join(failed[:3])} has an error and nothing to compare it with" if failed else ""
        return _rule(name, own, None, limit, not failed, f"no segment has enough to compare: {what}{words}", details)
    worst = max(known, key=lambda one: one.value or 0.0)
    first = f"{len(failed)} of {len(counted)} segments are over it, such as {', '.join(failed[:3])}; " if failed else ""
    words = f"{first}{what}: at worst {worst.value:+.1%} (segment {worst.segment}), allowed are {limit:.1%}"
    return _rule(name, own, worst.value, limit, not failed, words, details)


def _bias(judged: Judged, config: GateConfig) -> Rule:
    own = config.bias
    name, _ = judged.floor(level=True)
    told = _estimate(judged.challenger, "excess_bias")
    if told is None:
        return _rule(
            "bias", own, None, own.excess, False, "the fleet's bias is unknown: the judged fold has no actuals"
        )
    details = [
        _segment(row, share >= own.weight, _estimate(row, "excess_bias"), own, own.excess)
        for row, share in judged.shares()
    ]
    fleet, held = _beyond(told, own, own.excess)
    failed = [one.segment for one in details if one.counts and not one.passed]
    passed = held and not failed
    weekly, whole = number(judged.challenger, "weekly_bias") or 0.0, number(judged.challenger, "bias")
    words = f"sums by week are off by {weekly:.1%}, {told.value:+.1%} beside the best floor {name}, {fleet:+.1%} beyond noise, allowed are {own.excess:.1%}"
    words += f"; in all {whole:+.1%}" if whole is not None else ""
    if failed:
        worst = max((one for one in details if one.counts and one.value is not None), key=lambda one: one.value or 0.0)
        words += f"; {len(failed)} segments are over it, such as {', '.join(failed[:3])} (at worst {worst.value:+.1%})"
    return _rule(
        "bias",
        own,
        max([fleet, *(one.value for one in details if one.counts and one.value is not None)]),
        own.excess,
        passed,
        words,
        details,
    )


def _intervals(judged: Judged, config: GateConfig) -> Rule:
    name, own, row = "interval_coverage", config.interval_coverage, judged.challenger
    levels = sorted(int(key.removeprefix("coverage_")) for key in row if key.startswith("coverage_"))
    if not levels:
        return _rule(name, own, None, None, True, "the fleet has no intervals")
    told, missing, rows, series = [], [], number(row, "rows") or 0.0, number(row, "series") or 0.0
    for level in levels:
        held, reaching = number(row, f"coverage_{level}"), number(row, f"reaching_{level}")
        if held is None:
            missing.append(f"{level} %")
            continue
        least, tail = level / 100 - own.tolerance, (1 - level / 100) / 2
        chance = NormalDist().inv_cdf(own.confidence) * math.sqrt(tail * 2 * (1 - tail * 2) / max(series, 1.0))
        noise = min(chance, MOST_NOISE)
        told_of_tail = reaching is not None and rows * tail >= FEW_IN_TAIL
        narrow, wide = held + noise < least, told_of_tail and (reaching or 0.0) < own.widest * tail
        words = f"{level} % hold {held:.1%}"
        words += f", too narrow: at least {least:.1%}, noise {noise:.1%}" if narrow else ""
        words += (
            f", too wide: {reaching:.2%} reach their upper end, where {tail:.1%} should lie above it" if wide else ""
        )
        told.append((held - level / 100, not (narrow or wide), words))
    if missing:
        return _rule(name, own, None, None, False, f"intervals of {', '.join(missing)} are missing on the judged fold")
    worst = min(told)
    return _rule(name, own, worst[0], -own.tolerance, all(one[1] for one in told), "; ".join(one[2] for one in told))


def _plausible(judged: Judged, config: GateConfig) -> Rule:
    name, own, error = "plausible_gain", config.plausible_gain, number(judged.challenger, "error")
    floor, row = judged.floor()
    known = {"the champion": judged.champion, f"the best floor {floor}": row}
    errors = {who: told for who, one in known.items() if (told := number(one, "error")) is not None}
    if error is None or not errors:
        return _rule(name, own, None, own.maximum, True, "there is no error to compare with")
    who = min(errors, key=lambda one: errors[one])
    gain = 1 - error / errors[who] if errors[who] else 0.0
    words = (
        f"error {gain:.1%} below that of {who}; above {own.maximum:.0%} leaked future is likelier than such progress"
    )
    return _rule(name, own, gain, own.maximum, gain <= own.maximum, words)


def _recomputed(config: GateConfig, facts: Facts) -> Rule:
    name, own, off = "recomputed", config.recomputed, facts.recomputed
    if off is None:
        return _rule(name, own, None, own.tolerance, True, "the fold does not hold what the families said")
    words = f"the judged forecasts are {off:.2g} from what the fleet's weights make of its families, allowed are {own.tolerance:.0e}"
    return _rule(name, own, off, own.tolerance, off <= own.tolerance, words)


def exact_coverage(coverage: Coverage, rows: Mapping[str, Row], config: RuleConfig | None = None) -> Rule:
    """Every expected series has its row, and every judged row its forecast."""
    made = {name: int(number(row, "rows") or 0) for name, row in rows.items()}
    faults = {
        "without a row": len(coverage.missing),
        "not expected": len(coverage.unexpected),
        "doubled": coverage.doubled,
        "without a reason": coverage.unexplained,
        "judged rows without a forecast": max(made.values(), default=0) - made.get("challenger", 0),
    }
    wrong = ", ".join(f"{count} {what}" for what, count in faults.items() if count)
    first = next(iter((*coverage.missing, *coverage.unexpected)), None)
    states = ", ".join(f"{count} {state}" for state, count in coverage.states.items())
    words = f"{coverage.expected} series expected: {states or 'none in the fleet'}; {wrong or 'all accounted for'}"
    words = f"{words} (first: {first})" if first else words
    return _rule("coverage", config or RuleConfig(), coverage.share, 1.0, not wrong, words)


def _actuals(judged: Judged, config: GateConfig, facts: Facts) -> Rule:
    own, rows = config.minimum_actuals, int(number(judged.challenger, "rows") or 0)
    enough = rows >= own.rows and facts.judged >= own.series
    words = f"{rows:,} judged rows, at least {own.rows:,} are asked for; {facts.judged:.1%} of the fitted series are judged, at least {own.series:.1%}"
    return _rule("minimum_actuals", own, float(rows), float(own.rows), enough, words)


def _fresh(config: GateConfig, facts: Facts) -> Rule:
    name, own, behind = "freshness", config.freshness, facts.behind
    if behind is None:
        return _rule(name, own, None, float(own.steps), False, "no series has an observation up to the as-of day")
    words = f"the newest observation lies {behind} steps before the as-of day, allowed are {own.steps}"
    return _rule(name, own, float(behind), float(own.steps), behind <= own.steps, words)


def _drift(config: GateConfig, facts: Facts) -> Rule:
    name, own = "input_drift", config.input_drift
    if not facts.drifts:
        return _rule(name, own, None, own.maximum, True, "the history is too short to say what its inputs are like")
    details = [
        Detail(one, value if math.isfinite(value) else None, own.maximum, value <= own.maximum)
        for one, value in sorted(facts.drifts.items())
    ]
    if gone := [one for one, value in facts.drifts.items() if math.isinf(value)]:
        words = f"nothing is known any more of {', '.join(sorted(gone))}, which had a history"
        return _rule(name, own, None, own.maximum, False, words, details)
    worst = max(details, key=lambda one: one.value or 0.0)
    words = f"of {len(details)} inputs {worst.segment} lies farthest outside its history: {worst.value:.2f} spans of it, allowed are {own.maximum:.2f}"
    return _rule(name, own, worst.value, own.maximum, all(one.passed for one in details), words, details)
