"""The gate of updates: rules for a fleet that took in days without being trained.

Belongs here: what an update must have left as it was, how old its training may be. Does not belong here: rules for trained fleets (rules),
making the update (updating), acting on the verdict (promotion).
"""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.coverage import Coverage
from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.fleet import NEW_SERIES
from ml_platform.forecasting.increment import REGRESSIONS
from ml_platform.gate.config import GateConfig
from ml_platform.gate.decision import Decision, Rule
from ml_platform.gate.rules import exact_coverage
from ml_platform.lake import Lake, LakeError
from ml_platform.lake.names import FLEET_POOLS
from ml_platform.registry import Registry, champion_as_of, fleet_tables

BY_UPDATE = "update"  # who decided: the rules below
ORDER = [("segment", "ascending"), ("item", "ascending")]


@dataclass(frozen=True)
class Update:
    """A fleet as of a day, the release that it must agree with, the trained release that both come from, and the settings of that."""

    as_of: date
    fleet: Fleet
    release_id: str
    champion: Fleet
    trained: str
    trained_as_of: date
    settings: object = None
    lineage: object = None

    @property
    def evidence(self) -> dict[str, object]:
        """Where the fleet comes from, as its release says it and the next update reads it."""
        trained = {"release_id": self.trained, "as_of": self.trained_as_of.isoformat()}
        before = self.release_id
        return {
            "champion": before,
            "updated_from": before,
            "trained": trained,
            "settings": self.settings,
            "lineage": self.lineage,
        }


def update_of(lake: Lake, registry: Registry, rows: pa.Table, config: ForecastConfig, as_of: date) -> Update | None:
    """The fleet of a day (rows of gold/candidate_fleet) as an update of the champion of the days before; None where it was trained."""
    if "updated_from" not in rows.column_names or rows["updated_from"].null_count:
        return None
    champion = champion_as_of(lake, as_of, same_day=False)
    if champion is None:
        raise LakeError(f"the fleet of {as_of} is an update, and no older release is promoted any more: train {as_of}")
    sealed, pools = (
        registry.open(champion.release_id),
        lake.read(FLEET_POOLS, where=pc.field("as_of") == pa.scalar(as_of)),
    )
    own: dict[str, Any] = {"release_id": champion.release_id, "as_of": champion.as_of.isoformat()}
    trained: Any = sealed.evidence.get("trained", own)
    return Update(
        as_of,
        fleet_tables(rows, pools, config),
        champion.release_id,
        sealed.fleet,
        trained["release_id"],
        date.fromisoformat(trained["as_of"]),
        sealed.evidence.get("settings"),
        sealed.evidence.get("lineage") or sealed.evidence.get("fingerprint"),
    )


def decide_update(update: Update, coverage: Coverage, config: GateConfig) -> Decision:
    """Judge an update: what the gate let through at its training must be what it still is, for every series, and not too long ago."""
    rules = (_same_recipe(update), _young_training(update, config), exact_coverage(coverage, {}, config.coverage))
    return Decision(rules, BY_UPDATE)


def _same_recipe(update: Update) -> Rule:
    """Weights, constants and pools are those of the champion: only coefficients of regressions may be others."""
    pools = sum(not _same_pool(update, name) for name in update.champion.pools.keys() | update.fleet.pools.keys())
    known, odd = _recipes(update.champion), list[str]()
    for series, recipe in _recipes(update.fleet).items():
        state, reason, frozen = recipe
        alike = frozen == known[series][2] if series in known else (state, reason) == ("fallback", NEW_SERIES)
        if state != "quarantined" and not alike:
            odd.append(series)
    words = f"families, weights and pools of release {update.release_id}, which the gate let through: {len(odd)} series and {pools} pools differ"
    first = f" (first: {min(odd)})" if odd else ""
    return Rule("recipe_of_champion", float(len(odd) + pools), 0.0, not odd and not pools, words + first)


def _same_pool(update: Update, name: str) -> bool:
    both = [fleet.pools.get(name) for fleet in (update.fleet, update.champion)]
    tables = [table.sort_by(ORDER).combine_chunks() for table in both if table is not None]
    return len(tables) == 2 and tables[0].equals(tables[1])


def _recipes(fleet: Fleet) -> dict[str, tuple[str, str | None, dict[str, object]]]:
    """State, reason and what an update may not change, by series."""
    rows = (fleet.rows[name].to_pylist() for name in ("series_id", "state", "reason", "parameters"))
    return {series: (state, reason, _frozen(text)) for series, state, reason, text in zip(*rows, strict=True)}


def _frozen(parameters: str | None) -> dict[str, object]:
    own: dict[str, object] = json.loads(parameters or "{}")
    return {name: value for name, value in own.items() if name not in REGRESSIONS}


def _young_training(update: Update, config: GateConfig) -> Rule:
    """Selection and intervals grow old: nothing but training looks at them again."""
    settings = update.fleet.config
    steps = len(pd.date_range(update.trained_as_of, update.as_of, freq=settings.frequency, inclusive="right"))
    age, limit = steps / settings.horizon, config.age_of_training.horizons
    words = f"trained as of {update.trained_as_of} (release {update.trained}), {steps} steps ago: {age:.1f} horizons, allowed are {limit:g}"
    return Rule("age_of_training", age, limit, age <= limit, words, config.age_of_training.blocks)
