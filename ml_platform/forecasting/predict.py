"""Forecasts of a trained fleet for any later history.

Belongs here: reading parameters and pools, blending, bounds. Does not belong here: fitting (backtest, pipeline), the fleet's form.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting import boosted
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import WALKS, clip_forecasts, family_forecasts, outspoken, walked
from ml_platform.forecasting.calendar import Floats, Ints, plan_folds
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
from ml_platform.forecasting.levels import LEVELS, History, SeasonSums, level_array
from ml_platform.forecasting.pools import Setup, Shared
from ml_platform.forecasting.ridge import RidgeData, respond
from ml_platform.forecasting.selection import blend


def predict(fleet: Fleet, shard: Shard) -> pa.Table:
    """Forecast steps 1 .. horizon after the end of the shard's history, which may be later than training.

    Returns rows by series and step: series_id, step, date, mean, point, interval bounds, family. Series the fleet does
    not know use their segment's values; quarantined ones have no rows. Levels come from the history, the rest from the
    fleet. Dates are date32, or timestamp[us, UTC] below a day.
    """
    at, states = _fleet_places(fleet, shard)
    keep = states != "quarantined"
    known = _Known(fleet, shard.take(keep), at[keep])
    shard, setup, weights = known.shard, known.setup, known.weights
    blended = blend(_families(known), weights, setup.log) * known.pool("factors", ("mean",))
    mean = clip_forecasts(blended, shard.y, setup.kind)
    family = np.asarray(setup.config.family_names, dtype=object)[weights.argmax(axis=1)]
    return _table(shard, fleet.config, mean, _bounds(known, mean), family)


def _fleet_places(fleet: Fleet, shard: Shard) -> tuple[Ints, np.ndarray]:
    """Row of the fleet for each series, -1 where it has none, and its state."""
    place = pd.Index(fleet.rows["series_id"].to_pandas()).get_indexer(pd.Index(shard.series_id))
    states = np.append(np.asarray(fleet.rows["state"].to_pylist(), dtype=object), "fallback")
    return place.astype(np.int64), states[place]


class _Known:
    """What a fleet knows of the series of a shard; `at` is their row in the fleet, -1 where it has none.

    setup: as in training, with the families that weigh something for one of these series. weights (S, F): of those.
    """

    def __init__(self, fleet: Fleet, shard: Shard, at: Ints) -> None:
        self.fleet, self.shard = fleet, shard
        texts = fleet.rows["parameters"].to_pylist()
        self.own = [json.loads(texts[row]) if row >= 0 else {} for row in at.tolist()]
        self.reader = PoolReader(fleet, shard.segments)
        self.meta = self.reader.items("meta")
        plan = replace(plan_folds(fleet.config, shard.steps, False), harmonics=bool(self.meta["harmonics"]))
        weights = self._weights(fleet.config.family_names)
        used = np.asarray(weights.any(axis=0) | (len(weights) == 0))
        names = tuple(name for name, weighs in zip(fleet.config.family_names, used.tolist(), strict=True) if weighs)
        self.weights = weights[:, used]
        config = fleet.config.model_copy(update={"families": names})
        self.setup = Setup(config, plan, KINDS[int(self.meta["kind"])], len(shard.segments))

    def pool(self, name: str, items: tuple[str, ...]) -> Floats:
        """Items of a pool for each series, (S, I)."""
        return self.reader.array(name, items, self.shard.segment)

    def parameter(self, name: str, otherwise: Floats) -> Floats:
        """A parameter of the series' own, over the values of the segment, (S, ...)."""
        own = np.asarray([name in row for row in self.own], dtype=bool)
        if own.any() and otherwise.size:
            otherwise[own] = np.asarray([row[name] for row in self.own if name in row])
        return otherwise

    def _weights(self, names: tuple[str, ...]) -> Floats:
        weights = self.pool("weights", names)
        own = np.asarray(["weights" in row for row in self.own], dtype=bool)
        if own.any():
            weights[own] = [[row["weights"].get(name, 0.0) for name in names] for row in self.own if "weights" in row]
        return weights


def _families(known: _Known) -> Floats:
    """Forecasts of every family after the end of the history, (S, H, F)."""
    shard, setup = known.shard, known.setup
    history, season = History(shard, setup.config.missing), setup.plan.season
    levels = level_array(history, [shard.steps], season)[:, 0]
    shared = Shared(
        known.pool("profile", tuple(str((shard.position + k) % season) for k in range(season))),
        known.pool("drift", LEVELS),
        *known.pool("factors", ("dispersion", "level")).T,
    )
    out = family_forecasts(history, SeasonSums(history, season), levels, shared, shard.steps, setup)
    for name in [name for name in WALKS if name in setup.config.family_names]:
        constants = known.parameter(name, np.tile(WALKS[name].DEFAULT, (len(shard), 1)))
        said = WALKS[name].predict(walked(history, setup), constants, setup.plan.horizon, season)
        out[:, :, setup.config.family_names.index(name)] = outspoken(said, setup)
    data = RidgeData(history, setup.plan, setup.log)
    if setup.with_trees:
        trees, block = boosted.Trees(known.reader.text(boosted.NAME)), data.block(0, levels)
        out[:, :, setup.config.family_names.index(boosted.NAME)] = trees.forecasts(
            data, 0, block, known.reader.codes(shard.segment)
        )
    if setup.with_ridge:
        betas = known.parameter("ridge", known.pool("prior", tuple(str(k) for k in range(data.width()))))
        block = data.block(0, levels)
        out[:, :, setup.config.family_names.index("ridge")] = respond(block.x, betas, block.scale, setup.log)
    return clip_forecasts(out, shard.y, setup.kind)


def _bounds(known: _Known, mean: Floats) -> Floats:
    """Interval bounds in the order of the columns and the point forecast last: (S, H, Q)."""
    shard, setup = known.shard, known.setup
    edges = np.asarray([known.meta[f"edge_{edge}"] for edge in range(CLASSES - 1)])
    items = quantile_items(len(quantile_levels(setup.config)))
    by_class = known.pool("quantiles", items).reshape(len(shard), CLASSES, len(items) // CLASSES)
    quantiles = known.parameter("quantiles", by_class[np.arange(len(shard)), level_class(mean.mean(axis=1), edges)])
    spread = _unit(shard, mean, setup) * known.pool("steps", step_items(setup.plan.horizon))
    largest = np.abs(np.nan_to_num(shard.y)).max(axis=1, initial=0.0)
    point = known.parameter("point", known.pool("factors", ("point",))[:, 0])
    return held_bounds(mean, spread, quantiles, largest, point, setup)


def _unit(shard: Shard, mean: Floats, setup: Setup) -> Floats:
    """Unit of the quantiles, (S, H), from as many of the last steps as training measured residuals on."""
    recent = shard.y[:, -len(setup.plan.interval) * setup.plan.horizon :]
    return unit(mean, _difference_scale(shard), setup.kind, least_amount(recent, setup.kind))


def _difference_scale(shard: Shard) -> Floats:
    """Mean squared difference of neighbouring observed values of the whole history, (S,)."""
    squares = np.diff(shard.y, axis=1) ** 2
    known = ~np.isnan(squares)
    return np.asarray(np.where(known, squares, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


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
