"""Calendar features: several seasons, holidays, and what a fleet keeps of them on later days; covariates and their means."""

import warnings

import numpy as np
import pandas as pd
import pytest

from ml_platform.forecasting import ConfigError, ForecastConfig, forecast, predict
from ml_platform.forecasting.calendar import WAVES, plan_folds
from ml_platform.forecasting.config import parse_config
from ml_platform.forecasting.features import calendar_features, calendar_width
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.layout import fill_means
from ml_platform.forecasting.pipeline import train

BASE = {"series": ["meter"], "time": "at", "target": "load", "families": ["ridge"], "interval_origins": 6}


def config(**changes: object) -> ForecastConfig:
    return ForecastConfig.model_validate({**BASE, "frequency": "D", "horizon": 14, "season_lengths": [7], **changes})


def load(times: pd.DatetimeIndex, shape: np.ndarray, meters: int = 4) -> pd.DataFrame:
    """Rows (meter, at, load) of meters of different size that follow one shape (T,), with noise."""
    rng = np.random.default_rng(7)
    frames = [
        pd.DataFrame({"meter": m, "at": times, "load": (m + 1) * shape * rng.uniform(0.97, 1.03, len(times))})
        for m in range(meters)
    ]
    return pd.concat(frames, ignore_index=True)


def missed(history: pd.DataFrame, given: ForecastConfig) -> float:
    """Mean absolute percentage error of forecasts of the last steps."""
    times = np.sort(history["at"].unique())
    cut = times[-given.horizon - 1]
    made = forecast(history[history["at"] <= cut], config=given).forecasts.rename(columns={"date": "at"})
    both = made.assign(at=pd.to_datetime(made["at"])).merge(history, on=["meter", "at"])
    assert len(both) == 4 * given.horizon
    return float((both["mean"] / both["load"] - 1).abs().mean())


def test_hours_have_a_day_and_a_week() -> None:
    times = pd.date_range("2024-01-01", periods=24 * 7 * 8, freq="h")
    shape = (10 + 4 * np.sin(2 * np.pi * times.hour / 24)) * np.where(times.dayofweek >= 5, 0.5, 1.0)
    history = load(times, np.asarray(shape))
    both = missed(history, config(frequency="h", horizon=48, season_lengths=[24, 168]))
    assert both < 0.6 * missed(history, config(frequency="h", horizon=48, season_lengths=[24]))


def test_days_have_a_week_and_a_year() -> None:
    times = pd.date_range("2020-01-01", periods=365 * 4, freq="D")
    shape = (10 + 5 * np.cos(2 * np.pi * np.arange(len(times)) / 365)) * np.where(times.dayofweek == 6, 0.6, 1.0)
    history = load(times, np.asarray(shape))
    both = missed(history, config(horizon=60, season_lengths=[7, 365]))
    assert both < 0.5 * missed(history, config(horizon=60, season_lengths=[7]))


def test_a_holiday_and_its_eve_are_expected() -> None:
    times = pd.date_range("2021-01-01", "2024-07-10", freq="D")
    independence = np.asarray([(day.month, day.day) in ((7, 4), (12, 25), (1, 1), (11, 11), (6, 19)) for day in times])
    shape = 10 * np.where(independence, 0.2, 1.0) * np.where(np.roll(independence, -1), 1.6, 1.0)
    history = load(times, shape)
    cut, given = pd.Timestamp("2024-06-30"), config(holidays="US")
    made = forecast(history[history["at"] <= cut], config=given).forecasts
    first = made[made["meter"] == 0].set_index(pd.to_datetime(made.loc[made["meter"] == 0, "date"]))["mean"]
    assert first["2024-07-04"] < 0.8 * first["2024-07-11"]
    assert first["2024-07-03"] > 1.15 * first["2024-07-10"]
    plain = forecast(history[history["at"] <= cut], config=config()).forecasts
    assert plain.loc[pd.to_datetime(plain["date"]) == "2024-07-04", "mean"].iloc[0] > 9


@pytest.mark.parametrize(
    ("frequency", "first", "inside", "after"),
    [("D", "2024-07-04", 1, "2024-07-05"), ("W-MON", "2024-07-01", 1, None), ("MS", "2024-11-01", 2, None)],
)
def test_holidays_count_in_their_step(frequency: str, first: str, inside: int, after: str | None) -> None:
    times = pd.date_range(first, periods=30, freq=frequency)
    given = config(frequency=frequency, horizon=2, season_lengths=[1], holidays="US")
    shard = prepare(load(times, np.ones(30)), None, None, None, given).shard
    plan = plan_folds(given, shard.steps, False)
    found = calendar_features(shard, plan, 0, 4)
    assert found.shape == (4, calendar_width(plan)) == (4, 3)
    assert found[0, 0] == inside
    if after is not None:
        assert found[1].tolist() == [0, 0, 1]


def test_waves_need_three_seasons_and_are_kept_on_later_days() -> None:
    given = config(season_lengths=[7, 30])
    times = pd.date_range("2024-01-01", periods=89 + 30, freq="D")
    history = load(times, 10 + np.arange(119) % 30 / 10.0)
    assert plan_folds(given, 89, False).waves == ()
    ((season, waves),) = plan_folds(given, 90, False).waves
    assert (season, waves.tolist()) == (30, list(range(1, WAVES + 1)))
    early = prepare(history[history["at"] < times[89]], None, None, None, given).shard
    fleet, _ = train(early, given)
    later = prepare(history, None, None, None, given).shard
    assert predict(fleet, later).num_rows == 4 * given.horizon


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("USA states", "is no country"), ("US-XX", "US has no part 'XX'"), ("Germany", "is no country")],
)
def test_an_unknown_country_is_named(wrong: str, words: str) -> None:
    values = {**BASE, "frequency": "D", "horizon": 14, "holidays": wrong}
    with pytest.raises(ConfigError, match=words) as told:
        parse_config(values, "forecast.yaml")
    assert "holidays" in str(told.value)
    assert "ISO 3166" in str(told.value)


def test_means_are_those_of_the_series_of_a_segment_that_know_a_covariate() -> None:
    rng, codes = np.random.default_rng(3), np.array([0, 1, 0, 1, 0])
    known = np.full((5, 4, 6), np.nan)
    known[:, :2] = rng.normal(size=(5, 2, 6))
    known[0, 0, 2] = known[1, 1, 4] = known[3, 1, 4] = np.nan
    own = known[:, :2].copy()
    fill_means(known, codes, ("a", "b"))
    np.testing.assert_array_equal(known[:, :2], own)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of step 4 no series of b knows the second one
        expected = np.stack([np.nanmean(own[codes == code], axis=0) for code in codes])
    np.testing.assert_allclose(known[:, 2:], expected, rtol=1e-12)
    assert np.isnan(known[[1, 3], 3, 4]).all()


def test_a_price_of_all_works_otherwise_than_one_of_a_single_series() -> None:
    """What all meters pay triples the load, what one alone pays does nothing; both move the covariate as much."""
    rng, times = np.random.default_rng(5), pd.date_range("2021-01-04", periods=300)
    common, own = rng.integers(0, 2, len(times)), rng.normal(0.0, 0.5, (20, len(times)))
    frames = [
        pd.DataFrame({"meter": m, "at": times, "tariff": common + own[m], "load": 10.0 * 3.0**common})
        for m in range(20)
    ]
    rows = pd.concat(frames, ignore_index=True)
    rows["load"] *= rng.uniform(0.97, 1.03, len(rows))
    ahead = rows["at"] > times[-15]
    given = config(known_future=["tariff"])
    made = forecast(rows[~ahead], rows[ahead], config=given).forecasts.rename(columns={"date": "at"})
    both = made.merge(rows, on=["meter", "at"])
    assert (both["mean"] / both["load"] - 1).abs().mean() < 0.2  # 0.35 without the mean


@pytest.mark.parametrize("others", [["north"] * 3, ["north", "south", "south"]])
def test_who_else_is_in_a_segment_is_no_matter_of_another(others: list[str]) -> None:
    """Means of covariates are a segment's: those of south change nothing in north."""
    rng, times = np.random.default_rng(6), pd.date_range("2021-01-04", periods=120)
    place = {0: "north", 1: "north", **dict(enumerate(others, start=2))}
    rows = pd.concat(
        [
            pd.DataFrame(
                {"meter": m, "at": times, "load": rng.poisson(20, len(times)), "tariff": rng.normal(size=len(times))}
            )
            for m in place
        ]
    )
    given = config(known_future=["tariff"], static=["region"], segments=["region"])
    static = pd.DataFrame({"meter": list(place), "region": list(place.values())})
    kept = rows["meter"] != 4
    made = [forecast(one, static=static, config=given).forecasts for one in (rows, rows[kept])]
    north = [one[one["meter"] < 2]["mean"].to_numpy() for one in made]
    assert np.array_equal(*north) == (others[-1] == "south")
