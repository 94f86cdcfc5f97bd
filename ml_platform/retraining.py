"""Retraining by need: what has happened since the champion was trained that asks for another training.

Belongs here: the needs and their limits (retraining.yaml). Does not belong here: when somebody looks (sensors.retraining), training itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from ml_platform.forecasting import ForecastConfig
from ml_platform.gate.update import BY_UPDATE
from ml_platform.lake import Lake, names
from ml_platform.registry import Champion, champion_as_of
from ml_platform.registry.pointer import standings
from ml_platform.rule_files import read_rules

FILE = "retraining.yaml"


class RetrainingError(ValueError):
    """A retraining.yaml that cannot be used; names the file and the key."""


class Limits(BaseModel):
    """From when on a training is asked for; null: this is no reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    new_steps: float | None = Field(default=7.0, gt=0, description="complete steps since the champion's as-of day")
    corrected_rows: float | None = Field(
        default=0.001,
        gt=0,
        description="rows changed since, of dates that the champion had seen, over all rows of the target",
    )
    age_horizons: float | None = Field(default=2.0, gt=0, description="horizons since the champion's as-of day")
    failed_rules: bool = Field(
        default=True, description="whether a stopped challenger asks for another one on a newer day"
    )


@dataclass(frozen=True)
class Need:
    """Why a training is due: a word for it, a sentence, and the day to train."""

    name: str
    why: str
    day: date


def load_limits(path: Path) -> Limits:
    """Read retraining.yaml; an absent file means the defaults. Raises RetrainingError with the path and the key of every fault."""
    return read_rules(path, Limits, RetrainingError)


def needs(lake: Lake, config: ForecastConfig, limits: Limits, day: date) -> list[Need]:
    """Every reason to train `day`, the newest complete one; none where it was trained and judged, or nothing is released yet."""
    if _judged(lake, day):
        return []
    trained = _trained(lake, day)
    if trained is None:
        return []
    decided = _decided_at(lake, trained.release_id)
    return [
        *_too_old(config, limits, trained.as_of, day),
        *_corrected(lake, limits, trained.as_of, decided, day),
        *_stopped(lake, limits, trained.as_of, day),
    ]


def _trained(lake: Lake, day: date) -> Champion | None:
    """The champion; where an update made it, the release whose training it goes back to: taking in days makes no training younger."""
    champion = champion_as_of(lake, day, same_day=True)
    if champion is None:
        return None
    older = [
        one
        for one in standings(lake).values()
        if one.promoted and one.as_of <= champion.as_of and one.decided_by != BY_UPDATE
    ]
    newest = max(older, key=lambda one: one.order, default=None)
    return Champion(newest.as_of, newest.release_id) if newest else champion


def _judged(lake: Lake, day: date) -> bool:
    """Whether the day has a verdict on a fleet that was trained for it."""
    of_training = pc.field("approved_by") != BY_UPDATE
    return lake.count(names.PROMOTED_RELEASE, (pc.field("as_of") == pa.scalar(day)) & of_training) > 0


def _decided_at(lake: Lake, release_id: str) -> datetime:
    rows = lake.read(names.PROMOTED_RELEASE, ["decided_at"], pc.field("release_id") == release_id)
    found: datetime = pc.min(rows["decided_at"]).as_py()
    return found


def _too_old(config: ForecastConfig, limits: Limits, champion: date, day: date) -> Iterator[Need]:
    steps = len(pd.date_range(champion + pd.Timedelta(days=1), day, freq=config.frequency))
    age = steps / config.horizon
    if limits.age_horizons is not None and age >= limits.age_horizons:
        yield Need(
            "aging", f"the champion is of {champion}, {age:.1f} horizons ago, allowed are {limits.age_horizons:g}", day
        )
    elif limits.new_steps is not None and steps >= limits.new_steps:
        yield Need(
            "new_data",
            f"{steps} steps are complete since the champion of {champion}, {limits.new_steps:g} ask for a training",
            day,
        )


def _corrected(lake: Lake, limits: Limits, champion: date, trained: datetime, day: date) -> Iterator[Need]:
    """Rows of dates that the champion had seen and that were changed after it was decided about."""
    if limits.corrected_rows is None or not lake.exists(names.TOUCHED):
        return
    late = (pc.field("touched_at") > pa.scalar(trained)) & (pc.field("date") <= pa.scalar(champion))
    rows = pc.sum(lake.read(names.TOUCHED, ["rows"], late)["rows"]).as_py() or 0
    total = lake.count(names.SERIES_PANEL, pc.field("target").is_valid()) or 1
    if rows / total >= limits.corrected_rows:
        yield Need(
            "corrected_data",
            f"{rows:,} rows of dates up to {champion} were changed since its release was decided about, {limits.corrected_rows:.2%} of all ask for a training",
            day,
        )


def _stopped(lake: Lake, limits: Limits, champion: date, day: date) -> Iterator[Need]:
    """The newest verdict since the champion's day stopped a challenger, and a newer day is complete."""
    if not limits.failed_rules or not lake.exists(names.GATE_VERDICTS):
        return
    between = (pc.field("as_of") > pa.scalar(champion)) & (pc.field("as_of") < pa.scalar(day))
    failed = between & pc.field("blocks") & (pc.field("segment") == "fleet")
    rows = lake.read(names.GATE_VERDICTS, ["as_of", "release_id", "rule", "passed", "decided_at"], failed)
    if not rows.num_rows:
        return
    newest = max(rows.to_pylist(), key=lambda row: row["decided_at"])
    rules = [row["rule"] for row in rows.to_pylist() if row["release_id"] == newest["release_id"] and not row["passed"]]
    if rules:
        yield Need(
            "failed_gate",
            f"the gate stopped the fleet of {newest['as_of']} ({', '.join(sorted(rules))}), and {day} is complete since",
            day,
        )
