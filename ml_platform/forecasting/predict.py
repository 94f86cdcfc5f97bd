"""Forecasts of a trained fleet for any later history.

Belongs here: reading parameters and pools, blending, bounds. Does not belong here: fitting (backtest, pipeline), the fleet's form.
"""

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting import boosted
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.backtest import WALKS, clip_forecasts, family_forecasts, outspoken
from ml_platform.forecasting.calendar import Floats, Ints, Plan, plan_folds
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import KINDS, Fleet, PoolReader, quantile_items, step_items
from ml_platform.forecasting.intervals import (
    CLASSES,
    held_bounds,
    least_amount,
    level_class,
    quantile_levels,
    unit,
)
from ml_platform.forecasting.levels import LEVELS
from ml_platform.forecasting.pools import Setup, Shared
from ml_platform.forecasting.ridge import RidgeData, feature_width, respond
from ml_platform.forecasting.selection import blend
from ml_platform.forecasting.standing import Standing


def predict(fleet: Fleet, shard: Shard) -> pa.Table:
    """Forecast steps 1 .. horizon after the end of the shard's history, which may be later than training.

    Returns rows by series and step: series_id, step, date, mean, point, interval bounds, family. Series the fleet does
    not know use their segment's values; quarantined ones have no rows. Levels come from the history, the rest from the
    fleet. Dates are date32, or timestamp[us, UTC] below a day.
    """
    at, states = fleet_places(fleet, shard)
    keep = states != "quarantined"
    known = Known(fleet, shard.take(keep), at[keep])
    constants = known.constants()
    return forecast_table(known, Standing.of(known.shard, known.setup, constants), constants)


def forecast_table(known: "Known", standing: Standing, constants: Mapping[str, Floats]) -> pa.Table:
    """The table of predict, from where the series stand; constants: see Known.constants."""
    setup, weights = known.setup, known.weights
    blended = blend(_families(known, standing, constants), weights, setup.log) * known.pool("factors", ("mean",))
    mean = clip_forecasts(blended, standing.largest, setup.kind)
    family = np.asarray(setup.config.family_names, dtype=object)[weights.argmax(axis=1)]
    return _table(standing.shard, known.fleet.config, mean, _bounds(known, standing, mean), family)


def fleet_places(fleet: Fleet, shard: Shard) -> tuple[Ints, np.ndarray]:
    """Row of the fleet for each series, -1 where it has none, and its state."""
    place = pd.Index(fleet.rows["series_id"].to_pandas()).get_indexer(pd.Index(shard.series_id))
    states = np.append(np.asarray(fleet.rows["state"].to_pylist(), dtype=object), "fallback")
    return place.astype(np.int64), states[place]


class Known:
    """What a fleet knows of the series of a shard; `at` is their row in the fleet, -1 where it has none.

    setup: as in training, with `families`, by default those that weigh something for one of these series. weights (S, F): of those.
    """

    def __init__(self, fleet: Fleet, shard: Shard, at: Ints, families: tuple[str, ...] | None = None) -> None:
        self.fleet, self.shard, self.at = fleet, shard, at
        texts = fleet.rows["parameters"].to_pylist()
        self.own = [json.loads(texts[row]) if row >= 0 else {} for row in at.tolist()]
        self.reader = PoolReader(fleet, shard.segments)
        self.meta = self.reader.items("meta")
        weights = self._weights(fleet.config.family_names)
        everyone = np.asarray(fleet.config.family_names, dtype=object)
        used = np.isin(everyone, families) if families else weights.any(axis=0) | (len(weights) == 0)
        names, self.weights = tuple(everyone[used].tolist()), weights[:, used]
        config = fleet.config.model_copy(update={"families": names})
        self.setup = Setup(config, self._plan(shard.steps), KINDS[int(self.meta["kind"])], len(shard.segments))

    def on(self, standing: Standing) -> "Known":
        """The same of the same series after later steps, of which the last may be all that is held."""
        later = copy(self)
        later.shard = standing.shard
        later.setup = replace(self.setup, plan=later._plan(standing.running.steps))  # noqa: SLF001
        return later

    def take(self, rows: Bools) -> "Known":
        """Of some of the series, with the same families."""
        some = copy(self)
        some.shard, some.at, some.weights = self.shard.take(rows), self.at[rows], self.weights[rows]
        some.own = [own for own, kept in zip(self.own, rows.tolist(), strict=True) if kept]
        return some

    def _plan(self, steps: int) -> Plan:
        """Folds as after so many steps, counted in the steps that are held; what teaches ridge begins where it did in training."""
        plan, begin = plan_folds(self.fleet.config, steps, False), int(self.meta["begin"]) - self.shard.position
        return replace(plan, steps=self.shard.steps, harmonics=bool(self.meta["harmonics"]), begin=begin)

    def constants(self) -> dict[str, Floats]:
        """Constants (S, C) of the families that have some: the series' own, or what others of its segment have."""
        names = [name for name in WALKS if name in self.setup.config.family_names]
        found = {name: self.parameter(name, np.tile(WALKS[name].DEFAULT, (len(self.shard), 1))) for name in names}
        if self.setup.with_ridge:
            width = feature_width(self.setup.plan, self.shard)
            found["ridge"] = self.parameter("ridge", self.pool("prior", tuple(str(k) for k in range(width))))
        return found

    def owns(self, name: str) -> Bools:
        """Which series have a parameter of their own, (S,)."""
        return np.asarray([name in row for row in self.own], dtype=bool)

    def pool(self, name: str, items: tuple[str, ...]) -> Floats:
        """Items of a pool for each series, (S, I)."""
        return self.reader.array(name, items, self.shard.segment)

    def parameter(self, name: str, otherwise: Floats) -> Floats:
        """A parameter of the series' own, over the values of the segment, (S, ...)."""
        own = self.owns(name)
        if own.any() and otherwise.size:
            otherwise[own] = np.asarray([row[name] for row in self.own if name in row])
        return otherwise

    def _weights(self, names: tuple[str, ...]) -> Floats:
        weights = self.pool("weights", names)
        own = self.owns("weights")
        if own.any():
            weights[own] = [[row["weights"].get(name, 0.0) for name in names] for row in self.own if "weights" in row]
        return weights


def _families(known: Known, standing: Standing, constants: Mapping[str, Floats]) -> Floats:
    """Forecasts of every family after the end of the history, (S, H, F)."""
    shard, setup, history = standing.shard, known.setup, standing.history
    season, levels = setup.plan.season, standing.levels(setup.plan.season)
    shared = Shared(
        known.pool("profile", tuple(str((shard.position + k) % season) for k in range(season))),
        known.pool("drift", LEVELS),
        *known.pool("factors", ("dispersion", "level")).T,
    )
    out = family_forecasts(history, standing.season_sums(season), levels, shared, shard.steps, setup)
    for name, states in standing.walks.items():
        said = WALKS[name].ahead(states, standing.running.steps, constants[name], setup.plan.horizon, season)
        out[:, :, setup.config.family_names.index(name)] = outspoken(said, setup)
    data = RidgeData(history, setup.plan, setup.log)
    if setup.with_trees:
        trees, block = boosted.Trees(known.reader.text(boosted.NAME)), data.block(0, levels)
        out[:, :, setup.config.family_names.index(boosted.NAME)] = trees.forecasts(
            data, 0, block, known.reader.codes(shard.segment)
        )
    if setup.with_ridge:
        block = data.block(0, levels)
        said = respond(block.x, constants["ridge"], block.scale, setup.log)
        out[:, :, setup.config.family_names.index("ridge")] = said
    return clip_forecasts(out, standing.largest, setup.kind)


def _bounds(known: Known, standing: Standing, mean: Floats) -> Floats:
    """Interval bounds in the order of the columns and the point forecast last: (S, H, Q)."""
    setup, size = known.setup, len(mean)
    edges = np.asarray([known.meta[f"edge_{edge}"] for edge in range(CLASSES - 1)])
    items = quantile_items(len(quantile_levels(setup.config)))
    by_class = known.pool("quantiles", items).reshape(size, CLASSES, len(items) // CLASSES)
    quantiles = known.parameter("quantiles", by_class[np.arange(size), level_class(mean.mean(axis=1), edges)])
    spread = _unit(standing, mean, setup) * known.pool("steps", step_items(setup.plan.horizon))
    point = known.parameter("point", known.pool("factors", ("point",))[:, 0])
    return held_bounds(mean, spread, quantiles, standing.largest, point, setup)


def _unit(standing: Standing, mean: Floats, setup: Setup) -> Floats:
    """Unit of the quantiles, (S, H), from as many of the last steps as training measured residuals on."""
    recent = standing.shard.y[:, -len(setup.plan.interval) * setup.plan.horizon :]
    return unit(mean, standing.difference(), setup.kind, least_amount(recent, setup.kind))


def _table(shard: Shard, config: ForecastConfig, mean: Floats, bounds: Floats, family: np.ndarray) -> pa.Table:
    size, horizon = mean.shape
    times = pd.DatetimeIndex(shard.times[shard.steps :])
    dates = (
        pa.array(times.tz_localize("UTC"), pa.timestamp("us", "UTC"))
        if config.subdaily
        else pa.array(times.date, pa.date32())
    )
    columns: dict[str, pa.Array] = {
        "series_id": pa.array(np.repeat(shard.series_id, horizon), pa.string()),
        "step": pa.array(np.tile(np.arange(1, horizon + 1, dtype=np.int32), size)),
        "date": dates.take(pa.array(np.tile(np.arange(horizon), size))),
        "mean": pa.array(mean.ravel()),
        "point": pa.array(bounds[:, :, -1].ravel()),
    }
    for column, name in enumerate(config.interval_columns):
        columns[name] = pa.array(np.ascontiguousarray(bounds[:, :, column]).ravel())
    columns["family"] = pa.array(np.repeat(family, horizon), pa.string())
    return pa.table(columns)
