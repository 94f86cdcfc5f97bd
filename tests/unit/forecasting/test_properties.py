"""What holds for any fleet: order does not matter, units do not matter, strangers do not matter; each family as far as it says so."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_platform.forecasting import FAMILIES, ForecastConfig, forecast
from ml_platform.forecasting.choice import ALONE, SCALES

ADAPTERS = (
    {"name": "window", "statsforecast": "WindowAverage", "options": {"window_size": 9}},
    {"name": "line", "sklearn": "linear_model.LinearRegression"},
)
DAYS, HORIZON = 60, 5
FEW = settings(max_examples=8, deadline=None)


@st.composite
def fleets(draw: st.DrawFn, most: int = 5) -> pd.DataFrame:
    """Daily counts of a few series of two segments: sparse or dense, some begun late, with or without zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames = []
    for number in range(draw(st.integers(2, most))):
        mean, least = draw(st.sampled_from([0.3, 2.0, 30.0])), draw(st.sampled_from([0, 1]))
        units = rng.poisson(mean * (1 + 0.4 * np.sin(2 * np.pi * np.arange(DAYS) / 7))) + float(least)
        units[draw(st.integers(0, DAYS - 1))] += 1.0
        days = pd.date_range("2021-03-01", periods=DAYS)
        own = pd.DataFrame(
            {"item": f"item {number}", "kind": "even" if number % 2 else "odd", "day": days, "units": units}
        )
        frames.append(own.iloc[draw(st.sampled_from([0, 0, 25])) :])
    return pd.concat(frames, ignore_index=True)


def config_of(*families: object) -> ForecastConfig:
    values = {"series": ["item", "kind"], "time": "day", "target": "units", "frequency": "D", "horizon": HORIZON}
    more = {"segments": ["kind"], "interval_origins": 3, "folds": 2, "families": list(families)}
    return ForecastConfig.model_validate(values | more)


def means(history: pd.DataFrame, config: ForecastConfig) -> pd.DataFrame:
    """Forecasts by item and step."""
    return forecast(history, config=config).forecasts.sort_values(["item", "step"], ignore_index=True)


@FEW
@given(history=fleets(), seed=st.integers(0, 99))
def test_the_order_of_rows_and_series_does_not_matter(history: pd.DataFrame, seed: int) -> None:
    mixed = history.sample(frac=1.0, random_state=seed)
    config = config_of("default", *ADAPTERS)
    pd.testing.assert_frame_equal(means(mixed, config), means(history, config))


@FEW
@given(history=fleets(), seed=st.integers(0, 99))
def test_the_names_of_series_do_not_matter(history: pd.DataFrame, seed: int) -> None:
    """Other names sort the series in another order; sums then round in another order, too."""
    names = history["item"].drop_duplicates()
    other = dict(zip(names, names.sample(frac=1.0, random_state=seed), strict=True))
    config = config_of("mean_28", "ets", "theta", "ridge", "tsb")
    said = means(history.assign(item=history["item"].map(other)), config)
    back = said.assign(item=said["item"].map({new: old for old, new in other.items()}))
    expected = means(history, config)
    found = back.sort_values(["item", "step"], ignore_index=True)
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", sorted(SCALES))
@settings(max_examples=4, deadline=None)
@given(history=fleets(), factor=st.sampled_from([0.001, 0.37, 12.0, 5000.0]))
def test_another_unit_of_the_target_is_another_unit_of_the_forecast(
    family: str, history: pd.DataFrame, factor: float
) -> None:
    config = config_of(family)
    once = means(history, config)
    more = means(history.assign(units=history["units"] * factor), config)
    np.testing.assert_allclose(more["mean"], factor * once["mean"], rtol=1e-6, atol=1e-7 * factor)


def test_what_scales_and_what_is_alone_is_told() -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2021-03-01", periods=DAYS)
    history = pd.DataFrame({"item": "a", "kind": "b", "day": days, "units": rng.poisson(3.0, DAYS)})
    told = forecast(history, config=config_of("ridge", *ADAPTERS)).families.set_index("family")
    assert set(told.index[told["alone"]]) == {*ALONE, "window", "line"}
    assert set(told.index[told["scales"]]) == set(SCALES) < set(FAMILIES)


@pytest.mark.parametrize("family", [*sorted(ALONE), *(one["name"] for one in ADAPTERS)])
@settings(max_examples=4, deadline=None)
@given(history=fleets(), seed=st.integers(0, 99))
def test_a_stranger_changes_nothing_for_series_that_are_alone(family: str, history: pd.DataFrame, seed: int) -> None:
    """A series more in a segment of its own, which begins no earlier than all others: what a family says stays, bit for bit."""
    given_adapter = [one for one in ADAPTERS if one["name"] == family]
    config = config_of(*(given_adapter or [family]))
    like = history[history["item"] == history["item"].iloc[0]]["units"].sample(DAYS, replace=True, random_state=seed)
    days = pd.date_range(history["day"].min(), history["day"].max())
    stranger = pd.DataFrame(
        {"item": "stranger", "kind": "strange", "day": days, "units": 3.0 * like.to_numpy()[: len(days)]}
    )
    before, after = (
        forecast(table, static=None, config=config).forecasts
        for table in (history, pd.concat([history, stranger], ignore_index=True))
    )
    pd.testing.assert_frame_equal(after[after["item"] != "stranger"].reset_index(drop=True), before)
