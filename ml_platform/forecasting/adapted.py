"""Models of others at work: an adapter's forecasts series by series, and what stands in where one fails.

Belongs here: fitting and asking models behind adapters at past origins, their failures in words. Does not belong here: which classes there
are (adapters), choosing and blending.
"""

import logging
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ml_platform.forecasting.adapters import Adapter
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.grams import Block
from ml_platform.forecasting.lags import LagData
from ml_platform.forecasting.levels import History, LevelTable, seasonal_naive
from ml_platform.forecasting.pools import Setup

FALLBACK = "seasonal_naive"  # the family that stands in for a model that failed
FAILED = "family_failed"
GROUP = 64  # series whose features are held at once
SECONDS = 10.0  # between two messages of progress
ADDRESS = re.compile(r"0x[0-9a-f]+")
LOG = logging.getLogger(__name__)

Texts = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Told:
    """What an adapter said of S series at O origins: forecasts (S, O, H), NaN where there is none; why (S, O): what failed, '' where nothing did."""

    forecasts: Floats
    why: npt.NDArray[np.object_]

    @classmethod
    def nothing(cls, series: int, origins: int, horizon: int) -> "Told":
        return cls(np.full((series, origins, horizon), np.nan), np.full((series, origins), "", dtype=object))

    def failures(self, name: str) -> list[str]:
        """One sentence per series that has failures, '' for the others."""
        out = []
        for row in self.why.tolist():
            words = [why for why in row if why]
            out.append(f"{name} failed at {len(words)} of {len(row)} origins: {words[-1]}" if words else "")
        return out


class _Progress:
    """Says at INFO how far an adapter is, at most every SECONDS."""

    def __init__(self, adapter: Adapter, series: int) -> None:
        self.name, self.series, self.done = adapter.name, series, 0
        self.begun = self.said = time.monotonic()

    def step(self) -> None:
        """One series more is done."""
        self.done, now = self.done + 1, time.monotonic()
        if now - self.said >= SECONDS:
            self.said = now
            LOG.info("%s: %s of %s series after %.0f s", self.name, self.done, self.series, now - self.begun)


def from_histories(adapter: Adapter, y: Floats, origins: Sequence[int], horizon: int) -> Told:
    """Fit a statsforecast model to what lies before each origin of each series; y (S, T), NaN where not observed.

    A series begins with its first value; a step that was not observed lies on the line between its neighbours, as no model takes a gap.
    """
    told, progress = Told.nothing(len(y), len(origins), horizon), _Progress(adapter, len(y))
    for s, row in enumerate(y):
        for o, origin in enumerate(origins):
            past = _without_gaps(row[:origin])
            if len(past):
                told.forecasts[s, o], told.why[s, o] = _tried(partial(_ahead, adapter, past, horizon), horizon)
        progress.step()
    return told


def _ahead(adapter: Adapter, past: Floats, horizon: int) -> npt.ArrayLike:
    said: npt.ArrayLike = adapter.build().forecast(y=past, h=horizon)["mean"]
    return said


def _without_gaps(values: Floats) -> Floats:
    seen = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(seen[0], len(values)), seen, values[seen]) if len(seen) else np.zeros(0)


def from_features(
    adapter: Adapter, shard: Shard, levels: LevelTable, backs: Sequence[int], refits: Sequence[int], setup: Setup
) -> Told:
    """Fit a regressor to each series' features before each refit and ask it for the blocks `backs`; levels at all of the plan's blocks.

    `backs` and `refits` count horizons before the end; a block is forecast with the newest refit before it.
    """
    progress, parts = _Progress(adapter, len(shard)), [Told.nothing(0, len(backs), setup.plan.horizon)]
    for start in range(0, len(shard), GROUP):
        rows = slice(start, start + GROUP)
        data = LagData(History.of(shard.take(rows), setup.config.missing), setup.plan, setup.log)
        parts.append(_Learner(adapter, data, levels.take(rows)).told(backs, refits, progress))
    return Told(np.concatenate([one.forecasts for one in parts]), np.concatenate([one.why for one in parts]))


class _Learner:
    """A few series' features at all blocks, oldest first."""

    def __init__(self, adapter: Adapter, data: LagData, levels: LevelTable) -> None:
        self.adapter, self.plan, self.log, self.size = adapter, data.plan, data.log, len(data.history.y)
        self.blocks = {back: data.block(back, levels.at(data.plan.origin(back))) for back in data.plan.blocks}

    def told(self, backs: Sequence[int], refits: Sequence[int], progress: _Progress) -> Told:
        told = Told.nothing(self.size, len(backs), self.plan.horizon)
        for s in range(self.size):
            for refit, asked in _turns(backs, refits):
                places = [backs.index(back) for back in asked]
                told.forecasts[s, places], told.why[s, places] = self._one(s, refit, asked)
            progress.step()
        return told

    def _one(self, s: int, refit: int, asked: Sequence[int]) -> tuple[Floats, str]:
        """Forecasts (blocks, H) of one series by a model that learned before `refit`."""
        old = [block for back, block in self.blocks.items() if refit < back <= self.plan.train]
        taught = [block.rows[s] > 0 for block in old]
        shape = (len(asked), self.plan.horizon)
        if not sum(int(rows.sum()) for rows in taught):
            return np.full(shape, np.nan), "" if refit else "no row to learn from"
        x = np.concatenate([block.x[s][rows] for block, rows in zip(old, taught, strict=True)])
        z = np.concatenate([block.z[s][rows] for block, rows in zip(old, taught, strict=True)])
        new = [self.blocks[back] for back in asked]
        ahead = np.concatenate([block.x[s] for block in new])
        said, why = _tried(lambda: self.adapter.build().fit(x, z).predict(ahead), len(ahead))
        return np.stack(
            [self._in_units(block, s, own) for block, own in zip(new, said.reshape(shape), strict=True)]
        ), why

    def _in_units(self, block: Block, s: int, z: Floats) -> Floats:
        """Of a series without a level the forecast is 0: it has no features."""
        if not block.x[s].any():
            return np.zeros_like(z)
        return np.asarray(block.scale[s] * (np.exp(np.minimum(z, 6.0)) if self.log else z))


def _turns(backs: Sequence[int], refits: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The blocks that each refit forecasts: those from it on until the next one."""
    newest = [min((one for one in refits if one >= back), default=back) for back in backs]
    return [(refit, [b for b, one in zip(backs, newest, strict=True) if one == refit]) for refit in sorted(set(newest))]


def _tried(speak: Callable[[], npt.ArrayLike], size: int) -> tuple[Floats, str]:
    """What a model says, (size,), and ''; NaN and why where it fails or says no numbers."""
    nothing = np.full(size, np.nan)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            said = np.asarray(speak(), dtype=np.float64).reshape(-1)
    except Exception as error:  # noqa: BLE001  code of others fails in any way, and costs one series
        lines = str(error).strip().splitlines()[:1]
        return nothing, ADDRESS.sub("0x", ": ".join([type(error).__name__, *lines]))[:160]
    if said.shape != (size,) or not np.isfinite(said).all():
        return nothing, "a forecast that is not finite, or not one value per step"
    return said, ""


def run(adapter: Adapter, history: History, levels: LevelTable, backs: Sequence[int], setup: Setup) -> Told:
    """An adapter's forecasts of blocks of a shard, the fallback's where it has none; levels at all of the plan's blocks."""
    plan, origins = setup.plan, [setup.plan.origin(back) for back in backs]
    if adapter.sklearn:
        refits = [back for back in plan.refit if back >= min(backs)]
        told = from_features(adapter, history.shard, levels, backs, refits, setup)
    else:
        told = from_histories(adapter, np.where(history.seen, history.y, np.nan), origins, plan.horizon)
    for o, origin in enumerate(origins):
        silent = np.asarray(np.isnan(told.forecasts[:, o]).any(axis=1))
        if silent.any():
            level = levels.at(origin)[:, 0]
            otherwise = seasonal_naive(history, origin, plan.horizon, plan.season, level)
            told.forecasts[silent, o] = otherwise[silent]
    return told


def joined(sentences: Sequence[Sequence[str]], size: int) -> Texts:
    """Sentences of several adapters as one text per series, (size,)."""
    texts = ["; ".join(one for one in own if one) for own in zip(*sentences, strict=True)] or [""] * size
    return np.asarray(texts, dtype=np.str_)


def rows_of(places: Ints, size: int, texts: Texts) -> list[str]:
    """Texts of some series in the place of all `size` series."""
    out = [""] * size
    for place, text in zip(places.tolist(), texts.tolist(), strict=True):
        out[place] = text
    return out
