"""The gate: written rules that a challenger must pass, each with its value, its limit and a sentence.

Belongs here: the rules, their configuration, the verdict. Does not belong here: computing metrics (evaluation), acting on the verdict (promotion).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ml_platform.coverage import Coverage
from ml_platform.evaluation import FLEET


class GateError(ValueError):
    """A gate configuration that cannot be used; names the file and the key."""


class GateConfig(BaseModel):
    """Limits of the rules, as shares (0.01 = 1 %) where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    champion_tolerance: float = Field(
        default=0.01, ge=0, description="the error may exceed the champion's by this share"
    )
    minimum_skill: float = Field(
        default=0.0, ge=0, lt=1, description="1 - error / error of the best simple floor must exceed this"
    )
    maximum_bias: float = Field(default=0.10, ge=0, description="absolute bias of the fleet's sum that always passes")
    bias_over_floor: float = Field(default=0.03, ge=0, description="else the best floor's absolute bias plus this much")
    untrained_horizons: float = Field(
        default=4.0, ge=0, description="horizons after its training up to which a fleet may be updated"
    )


@dataclass(frozen=True)
class Rule:
    """One rule's verdict: `passed` when `value` keeps to `limit`; None where there is nothing to compare with."""

    name: str
    value: float | None
    limit: float | None
    passed: bool
    explanation: str


@dataclass(frozen=True)
class Decision:
    """All rules of one challenger; promoted only when every rule passed."""

    rules: tuple[Rule, ...]

    @property
    def promoted(self) -> bool:
        return all(rule.passed for rule in self.rules)

    @property
    def summary(self) -> str:
        """One sentence for a terminal: why it was promoted, or which rules stopped it."""
        stopped = [rule.explanation for rule in self.rules if not rule.passed]
        return (
            "stopped: " + "; ".join(stopped)
            if stopped
            else "promoted: " + "; ".join(rule.explanation for rule in self.rules)
        )

    def to_json(self) -> str:
        return json.dumps([asdict(rule) for rule in self.rules], ensure_ascii=False, sort_keys=True)


def load_gate(path: str | Path) -> GateConfig:
    """Read gate.yaml; an absent file means the defaults. Raises GateError with the path and the key of every fault."""
    if not Path(path).exists():
        return GateConfig()
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GateError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict | None):
        raise GateError(f"{path}: a gate is a mapping of keys, not {type(values).__name__}; {_known_keys()}")
    try:
        return GateConfig.model_validate(values or {})
    except ValidationError as error:
        raise GateError("\n".join(f"{path}: {_explained(fault)}" for fault in error.errors())) from error


def _known_keys() -> str:
    return f"known keys are {', '.join(GateConfig.model_fields)}"


def _explained(fault: ErrorDetails) -> str:
    """A fault as its key and what is wrong with it."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_known_keys()}"
    return f"{key}: {fault['input']!r} cannot be used: {fault['msg'].removeprefix('Input ')}"


def decide(evaluation: pa.Table, coverage: Coverage, config: GateConfig) -> Decision:
    """Judge the challenger by the fleet rows of gold/fleet_evaluation (one as-of day) and the count of the series."""
    whole = evaluation.filter(pc.equal(evaluation["level"], FLEET)).to_pylist()
    rows = {row["contender"]: row for row in whole}
    challenger = rows.get("challenger", {})
    error, bias = _number(challenger, "weighted_rmsse"), _number(challenger, "bias")
    name, floor = _best_floor(rows)
    return Decision(
        (
            _against_champion(error, rows.get("champion"), config),
            _against_floor(error, name, floor, config),
            _fleet_bias(bias, name, floor, config),
            exact_coverage(coverage, rows),
        )
    )


def _number(row: Mapping[str, object] | None, name: str) -> float | None:
    value = (row or {}).get(name)
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None


def _best_floor(rows: Mapping[str, Mapping[str, object]]) -> tuple[str, Mapping[str, object] | None]:
    floors = [
        (error, name)
        for name, row in rows.items()
        if name.startswith("floor_") and (error := _number(row, "weighted_rmsse")) is not None
    ]
    best = min(floors)[1] if floors else ""
    return best.removeprefix("floor_"), rows.get(best)


def _against_champion(error: float | None, champion: Mapping[str, object] | None, config: GateConfig) -> Rule:
    name = "error_against_champion"
    if champion is None:
        return Rule(name, error, None, True, "there is no champion yet as of this day: the floor alone judges")
    theirs = _number(champion, "weighted_rmsse")
    if error is None or theirs is None:
        return Rule(
            name,
            error,
            theirs,
            False,
            "the error of challenger or champion is unknown: no judged series has a weight and a scale",
        )
    limit = theirs * (1 + config.champion_tolerance)
    verdict = "within" if error <= limit else "above"
    words = f"weighted RMSSE {error:.4f} against {theirs:.4f} of the champion {champion['release_id'] or ''}".rstrip()
    return Rule(
        name, error, limit, error <= limit, f"{words}: {verdict} its tolerance of {config.champion_tolerance:.1%}"
    )


def _against_floor(error: float | None, name: str, floor: Mapping[str, object] | None, config: GateConfig) -> Rule:
    theirs = _number(floor, "weighted_rmsse")
    if error is None or theirs is None:
        return Rule(
            "error_against_floor",
            error,
            theirs,
            False,
            "the error of challenger or floors is unknown: no judged series has a weight and a scale",
        )
    limit = theirs * (1 - config.minimum_skill)
    skill = 1 - error / theirs if theirs else 0.0
    words = f"weighted RMSSE {error:.4f} against {theirs:.4f} of the best simple floor {name}"
    return Rule(
        "error_against_floor",
        error,
        limit,
        error < limit,
        f"{words}: skill {skill:.2%}, must exceed {config.minimum_skill:.2%}",
    )


def _fleet_bias(bias: float | None, name: str, floor: Mapping[str, object] | None, config: GateConfig) -> Rule:
    if bias is None:
        return Rule(
            "fleet_bias",
            None,
            config.maximum_bias,
            False,
            "the fleet's bias is unknown: the judged fold has no actuals above zero",
        )
    theirs = _number(floor, "bias")
    allowed = max(config.maximum_bias, abs(theirs) + config.bias_over_floor if theirs is not None else 0.0)
    beside = f"; the best floor {name} has {theirs:+.1%}" if theirs is not None else ""
    return Rule(
        "fleet_bias",
        abs(bias),
        allowed,
        abs(bias) <= allowed,
        f"the fleet's sum is off by {bias:+.1%}, allowed are {allowed:.1%}{beside}",
    )


def exact_coverage(coverage: Coverage, rows: Mapping[str, Mapping[str, object]]) -> Rule:
    """Every expected series has its row, and every judged row its forecast."""
    made = {name: int(_number(row, "rows") or 0) for name, row in rows.items()}
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
    return Rule("coverage", coverage.share, 1.0, not wrong, f"{words} (first: {first})" if first else words)


def explain_day(decision: Decision, as_of: date) -> str:
    """The decision as a small Markdown table, for the UI."""
    head = f"**{'Promoted' if decision.promoted else 'Stopped'}** as of {as_of}\n\n| rule | value | limit | verdict | why |\n|---|---|---|---|---|"
    return "\n".join(
        [
            head,
            *(
                f"| {r.name} | {_plain(r.value)} | {_plain(r.limit)} | {'passed' if r.passed else 'failed'} | {r.explanation} |"
                for r in decision.rules
            ),
        ]
    )


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
