"""The gate: written rules that a challenger must pass, and the verdict with its evidence.

Belongs here: rules, their limits, decisions. Does not belong here: computing figures (evaluation), acting on a verdict (promotion).
"""

from ml_platform.gate.config import GateConfig, GateError, load_gate
from ml_platform.gate.decision import Decision, Detail, Rule, explain_day
from ml_platform.gate.rules import Facts, decide, exact_coverage

__all__ = [
    "Decision",
    "Detail",
    "Facts",
    "GateConfig",
    "GateError",
    "Rule",
    "decide",
    "exact_coverage",
    "explain_day",
    "load_gate",
]
