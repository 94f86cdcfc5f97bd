"""forecast(): tables in, tables out; no leak, types kept, faults named."""

import datetime as dt
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_platform.forecasting import InputError, forecast
from ml_platform.forecasting.calendar import wall_times
from ml_platform.forecasting.times import read_times

NUMBERS = ["mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"]


def test_every_series_gets_every_step_with_nested_bounds(make) -> None:
    history = make.counts()
    result = forecast(history, static=make.kinds(history), config=make.config())
    out = result.forecasts
    assert list(out.columns) == [
        "site",
        "item",
        "date",
        "step",
        "mean",
        "point",
        "lo_95",
        "lo_80",
        "hi_80",
        "hi_95",
        "family",
    ]
    assert len(out) == 12 * 7
    assert np.isfinite(out[NUMBERS].to_numpy()).all()
    assert (out[NUMBERS].to_numpy() >= 0).all()
    assert (np.diff(out[["lo_95", "lo_80", "hi_80", "hi_95"]].to_numpy(), axis=1) >= 0).all()
    assert out.groupby("item")["step"].apply(list).map(lambda steps: steps == list(range(1, 8))).all()
    assert (out["date"] - history["day"].max()).dt.days.equals(out["step"].astype("int64"))
    assert (result.ledger["state"] == "fitted").all()
    named = {"fold", "family", "weighted_rmsse", "skill", "mase", "wape", "smape", "mape", "bias", "rows"}
    assert set(result.metrics.columns) == named | {"pinball", "coverage_80", "coverage_95"}


def test_the_weekday_profile_is_found(make) -> None:
    history = make.counts(series=10, days=200)
    out = forecast(history, static=make.kinds(history), config=make.config()).forecasts
    means = history.assign(weekday=history["day"].dt.dayofweek, kind=history["item"].str[-1].astype(int) % 2)
    for kind in (0, 1):
        said = out[out["item"].str[-1].astype(int) % 2 == kind].groupby(out["date"].dt.dayofweek)["mean"].sum()
        was = means[means["kind"] == kind].groupby("weekday")["units"].sum()
        assert np.corrcoef(said, was)[0, 1] > 0.9


def test_rows_after_the_cut_change_nothing(make) -> None:
    history = make.counts()
    cut = history["day"].min() + pd.Timedelta(days=99)
    spoiled = history.assign(units=np.where(history["day"] > cut, 999, history["units"]))
    one, two = (
        forecast(table, static=make.kinds(history), as_of=cut, config=make.config()) for table in (history, spoiled)
    )
    pd.testing.assert_frame_equal(one.forecasts, two.forecasts)
    pd.testing.assert_frame_equal(one.metrics, two.metrics)


def test_the_order_of_rows_does_not_matter(make) -> None:
    history = make.counts()
    shuffled = history.sample(frac=1.0, random_state=1)
    one, two = (
        forecast(table, static=make.kinds(history), config=make.config(weight="value")) for table in (history, shuffled)
    )
    pd.testing.assert_frame_equal(one.forecasts, two.forecasts)


def test_arrow_and_pandas_give_the_same(make) -> None:
    history, kinds = make.counts(), make.kinds(make.counts())
    one = forecast(history, static=kinds, config=make.config()).forecasts
    two = forecast(pa.Table.from_pandas(history), static=pa.Table.from_pandas(kinds), config=make.config()).forecasts
    np.testing.assert_array_equal(one[NUMBERS].to_numpy(), two[NUMBERS].to_numpy())


@pytest.mark.parametrize("zone", [None, "America/New_York", "UTC"])
def test_times_keep_their_type(make, zone: str | None) -> None:
    history = make.counts()
    history["day"] = history["day"].dt.tz_localize(zone).astype(history["day"].dt.tz_localize(zone).dtype)
    out = forecast(history, static=make.kinds(history), config=make.config()).forecasts
    assert out["date"].dtype == history["day"].dtype
    assert (out["date"].dt.hour == 0).all()
    assert out["site"].dtype == history["site"].dtype


def test_dates_stay_dates(make) -> None:
    history = make.counts()
    history["day"] = history["day"].dt.date
    out = forecast(history, static=make.kinds(history), config=make.config()).forecasts
    assert type(out["date"].iloc[0]) is dt.date


def test_a_series_that_ended_is_forecast_after_the_newest_time(make) -> None:
    history = make.counts()
    ended = history[(history["item"] != "item 04") | (history["day"] < history["day"].min() + pd.Timedelta(days=60))]
    out = forecast(ended, static=make.kinds(history), config=make.config()).forecasts
    assert (out.groupby("item")["date"].min() == history["day"].max() + pd.Timedelta(days=1)).all()
    level = out.groupby("item")["mean"].mean()
    assert level["item 04"] < 0.6 * level["item 09"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: h.drop(columns="units"), r"history lacks the columns \['units'\]"),
        (lambda h: h.assign(units="many"), "not_a_number: history row 1: units is 'many' .write numbers as 16.5"),
        (lambda h: h.assign(day="soon"), "history row 1: day is 'soon'"),
        (lambda h: h.assign(day=h["day"].dt.strftime("%d.%m.%Y")), r"history row 1: day is '01\.03\.2021'"),
        (lambda h: h.assign(day=20210301), "history row 1: day is 20210301"),
        (
            lambda h: h.assign(item=h["item"].where(h.index != 4)),
            "history row 5 has no key in 'item'; 1 row has none: drop",
        ),
        (lambda h: h.iloc[:0], "history is empty"),
    ],
)
def test_a_history_that_cannot_be_used_is_explained(make, spoil, message: str) -> None:
    history = make.counts(series=2)
    with pytest.raises(InputError, match=message):
        forecast(spoil(history), static=make.kinds(history), config=make.config())


def test_what_is_no_table_or_of_another_kind_is_explained(make) -> None:
    history, given = make.counts(series=2), make.config()
    with pytest.raises(InputError, match="history is of type str: give a pandas DataFrame or an Arrow table"):
        forecast("sales.csv", config=given)  # type: ignore[arg-type]
    twice = pd.concat([history, history[["units"]]], axis=1)
    with pytest.raises(InputError, match=r"history holds the columns \['units'\] more than once"):
        forecast(twice, config=given)
    kinds = make.kinds(history).astype({"site": str})
    with pytest.raises(
        InputError, match=r"static: the key 'site' is of type .* that of the history of type int64: write both alike"
    ):
        forecast(history, static=kinds, config=given)
    mixed = history.assign(site=history["site"].astype(object))
    mixed["site"] = mixed["site"].where(mixed.index > 3, "north").where(mixed.index > 2, date(2021, 1, 1))
    with pytest.raises(
        InputError, match=r"the key 'site' holds values of the types \['date', 'int', 'str'\]: write all alike"
    ):
        forecast(mixed, config=given)


def test_a_configuration_may_be_its_keys(make) -> None:
    history, given = make.counts(series=2), make.config()
    one = forecast(history, static=make.kinds(history), config=given.model_dump(mode="json"))
    pd.testing.assert_frame_equal(one.forecasts, forecast(history, static=make.kinds(history), config=given).forecasts)


@pytest.mark.parametrize("layout", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", " %Y-%m-%d %H:%M+02:00"])
def test_texts_of_iso_8601_are_times(make, layout: str) -> None:
    history = make.counts(series=3)
    texts = history.assign(day=history["day"].dt.strftime(layout))
    one, two = (forecast(table, static=make.kinds(history), config=make.config()) for table in (history, texts))
    made = two.forecasts.assign(date=wall_times(two.forecasts["date"], "D"))
    pd.testing.assert_frame_equal(one.forecasts, made)
    assert str(two.forecasts["date"].dt.tz) == ("UTC+02:00" if "+02" in layout else "None")


@pytest.mark.parametrize(("frequency", "first"), [("D", "2021-03-27 00:00"), ("h", "2021-03-26 23:00")])
def test_texts_with_several_offsets_are_wall_times_by_day_and_utc_below(frequency: str, first: str) -> None:
    texts = pd.Series(["2021-03-27T00:00+01:00", None, "2021-03-29T00:00+02:00"])
    times = wall_times(read_times(texts, "here", frequency), frequency)
    assert times.iloc[0] == pd.Timestamp(first)
    assert times.iloc[2] - times.iloc[0] == pd.Timedelta(hours=48 if frequency == "D" else 47)
    assert pd.isna(times.iloc[1])


def test_an_as_of_in_another_layout_is_refused(make) -> None:
    history = make.counts(series=2)
    with pytest.raises(InputError, match=r"as_of holds a value that is no time.*'01\.05\.2021'"):
        forecast(history, static=make.kinds(history), as_of="01.05.2021", config=make.config())


def test_an_as_of_before_the_history_is_explained(make) -> None:
    history = make.counts(series=2)
    with pytest.raises(InputError, match="no row up to 2020"):
        forecast(history, static=make.kinds(history), as_of="2020-01-01", config=make.config())


def test_static_rows_must_be_unique_and_may_be_missing(make) -> None:
    history = make.counts(series=3)
    kinds = make.kinds(history)
    with pytest.raises(InputError, match="doubled: static row 4: item is 'item 00'"):
        forecast(history, static=pd.concat([kinds, kinds]), config=make.config())
    assert len(forecast(history, static=kinds.iloc[:1], config=make.config()).forecasts) == 21


def with_price(history: pd.DataFrame) -> pd.DataFrame:
    """Units that halve on every tenth day, which the covariate announces."""
    action = (history["day"].dt.dayofyear % 10 == 0).astype(float)
    return history.assign(units=history["units"] * 10 * (1 + 4 * action), action=action)


def test_known_future_covariates_are_used_and_missing_ones_marked(make) -> None:
    history = with_price(make.counts())
    config = make.config(known_future=["action"])
    future = history.groupby(["site", "item"], as_index=False)[["units"]].first().drop(columns="units")
    days = pd.DataFrame({"day": pd.date_range(history["day"].max() + pd.Timedelta(days=1), periods=7)})
    future = future.merge(days.assign(action=np.arange(7) == 3), how="cross")
    told = forecast(history, future, make.kinds(history), config=config)
    by_step = told.forecasts.groupby("step")["mean"].sum()
    assert by_step[4] > 2 * by_step[3]
    assert (told.ledger["covariates"] == "").all()
    silent = forecast(history, None, make.kinds(history), config=config)
    assert (silent.ledger["covariates"] == "carried_forward").all()
    half = forecast(
        history.assign(action=history["action"].where(history["site"] > 0)), None, make.kinds(history), config=config
    )
    assert set(half.ledger.loc[half.ledger["site"] == 0, "covariates"]) == {"unknown"}
    assert np.isfinite(half.forecasts[NUMBERS].to_numpy()).all()


@pytest.mark.parametrize("objective", ["rmsse", "wape", "mape", "pinball"])
def test_the_point_belongs_to_the_objective(make, objective: str) -> None:
    history = make.counts()
    skewed = history.assign(units=history["units"] ** 2)
    out = forecast(skewed, static=make.kinds(history), config=make.config(objective=objective)).forecasts
    if objective == "rmsse":
        assert (out["point"] == out["mean"]).all()
    else:
        assert out["point"].sum() < 0.95 * out["mean"].sum()


def test_a_list_of_families_is_kept_to(make) -> None:
    history = make.counts()
    result = forecast(history, static=make.kinds(history), config=make.config(families=["mean_28", "ridge"]))
    assert set(result.metrics["family"]) == {"mean_28", "ridge", "blend"}
    assert set(result.forecasts["family"]) <= {"mean_28", "ridge"}


def series_of(frequency: str, periods: int, season: int) -> pd.DataFrame:
    times = pd.date_range("2020-01-01", periods=periods, freq=frequency)
    wave = 20 + 10 * np.sin(2 * np.pi * np.arange(periods) / season)
    noise = np.random.default_rng(1).normal(0, 0.5, (3, periods))
    return pd.concat([pd.DataFrame({"k": f"k{n}", "t": times, "y": wave * (n + 1) + noise[n]}) for n in range(3)])


@pytest.mark.parametrize(
    ("frequency", "season", "periods", "horizon"),
    [("h", 24, 24 * 14, 24), ("W-THU", 52, 160, 3), ("MS", 12, 60, 6), ("15min", 96, 96 * 6, 8), ("B", 5, 100, 5)],
)
def test_other_calendars_with_gaps(make, frequency: str, season: int, periods: int, horizon: int) -> None:
    whole = series_of(frequency, periods, season)
    kept = whole[np.random.default_rng(2).random(len(whole)) > 0.1]
    cut = whole["t"].drop_duplicates().iloc[-horizon - 1]
    config = make.config(
        series=["k"], time="t", target="y", frequency=frequency, horizon=horizon, season_lengths=[season],
        missing="gap", static=[], segments=[],
    )  # fmt: skip
    out = forecast(kept[kept["t"] <= cut], as_of=cut, config=config).forecasts
    both = out.merge(whole, left_on=["k", "date"], right_on=["k", "t"], validate="one_to_one")
    assert len(both) == 3 * horizon
    assert (both["mean"] - both["y"]).abs().sum() / both["y"].sum() < 0.12


def test_values_below_zero_are_forecast_below_zero(make) -> None:
    history = make.counts()
    balance = history.assign(units=history["units"] - 6.0)
    out = forecast(balance, static=make.kinds(history), config=make.config()).forecasts
    assert out["mean"].mean() == pytest.approx(balance["units"].mean(), abs=0.5)
    assert (np.diff(out[["lo_95", "lo_80", "hi_80", "hi_95"]].to_numpy(), axis=1) >= 0).all()
