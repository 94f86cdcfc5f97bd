"""Speed and accuracy of the kernel against AutoETS of statsforecast, on seeded daily counts.

Belongs here: one comparison, printed. Does not belong here: figures that a test relies on. AutoETS runs on a sample of
the series; both are judged on the same series and the same 14 unseen days. Run it with OPENBLAS_NUM_THREADS=1.
"""

import argparse
import time

import numpy as np
import pandas as pd

from ml_platform.forecasting import ForecastConfig, forecast

HORIZON, SEASON = 14, 7
CONFIG = ForecastConfig(
    series=("unique_id",),
    time="ds",
    target="y",
    frequency="D",
    horizon=HORIZON,
    season_lengths=(SEASON,),
    static=("kind",),
    segments=("kind",),
)


def counts(series: int, days: int, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Negative binomial counts: lognormal base, slow random walk, a weekly profile per kind. Returns history and static."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 20, series)
    profile = np.exp(rng.normal(0, 0.3, (20, SEASON)))[kind]
    walk = np.cumsum(rng.normal(0, 0.01, (series, days)), axis=1)
    mean = np.exp(rng.normal(0.5, 1.0, (series, 1)) + walk) * profile[:, np.arange(days) % SEASON]
    y = rng.negative_binomial(3, 3 / (3 + mean))
    history = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(series), days),
            "ds": np.tile(pd.date_range("2023-01-01", periods=days), series),
            "y": y.ravel().astype(float),
        }
    )
    return history, pd.DataFrame({"unique_id": np.arange(series), "kind": kind})


def rmsse(forecasts: pd.DataFrame, column: str, truth: pd.DataFrame, scale: pd.Series) -> float:
    """Root, taken once, of the mean scaled squared error."""
    both = truth.merge(forecasts, on=["unique_id", "ds"], validate="one_to_one")
    squares = (both[column] - both["y"]) ** 2
    return float(np.sqrt((squares.groupby(both["unique_id"]).mean() / scale).dropna().mean()))


def auto_ets(history: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Forecasts and CPU seconds of AutoETS."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    engine = StatsForecast(models=[AutoETS(season_length=SEASON)], freq="D", n_jobs=1)
    engine.forecast(df=history[history["unique_id"] == history["unique_id"].iloc[0]], h=HORIZON)  # compiles
    start = time.process_time()
    return engine.forecast(df=history, h=HORIZON), time.process_time() - start


def main() -> None:
    """Run both and print series per core-second and the error of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--peer-series", type=int, default=200)
    options = parser.parse_args()
    history, static = counts(options.series, options.days + HORIZON)
    cut = history["ds"].max() - pd.Timedelta(days=HORIZON)
    past, truth = history[history["ds"] <= cut], history[history["ds"] > cut]
    start = time.process_time()
    own = forecast(past, static=static, config=CONFIG).forecasts.rename(columns={"date": "ds"})
    seconds = time.process_time() - start
    sample = np.arange(min(options.peer_series, options.series))
    peer_past = past[past["unique_id"].isin(sample)]
    peer, peer_seconds = auto_ets(peer_past)
    scale = peer_past.groupby("unique_id")["y"].apply(lambda y: (y.diff() ** 2).mean()).where(lambda s: s > 0)
    judged = truth[truth["unique_id"].isin(sample)]
    speed, peer_speed = options.series / seconds, len(sample) / peer_seconds
    print(f"{options.series} series x {options.days} days, {len(sample)} of them for AutoETS, CPU seconds of one core")
    print(
        f"kernel   {speed:10.1f} series/core-s  rmsse {rmsse(own, 'mean', judged, scale):.4f}  (with backtest and intervals)"
    )
    print(
        f"AutoETS  {peer_speed:10.1f} series/core-s  rmsse {rmsse(peer, 'AutoETS', judged, scale):.4f}  (one fit, no backtest)"
    )
    print(f"ratio    {speed / peer_speed:10.1f}")


if __name__ == "__main__":
    main()
