"""Boosted trees: one LightGBM for all series, on ridge's features, where series stood and what tells them apart (the extra `ml`).

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

from ml_platform.forecasting import ridge
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints, Plan
from ml_platform.forecasting.levels import LEAST, History, responses, seasonal_naive
from ml_platform.forecasting.ridge import Moments

NAME = "lightgbm"
CELLS = 1_000_000  # that teach, at most about: beyond, whole series are left out by their hash
FEWEST = 100  # cells of a model: fewer make no two leaves
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


@dataclass(frozen=True)
class View:
    """What is known of the horizon after an origin: features (S, H, F), and what responses are relative to: a middle (S,) and a unit (S,), 0 without any."""

    features: Floats
    middle: Floats
    unit: Floats

    @classmethod
    def of(cls, history: History, plan: Plan, kind: str, moments: Moments, origin: int, segment: Ints) -> "View":
        """After an origin, from the moments there; segment (S,): codes of training, -1 where it knew none."""
        shard, steps, end = history.shard, np.arange(plan.horizon), origin + plan.horizon
        usual, _, recent = moments.means()
        middle, unit = usual[:, -1], moments.scale(kind) * (moments.last >= 0)
        safe, log = np.where(unit > 0, unit, 1.0), kind == "positive"
        here = ridge.features(shard, plan, origin, end).transpose(0, 2, 1)
        last = seasonal_naive(history, origin, plan.horizon, plan.season, np.full(len(shard), np.nan))
        last = np.log(np.maximum(last, LEAST * np.exp(middle)[:, None])) if log else last
        before = shard.covariates(max(0, origin - 1), max(1, origin))[:, :, 0]
        level = middle if log else np.log(safe)
        by_series = np.column_stack([(recent[:, -1] - middle) / safe, level, segment, before, shard.static])
        by_step = np.stack([steps, (shard.position + origin + steps) % plan.season * plan.seasonal], axis=1)
        calendar = here.shape[2] - 3 * shard.width
        features = [
            here,
            here[:, :, calendar:] - usual[:, None, calendar:-1],
            ((last - middle[:, None]) / safe[:, None] * plan.seasonal)[:, :, None],
            np.broadcast_to(by_step, (len(shard), *by_step.shape)),
            np.broadcast_to(by_series[:, None], (len(shard), len(steps), by_series.shape[1])),
        ]
        return cls(np.concatenate(features, axis=2), middle, unit)


def lessons(history: History, plan: Plan, kind: str) -> Lessons:
    """All cells of a shard after the origins of the plan's blocks."""
    shard, found = history.shard, list[tuple[np.ndarray, ...]]()
    backs = range(plan.train, -1, -1)  # the future, 0, has features and no row
    begun, z = Moments.empty(shard, plan, kind, teaches=True), responses(history, kind == "positive")
    walked = ridge.walk(history, plan, kind == "positive", begun, [plan.origin(back) for back in backs])
    for back, moments in zip(backs, walked, strict=True):
        origin = plan.origin(back)
        view = View.of(history, plan, kind, moments, origin, shard.segment)
        own = z[:, origin : origin + plan.horizon]
        series, step = np.nonzero(~np.isnan(own) & (view.unit > 0)[:, None])
        weight = np.ones(len(series)) if kind == "positive" else view.unit[series]
        response = (own[series, step] - view.middle[series]) / view.unit[series]
        taken = view.features[series, step].astype(np.float32)
        found.append((series, np.full(len(series), back), response, weight, taken))
    series, place, response, weight, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(series, kind="stable")
    counts = np.bincount(series, minlength=len(shard)).astype(np.int64)
    return Lessons(shard.series_id, counts, place[order], response[order], weight[order], features[order])


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

    backs = [back for back in refits(plan) if (known.block > back).sum() >= FEWEST]
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

    def responses(self, view: View, otherwise: Floats) -> Floats:
        """Responses (S, H): the middle where there is no model yet, `otherwise` (S,) of a series that was not seen."""
        shape, middle = view.features.shape[:2], np.where(view.unit > 0, view.middle, otherwise)[:, None]
        if self._booster is None or not shape[0]:
            return np.broadcast_to(middle, shape)
        said = self._booster.predict(view.features.reshape(-1, view.features.shape[2]), num_threads=1)
        return np.asarray(middle + view.unit[:, None] * np.asarray(said, dtype=np.float64).reshape(shape))


def sample(shard: Shard, cells: int) -> Shard:
    """The series of a shard that teach."""
    return shard.take(teaches(shard.series_id, cells))
