"""Boosted trees: one LightGBM for all series, on ridge's features and what tells series apart (the extra `ml`).

Belongs here: the cells that teach it, its training, its forecasts. Does not belong here: when that happens (pipeline), whether it runs (choice).
Models are texts, line by line: nothing is unpickled.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints, Plan
from ml_platform.forecasting.grams import Block
from ml_platform.forecasting.lags import LagData
from ml_platform.forecasting.levels import LevelTable

NAME = "lightgbm"
CELLS = 1_000_000  # that teach, at most about: beyond, whole series are left out by their hash
TREES = 300
SETTINGS: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 8,
    "max_bin": 63,
    "num_threads": 1,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 1,
    "verbose": -1,
}


@dataclass(frozen=True)
class Lessons:
    """Cells that teach, series by series: ids and cells of each series (S,); per cell (R,) its block, response and weight, and its features (R, F)."""

    series_id: np.ndarray
    counts: Ints
    block: Ints
    response: Floats
    weight: Floats
    features: Floats


def teaches(ids: np.ndarray, cells: int) -> np.ndarray:
    """Which series teach (S,), where the fleet has so many cells: by a hash of their ids, the same in any shard."""
    share = CELLS / max(cells, 1)
    if share >= 1.0:
        return np.ones(len(ids), dtype=bool)
    return np.asarray([zlib.crc32(str(one).encode()) < share * 2**32 for one in ids], dtype=bool)


def lessons(data: LagData, levels: LevelTable) -> Lessons:
    """All cells of a shard; levels at the origins of the plan's blocks."""
    shard, plan, found = data.history.shard, data.plan, list[tuple[np.ndarray, ...]]()
    for back in range(plan.train, -1, -1):  # the future, 0, has features and no row
        block = data.block(back, levels.at(plan.origin(back)))
        series, step = np.nonzero(block.rows > 0)
        taken = tree_features(data, back, block, shard.segment)[series, step].astype(np.float32)
        found.append((series, np.full(len(series), back), block.z[series, step], block.rows[series, step], taken))
    series, place, response, weight, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(series, kind="stable")
    counts = np.bincount(series, minlength=len(shard)).astype(np.int64)
    return Lessons(shard.series_id, counts, *(part[order] for part in (place, response, weight, features)))


def tree_features(data: LagData, back: int, block: Block, segment: Ints) -> Floats:
    """What ridge knows of a block, and step, season position, level, segment (S,) and the covariates before the origin: (S, H, F)."""
    shard, plan, origin = data.history.shard, data.plan, data.plan.origin(back)
    size, horizon = block.x.shape[:2]
    before = shard.covariates(max(0, origin - 1), max(1, origin))[:, :, 0]
    position = (shard.position + origin + np.arange(horizon)) % plan.season
    by_series = np.concatenate([np.log(block.scale)[:, None], segment[:, None], before], axis=1)
    by_step = np.stack([np.arange(horizon), position], axis=1)
    return np.concatenate(
        [
            block.x,
            np.broadcast_to(by_step, (size, horizon, 2)),
            np.broadcast_to(by_series[:, None], (size, horizon, by_series.shape[1])),
        ],
        axis=2,
    )


def joined(parts: Sequence[Lessons]) -> Lessons:
    """Lessons of all shards in the order of series ids: rows drawn by place must not depend on how series were dealt out."""
    ids = np.concatenate([part.series_id for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    starts, order = np.concatenate([[0], np.cumsum(counts)[:-1]]), np.argsort(ids.astype(str), kind="stable")
    own = counts[order]
    rows = np.repeat(starts[order] - np.concatenate([[0], np.cumsum(own)[:-1]]), own) + np.arange(own.sum())
    names = ("block", "response", "weight", "features")
    return Lessons(ids[order], own, *(np.concatenate([getattr(part, name) for part in parts])[rows] for name in names))


def refits(plan: Plan) -> tuple[int, ...]:
    """Where a model is trained, in horizons before the end, oldest first: before all evaluated origins, before the folds that choose, at the end."""
    return tuple(sorted({max(plan.evaluated), *plan.choosing[:1], 0}, reverse=True))


def teach(known: Lessons, plan: Plan, decay: float) -> dict[int, str]:
    """A model per refit, as text, from the cells older than it."""
    import lightgbm

    def model(back: int) -> str:
        old = known.block > back
        fading = (1.0 - decay) ** (plan.horizon * (known.block[old] - back))
        data = lightgbm.Dataset(known.features[old], known.response[old], weight=known.weight[old] * fading)
        return str(lightgbm.train(SETTINGS, data, TREES).model_to_string())

    backs = [back for back in refits(plan) if (known.block > back).any()]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # one thread each: they wait for nothing
        return dict(zip(backs, pool.map(model, backs), strict=True))


def newest(models: Mapping[int, str], back: int) -> str | None:
    """The newest model that was trained before an origin."""
    older = [one for one in models if one >= back]
    return models[min(older)] if older else None


class Trees:
    """A model that was read from its text, or none yet, asked for blocks."""

    def __init__(self, text: str | None) -> None:
        import lightgbm

        self._booster = None if text is None else lightgbm.Booster(model_str=text)

    def forecasts(self, data: LagData, back: int, block: Block, segment: Ints) -> Floats:
        """Forecasts (S, H) of a block in the units of the series, its long level where there is no model yet.

        segment (S,): codes of training, -1 where it knew none.
        """
        shape = block.x.shape[:2]
        if self._booster is None or not shape[0]:
            return np.broadcast_to(block.scale[:, None], shape)
        features = tree_features(data, back, block, segment)
        said = self._booster.predict(features.reshape(-1, features.shape[2]), num_threads=1)
        z = np.asarray(said, dtype=np.float64).reshape(shape)
        return np.asarray(block.scale[:, None] * (np.exp(np.minimum(z, 6.0)) if data.log else z))


def sample(shard: Shard, cells: int) -> Shard:
    """The series of a shard that teach."""
    return shard.take(teaches(shard.series_id, cells))
