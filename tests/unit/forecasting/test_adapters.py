"""Families that are classes of statsforecast and scikit-learn: named by configuration, fitted series by series, failing one at a time."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from statsforecast.models import WindowAverage

from ml_platform.forecasting import ConfigError, ForecastResult, forecast, predict
from ml_platform.forecasting.adapted import FAILED
from ml_platform.forecasting.cohorts import cohorts
from ml_platform.forecasting.config import parse_config
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.lags import LagData
from ml_platform.forecasting.levels import History
from ml_platform.forecasting.pipeline import assembled, finish, fit_part, train
from ml_platform.forecasting.pools import block_levels, combine_pools, derive_pools, pool_sums

LEAST = {"series": ["a"], "time": "t", "target": "y", "frequency": "D", "horizon": 3}
WINDOW = {"name": "window", "statsforecast": "WindowAverage", "options": {"window_size": 14}}
LINE = {"name": "line", "sklearn": "linear_model.LinearRegression", "options": {"fit_intercept": False}}
FOREST = {"name": "forest", "sklearn": "ensemble.RandomForestRegressor", "options": {"n_estimators": 5, "max_depth": 3}}
POSITIVE = {"name": "gamma", "sklearn": "linear_model.GammaRegressor"}  # refuses every target with a zero
MULTIPLIES = {"name": "mnn", "statsforecast": "AutoETS", "options": {"model": "MNN"}}  # and so does this one


def test_adapters_stand_beside_families_and_survive_a_dump() -> None:
    config = parse_config(LEAST | {"families": [FOREST, "ridge", WINDOW, "ets"]}, "f.yaml")
    assert config.family_names == ("ets", "ridge", "forest", "window")
    assert parse_config(config.model_dump(mode="json"), "setup.json") == config
    assert config.with_families({"ridge", "window"}).family_names == ("ridge", "window")


def test_lists_of_yaml_serve_where_a_class_takes_a_tuple(make) -> None:
    arima = {"name": "arima", "statsforecast": "ARIMA", "options": {"order": [1, 0, 1], "blambda": None}}
    history = make.counts(series=2)
    result = forecast(history, static=make.kinds(history), config=make.config(families=[arima], interval_origins=2))
    assert (result.forecasts["family"] == "arima").all()
    assert result.ledger["detail"].isna().all()


def test_default_families_may_have_company(make) -> None:
    history = make.counts(series=6)
    config = make.config(families=["default", WINDOW])
    result = forecast(history, static=make.kinds(history), config=config)
    runs = result.families.set_index("family")
    assert {"tsb", "ridge", "window"} <= set(runs.index[runs["runs"]])
    assert not runs.loc["ets", "runs"]
    assert runs.loc["window", "why"] == "named in families: statsforecast.models.WindowAverage(window_size=14)"


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"statsforecast": "AutoRIMA"}, "x: statsforecast: 'AutoRIMA' is no class of statsforecast.models: write AutoARIMA"),
        ({"statsforecast": "np"}, "'np' is no class of statsforecast.models"),
        ({"statsforecast": "SklearnModel"}, "'SklearnModel' is no class"),
        ({"statsforecast": "AutoARIMA", "options": {"season": 7}}, "options: 'season' does not exist; AutoARIMA has d, D"),
        ({"statsforecast": "AutoETS", "options": {"season_length": "7"}}, "season_length of AutoETS: .*integer, not '7'"),
        ({"statsforecast": "MSTL", "options": {"season_length": 7, "trend_forecaster": {}}}, "takes an object"),
        ({"statsforecast": "WindowAverage"}, r"WindowAverage needs the options \['window_size'\]"),
        ({"sklearn": "ensemble.RandomForestClassifier"}, "no regressor of sklearn.ensemble: write RandomForestRegressor"),
        ({"sklearn": "ensemble.open"}, "'open' is no regressor of sklearn.ensemble"),
        ({"sklearn": "Ridge"}, "'Ridge' names no package of scikit-learn: write package and class"),
        ({"sklearn": "externals.array_api_compat.Ridge"}, "names no package of scikit-learn"),
        ({"sklearn": "linear_model.Ridge", "options": {"alfa": 1}}, "options: 'alfa' does not exist; Ridge has alpha"),
        ({"sklearn": "linear_model.Ridge", "options": {"alpha": -1}}, "options: The 'alpha' parameter of Ridge must be"),
        ({"sklearn": "ensemble.VotingRegressor"}, r"VotingRegressor needs the options \['estimators'\]"),
        ({"sklearn": "linear_model.Ridge", "statsforecast": "Naive"}, "write either `statsforecast: AutoARIMA` or"),
        ({}, "write either `statsforecast: AutoARIMA` or"),
        ({"statsforecast": "Naive", "option": {}}, "x: option: unknown key; known keys are name, statsforecast"),
        ({"name": "ridge", "statsforecast": "Naive"}, r"the names \['ridge'\] of adapters are taken"),
        ({"name": "A b", "statsforecast": "Naive"}, "A b: name: String should match pattern"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_be_is_explained(adapter: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"f.yaml: families: .*{message}"):
        parse_config(LEAST | {"families": ["ridge", {"name": "x"} | adapter]}, "f.yaml")


@pytest.mark.parametrize(("module", "adapter"), [("statsforecast.models", WINDOW), ("sklearn.base", FOREST)])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, adapter: dict[str, object]) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"f.yaml: families: .*cannot be imported .*: install the extra `ml`"):
        parse_config(LEAST | {"families": [adapter]}, "f.yaml")


def test_a_class_that_draws_has_a_seed_unless_one_is_given() -> None:
    forest = parse_config(LEAST | {"families": [FOREST]}, "f").adapters[0].build()
    own = FOREST | {"options": {"random_state": 5}}
    assert forest.random_state == 0
    assert parse_config(LEAST | {"families": [own]}, "f").adapters[0].build().random_state == 5


def test_statsforecast_sees_the_history_up_to_each_origin(make) -> None:
    history, config = make.counts(series=4), make.config(families=[WINDOW])
    shard = prepare(history, None, make.kinds(history), None, config).shard
    fleet, (trained,) = train(shard, config)
    parts, setup = trained.parts, trained.cohort.setup
    for e, back in enumerate(setup.plan.evaluated[:-1]):
        for s in range(len(shard)):
            expected = WindowAverage(14).forecast(shard.y[s, : setup.plan.origin(back)], h=7)["mean"]
            np.testing.assert_allclose(parts[0].backtest.past[s, e, :, 0], expected)
    ahead = predict(fleet, shard)["mean"].to_numpy().reshape(4, 7)
    np.testing.assert_allclose(ahead, shard.y[:, -14:].mean(axis=1, keepdims=True).repeat(7, axis=1))


def test_sklearn_learns_from_rows_before_each_refit_alone(make) -> None:
    history, config = make.counts(series=3), make.config(families=[LINE])
    shard = prepare(history, None, make.kinds(history), None, config).shard
    fleet, (trained,) = train(shard, config)
    parts, setup = trained.parts, trained.cohort.setup
    plan, data = setup.plan, LagData(History.of(shard, "zero"), setup.plan, setup.log)
    levels = block_levels(data.history, plan)
    blocks = {back: data.block(back, levels.at(plan.origin(back))) for back in plan.blocks}
    said = np.concatenate([parts[0].backtest.past[:, :, :, 0], _ahead(fleet, shard)[:, None]], axis=1)
    for e, back in enumerate(plan.evaluated):
        refit = min(one for one in plan.refit if one >= back)
        old = [block for place, block in blocks.items() if refit < place <= plan.train]
        for s in range(3):
            x, z = np.concatenate([one.x[s] for one in old]), np.concatenate([one.z[s] for one in old])
            known = np.concatenate([one.rows[s] for one in old]) > 0
            model = LinearRegression(fit_intercept=False).fit(x[known], z[known])
            by_hand = np.clip(blocks[back].scale[s] * model.predict(blocks[back].x[s]), 0, 3 * shard.y[s].max())
            np.testing.assert_allclose(said[s, e], by_hand, rtol=1e-6, atol=1e-9)


def _ahead(fleet, shard) -> np.ndarray:
    return predict(fleet, shard)["mean"].to_numpy().reshape(len(shard), -1)


def test_shards_and_repetition_change_nothing(make) -> None:
    history, config = make.counts(series=9), make.config(families=["ridge", WINDOW, FOREST])
    shard = prepare(history, None, make.kinds(history), None, config).shard
    found = []
    for count in (1, 4, 4):
        shards = [shard.take(np.arange(first, len(shard), count)) for first in range(count)]
        (cohort,) = cohorts(shards, config, judging=True)
        setup = cohort.setup
        pools = derive_pools(combine_pools([pool_sums(one, setup) for one in shards]), setup)
        parts = [fit_part(one, pools, setup) for one in shards]
        fleet = assembled([finish(parts, pools, cohort, shard.segments, shard.position)], config)
        found.append((fleet, predict(fleet, shard)["mean"].to_numpy()))
    assert found[1][0].rows.equals(found[2][0].rows)
    np.testing.assert_array_equal(found[1][1], found[2][1])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9)


def always_positive(make, zeros: int) -> pd.DataFrame:
    """Series above zero, but for item 00, whose last values before the newest `zeros` are 0 on every second day."""
    history = make.counts(series=4)
    history["units"] += 5
    own = (history["item"] == "item 00") & (history.groupby("item").cumcount() > 120 - zeros)
    return history.assign(units=history["units"].where(~own | (history.index % 2 == 0), 0))


@pytest.mark.parametrize("adapter", [POSITIVE, MULTIPLIES], ids=["sklearn", "statsforecast"])
def test_a_model_that_fails_costs_one_series_alone_and_is_named(make, adapter: dict[str, object]) -> None:
    history = always_positive(make, 60)
    kinds = make.kinds(history)
    config = make.config(families=[adapter], interval_origins=4, segments=[])
    result = forecast(history, static=kinds, config=config)
    ledger = result.ledger.set_index("item")
    assert ledger["reason"].to_dict() == {"item 00": FAILED, "item 01": None, "item 02": None, "item 03": None}
    assert (ledger["state"] == "fitted").all()
    assert ledger.loc["item 00", "detail"].startswith(f"{adapter['name']} failed at 5 of 5 origins: ValueError: ")
    assert ledger["detail"].drop("item 00").isna().all()
    by_item = result.forecasts.groupby("item")
    assert by_item["family"].first().to_dict() == {
        "item 00": "seasonal_naive", "item 01": adapter["name"], "item 02": adapter["name"], "item 03": adapter["name"],
    }  # fmt: skip
    last = history[history["item"] == "item 00"]["units"].to_numpy()[-7:]
    np.testing.assert_allclose(by_item["mean"].apply(list)["item 00"], last)
    assert_others_unchanged(result, history, kinds, config)


def assert_others_unchanged(result: ForecastResult, history: pd.DataFrame, kinds: pd.DataFrame, config) -> None:
    sound = history[history["item"] != "item 00"].assign(units=lambda rows: rows["units"].astype(float))
    zero = history[history["item"] == "item 00"].assign(units=lambda rows: rows["units"].where(rows["units"] == 0, 1.0))
    other = forecast(pd.concat([sound, zero]), static=kinds, config=config)
    own, theirs = (one.forecasts[one.forecasts["item"] != "item 00"]["mean"].to_numpy() for one in (result, other))
    np.testing.assert_array_equal(own, theirs)


def test_a_failure_in_the_past_alone_is_told_too(make) -> None:
    """A series that is 45 days old has 17 of them at the oldest of five origins: too few for twenty lags, which the newest has enough for."""
    history = make.counts(series=3)
    young = history["day"] > history["day"].max() - pd.Timedelta(days=45)
    lags = {"name": "lags", "statsforecast": "AutoRegressive", "options": {"lags": 20}}
    config = make.config(families=["ets", lags], interval_origins=4)
    result = forecast(history[young | (history["item"] != "item 01")], static=make.kinds(history), config=config)
    ledger = result.ledger.set_index("item")
    assert ledger["reason"].to_dict() == {"item 00": None, "item 01": FAILED, "item 02": None}
    assert re.match(r"lags failed at [1-4] of 5 origins: \w+: ", ledger.loc["item 01", "detail"])


def test_gaps_late_starts_and_one_row_are_no_failures(make) -> None:
    history = make.counts(series=6)
    rng = np.random.default_rng(2)
    holes = history[rng.random(len(history)) > 0.2]
    late = holes[(holes["item"] != "item 02") | (holes["day"] > holes["day"].max() - pd.Timedelta(days=40))]
    short = late[(late["item"] != "item 05") | (late["day"] == late["day"].max())]
    config = make.config(missing="gap", families=[WINDOW | {"options": {"window_size": 1}}, LINE])
    result = forecast(short, static=make.kinds(history), config=config)
    states = result.ledger.set_index("item")["state"].to_dict()
    assert states["item 05"] == "fallback"
    assert {states[name] for name in ("item 00", "item 01", "item 03", "item 04")} == {"fitted"}
    assert np.isfinite(result.forecasts[["mean", "lo_80", "hi_80"]].to_numpy()).all()
    assert not result.ledger["detail"].fillna("").str.contains("window").any()
