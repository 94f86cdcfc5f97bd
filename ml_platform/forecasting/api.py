"""The kernel in one call: tables in, forecasts, ledger and metrics out.

Belongs here: forecast() and the shape of its result. Does not belong here: lake, releases, orchestration.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.backtest import Backtest
from ml_platform.forecasting.calendar import Floats
from ml_platform.forecasting.config import ForecastConfig, load_config
from ml_platform.forecasting.fleet import Fleet
from ml_platform.forecasting.frames import Prepared, Table, give_back_times, prepare
from ml_platform.forecasting.pipeline import CHUNK, Part, Trained, train
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.predict import predict


@dataclass(frozen=True)
class ForecastResult:
    """What forecast() returns, as pandas tables.

    forecasts: key columns, time, step, mean, point, interval bounds, family. ledger: key columns, state, reason, family,
    covariates (how those after the origin were filled). metrics: per fold and family weighted_rmsse, wape, bias, rows.
    families: family, runs, why.
    """

    forecasts: pd.DataFrame
    ledger: pd.DataFrame
    metrics: pd.DataFrame
    families: pd.DataFrame


def forecast(
    history: Table,
    future: Table | None = None,
    static: Table | None = None,
    *,
    as_of: object = None,
    config: ForecastConfig | str | Path,
) -> ForecastResult:
    """Forecast every series of `history` for the steps after `as_of`, or after the newest time of the whole history.

    Tables are pandas or Arrow; `future` gives the known-future covariates of later steps, `static` attributes per series.
    Raises ConfigError for the configuration and InputError (both ValueError) for the tables.
    """
    settings = config if isinstance(config, ForecastConfig) else load_config(config)
    prepared = prepare(history, future, static, as_of, settings)
    trained, parts, setup = train(prepared.shard, settings)
    tables = [predict(trained.fleet, chunk) for chunk in prepared.shard.chunks(CHUNK)]
    like = _time_column(history, settings)
    forecasts = _with_keys(pa.concat_tables(tables), prepared, like, settings)
    families = pd.DataFrame(setup.choice, columns=["family", "runs", "why"])
    return ForecastResult(forecasts, _ledger(trained.fleet, prepared), fold_table(parts, trained, setup), families)


def _time_column(history: Table, config: ForecastConfig) -> pd.Series:
    column = (
        history.slice(0, 1).to_pandas()[config.time] if isinstance(history, pa.Table) else history[config.time].iloc[:1]
    )
    return pd.Series(column)


def _with_keys(table: pa.Table, prepared: Prepared, like: pd.Series, config: ForecastConfig) -> pd.DataFrame:
    shard = prepared.shard
    rows = table["series_id"].to_numpy(zero_copy_only=False).astype(np.int64)
    out: pd.DataFrame = prepared.keys.iloc[rows].reset_index(drop=True)
    times = pd.Series(pd.DatetimeIndex(shard.times[shard.steps :]))
    later = give_back_times(times, like, config.frequency)
    steps = table["step"].to_numpy()
    out["date"] = later.iloc[steps - 1].reset_index(drop=True)
    for name in ["step", "mean", "point", *config.interval_columns]:
        out[name] = table[name].to_numpy()
    out["family"] = table["family"].to_pandas()
    return out


def _ledger(fleet: Fleet, prepared: Prepared) -> pd.DataFrame:
    rows = fleet.rows.select(["state", "reason", "family"]).to_pandas()
    out = pd.concat([prepared.keys.reset_index(drop=True), rows], axis=1)
    out["covariates"] = list(prepared.filled)
    return out


def fold_table(parts: list[Part], trained: Trained, setup: Setup) -> pd.DataFrame:
    """Weighted RMSSE (root taken once), WAPE and bias per fold and family, the blend as family `blend`."""
    rows = []
    for fold, back in enumerate(setup.plan.folds):
        e = setup.plan.evaluated.index(back)
        for f, name in enumerate([*setup.config.family_names, "blend"]):
            sums = np.zeros(6)
            for part, mean in zip(parts, trained.means, strict=True):
                said = mean[:, e] if name == "blend" else part.backtest.past[:, e, :, f]
                sums += _fold_sums(part.backtest, said, part.weight[part.backtest.rows, back], e)
            rows.append((fold, name, *_fold_figures(sums)))
    return pd.DataFrame(rows, columns=["fold", "family", "weighted_rmsse", "wape", "bias", "rows"])


def _fold_sums(backtest: Backtest, said: Floats, weight: Floats, e: int) -> Floats:
    """Weighted scaled square error, weight, absolute error, actual, forecast and cells of one fold of a part."""
    actual, scale = backtest.actual[:, e], backtest.scale[:, e]
    seen = ~np.isnan(actual) & backtest.begun[:, e, None]
    error = np.where(seen, said - actual, 0.0)
    good = (scale > 0) & seen.any(axis=1)
    square = (error**2).sum(axis=1) / np.maximum(seen.sum(axis=1), 1) / np.where(good, scale, 1.0)
    return np.asarray([
        (weight * square)[good].sum(), weight[good].sum(), np.abs(error).sum(),
        actual[seen].sum(), said[seen].sum(), seen.sum(),
    ])  # fmt: skip


def _fold_figures(sums: Floats) -> tuple[float, float, float, int]:
    square, weight, absolute, actual, said, cells = sums.tolist()
    rmsse = float(np.sqrt(square / weight)) if weight > 0 else float("nan")
    return (
        rmsse,
        absolute / actual if actual else float("nan"),
        said / actual - 1 if actual else float("nan"),
        int(cells),
    )
