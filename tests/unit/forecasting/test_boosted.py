"""Boosted trees: one model of all series, the same however they are dealt out, which knows nothing of the future."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_platform.forecasting import ConfigError, Fleet, ForecastConfig, boosted, forecast, predict
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.choice import Traits, choose
from ml_platform.forecasting.cohorts import cohorts
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.layout import attribute_numbers
from ml_platform.forecasting.pipeline import fit_part, train
from ml_platform.forecasting.pools import Pools, Setup, combine_pools, derive_pools, lessons, pool_sums, taught

CONFIG = ForecastConfig(
    series=("shop",),
    time="day",
    target="units",
    frequency="D",
    horizon=7,
    known_future=("price",),
    static=("kind",),
    segments=("kind",),
    families=("ridge", "lightgbm"),
    interval_origins=6,
)


def tables(shops: int = 30, days: int = 140, ahead: int = 7) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Units that double below a price that no line shows, and later prices; columns shop, day, price, units."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "shop": np.repeat(np.arange(shops), days + ahead),
            "day": np.tile(pd.date_range("2022-01-03", periods=days + ahead), shops),
            "price": rng.uniform(0.0, 1.0, shops * (days + ahead)),
        }
    )
    odd = (frame["price"] > 0.3) & (frame["price"] < 0.6)
    usual = 20.0 * (1 + frame["shop"] % 5)
    frame["units"] = np.round(np.where(odd, 3.0, 1.0) * usual * rng.uniform(0.9, 1.1, len(frame)))
    last = frame["day"].max() - pd.Timedelta(days=ahead)
    return frame[frame["day"] <= last].reset_index(drop=True), frame[frame["day"] > last].reset_index(drop=True)


def kinds(shops: int = 30) -> pd.DataFrame:
    return pd.DataFrame({"shop": np.arange(shops), "kind": np.where(np.arange(shops) % 2, "b", "d")})


def shard_of(history: pd.DataFrame, future: pd.DataFrame | None = None) -> Shard:
    return prepare(history, future, kinds(), None, CONFIG).shard


def test_it_knows_what_tells_series_of_a_segment_apart() -> None:
    """In half of the shops the price matters the other way round; an attribute says which."""
    history, future = tables()
    other = history["shop"].isin(range(1, 30, 3))
    history.loc[other, "units"] = np.round(9000.0 / history.loc[other, "units"].clip(lower=1.0))
    errors = {}
    for name, format_ in (("told", np.where(np.arange(30) % 3 == 1, "corner", "city")), ("untold", ["city"] * 30)):
        static = pd.DataFrame({"shop": np.arange(30), "format": format_})
        config = CONFIG.model_copy(update={"static": ("format",), "segments": (), "families": ("lightgbm",)})
        shard = prepare(history, future, static, None, config).shard
        assert shard.static.shape == (30, 1)
        until = history["day"].max() - pd.Timedelta(days=7)
        made = forecast(history[history["day"] <= until], history[history["day"] > until], static, config=config)
        both = made.forecasts.rename(columns={"date": "day"}).merge(history, on=["shop", "day"])
        errors[name] = (both["mean"] - both["units"]).abs().sum() / both["units"].sum()
    assert errors["told"] < 0.8 * errors["untold"]


def test_attributes_are_numbers_whatever_they_are() -> None:
    """Numbers as they are, texts by a hash that is the same in any process, what is missing stays so."""
    columns = [
        pd.Series([1, 2]),
        pd.Series(["a", None]),
        None,
        pd.Series([True, False]),
        pd.Series(pd.Categorical(["b", "a"])),
    ]
    got = attribute_numbers(columns, 2)
    assert got[:, 0].tolist() == [1.0, 2.0]
    assert got[0, 1] == got[1, 4] == 0xE8B7BE43 / 2**32
    assert np.isnan(got[[1, 0, 1], [1, 2, 2]]).all()
    assert got[:, 3].tolist() == [1.0, 0.0]


def test_it_finds_what_a_line_cannot() -> None:
    history, future = tables()
    result = forecast(history, future, kinds(), config=CONFIG)
    made = result.forecasts.rename(columns={"date": "day"}).merge(future, on=["shop", "day"])
    error = (made["mean"] - made["units"]).abs().sum() / made["units"].sum()
    folds = result.metrics.groupby("family")["wape"].mean()
    assert error < 0.15
    assert folds["lightgbm"] < 0.5 * folds["ridge"]


def pooled(chunks: list[Shard], setup: Setup) -> Pools:
    pools = derive_pools(combine_pools([pool_sums(chunk, setup) for chunk in chunks]), setup)
    return taught(pools, [lessons(chunk, setup) for chunk in chunks], setup)


def test_the_model_is_the_same_text_however_series_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_of(tables()[0])
    (cohort,) = cohorts([shard], CONFIG, judging=False)
    setup = cohort.setup
    dealt = [shard.take(np.arange(start, len(shard), 7)) for start in (3, 0, 6, 1, 5, 2, 4)]
    whole = pooled([shard], setup).models
    assert 0 in whole
    assert pooled(dealt, setup).models == whole
    monkeypatch.setattr(boosted, "CELLS", setup.cells // 3)  # then a hash says which series teach
    drawn = pooled([shard], setup).models
    assert pooled(dealt, setup).models == drawn != whole


def test_what_comes_after_an_origin_changes_no_forecast_of_it() -> None:
    shard = shard_of(tables()[0])
    (cohort,) = cohorts([shard], CONFIG, judging=False)
    setup = cohort.setup
    later = shard.y.copy()
    origin = setup.plan.origin(setup.plan.choosing[0])
    later[:, origin:] = later[:, origin:][:, ::-1] * 3.0
    other = replace(shard, y=later)
    column, e = setup.config.family_names.index("lightgbm"), setup.plan.evaluated.index(setup.plan.choosing[0])
    before, after = (fit_part(one, pooled([one], setup), setup).backtest.past for one in (shard, other))
    np.testing.assert_array_equal(before[:, : e + 1, :, column], after[:, : e + 1, :, column])
    assert not np.array_equal(before[:, e + 1 :, :, column], after[:, e + 1 :, :, column])


def test_a_stored_fleet_knows_its_segments_by_name() -> None:
    shard = shard_of(*tables())
    fleet, _ = train(shard, CONFIG)
    stored = Fleet(
        fleet.rows,
        {name: table.take(pa.array(np.arange(len(table))[::-1])) for name, table in fleet.pools.items()},
        CONFIG,
    )
    renamed = replace(shard, segments=("a new one", *shard.segments), segment=shard.segment + 1)
    made, again = predict(fleet, shard), predict(stored, renamed)
    np.testing.assert_allclose(again["mean"].to_numpy(), made["mean"].to_numpy(), rtol=1e-12)


def test_a_history_too_short_to_learn_from_is_forecast_by_its_level() -> None:
    history, future = tables(days=9)
    result = forecast(history, future, kinds(), config=CONFIG.model_copy(update={"families": ("lightgbm",)}))
    assert result.forecasts["mean"].between(1.0, 400.0).all()


@pytest.mark.parametrize(
    ("traits", "runs", "why"),
    [
        (Traits.of((100_000, 99_000, 0), 7, 1_000), True, "learns from all series"),
        (Traits.of((100_000, 50_000, 0), 7, 1_000), False, "no better than means"),
        (Traits.of((9_000_000, 9_000_000, 0), 7, 1_000), False, "name it in families"),
    ],
)
def test_the_default_takes_it_where_it_pays(traits: Traits, runs: bool, why: str) -> None:
    plain = CONFIG.model_copy(update={"families": "default"})
    chosen = {one.family: one for one in choose(plain, traits)}["lightgbm"]
    assert chosen.runs is runs
    assert why in chosen.why


def test_without_its_extra_it_is_not_run_and_not_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_platform.forecasting.choice.find_spec", lambda name: None)
    dense = Traits.of((100_000, 99_000, 0), 7, 1_000)
    chosen = {one.family: one for one in choose(CONFIG.model_copy(update={"families": "default"}), dense)}["lightgbm"]
    assert (chosen.runs, chosen.why) == (False, "needs the extra `ml`")
    with pytest.raises(ConfigError, match="install ml-platform"):
        choose(CONFIG, dense)
