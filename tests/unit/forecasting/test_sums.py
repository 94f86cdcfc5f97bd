"""Sums of series: they agree with the series, whichever way they are made, and their intervals hold what comes."""

import numpy as np
import pandas as pd
import pytest

from ml_platform.forecasting import ConfigError, forecast
from ml_platform.forecasting.config import parse_config

BOUNDS = ["lo_95", "lo_80", "mean", "hi_80", "hi_95"]
SUMS = [["site"], ["kind"], []]


def summed(result, by: list[str], kinds: pd.DataFrame) -> pd.DataFrame:
    """Means of the series added up by some columns and step."""
    joined = result.forecasts.merge(kinds, on=["site", "item"])
    return joined.groupby([*by, "step"], as_index=False)["mean"].sum()


@pytest.mark.parametrize("way", ["bottom_up", "mint"])
@pytest.mark.parametrize("missing", ["zero", "gap"])
def test_every_sum_is_that_of_its_series(make, way: str, missing: str) -> None:
    history, config = make.counts(), make.config(sums=SUMS, reconcile=way, missing=missing)
    kinds = make.kinds(history)
    result = forecast(history, static=kinds, config=config)
    for by in SUMS:
        own = result.sums[result.sums["sum_by"] == (" x ".join(by) or "total")]
        wanted = summed(result, by, kinds)
        both = own.merge(wanted, on=[*by, "step"], suffixes=("", "_wanted"), validate="one_to_one") if by else own
        said = both["mean_wanted"] if by else wanted["mean"].to_numpy()
        np.testing.assert_allclose(both["mean"], said, rtol=1e-9)
        assert len(own) == len(wanted)
    assert (np.diff(result.sums[BOUNDS].to_numpy(), axis=1) >= 0).all()
    assert result.sums["date"].min() == history["day"].max() + pd.Timedelta(days=1)
    assert result.sums.loc[result.sums["sum_by"] == "total", ["site", "kind"]].isna().all(axis=None)


def test_agreement_moves_series_towards_what_their_sums_say(make) -> None:
    history = make.counts(series=20, days=200)
    kinds = make.kinds(history)
    plain, agreed = (
        forecast(history, static=kinds, config=make.config(sums=[[]], reconcile=way)) for way in ("bottom_up", "mint")
    )
    assert not np.allclose(plain.forecasts["mean"], agreed.forecasts["mean"])
    np.testing.assert_allclose(plain.forecasts["mean"], agreed.forecasts["mean"], rtol=0.25, atol=0.1)
    assert (agreed.forecasts[BOUNDS].to_numpy() >= 0).all()
    assert (np.diff(agreed.forecasts[BOUNDS].to_numpy(), axis=1) >= -1e-12).all()


def test_intervals_of_sums_hold_what_comes(make) -> None:
    """Of sums of independent series 80 % of the days lie inside; adding up the series' own bounds would hold all."""
    inside = []
    for seed in range(6):
        whole = make.counts(series=40, days=207, seed=seed)
        cut = whole["day"].max() - pd.Timedelta(days=7)
        result = forecast(
            whole, static=make.kinds(whole), as_of=cut, config=make.config(sums=[["site"]], interval_origins=16)
        )
        truth = whole[whole["day"] > cut].groupby(["site", "day"], as_index=False)["units"].sum()
        both = result.sums.merge(truth, left_on=["site", "date"], right_on=["site", "day"])
        inside.append(((both["lo_80"] <= both["units"]) & (both["units"] <= both["hi_80"])).mean())
    assert 0.7 <= np.mean(inside) <= 0.9


def test_whole_numbers_are_whole_in_sums_too(make) -> None:
    history = make.counts(series=4)
    history["site"] += 2**53  # a float has no room for each of these
    found = forecast(history, static=make.kinds(history), config=make.config(sums=[["site"], []])).sums
    assert sorted(found["site"].dropna().unique().tolist()) == sorted(history["site"].unique().tolist())
    assert str(found["site"].dtype) == "Int64"


def test_without_sums_there_are_none(make) -> None:
    history = make.counts(series=3)
    assert forecast(history, static=make.kinds(history), config=make.config()).sums.empty


def test_sums_by_a_column_that_nobody_knows_are_refused(make) -> None:
    values = make.config().model_dump(mode="json") | {"sums": [["region"]]}
    with pytest.raises(ConfigError, match=r"the sums \['region'\] are neither key columns nor attributes"):
        parse_config(values, "forecast.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sums": ["site", "kind"]}, r"sums: \['site', 'kind'\] are no lists: each level is one"),
        ({"sums": [["site"], []], "series": ["site", "site"]}, r"\['site'\] have two roles"),
        ({"sums": [["site", "kind"], ["kind", "site"]]}, r"the sums hold \['kind', 'site'\] more than once"),
        ({"sums": [["site", "site"]]}, r"the sums hold \['site', 'site'\] more than once"),
        ({"sums": [], "reconcile": "mint"}, "reconcile: mint has no sums to agree with"),
    ],
)
def test_what_is_wrong_with_sums_is_named(make, changes: dict[str, object], words: str) -> None:
    values = make.config().model_dump(mode="json") | changes
    with pytest.raises(ConfigError, match=words):
        parse_config(values, "forecast.yaml")


def test_series_without_an_attribute_have_a_sum_of_their_own(make) -> None:
    """Also where another key is beside it: a missing value is no neighbour's."""
    history = make.counts(series=8, days=60)
    kinds = make.kinds(history)
    some = kinds[kinds["site"] != 2]
    result = forecast(history, static=some, config=make.config(sums=[["site", "kind"], []]))
    pairs, total = (result.sums[result.sums["sum_by"] == name] for name in ("site x kind", "total"))
    assert pairs.loc[pairs["kind"].isna(), "site"].unique().tolist() == [2]
    assert len(pairs) == 7 * len(pairs.drop_duplicates(["site", "kind"])) == 7 * 4
    np.testing.assert_allclose(pairs.groupby("step")["mean"].sum(), total.set_index("step")["mean"], rtol=1e-9)
    missing = pairs[pairs["kind"].isna()].set_index("step")["mean"]
    own = result.forecasts[result.forecasts["site"] == 2].groupby("step")["mean"].sum()
    np.testing.assert_allclose(missing, own, rtol=1e-9)


def test_sums_of_values_below_zero_have_intervals_around_them(make) -> None:
    history = make.counts(series=6, days=150).astype({"units": float})
    noise = np.random.default_rng(1).normal(0, 1, len(history))
    history = history.assign(units=history["units"] - 40.0 + noise)
    result = forecast(history, static=make.kinds(history), config=make.config(sums=[[]]))
    assert (result.sums["hi_95"] < 0).all()
    assert (np.diff(result.sums[BOUNDS].to_numpy(), axis=1) > 0).all()


def test_sums_of_series_with_gaps_are_forecast_too(make) -> None:
    """No step has all series; what is missing counts with its series' mean."""
    whole = make.counts(series=12, days=150)
    some = whole[np.random.default_rng(2).random(len(whole)) > 0.3]
    config = make.config(sums=[["site"], []], reconcile="mint", missing="gap")
    result = forecast(some, static=make.kinds(whole), config=config)
    total = result.sums[result.sums["sum_by"] == "total"]
    usual = whole.groupby("day")["units"].sum().mean()
    assert total["mean"].mean() == pytest.approx(usual, rel=0.15)
    assert (np.diff(total[BOUNDS].to_numpy(), axis=1) > 0).all()


def test_reconciled_bounds_of_sparse_counts_stay_whole_and_hold_what_comes() -> None:
    rng, days, parts = np.random.default_rng(1), 250, 80
    units = rng.poisson(rng.uniform(0.03, 0.6, (parts, 1)), (parts, days + 14))
    history = pd.DataFrame(
        {
            "part": np.repeat(np.arange(parts), days),
            "day": np.tile(pd.date_range("2022-01-03", periods=days), parts),
            "units": units[:, :days].ravel(),
        }
    )
    config = {
        "series": ["part"], "time": "day", "target": "units", "frequency": "D", "horizon": 14, "sums": [[]],
        "reconcile": "mint",
    }  # fmt: skip
    made, actual = forecast(history, config=config).forecasts, units[:, days:].ravel()
    bounds = made[["lo_95", "lo_80", "hi_80", "hi_95"]]
    assert (bounds == bounds.round()).all(axis=None)
    assert ((made["lo_80"] <= actual) & (actual <= made["hi_80"])).mean() > 0.85
