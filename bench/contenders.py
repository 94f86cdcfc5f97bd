"""Everyone who forecasts the same rows: the kernel and its peers, each behind the same form.

Belongs here: how each is started and asked, one function per contender. Does not belong here: measuring and judging (peers).

A contender gets a Task, imports and warms up, and returns the work whose time counts: read the file, fit, forecast.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench import own
from bench.generator import HORIZON
from bench.rows import COVARIATES
from bench.series_lags import Design
from bench.series_lags import design as lag_design
from bench.series_ridge import Prior, coefficients, design, forecast

SEASON = 7


@dataclass(frozen=True)
class Task:
    """A file of rows, one of a few series to warm up on, days of the longest history, what each segment says."""

    rows: Path
    warm: Path
    days: int
    priors: dict[str, Prior]


Work = Callable[[], pd.DataFrame]


@dataclass(frozen=True)
class Contender:
    """A name as people know it, the sample that it runs on (all, many, few), and what makes its work ready."""

    title: str
    sample: str
    ready: Callable[[Task], Work]


def output(series: pd.Series | np.ndarray, mean: pd.Series | np.ndarray) -> pd.DataFrame:
    """Forecasts in order of series and day, as everyone gives them: unique_id, step, mean."""
    steps = np.tile(np.arange(1, HORIZON + 1), len(mean) // HORIZON)
    return pd.DataFrame({"unique_id": np.asarray(series), "step": steps, "mean": np.asarray(mean, dtype=float)})


def kernel(task: Task) -> Work:
    """The platform's default fleet in one call."""
    own.whole(task.warm)
    return lambda: own.whole(task.rows)


def kernel_ridge(task: Task) -> Work:
    """The platform's ridge at the priors of the whole fleet."""
    setup, pools = own.frozen(task.rows.with_name("all.parquet"))
    return lambda: own.ridge(task.rows, setup, pools)[0]


def auto_ets(task: Task) -> Work:
    """Exponential smoothing by information criterion, each series optimised by itself."""
    from statsforecast.models import AutoETS

    return _statistical(task, AutoETS(season_length=SEASON, alias="mean"))


def theta(task: Task) -> Work:
    """The Theta method, each series by itself."""
    from statsforecast.models import Theta

    return _statistical(task, Theta(season_length=SEASON, alias="mean"))


def _statistical(task: Task, model: object) -> Work:
    from statsforecast import StatsForecast

    def work(rows: Path) -> pd.DataFrame:
        history, _ = own.read(rows)
        made = StatsForecast(models=[model], freq="D", n_jobs=1).forecast(
            df=history[["unique_id", "ds", "y"]], h=HORIZON
        )
        return output(made["unique_id"], made["mean"])

    work(task.warm)
    return lambda: work(task.rows)


def global_ridge(task: Task) -> Work:
    """One ridge for all series on lags, rolling means, calendar and covariates."""
    from sklearn.linear_model import Ridge

    return _lagged(task, Ridge(alpha=1.0))


def global_lightgbm(task: Task) -> Work:
    """One forest of boosted trees for all series on the same features."""
    from lightgbm import LGBMRegressor

    return _lagged(task, LGBMRegressor(n_estimators=100, num_leaves=127, n_jobs=1, verbose=-1, deterministic=True))


def _lagged(task: Task, model: object) -> Work:
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import ExponentiallyWeightedMean, RollingMean

    def work(rows: Path) -> pd.DataFrame:
        history, ahead = own.read(rows)
        frame = history.drop(columns="product")
        engine = MLForecast(
            models={"mean": model},
            freq="D",
            lags=[1, 7, 14, 28],
            lag_transforms={
                1: [RollingMean(7), RollingMean(28), ExponentiallyWeightedMean(0.05)],
                7: [RollingMean(28)],
            },
            date_features=["dayofweek", "month"],
            num_threads=1,
        )
        engine.fit(frame, static_features=[])
        made = engine.predict(HORIZON, X_df=ahead[["unique_id", "ds", *COVARIATES]])
        return output(made["unique_id"], made["mean"].clip(lower=0.0))

    work(task.warm)
    return lambda: work(task.rows)


def each_series(task: Task, fit: Callable[[Design], Callable[[np.ndarray], np.ndarray]]) -> Work:
    """A loop over series: features of series_lags, any regression on them."""

    def work(rows: Path) -> pd.DataFrame:
        ids, means = list[str](), list[np.ndarray]()
        for name, series in _series(rows):
            found = lag_design(series, task.days, HORIZON)
            mean = found.scale * fit(found)(found.ahead)
            ids.append(name)
            means.append(np.clip(mean, 0.0, 3.0 * series["y"].max()))
        return output(np.repeat(ids, HORIZON), np.concatenate(means))

    work(task.warm)
    return lambda: work(task.rows)


def _series(rows: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    history, ahead = own.read(rows)
    for name, series in pd.concat([history, ahead]).groupby("unique_id", observed=True):
        yield str(name), series


def sklearn_loop(task: Task) -> Work:
    """A ridge per series, which knows nothing of its segment."""
    from sklearn.linear_model import Ridge

    return each_series(task, lambda d: Ridge(alpha=1.0).fit(d.x, d.z, sample_weight=d.weight).predict)


def lightgbm_each(task: Task) -> Work:
    """A forest of boosted trees per series."""
    from lightgbm import LGBMRegressor

    def fit(found: Design) -> Callable[[np.ndarray], np.ndarray]:
        model = LGBMRegressor(n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1, deterministic=True)
        fitted = model.fit(found.x, found.z, sample_weight=found.weight)
        return lambda x: np.asarray(fitted.booster_.predict(x))

    return each_series(task, fit)


def prophet(task: Task) -> Work:
    """Trend, week, year and covariates per series, without intervals."""
    import logging

    from prophet import Prophet

    logging.getLogger("cmdstanpy").setLevel(logging.WARNING)

    def one(series: pd.DataFrame) -> np.ndarray:
        model = Prophet(uncertainty_samples=0, daily_seasonality=False)
        for name in COVARIATES:
            model.add_regressor(name)
        model.fit(series[:-HORIZON])
        return np.asarray(np.maximum(model.predict(series[-HORIZON:])["yhat"].to_numpy(), 0.0))

    def work(rows: Path) -> pd.DataFrame:
        made = [(name, one(series)) for name, series in _series(rows)]
        return output(np.repeat([name for name, _ in made], HORIZON), np.concatenate([mean for _, mean in made]))

    work(task.warm)
    return lambda: work(task.rows)


def spark_jvm(task: Task) -> Work:
    """The kernel's ridge, one series at a time in pandas functions of Spark on the JVM."""
    return _spark(task, "jvm")


def spark_sail(task: Task) -> Work:
    """The same on Sail."""
    return _spark(task, "sail")


def _spark(task: Task, engine: str) -> Work:
    from ml_platform.spark import session

    running, priors = session(engine), task.priors

    def one(series: pd.DataFrame) -> pd.DataFrame:
        series = series.sort_values("ds")
        found = design(series, HORIZON)
        beta = coefficients(found, priors[series["product"].iloc[0]])
        made = output(np.repeat(series["unique_id"].iloc[0], HORIZON), forecast(found, beta))
        return made.assign(coefficients=[beta.tolist()] * HORIZON)

    def work(rows: Path) -> pd.DataFrame:
        with _quiet():
            frame = running.read.parquet(str(rows)).groupBy("unique_id")
            made: pd.DataFrame = frame.applyInPandas(
                one, "unique_id string, step int, mean double, coefficients array<double>"
            ).toPandas()
            return made

    work(task.warm)
    return lambda: work(task.rows)


@contextmanager
def _quiet() -> Iterator[None]:
    """What Spark says about newer pandas is decided by our pins."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


CONTENDERS = {
    "kernel": Contender("kernel, whole fleet", "all", kernel),
    "kernel_ridge": Contender("kernel, ridge at given priors", "all", kernel_ridge),
    "spark_sail": Contender("PySpark applyInPandas ridge, sail", "all", spark_sail),
    "spark_jvm": Contender("PySpark applyInPandas ridge, jvm", "all", spark_jvm),
    "sklearn_loop": Contender("scikit-learn Ridge, loop", "many", sklearn_loop),
    "global_ridge": Contender("mlforecast, global Ridge", "many", global_ridge),
    "global_lightgbm": Contender("mlforecast, global LightGBM", "many", global_lightgbm),
    "theta": Contender("statsforecast Theta", "few", theta),
    "auto_ets": Contender("statsforecast AutoETS", "few", auto_ets),
    "lightgbm_each": Contender("LightGBM per series", "few", lightgbm_each),
    "prophet": Contender("Prophet", "few", prophet),
}
