"""Choice: which families a configuration runs on a fleet, and why.

Belongs here: `families: default` as the data suggest it. Does not belong here: weighing what ran (selection).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

from ml_platform.forecasting.config import FAMILIES, ConfigError, ForecastConfig
from ml_platform.forecasting.running import SPARSE

OFTEN_ZERO = 0.3  # share of zeros from which on a series is a matter of whether, and not only of how much
WALKS = ("ets", "theta")
SHORTER = {"mean_56": 28, "mean_182": 56}  # steps of the next shorter mean
LAGGED, ROWS_PER_FEATURE, FEATURES, LONGEST_TABLE = "ridge_lags", 20, 10, 31  # beside the places of a season
TREES, MOST = "lightgbm", 2_000_000  # cells up to which a model of all series is worth its minutes

# a multiple of the target has that multiple of the forecast; ridge takes counts for evidence, trees look at the level
SCALES = frozenset(FAMILIES) - {"ridge", "ridge_lags", TREES}
ALONE = frozenset({"seasonal_naive", *WALKS})  # no other series changes the forecast of one


@dataclass(frozen=True)
class Traits:
    """What segments are like: observed, positive and negative cells, the season, and of each its steps and observed cells, at least."""

    observed: int
    positive: int
    negative: int
    season: int
    steps: int
    fewest: int

    @classmethod
    def of(cls, cells: Sequence[int], season: int, steps: int) -> Self:
        """Of one segment; cells: observed, positive and negative ones."""
        observed, positive, negative = cells
        return cls(observed, positive, negative, season, steps, observed)

    @property
    def zeros(self) -> float:
        """Share of observed cells that are 0."""
        return 1.0 - (self.positive + self.negative) / max(self.observed, 1)


def together(segments: Sequence[Traits]) -> Traits:
    """What some segments of one season are like."""
    observed, positive, negative = (
        sum(getattr(one, name) for one in segments) for name in ("observed", "positive", "negative")
    )
    steps, fewest = (min(getattr(one, name) for one in segments) for name in ("steps", "fewest"))
    return Traits(observed, positive, negative, segments[0].season, steps, fewest)


@dataclass(frozen=True)
class Choice:
    """One family, whether it runs, and why."""

    family: str
    runs: bool
    why: str

    @property
    def scales(self) -> bool:
        """Whether a multiple of the target has that multiple of the forecast; of an adapter nobody knows."""
        return self.family in SCALES

    @property
    def alone(self) -> bool:
        """Whether no other series changes the forecast of one, as of every adapter."""
        return self.family in ALONE or self.family not in FAMILIES


def choose(config: ForecastConfig, traits: Traits) -> tuple[Choice, ...]:
    """Every family in the order of FAMILIES, then the adapters, with a reason for or against it. Raises ConfigError where one cannot run here."""
    named = () if config.families == "default" else config.families
    if TREES in named and find_spec(TREES) is None:
        raise ConfigError(f"families: {TREES} needs the extra `ml`: install ml-platform[ml], or leave the family out")
    plain = tuple(_of_default(name, traits) if config.with_default else _not_named(name) for name in FAMILIES)
    plain = tuple(Choice(one.family, True, "named in families") if one.family in named else one for one in plain)
    return (*plain, *(Choice(one.name, True, f"named in families: {one}") for one in config.adapters))


def _not_named(name: str) -> Choice:
    return Choice(name, False, "not named in families")


def _of_default(name: str, traits: Traits) -> Choice:
    share = f"{traits.zeros:.0%} of the values are 0"
    if name in SPARSE:
        return Choice(name, traits.zeros > OFTEN_ZERO, f"{share}: for sparse demand, more than {OFTEN_ZERO:.0%}")
    if name in WALKS:
        return Choice(
            name,
            traits.zeros <= OFTEN_ZERO,
            f"{share}: follows level, trend and season of values, at most {OFTEN_ZERO:.0%}",
        )
    if name == TREES:
        return _of_trees(traits, share)
    if name == "seasonal_naive":
        return _of_season(traits)
    against = _too_little(name, traits)
    return Choice(name, not against, against or "runs on every fleet")


def _too_little(name: str, traits: Traits) -> str:
    """What of a history is too short, or too little, for a family that runs on all others; empty where nothing is."""
    if name in SHORTER and traits.steps <= SHORTER[name]:
        return f"{traits.steps} steps: no other than the mean of {SHORTER[name]}"
    if name == LAGGED and traits.fewest < ROWS_PER_FEATURE * (FEATURES + min(traits.season, LONGEST_TABLE)):
        return f"{traits.fewest:,} values of a segment: too few for so many coefficients"
    return ""


def _of_season(traits: Traits) -> Choice:
    if traits.season == 1:
        return Choice("seasonal_naive", False, "there is no season")
    whole = traits.steps >= traits.season
    why = "the last season again" if whole else f"{traits.steps} steps: none of {traits.season} has gone by"
    return Choice("seasonal_naive", whole, why)


def _of_trees(traits: Traits, share: str) -> Choice:
    if traits.zeros > OFTEN_ZERO:
        return Choice(TREES, False, f"{share}: no better than means where more than {OFTEN_ZERO:.0%} are")
    if traits.observed > MOST:
        return Choice(
            TREES, False, f"{traits.observed:,} values: name it in families where more than {MOST:,} are worth its time"
        )
    there = find_spec(TREES) is not None
    return Choice(TREES, there, f"{share}: learns from all series at once" if there else "needs the extra `ml`")
