"""The fleet: what training leaves behind, as rows and small tables, and forecasts from it for any later history.

Belongs here: the Fleet, its parameters, predict. Does not belong here: fitting, files, releases.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.backtest import clip_forecasts, family_forecasts
from ml_platform.forecasting.calendar import Floats, Ints, plan_folds
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.intervals import CLASSES, level_class, quantile_levels, unit
from ml_platform.forecasting.levels import LEVELS, History, SeasonSums, level_array
from ml_platform.forecasting.pools import Kind, Setup, Shared
from ml_platform.forecasting.ridge import RidgeData, respond
from ml_platform.forecasting.selection import blend

KINDS: tuple[Kind, ...] = ("counts", "positive", "real")
ROWS_SCHEMA = pa.schema([(n, pa.string()) for n in ("series_id", "family", "state", "reason", "parameters")])
POOL_SCHEMA = pa.schema([("segment", pa.string()), ("item", pa.string()), ("value", pa.float64())])
WHOLE_FLEET = ""  # the segment name of values that belong to no segment
NEW_SERIES = "new_since_training"


@dataclass(frozen=True)
class Fleet:
    """Trained models: one row per series (ROWS_SCHEMA), pools by name (POOL_SCHEMA) and the configuration."""

    rows: pa.Table
    pools: Mapping[str, pa.Table]
    config: ForecastConfig


@dataclass(frozen=True)
class Recipe:
    """What S series forecast with: weights (S, F), betas (S, F'), quantiles (S, Q), mean and point factors (S,)."""

    weights: Floats
    betas: Floats
    quantiles: Floats
    point: Floats


def fleet_weights(parameters: str) -> dict[str, float]:
    """Weight of each family in the blend of one fleet row, from its `parameters`; families that are absent weigh 0."""
    return {str(name): float(value) for name, value in json.loads(parameters).get("weights", {}).items()}


def significant(values: Floats, digits: int = 10) -> Floats:
    """Values rounded to significant digits, so that they are short as text."""
    with np.errstate(divide="ignore"):
        power = np.where(values == 0, 0.0, np.floor(np.log10(np.abs(values))))
    unit_of = 10.0 ** np.clip(digits - 1 - power, -300, 300)
    return np.asarray(np.round(values * unit_of) / unit_of)


def parameter_rows(recipe: Recipe, fitted: Bools, names: tuple[str, ...]) -> list[str]:
    """JSON per series: weights always, the series' own coefficients and quantiles where it was fitted."""
    weights = [{n: w for n, w in zip(names, row, strict=True) if w > 0} for row in recipe.weights.tolist()]
    own = zip(
        significant(recipe.betas).tolist(), significant(recipe.quantiles).tolist(), recipe.point.tolist(), strict=True
    )
    return [
        json.dumps({"weights": w, "ridge": b, "quantiles": q, "point": p} if f else {"weights": w})
        for w, (b, q, p), f in zip(weights, own, fitted.tolist(), strict=True)
    ]


def pool_table(values: Floats, segments: tuple[str, ...], items: tuple[str, ...]) -> pa.Table:
    """A pool (G, I) as rows, segment by segment."""
    flat = np.asarray(values, dtype=float).reshape(len(segments), len(items))
    columns = [
        np.repeat(np.asarray(segments, dtype=object), len(items)),
        np.tile(np.asarray(items, dtype=object), len(segments)),
    ]
    return pa.table(
        [pa.array(columns[0], pa.string()), pa.array(columns[1], pa.string()), pa.array(flat.ravel())], POOL_SCHEMA
    )


def quantile_items(quantiles: int) -> tuple[str, ...]:
    """Names of the residual quantiles of a segment by level class."""
    return tuple(f"{level}:{quantile}" for level in range(CLASSES) for quantile in range(quantiles))


def step_items(horizon: int) -> tuple[str, ...]:
    """Names of the steps of a pool."""
    return tuple(str(step) for step in range(1, horizon + 1))


class PoolReader:
    """Pools of a fleet as arrays for the segments of a shard; a segment that training did not know gets their mean."""

    def __init__(self, fleet: Fleet, segments: tuple[str, ...]) -> None:
        self.fleet, self.segments = fleet, segments

    def items(self, name: str) -> dict[str, float]:
        """A pool of the whole fleet by item."""
        table = self.fleet.pools[name]
        return dict(zip(table["item"].to_pylist(), table["value"].to_pylist(), strict=True))

    def array(self, name: str, items: tuple[str, ...], codes: Ints) -> Floats:
        """Items of a pool spread over series by their segment code: (S, I). The order of the pool's rows does not matter."""
        table = self.fleet.pools[name]
        labels, known = pd.factorize(table["segment"].to_pandas(), sort=True)
        place = pd.Index(items).get_indexer(pd.Index(table["item"].to_pandas()))
        values = np.zeros((len(known) + 1, len(items)))
        wanted = place >= 0
        values[labels[wanted], place[wanted]] = table["value"].to_numpy()[wanted]
        values[-1] = values[:-1].mean(axis=0)
        return np.asarray(values[pd.Index(known).get_indexer(pd.Index(self.segments))[codes]])


def predict(fleet: Fleet, shard: Shard) -> pa.Table:
    """Forecast steps 1 .. horizon after the end of the shard's history, which may be later than training.

    Returns rows by series and step: series_id, step, date, mean, point, interval bounds, family. Series the fleet does
    not know use their segment's values; quarantined ones have no rows. Levels come from the history, the rest from the
    fleet. Dates are date32, or timestamp[us, UTC] below a day.
    """
    at, states = _fleet_places(fleet, shard)
    keep = ~shard.broken & (states != "quarantined")
    shard, at = shard.take(keep), at[keep]
    config = fleet.config
    reader = PoolReader(fleet, shard.segments)
    setup = Setup(
        config, plan_folds(config, shard.steps, False), KINDS[int(reader.items("meta")["kind"])], len(shard.segments)
    )
    families = _families(shard, reader, setup, at)
    weights = _weights(fleet, reader, shard, at)
    factor = reader.array("factors", ("mean",), shard.segment)
    mean = clip_forecasts(blend(families, weights, setup.log) * factor, shard.y, setup.kind)
    recipe = _recipe(fleet, reader, shard, at, weights, mean)
    bounds = _bounds(mean, recipe, reader, shard, setup)
    return _table(shard, config, mean, bounds, np.asarray(config.family_names, dtype=object)[weights.argmax(axis=1)])


def _fleet_places(fleet: Fleet, shard: Shard) -> tuple[Ints, np.ndarray]:
    """Row of the fleet for each series, -1 where it has none, and its state."""
    place = pd.Index(fleet.rows["series_id"].to_pandas()).get_indexer(pd.Index(shard.series_id))
    states = np.append(np.asarray(fleet.rows["state"].to_pylist(), dtype=object), "fallback")
    return place.astype(np.int64), states[place]


class _Parameters:
    """Parameters of some fleet rows as arrays; `own` marks rows that carry a value."""

    def __init__(self, fleet: Fleet, at: Ints) -> None:
        texts = fleet.rows["parameters"].take(pa.array(np.maximum(at, 0))).to_pylist() if fleet.rows.num_rows else []
        texts = texts or ["{}"] * len(at)
        self.own = [json.loads(text) if place >= 0 else {} for text, place in zip(texts, at.tolist(), strict=True)]

    def fill(self, name: str, otherwise: Floats) -> Floats:
        """A list-valued parameter over the values of the segment, (S, ...)."""
        own = np.asarray([name in row for row in self.own], dtype=bool)
        out = otherwise.copy()
        if own.any() and out.size:
            out[own] = np.asarray([row[name] for row in self.own if name in row])
        return out


def _weights(fleet: Fleet, reader: PoolReader, shard: Shard, at: Ints) -> Floats:
    names = fleet.config.family_names
    weights = reader.array("weights", names, shard.segment)
    rows = _Parameters(fleet, at).own
    own = np.asarray(["weights" in row for row in rows], dtype=bool)
    if own.any():
        weights[own] = [[row["weights"].get(name, 0.0) for name in names] for row in rows if "weights" in row]
    return weights


def _families(shard: Shard, reader: PoolReader, setup: Setup, at: Ints) -> Floats:
    """Forecasts of every family after the end of the history, (S, H, F)."""
    history, season = History(shard, setup.config.missing), setup.plan.season
    levels = level_array(history, [shard.steps], season)[:, 0]
    positions = tuple(str((shard.position + k) % season) for k in range(season))
    shared = Shared(
        reader.array("profile", positions, shard.segment),
        reader.array("drift", LEVELS, shard.segment),
        reader.array("factors", ("dispersion",), shard.segment)[:, 0],
        reader.array("factors", ("level",), shard.segment)[:, 0],
    )
    out = family_forecasts(history, SeasonSums(history, season), levels, shared, shard.steps, setup)
    if setup.with_ridge:
        data = RidgeData(history, setup.plan, setup.log)
        prior = reader.array("prior", tuple(str(k) for k in range(data.width())), shard.segment)
        betas, block = _Parameters(reader.fleet, at).fill("ridge", prior), data.block(0, levels)
        out[:, :, setup.config.family_names.index("ridge")] = respond(block.x, betas, block.scale, setup.log)
    return clip_forecasts(out, shard.y, setup.kind)


def _recipe(fleet: Fleet, reader: PoolReader, shard: Shard, at: Ints, weights: Floats, mean: Floats) -> Recipe:
    meta = reader.items("meta")
    edges = np.asarray([meta[f"edge_{edge}"] for edge in range(CLASSES - 1)])
    items = quantile_items(len(quantile_levels(fleet.config)))
    by_class = reader.array("quantiles", items, shard.segment).reshape(len(shard), CLASSES, len(items) // CLASSES)
    quantiles = by_class[np.arange(len(shard)), level_class(mean.mean(axis=1), edges)]
    parameters = _Parameters(fleet, at)
    point = parameters.fill("point", reader.array("factors", ("point",), shard.segment)[:, 0])
    return Recipe(weights, np.zeros((len(shard), 0)), parameters.fill("quantiles", quantiles), point)


def _bounds(mean: Floats, recipe: Recipe, reader: PoolReader, shard: Shard, setup: Setup) -> Floats:
    """Interval bounds in the order of the columns and the point forecast last: (S, H, Q)."""
    steps = reader.array("steps", step_items(setup.plan.horizon), shard.segment)
    scale = unit(mean, difference_scale_now(shard), setup.kind)
    values = mean[:, :, None] + (scale * steps)[:, :, None] * recipe.quantiles[:, None, :]
    return finish_bounds(mean, values, recipe.point, setup)


def difference_scale_now(shard: Shard) -> Floats:
    """Mean squared difference of neighbouring observed values of the whole history, (S,)."""
    squares = np.diff(shard.y, axis=1) ** 2
    known = ~np.isnan(squares)
    return np.asarray(np.where(known, squares, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def finish_bounds(mean: Floats, values: Floats, point: Floats, setup: Setup) -> Floats:
    """Nested bounds around the mean, not below 0 where values never are, and the point of the objective last."""
    values = values if setup.kind == "real" else np.maximum(values, 0.0)
    half = len(setup.config.intervals)
    bounds, median = values[:, :, :-1], values[:, :, -1]
    low = np.minimum.accumulate(np.minimum(bounds[:, :, :half][:, :, ::-1], mean[:, :, None]), axis=2)[:, :, ::-1]
    high = np.maximum.accumulate(np.maximum(bounds[:, :, half:], mean[:, :, None]), axis=2)
    objective = setup.config.objective
    best = mean if objective == "rmsse" else mean * point[:, None] if objective == "mape" else median
    return np.concatenate([low, high, best[:, :, None]], axis=2)


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
