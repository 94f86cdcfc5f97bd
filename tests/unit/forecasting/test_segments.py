"""Segments: what one holds changes nothing in another, whatever it is; each runs the families that its own values ask for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_platform.forecasting import FAMILIES, ForecastConfig, InputError, forecast
from ml_platform.forecasting.layout import series_segments

DAYS = 100
POOLED = [name for name in FAMILIES if name != "lightgbm"]  # one model of all series is no segment's own
NUMBERS = ["mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"]
CONFIG = ForecastConfig(
    series=("shop", "item"),
    time="day",
    target="units",
    frequency="D",
    horizon=7,
    segments=("shop",),
    families=tuple(POOLED),
    interval_origins=6,
)


def rows(shop: str, item: str, units: np.ndarray) -> pd.DataFrame:
    days = pd.date_range(end="2023-04-11", periods=len(units))
    return pd.DataFrame({"shop": shop, "item": item, "day": days, "units": units})


def town() -> pd.DataFrame:
    """Shop a sells a lot of six items, shop b little of four."""
    rng = np.random.default_rng(3)
    week = 1.0 + 0.4 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    much = [rows("a", f"{number}", rng.poisson((8 + 3 * number) * week) + 1.0) for number in range(6)]
    little = [rows("b", f"{number}", rng.poisson((0.3 + 0.2 * number) * week).astype(float)) for number in range(4)]
    return pd.concat([*much, *little], ignore_index=True)


def of_shop(frame: pd.DataFrame, shop: str) -> np.ndarray:
    own = frame[frame["shop"] == shop].sort_values(["item", "step"])
    return own[NUMBERS].to_numpy()


BEFORE = forecast(town(), config=CONFIG).forecasts

values = st.one_of(
    st.just(np.zeros(DAYS)),
    st.just(np.full(DAYS, 7.0)),
    st.just(np.array([3.0])),
    st.integers(1, 10**6).map(lambda seed: np.random.default_rng(seed).normal(0, 50, DAYS)),
    st.integers(1, 10**6).map(lambda seed: np.random.default_rng(seed).lognormal(5, 2, DAYS)),
)


@given(units=values)
@settings(max_examples=12, deadline=None)
def test_a_series_more_changes_no_series_of_another_segment(units: np.ndarray) -> None:
    after = forecast(pd.concat([town(), rows("b", "new", units)], ignore_index=True), config=CONFIG).forecasts
    np.testing.assert_allclose(of_shop(after, "a"), of_shop(BEFORE, "a"), rtol=1e-9, atol=1e-9)
    assert len(after) == len(BEFORE) + 7


@pytest.mark.parametrize("missing", ["gap", "zero"])
@pytest.mark.parametrize("days", [1, 6, 13, 300])
def test_a_series_that_begins_before_all_others_changes_none_of_another_segment(missing: str, days: int) -> None:
    """One calendar holds all, and folds, seasons, families and levels of a segment begin where it does."""
    rng = np.random.default_rng(9)
    late = [rows("a", "late", rng.poisson(20.0, 60) + 1.0), rows("a", "few", rng.poisson(20.0, 4) + 1.0)]
    real = [rows("c", f"{number}", rng.normal(0.0, 5.0, DAYS - number)) for number in range(4)]
    given = pd.concat([town(), *late, *real], ignore_index=True)
    config = CONFIG.model_copy(update={"missing": missing})
    early = rows("b", "early", rng.poisson(0.5, DAYS + days).astype(float))
    before, after = (
        forecast(table, config=config).forecasts
        for table in (given, pd.concat([given, early.assign(units=early["units"].clip(upper=3))], ignore_index=True))
    )
    for shop in ("a", "c"):
        np.testing.assert_allclose(of_shop(after, shop), of_shop(before, shop), rtol=1e-9, atol=1e-9)
    assert not np.allclose(of_shop(after, "b")[: 4 * 7], of_shop(before, "b"), rtol=1e-9)


@pytest.mark.parametrize("reconcile", ["bottom_up", "mint"])
def test_segments_that_are_known_less_far_back_have_fewer_folds(reconcile: str) -> None:
    rng = np.random.default_rng(9)
    young = [rows("c", f"{number}", rng.poisson(9.0, 28 + number) + 1.0) for number in range(4)]
    config = CONFIG.model_copy(update={"families": "default", "sums": (("shop",), ()), "reconcile": reconcile})
    result = forecast(pd.concat([town(), *young], ignore_index=True), config=config)
    blend = result.metrics[result.metrics["family"] == "blend"].set_index("fold")
    assert blend["rows"].tolist() == [70, 70, 98, 98], "ten series, and four that are known for two folds"
    assert blend[["pinball", "coverage_80"]].notna().all(axis=None)
    assert result.calibration["rows"].sum() > 0
    sums = result.sums.groupby("sum_by")["mean"].sum()
    assert sums.to_numpy() == pytest.approx([result.forecasts["mean"].sum()] * 2)


def test_each_segment_runs_the_families_that_its_own_values_ask_for() -> None:
    result = forecast(town(), config=CONFIG.model_copy(update={"families": "default"}))
    runs = result.families[result.families["runs"]].groupby("segments")["family"].agg(set)
    assert set(runs.index) == {"a", "b"}
    assert {"ets", "theta"} <= runs["a"] - runs["b"]
    assert {"tsb", "croston", "sba"} <= runs["b"] - runs["a"]
    whole = result.forecasts.groupby(["shop", "item"])["mean"].sum()
    truth = town().groupby(["shop", "item"])["units"].mean() * 7
    np.testing.assert_allclose(whole, truth.loc[whole.index], rtol=0.5, atol=2.0)
    assert result.metrics.query("family == 'blend'")["rows"].eq(70).all()
    assert result.metrics.query("family == 'ets'")["rows"].eq(42).all()


def test_each_segment_forecasts_as_values_of_its_own_kind() -> None:
    rng = np.random.default_rng(5)
    below = [rows("c", f"{number}", rng.normal(-50.0, 5.0, DAYS)) for number in range(4)]
    forecasts = forecast(pd.concat([town(), *below], ignore_index=True), config=CONFIG).forecasts
    np.testing.assert_allclose(of_shop(forecasts, "c")[:, 0], -50.0, atol=10.0)
    for shop in ("a", "b"):
        np.testing.assert_array_equal(of_shop(forecasts, shop), of_shop(BEFORE, shop))


@given(st.lists(st.tuples(*[st.text("ab/ ", max_size=5)] * 2), min_size=2, max_size=8, unique=True))
def test_no_two_segments_share_a_name(pairs: list[tuple[str, str]]) -> None:
    both = pd.DataFrame(pairs, columns=["shop", "item"])
    codes, names = series_segments(both, CONFIG.model_copy(update={"segments": ("shop", "item")}))
    assert len(names) == len(set(codes.tolist())) == len(pairs)


def test_a_segment_is_named_by_its_attributes() -> None:
    both = pd.DataFrame({"shop": ["x", "x", None, "x"], "item": ["y / z", "y/z", "y", 7]})
    codes, names = series_segments(both, CONFIG.model_copy(update={"segments": ("shop", "item")}))
    assert [names[code] for code in codes] == ["x / y // z", "x / y/z", "none / y", "x / 7"]
    assert series_segments(both, CONFIG)[1] == ("none", "x")
    assert series_segments(pd.DataFrame({"shop": [7, 8, None]}), CONFIG)[1] == ("7", "8", "none")
    assert series_segments(both, CONFIG.model_copy(update={"segments": ()}))[1] == ("all",)


def test_dead_series_have_no_say_in_which_families_run() -> None:
    """Nothing but zeros: forecast as such, and the dense ones of their segment as well as without them."""
    rng = np.random.default_rng(2)
    dense = [rows("a", f"i{one}", 20 + 0.2 * np.arange(DAYS) + rng.normal(0, 2, DAYS)) for one in range(10)]
    dead = [rows("a", f"z{one}", np.zeros(DAYS)) for one in range(10)]
    config = CONFIG.model_copy(update={"families": "default"})
    plain, beside = (forecast(pd.concat(some, ignore_index=True), config=config) for some in (dense, dense + dead))
    assert beside.families.query("runs")["family"].tolist() == plain.families.query("runs")["family"].tolist()
    of_dense = beside.forecasts[beside.forecasts["item"].str[0] == "i"]
    assert np.allclose(of_dense["mean"], plain.forecasts["mean"], rtol=0.05)
    assert (beside.forecasts.loc[beside.forecasts["item"].str[0] == "z", NUMBERS].abs() < 1e-6).all(axis=None)


def test_keys_of_two_types_are_refused_before_any_work() -> None:
    both = pd.concat([rows("a", 1, np.ones(DAYS)), rows("a", "2", np.ones(DAYS))], ignore_index=True)
    with pytest.raises(InputError, match=r"the key 'item' holds values of the types \['int', 'str'\]"):
        forecast(both, config=CONFIG)
