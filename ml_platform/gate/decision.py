"""A verdict: every rule with its value, its limit and a sentence.

Belongs here: what a decision is and how it is told. Does not belong here: how rules judge (rules, update).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

FLEET_SCOPE = "fleet"


@dataclass(frozen=True)
class Detail:
    """A rule's look at one segment; `counts` is False for one that is too small to stop anything."""

    segment: str
    value: float | None
    limit: float | None
    passed: bool
    counts: bool = True


@dataclass(frozen=True)
class Rule:
    """One rule's verdict: `passed` when `value` keeps to `limit`; None where there is nothing to compare with. `blocks`: a failure stops the challenger."""

    name: str
    value: float | None
    limit: float | None
    passed: bool
    explanation: str
    blocks: bool = True
    details: tuple[Detail, ...] = ()

    @property
    def stops(self) -> bool:
        return self.blocks and not self.passed

    @property
    def record(self) -> dict[str, Any]:
        """The rule without its segments, for evidence."""
        return {name: value for name, value in asdict(self).items() if name != "details"}


@dataclass(frozen=True)
class Decision:
    """All rules of one challenger; promoted only when no rule that blocks failed. kind: first, refresh, new or update."""

    rules: tuple[Rule, ...]
    kind: str = "first"

    @property
    def promoted(self) -> bool:
        return not any(rule.stops for rule in self.rules)

    @property
    def stopped_by(self) -> tuple[str, ...]:
        """Names of the rules that stopped it."""
        return tuple(rule.name for rule in self.rules if rule.stops)

    @property
    def summary(self) -> str:
        """One sentence for a terminal: which rules stopped it, or how it met the first of them."""
        stopped = [rule.explanation for rule in self.rules if rule.stops]
        if stopped:
            return "stopped: " + "; ".join(stopped)
        warned = [rule.name for rule in self.rules if not rule.passed]
        told = f", {', '.join(warned)} without blocking" if warned else ""
        return f"promoted ({self.kind}): {self.rules[0].explanation}; {len(self.rules)} rules looked at it{told}"

    def to_json(self) -> str:
        return json.dumps([rule.record for rule in self.rules], ensure_ascii=False, sort_keys=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per rule, and one per segment that a rule looked at."""
        for rule in self.rules:
            yield {
                **_row(rule.name, rule),
                "segment": FLEET_SCOPE,
                "blocks": rule.blocks,
                "explanation": rule.explanation,
            }
            for one in rule.details:
                yield {
                    **_row(rule.name, one),
                    "segment": one.segment,
                    "blocks": rule.blocks and one.counts,
                    "explanation": None,
                }


def _row(name: str, one: Rule | Detail) -> dict[str, Any]:
    return {"rule": name, "value": one.value, "limit": one.limit, "passed": one.passed}


def explain_day(decision: Decision, as_of: date) -> str:
    """The decision as a small Markdown table, for the UI."""
    head = f"**{'Promoted' if decision.promoted else 'Stopped'}** as of {as_of}\n\n| rule | value | limit | verdict | why |\n|---|---|---|---|---|"
    return "\n".join(
        [
            head,
            *(
                f"| {r.name} | {plain(r.value)} | {plain(r.limit)} | {_verdict(r)} | {r.explanation} |"
                for r in decision.rules
            ),
        ]
    )


def _verdict(rule: Rule) -> str:
    return "passed" if rule.passed else "failed" if rule.blocks else "failed, does not block"


def plain(value: float | None) -> str:
    """A figure for people; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"
