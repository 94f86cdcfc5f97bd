"""The platform's kernel as a contender: the whole fleet in one call, and ridge alone at given priors.

Belongs here: the kernel behind the form that all contenders have. Does not belong here: peers (contenders), measuring.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from bench.generator import HORIZON
from bench.rows import COVARIATES
from bench.series_ridge import Prior
from ml_platform.forecasting import ForecastConfig, forecast
from ml_platform.forecasting import ridge as kernel
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import RIDGE_ROWS, clip_forecasts, largest_value, ridge_strength
from ml_platform.forecasting.calendar import plan_folds
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.levels import History
from ml_platform.forecasting.pools import Pools, Setup, combine_pools, derive_pools, pool_sums

AT_ONCE = 256  # series whose rows stay in the cache of a core


def configuration(families: tuple[str, ...] | str) -> ForecastConfig:
    """Daily sales, a week's season, four weeks ahead, priors by product."""
    return ForecastConfig.model_validate(
        {
            "series": ["unique_id", "product"],
            "time": "ds",
            "target": "y",
            "frequency": "D",
            "horizon": HORIZON,
            "known_future": list(COVARIATES),
            "segments": ["product"],
            "families": families,
        }
    )


def read(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History and the days ahead of a file of rows; ids are categories, which saves a Python text per row."""
    columns = ["unique_id", "product", "ds", "y", *COVARIATES]
    frame = pq.read_table(path, columns=columns, read_dictionary=["unique_id", "product"], memory_map=True).to_pandas()
    ahead = frame["y"].isna()
    return frame[~ahead], frame[ahead]


def whole(path: Path) -> pd.DataFrame:
    """Every default family, backtest, selection, blend and intervals."""
    history, future = read(path)
    return forecast(history, future, config=configuration("default")).forecasts[["unique_id", "step", "mean"]]


def frozen(path: Path) -> tuple[Setup, Pools]:
    """Priors of every product, from a whole file of rows."""
    history, future = read(path)
    shard = prepare(history, future, None, None, configuration((kernel.NAME,))).shard
    chunks, config = list(shard.chunks()), configuration((kernel.NAME,))
    setup = Setup(config, plan_folds(config, shard.steps, False), "counts", len(shard.segments))
    return setup, derive_pools(combine_pools([pool_sums(chunk, setup) for chunk in chunks]), setup)


def priors(setup: Setup, pools: Pools, segments: tuple[str, ...]) -> dict[str, Prior]:
    """What each segment says at the end of the history, for those who fit one series at a time."""
    return {
        name: Prior(
            pools.slopes[g, -1], pools.slope_gram[g, -1], RIDGE_ROWS[setup.kind] * float(pools.dispersion[g, -1])
        )
        for g, name in enumerate(segments)
    }


def ridge(path: Path, setup: Setup, pools: Pools) -> tuple[pd.DataFrame, np.ndarray]:
    """Ridge at given priors, fitted once on the whole history: means by series and step, coefficients (S, F)."""
    history, future = read(path)
    prepared = prepare(history, future, None, None, setup.config)
    made = [_chunk(chunk, setup, pools) for chunk in prepared.shard.chunks(AT_ONCE)]
    mean, betas = (np.concatenate(parts) for parts in zip(*made, strict=True))
    ids = np.repeat(prepared.keys["unique_id"].to_numpy(), HORIZON)
    steps = np.tile(np.arange(1, HORIZON + 1), len(mean))
    return pd.DataFrame({"unique_id": ids, "step": steps, "mean": mean.ravel()}), betas


def _chunk(shard: Shard, setup: Setup, pools: Pools) -> tuple[np.ndarray, np.ndarray]:
    plan, history, own = setup.plan, History.of(shard, setup.config.missing), shard.segment
    begun = kernel.Moments.empty(shard, plan, setup.kind, teaches=True)
    (moments,) = kernel.walk(history, plan, setup.log, begun, [plan.steps])
    strength = ridge_strength(pools.dispersion[own, -1], setup)
    slopes = moments.slopes(pools.slopes[own, -1], pools.slope_gram[own, -1], strength, setup.kind)
    ahead = kernel.features(shard, plan, plan.steps, plan.steps + plan.horizon)
    mean = moments.forecast(ahead, slopes, pools.mean[own, -1], setup.kind)
    return clip_forecasts(mean, largest_value(shard.y), setup.kind), slopes
