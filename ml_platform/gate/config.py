"""The gate's configuration: gate.yaml, one block per rule.

Belongs here: limits, their defaults, what is wrong with a file. Does not belong here: what a rule looks at (rules).
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_platform.rule_files import read_rules

SURE = Field(default=0.99, ge=0.5, lt=1, description="one-sided probability with which chance has to be ruled out")
SEGMENT = Field(
    default=0.01, ge=0, le=1, description="share of the weight from which on a segment counts; smaller ones are shown"
)


CERTAIN = Field(
    default=0.25, ge=0, description="above this it fails whatever the noise: few series say nothing of theirs"
)


class GateError(ValueError):
    """A gate configuration that cannot be used; names the file and the key."""


class RuleConfig(BaseModel):
    """One rule: whether it stops a challenger, or is only shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: bool = Field(default=True, description="false: the verdict is shown and stops nothing")


class AgainstChampion(RuleConfig):
    """The objective's error against the champion's, both fitted at the same cut."""

    refresh_margin: float = Field(
        default=0.01, ge=0, description="a refresh (the champion's choice, fitted anew) may be worse by this share"
    )
    confidence: float = Field(
        default=0.99, ge=0.5, lt=1, description="a new recipe must be better with this one-sided probability"
    )


class ShareImproved(RuleConfig):
    """The share of the value that lies in series which a new recipe forecasts no worse."""

    minimum: float = Field(default=0.4, ge=0, le=1, description="at least this share of the weight")


class WorstSegment(RuleConfig):
    """The segment that loses most against the champion, or against the best floor where there is none."""

    maximum: float = Field(default=0.05, ge=0, description="its error may be larger by this share, beyond noise")
    certain: float = CERTAIN
    weight: float = SEGMENT
    confidence: float = SURE


class Bias(RuleConfig):
    """Sums by week, of the fleet and of each segment, beside those of the best floor on the same rows."""

    excess: float = Field(
        default=0.08, ge=0, description="they may be off by this much more than the floor's, beyond noise"
    )
    certain: float = CERTAIN
    weight: float = SEGMENT
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="one-sided probability with which chance has to be ruled out"
    )


class IntervalCoverage(RuleConfig):
    """The share of actuals that intervals hold."""

    tolerance: float = Field(default=0.05, ge=0, le=1, description="they may hold this much less than they say")
    widest: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="and at least this share of the actuals that should lie above them has to reach their upper end",
    )
    confidence: float = SURE


class AgainstFloor(RuleConfig):
    """The objective's error against that of the best simple floor."""

    minimum_skill: float = Field(default=0.0, ge=0, lt=1, description="1 - error / floor's error must exceed this")


class PlausibleGain(RuleConfig):
    """A gain that is too good to be true: leaked future is likelier than such progress."""

    maximum: float = Field(
        default=0.5, gt=0, le=1, description="the error may fall by this share of the champion's, or floor's, at most"
    )


class Recomputed(RuleConfig):
    """The judged forecasts are what the fleet's weights make of its families'."""

    tolerance: float = Field(default=1e-6, ge=0, description="sum of differences over the sum of forecasts")


class Freshness(RuleConfig):
    """How far the newest observation lies before the as-of day."""

    steps: int = Field(default=3, ge=0, description="steps without any observation, at most")


class MinimumActuals(RuleConfig):
    """How much there is to judge by."""

    rows: int = Field(default=28, ge=1, description="judged rows with an actual, at least")
    series: float = Field(default=0.5, ge=0, le=1, description="judged series over fitted ones, at least")


class InputDrift(RuleConfig):
    """Whether what the fleet forecasts from is like what it was before."""

    maximum: float = Field(
        default=1.0,
        ge=0,
        description="how far an input may lie outside all it has been in its history, in spans of that history",
    )


class AgeOfTraining(RuleConfig):
    """How old the training of an updated fleet may be; selection and intervals age with it."""

    horizons: float = Field(
        default=4.0, ge=0, description="horizons after its training up to which a fleet may be updated"
    )


class GateConfig(BaseModel):
    """What a challenger must pass; shares (0.01 = 1 %) where nothing else is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error_against_champion: AgainstChampion = AgainstChampion()
    error_against_floor: AgainstFloor = AgainstFloor()
    share_improved: ShareImproved = ShareImproved()
    worst_segment: WorstSegment = WorstSegment()
    bias: Bias = Bias()
    interval_coverage: IntervalCoverage = IntervalCoverage()
    plausible_gain: PlausibleGain = PlausibleGain()
    recomputed: Recomputed = Recomputed()
    coverage: RuleConfig = RuleConfig()
    minimum_actuals: MinimumActuals = MinimumActuals()
    freshness: Freshness = Freshness()
    input_drift: InputDrift = InputDrift()
    age_of_training: AgeOfTraining = AgeOfTraining()


def load_gate(path: Path) -> GateConfig:
    """Read gate.yaml; an absent file means the defaults. Raises GateError with the path and the key of every fault."""
    return read_rules(path, GateConfig, GateError)
