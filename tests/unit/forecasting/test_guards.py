"""Poison: one bad series never changes or stops another, and every series ends in a state with a reason."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.forecasting import ForecastConfig, InputError, forecast
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.pipeline import train

NUMBERS = ["mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"]
DAY, UNITS = "day", "units"
POISON = {
    "nan": (UNITS, np.nan, "non_finite", "units is nan"),
    "infinite": (UNITS, np.inf, "non_finite", "units is inf"),
    "minus infinite": (UNITS, -np.inf, "non_finite", "units is -inf"),
    "absurd": (UNITS, 1e300, "out_of_range", r"units is 1e+300"),
    "a text": (UNITS, "many", "not_a_number", "units is 'many'"),
    "no time": (DAY, None, "no_time", "day is None"),
    "a time that is none": (DAY, "05/03/2021", "no_time", "day is '05/03/2021'"),
    "a time between": (DAY, pd.Timestamp("2021-03-01 17:00"), "off_calendar", "day is 2021-03-01 17:00:00"),
    "a list": (DAY, [2021], "no_time", "day is [2021]"),
    "a year that is none": (DAY, date(9999, 12, 31), "no_time", "day is 9999-12-31"),
    "a number beyond all numbers": (UNITS, 10**400, "not_a_number", f"units is {10**59}..."),
    "noon elsewhere": (DAY, pd.Timestamp("2021-03-05 12:00+01:00"), "off_calendar", "day is 2021-03-05 12:00:00+01:00"),
    "noon elsewhere as a text": (DAY, "2021-03-05T12:00+01:00", "off_calendar", "day is '2021-03-05T12:00+01:00'"),
    "a time twice": (DAY, pd.Timestamp("2021-03-05"), "doubled", "day is 2021-03-05 00:00:00"),
}


@pytest.mark.parametrize("poison", POISON)
def test_a_poisoned_series_is_named_and_the_others_are_as_without_it(make, poison: str) -> None:
    """Bit for bit: also the first and the last series, and rows in another order."""
    column, value, reason, words = POISON[poison]
    history = make.counts().astype({"units": object, "day": object})
    for item in ("item 00", "item 05", "item 11"):
        bad = history.copy()
        row = int(np.flatnonzero(history["item"] == item)[7])
        bad.at[row, column] = value
        found = forecast(bad, static=make.kinds(history), config=make.config())
        without = history[history["item"] != item].infer_objects()
        alone = forecast(without, static=make.kinds(history), config=make.config())
        pd.testing.assert_frame_equal(found.forecasts, alone.forecasts, check_exact=True)
        pd.testing.assert_frame_equal(found.metrics, alone.metrics, check_exact=True)
        ledger = found.ledger.set_index("item")
        assert ledger.loc[item, ["state", "reason", "detail"]].tolist() == [
            "quarantined",
            reason,
            f"history row {row + 1}: {words}",
        ]
        assert (ledger.drop(item)["state"] == "fitted").all()


def test_tables_beside_the_history_poison_their_series_alone(make) -> None:
    history = make.counts().assign(price=1.0)
    later = [history["day"].max() + pd.Timedelta(days=step) for step in range(1, 8)]
    future = pd.concat([history.groupby(["site", "item"], as_index=False).first().assign(day=day) for day in later])
    future = future.drop(columns=["units", "value"], errors="ignore").reset_index(drop=True).astype({"price": object})
    kinds = make.kinds(history)
    future.loc[future["item"] == "item 03", "price"] = "dear"
    twice = pd.concat([kinds, kinds[kinds["item"] == "item 04"]])
    doubled = pd.concat([future, future[future["item"] == "item 05"]])
    found = forecast(history, doubled, twice, config=make.config(known_future=["price"])).ledger.set_index("item")
    refused = found[found["state"] == "quarantined"]
    assert refused["reason"].to_dict() == {"item 03": "not_a_number", "item 04": "doubled", "item 05": "doubled"}
    assert refused["detail"].str.split().str[0].to_dict() == {
        "item 03": "future",
        "item 04": "static",
        "item 05": "future",
    }


def test_what_lies_after_the_origin_is_counted_and_poisons_nothing(make) -> None:
    history = make.counts().astype({"units": object})
    cut = history["day"].max() - pd.Timedelta(days=3)
    later = history["day"] > cut
    history.loc[later, "units"] = "not yet"
    found = forecast(history, static=make.kinds(history), as_of=cut, config=make.config())
    assert (found.ledger["state"] == "fitted").all()
    assert found.unseen == later.sum() == 36


def test_a_series_that_alone_goes_far_ahead_asks_for_as_of(make) -> None:
    history = make.counts()
    last = history["day"].max()
    ahead = history["item"] == "item 05"
    for days, far in ((7, False), (8, True), (70_000, True)):
        bad = history.copy()
        bad.loc[ahead & (bad["day"] == last), "day"] = last + pd.Timedelta(days=days)
        if not far:
            assert len(forecast(bad, static=make.kinds(history), config=make.config()).forecasts) == 84
            continue
        with pytest.raises(InputError, match=rf"'item': 'item 05'.* alone goes on to .*, {days} steps beyond .*as_of"):
            forecast(bad, static=make.kinds(history), config=make.config())
        assert forecast(bad, static=make.kinds(history), as_of=last, config=make.config()).unseen == 1


def test_a_missing_value_is_no_poison_where_gaps_are_allowed(make) -> None:
    history = make.counts().astype({"units": float})
    history.loc[history["day"].dt.day == 9, "units"] = np.nan
    result = forecast(history, static=make.kinds(history), config=make.config(missing="gap"))
    assert (result.ledger["state"] == "fitted").all()


def test_short_constant_and_empty_series_have_states(make) -> None:
    history = make.counts(series=4).astype({"units": float})
    day = history["day"].max()
    extra = pd.DataFrame(
        {
            "site": 9,
            "item": ["item 91", *["item 92"] * 40, "item 93", *["item 94"] * 12],
            "day": [
                day,
                *pd.date_range(day - pd.Timedelta(days=39), day),
                day,
                *pd.date_range(day - pd.Timedelta(days=11), day),
            ],
            "units": [3.0, *[2.0] * 40, 0.0, *[1.0] * 12],
        }
    )
    result = forecast(pd.concat([history, extra]), static=make.kinds(history), config=make.config())
    ledger = result.ledger.set_index("item")
    assert ledger.loc["item 91", ["state", "reason"]].tolist() == ["fallback", "too_few_active_days"]
    assert ledger.loc["item 92", "state"] == "fitted"
    assert ledger.loc["item 93", "state"] == "fallback"
    assert ledger.loc["item 94", ["state", "reason"]].tolist() == ["fallback", "too_short"]
    fitted = ledger["state"] == "fitted"
    assert ledger.loc[fitted, "reason"].isna().all()
    assert ledger.loc[~fitted, "reason"].notna().all()
    assert np.isfinite(result.forecasts[NUMBERS].to_numpy()).all()
    assert set(result.forecasts["item"]) == set(ledger.index)


@pytest.mark.parametrize("days", [1, 2, 5, 9, 20, 35])
@pytest.mark.parametrize("missing", ["zero", "gap"])
def test_any_length_of_history_is_forecast(make, days: int, missing: str) -> None:
    history = make.counts(series=3, days=days)
    result = forecast(history, static=make.kinds(history), config=make.config(missing=missing, min_active_days=2))
    assert len(result.forecasts) == 21
    assert np.isfinite(result.forecasts[NUMBERS].to_numpy()).all()
    assert len(result.ledger) == 3


def test_the_ledger_tells_of_how_many_origins_intervals_are(make) -> None:
    history = make.counts(series=4, days=120)
    days = history["day"] - history["day"].min()
    late = (history["item"] == history["item"].iloc[-1]) & (days < pd.Timedelta(days=90))
    short = (history["item"] == history["item"].iloc[0]) & (days < pd.Timedelta(days=115))
    left = history[~late & ~short]
    ledger = forecast(left, static=make.kinds(left), config=make.config()).ledger.set_index(["site", "item"])
    told = ledger["interval_origins"]
    assert told.max() == 6
    assert told.loc[tuple(history[["site", "item"]].iloc[0])] == 0
    assert 0 < told.loc[tuple(history[["site", "item"]].iloc[-1])] < 6


def test_a_fleet_of_zeros_stays_at_zero(make) -> None:
    history = make.counts(series=3).assign(units=0)
    out = forecast(history, static=make.kinds(history), config=make.config()).forecasts
    assert (out[NUMBERS].to_numpy() < 1e-6).all()


def odd_history(place: str, seed: int) -> pd.DataFrame:
    """Four years of days, 60 of them with 1 to 5 units, all others with 0; with an outlier, one has 5,000."""
    rng, units = np.random.default_rng(seed), np.zeros(1461)
    days = 1460 - np.sort(rng.choice(120, 60, replace=False)) if place == "end" else rng.choice(1461, 60, replace=False)
    units[days] = rng.integers(1, 6, 60)
    if place == "outlier":
        units[days[30]] = 5000
    return pd.DataFrame({"item": "a", "day": pd.date_range("2019-01-01", periods=1461), "units": units})


@pytest.mark.parametrize(
    ("place", "horizon", "seed"),
    [("scattered", 7, 16), ("scattered", 28, 14), ("end", 14, 24), ("outlier", 7, 5), ("outlier", 7, 16)],
)
def test_sales_that_meet_a_mean_of_zero_do_not_make_bounds_of_millions(
    make, place: str, horizon: int, seed: int
) -> None:
    config = make.config(series=["item"], static=[], segments=[], horizon=horizon, interval_origins=16)
    out = forecast(odd_history(place, seed), config=config).forecasts
    assert out["mean"].max() <= 5
    assert out["hi_95"].max() < 25


def test_a_balance_that_lay_still_until_lately_has_ordinary_bounds(make) -> None:
    units = np.concatenate([np.zeros(195), [3.0, -2.0, 4.0, -1.0, 5.0]])
    history = pd.DataFrame({"item": "a", "day": pd.date_range("2021-01-01", periods=200), "units": units})
    out = forecast(history, config=make.config(series=["item"], static=[], segments=[])).forecasts
    assert out[["mean", "lo_95", "hi_95"]].abs().to_numpy().max() <= 10


def usable(series: list[float], *, gap: bool) -> bool:
    """Whether every value can be a measurement, and there is one."""
    known = [value for value in series if not np.isnan(value)]
    return bool(known) and (gap or len(known) == len(series)) and all(abs(value) <= 1e12 for value in known)


cells = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 50).map(float), st.just(0.0))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.lists(cells, min_size=1, max_size=45), min_size=1, max_size=5), gap=st.booleans())
def test_whatever_comes_in_the_result_is_accounted_for(make, values: list[list[float]], gap: bool) -> None:
    rows = [
        (0, f"item {number}", day, value)
        for number, series in enumerate(values)
        for day, value in zip(pd.date_range("2022-01-01", periods=len(series)), series, strict=True)
    ]
    history = pd.DataFrame(rows, columns=["site", "item", "day", "units"])
    config = make.config(missing="gap" if gap else "zero", min_active_days=3, static=[], segments=[])
    if not any(usable(series, gap=gap) for series in values):
        with pytest.raises(InputError, match="no series of the history can be used"):
            forecast(history, as_of=history["day"].max(), config=config)
        return
    result = forecast(history, as_of=history["day"].max(), config=config)
    quarantined = result.ledger["state"] == "quarantined"
    assert (~quarantined).tolist() == [usable(series, gap=gap) for series in values]
    assert len(result.ledger) == len(values)
    assert set(result.forecasts["item"]) == set(result.ledger.loc[~quarantined, "item"])
    assert len(result.forecasts) == 7 * int((~quarantined).sum())
    assert np.isfinite(result.forecasts[NUMBERS].to_numpy()).all()
    ordered = result.forecasts[["lo_95", "lo_80", "hi_80", "hi_95"]].to_numpy()
    assert (np.diff(ordered, axis=1) >= 0).all()


def hourly(days: int = 20) -> pd.DataFrame:
    """Three meters by the hour, with times as texts; columns meter, at, load."""
    times, rng = pd.date_range("2025-03-20", periods=24 * days, freq="h"), np.random.default_rng(2)
    load = [3 + m + np.sin(np.arange(len(times)) * np.pi / 12) + rng.random(len(times)) for m in range(3)]
    texts = times.strftime("%Y-%m-%d %H:%M:%S")
    return pd.concat(
        [pd.DataFrame({"meter": f"m{m}", "at": texts, "load": load[m]}) for m in range(3)], ignore_index=True
    )


HOURLY = {"series": ["meter"], "time": "at", "target": "load", "frequency": "h", "horizon": 6, "season_lengths": [24]}


@pytest.mark.parametrize("row", [0, 5])
def test_a_time_with_an_offset_moves_no_time_without_one(row: int) -> None:
    history = hourly()
    history.loc[row, "at"] = f"{history.loc[row, 'at']}+01:00"
    given = {**HOURLY, "families": ["mean_28"], "missing": "gap"}
    found, alone = (forecast(one, config=given) for one in (history, history[history["meter"] != "m0"]))
    reasons = found.ledger.set_index("meter")["reason"].to_dict()
    assert reasons == {"m0": "doubled" if row else None, "m1": None, "m2": None}
    others = found.forecasts[found.forecasts["meter"] != "m0"].reset_index(drop=True)
    assert str(others["date"].dt.tz) == "UTC"
    assert (others["date"].dt.tz_localize(None) == alone.forecasts["date"]).all()
    np.testing.assert_allclose(others["mean"], alone.forecasts["mean"], rtol=1e-9 if row else 1e-2)


def test_times_in_zones_come_back_in_theirs_whatever_one_row_says() -> None:
    history = hourly()
    berlin = pd.to_datetime(history["at"]).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    objects = berlin.astype(object)
    objects[3] = "n/a"
    texts = berlin.map(lambda one: one.isoformat())
    given = {**HOURLY, "families": ["mean_28"]}
    zoned, spoilt, told = (forecast(history.assign(at=one), config=given).forecasts for one in (berlin, objects, texts))
    assert str(zoned["date"].dt.tz) == str(spoilt["date"].dt.tz) == "Europe/Berlin"
    own = zoned["meter"] != "m0"
    assert (zoned.loc[own, "date"].to_numpy() == spoilt["date"].to_numpy()).all()
    assert (told["date"] == zoned["date"]).all(), "two offsets as texts come back as UTC, which they are"


def test_a_series_between_every_second_week_is_alone() -> None:
    times = pd.date_range("2022-01-03", periods=60, freq="2W-MON")
    odd = times + pd.Timedelta(days=7)
    rows = [pd.DataFrame({"meter": f"m{m}", "at": odd if m == 3 else times, "load": 5.0 + m}) for m in range(4)]
    given = {**HOURLY, "frequency": "2W-MON", "season_lengths": [2]}
    ledger = forecast(pd.concat(rows), config=given).ledger.set_index("meter")
    assert ledger["reason"].dropna().to_dict() == {"m3": "off_calendar"}


def test_a_few_rows_far_ahead_say_nothing_of_today() -> None:
    history = hourly().assign(at=lambda h: pd.to_datetime(h["at"]))
    rows = history.groupby("meter").tail(1).iloc[:2]
    history.loc[rows.index, "at"] = pd.Timestamp("2062-01-01")
    with pytest.raises(InputError, match=r"2 series, such as .* go on to 2062-01-01 .* say with as_of"):
        forecast(history, config=HOURLY)
    found = forecast(history, as_of="2025-04-08T22:00", config=HOURLY)
    assert found.unseen == 3
    assert found.forecasts["date"].min() == pd.Timestamp("2025-04-08 23:00")


@pytest.mark.parametrize(("given", "wrong"), [("D", "h"), ("W-MON", "D"), ("MS", "D"), ("QS", "MS")])
def test_a_frequency_that_is_too_fine_is_told(given: str, wrong: str) -> None:
    times = pd.date_range("2020-01-06", periods=30, freq=given)
    rows = pd.concat([pd.DataFrame({"meter": m, "at": times, "load": 5.0}) for m in "ab"])
    with pytest.raises(InputError, match=f"steps of frequency {wrong} apart: write the frequency that 'at' has"):
        forecast(rows, config={**HOURLY, "frequency": wrong, "season_lengths": [7]})


@pytest.mark.parametrize(("frequency", "season", "steps"), [("W-MON", 52, 120), ("D", 365, 730), ("D", 1, 200)])
def test_ridge_without_a_feature_is_a_level(frequency: str, season: int, steps: int) -> None:
    times, rng = pd.date_range("2020-01-06", periods=steps, freq=frequency), np.random.default_rng(4)
    rows = pd.concat([pd.DataFrame({"meter": m, "at": times, "load": rng.poisson(9.0, steps)}) for m in "abc"])
    given = {**HOURLY, "frequency": frequency, "season_lengths": [season], "families": ["ridge"]}
    found = forecast(rows, config=given).forecasts
    assert found["mean"].between(4.0, 14.0).all()


def test_the_fold_that_judges_does_not_say_what_values_are() -> None:
    """A value below zero in the newest fold makes no forecast of it another one."""
    rows = hourly(days=12).assign(at=lambda h: pd.to_datetime(h["at"]))
    given = ForecastConfig.model_validate({**HOURLY, "families": ["mean_28", "ridge"]})
    below = rows.copy()
    below.loc[below.groupby("meter").tail(1).index, "load"] = -1.0
    one, other = (
        train(prepare(each, None, None, None, given).shard, given, judging=True)[1][0] for each in (rows, below)
    )
    assert one.cohort.setup.kind == other.cohort.setup.kind == "positive"
    assert np.array_equal(one.parts[0].backtest.past, other.parts[0].backtest.past)


def test_a_weight_beyond_all_measure_weighs_nothing(make) -> None:
    history = make.counts()
    row = int(np.flatnonzero(history["item"] == "item 05")[-1])
    found = forecast(
        history.assign(value=history["value"].where(history.index != row, 1e300)),
        static=make.kinds(history),
        config=make.config(weight="value"),
    )
    assert found.ledger.set_index("item")["reason"].dropna().to_dict() == {"item 05": "out_of_range"}


def test_raw_times_of_many_series_take_no_room() -> None:
    """So many different times, times so many series, are more marks than memory has."""
    rng, size = np.random.default_rng(1), 20_000
    times = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 10**12, size), unit="us")
    rows = pd.DataFrame({"meter": np.arange(size), "at": times, "load": 1.0})
    ledger = forecast(rows, config={**HOURLY, "frequency": "D", "season_lengths": [7]}).ledger
    assert (ledger["reason"] == "off_calendar").sum() == size - 1


def refused_alone(make, history: pd.DataFrame, odd: pd.DataFrame) -> dict[str, object]:
    """The ledger's row of the one series that an odd history quarantines; all others are as without it, bit for bit."""
    found = forecast(odd, static=make.kinds(history), config=make.config())
    (refused,) = found.ledger[found.ledger["state"] == "quarantined"].to_dict("records")
    without = history[history["item"] != refused["item"]]
    alone = forecast(without, static=make.kinds(without), config=make.config())
    pd.testing.assert_frame_equal(found.forecasts, alone.forecasts, check_exact=True)
    return refused


def test_one_date_of_long_ago_costs_its_series_and_stretches_no_calendar(make) -> None:
    history = make.counts()
    row = int(np.flatnonzero(history["item"] == "item 05")[0])
    odd = history.assign(day=history["day"].where(history.index != row, pd.Timestamp("1900-01-01")))
    refused = refused_alone(make, history, odd)
    assert (refused["item"], refused["reason"]) == ("item 05", "far_before")
    assert refused["detail"] == f"history row {row + 1}: day is 1900-01-01 00:00:00"


def test_a_long_history_of_one_series_is_no_mistake(make) -> None:
    history = make.counts(series=3, days=30)
    old = history[history["item"] == "item 00"]
    longer = pd.concat([old.assign(day=old["day"] - pd.Timedelta(days=30 * k)) for k in range(1, 9)] + [history])
    found = forecast(longer, static=make.kinds(history), config=make.config())
    assert not (found.ledger["state"] == "quarantined").any()


@pytest.mark.parametrize("missing", ["zero", "gap"])
def test_an_origin_far_behind_all_rows_is_refused(make, missing: str) -> None:
    history = make.counts()
    config = make.config(missing=missing)
    with pytest.raises(InputError, match=r"as_of 2021-08-01 .* is 34 steps after the newest row .*2021-06-28"):
        forecast(history, static=make.kinds(history), as_of="2021-08-01", config=config)
    later = forecast(history, static=make.kinds(history), as_of="2021-07-05", config=config)
    assert later.forecasts["date"].min() == pd.Timestamp("2021-07-06")


def test_rows_without_a_value_below_the_history_are_no_history_under_gap(make) -> None:
    history = make.counts()
    days = pd.date_range(history["day"].max(), periods=8)[1:]
    below = make.kinds(history).drop(columns="kind").merge(pd.DataFrame({"day": days}), how="cross")
    both = pd.concat([history, below], ignore_index=True)
    config = make.config(missing="gap")
    found, plain = (forecast(each, static=make.kinds(history), config=config) for each in (both, history))
    pd.testing.assert_frame_equal(found.forecasts, plain.forecasts)
    with pytest.raises(InputError, match=r"non_finite: history row .*rows of the future belong in `future`"):
        forecast(both, static=make.kinds(history), config=make.config())


def test_tables_that_say_nothing_are_refused(make) -> None:
    history = make.counts().assign(price=2.0)
    known = make.config(known_future=["price"])
    future = history.assign(day=history["day"] + pd.Timedelta(days=900))
    with pytest.raises(
        InputError, match="future: none of its 1440 rows is of a series of the history and one of the steps"
    ):
        forecast(history, future=future, static=make.kinds(history), config=known)
    with pytest.raises(InputError, match=r"static: the configuration names \['kind'\], and there is no table of them"):
        forecast(history, config=known)


@pytest.mark.parametrize(("value", "reason"), [(np.inf, "non_finite"), (-1e13, "out_of_range")])
@pytest.mark.parametrize("table", ["history", "future"])
def test_a_covariate_beyond_measure_costs_its_series(make, table: str, value: float, reason: str) -> None:
    whole = make.counts(days=127).assign(price=2.0)
    end = whole["day"].unique()[119]
    tables = {"history": whole[whole["day"] <= end], "future": whole[whole["day"] > end]}
    odd = tables[table].reset_index(drop=True)
    odd.loc[int(np.flatnonzero(odd["item"] == "item 05")[0]), "price"] = value
    static, config = make.kinds(whole), make.config(known_future=["price"])
    found = forecast(**tables | {table: odd}, static=static, config=config)
    assert found.ledger.set_index("item")["reason"].dropna().to_dict() == {"item 05": reason}
    assert f"{table} row" in found.ledger.set_index("item").loc["item 05", "detail"]
    left = {name: each[each["item"] != "item 05"] for name, each in tables.items()}
    alone = forecast(**left, static=static, config=config)
    pd.testing.assert_frame_equal(found.forecasts, alone.forecasts, check_exact=True)


def test_a_return_makes_no_other_series_negative(make) -> None:
    history = make.counts()
    row = int(np.flatnonzero(history["item"] == "item 05")[40])
    odd = history.assign(units=history["units"].where(history.index != row, -1))
    found = forecast(odd, static=make.kinds(history), config=make.config())
    assert (found.forecasts[["mean", "lo_80", "lo_95"]] >= 0).all(axis=None)
    often = history.assign(units=history["units"].where(history["item"] != "item 05", history["units"] - 2))
    found = forecast(often, static=make.kinds(history), config=make.config())
    assert (found.forecasts["lo_95"] < 0).any()


@pytest.mark.parametrize("families", [["ridge"], ["ridge_lags"], "default"])
def test_a_shop_that_is_always_closed_on_sundays_sells_nothing_then_whatever_is_promoted(
    families: list[str] | str,
) -> None:
    """All series, its bounds and its sums; one sale on a Sunday, and it is a place like others."""
    rng, days = np.random.default_rng(0), pd.date_range("2022-01-03", periods=371)
    week, frames = np.array([0.9, 0.85, 0.9, 1.0, 1.3, 1.6, 0.0])[days.dayofweek], []
    for shop in range(6):
        promo = np.repeat(rng.random(53) < 0.3, 7)
        promo[-14:] = True
        units = rng.negative_binomial(8, 8 / (8 + 15 * week * np.where(promo, 2.2, 1.0) + 1e-9))
        frames.append(pd.DataFrame({"shop": shop, "day": days, "units": units, "promo": promo.astype(int)}))
    rows = pd.concat(frames, ignore_index=True)
    config = {
        "series": ["shop"], "time": "day", "target": "units", "frequency": "D", "horizon": 14, "families": families,
        "known_future": ["promo"], "sums": [[]],
    }  # fmt: skip
    past, future = rows[rows["day"] < days[-14]], rows[rows["day"] >= days[-14]].drop(columns="units")
    found = forecast(past, future=future, config=config)
    for table in (found.forecasts, found.sums):
        sunday = table["date"].dt.dayofweek == 6
        assert (table.loc[sunday, "mean"] == 0).all()
        assert (table.loc[~sunday, "mean"] > 5).all()
    assert (found.forecasts.loc[found.forecasts["date"].dt.dayofweek == 6, "hi_95"] == 0).all()
    sold = past["units"].where(~((past["shop"] == 0) & (past["day"] == "2022-06-05")), 9)
    found = forecast(past.assign(units=sold), future=future, config=config).forecasts
    assert (found.loc[(found["date"].dt.dayofweek == 6) & (found["shop"] == 0), "mean"] > 0).all()


@pytest.mark.parametrize("value", [999_999_999.0, -40_000.0])
def test_a_value_a_thousand_times_its_series_others_is_none(make, value: float) -> None:
    history = make.counts()
    row = int(np.flatnonzero(history["item"] == "item 04")[60])
    odd = history.assign(units=history["units"].where(history.index != row, value))
    refused = refused_alone(make, history, odd)
    assert (refused["item"], refused["reason"]) == ("item 04", "out_of_range")
    assert refused["detail"] == f"history row {row + 1}: units is {value:.0f}"
    large = history.assign(units=history["units"].where(history.index != row, 5_000))
    assert forecast(large, static=make.kinds(history), config=make.config()).ledger["state"].eq("fitted").all()


@pytest.mark.parametrize(("others", "state"), [(8, "fitted"), (9, "quarantined")])
def test_a_few_values_say_nothing_of_a_large_one(make, others: int, state: str) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    held = np.zeros((2, 40))
    held[0], held[1, : others + 1] = 7.0, [*np.arange(1.0, others + 1), 1e6]
    rows = [pd.DataFrame({"item": f"{row}", "day": days, "units": one}) for row, one in enumerate(held)]
    found = forecast(
        pd.concat(rows, ignore_index=True), config=make.config(series=["item"], segments=[], static=[])
    ).ledger
    assert found.set_index("item").loc["1", "state"] == state


@pytest.mark.parametrize(("lie", "given"), [("W-THU", "W-MON"), ("ME", "MS"), ("MS", "ME"), ("YS", "YE")])
def test_times_of_another_frequency_name_it(make, lie: str, given: str) -> None:
    days = pd.date_range("2016-01-01", periods=30, freq=lie)
    history = pd.DataFrame({"item": "a", "day": days, "units": np.arange(30.0)})
    config = make.config(series=["item"], segments=[], static=[], frequency=given)
    with pytest.raises(InputError, match=f"all lie on steps of {lie}, write that as the frequency"):
        forecast(history, config=config)


def test_many_key_columns_name_the_series_that_there_are(make) -> None:
    """Six columns of two thousand values have more combinations than there are whole numbers of 64 bits."""
    rng, columns = np.random.default_rng(3), [f"key {place}" for place in range(6)]
    keys = pd.DataFrame({name: [f"{one:04d}" for one in rng.permutation(2_000)] for name in columns})
    history = keys.merge(pd.DataFrame({"day": pd.date_range("2024-01-01", periods=12)}), how="cross")
    history["units"] = rng.poisson(5, len(history))
    config = make.config(series=columns, segments=[], static=[], families=["mean_28"])
    found = prepare(history, None, None, None, config).keys
    pd.testing.assert_frame_equal(found, keys.sort_values(columns, ignore_index=True))


@pytest.mark.parametrize("table", ["history", "future"])
def test_a_price_of_nobody_is_none(make, table: str) -> None:
    whole = make.counts(days=127).assign(price=lambda h: 3.0 + h["units"] % 2)
    end = whole["day"].unique()[119]
    tables = {"history": whole[whole["day"] <= end], "future": whole[whole["day"] > end]}
    tables[table] = tables[table].reset_index(drop=True)
    tables[table].loc[int(np.flatnonzero(tables[table]["item"] == "item 05")[3]), "price"] = 99_999.0
    found = forecast(**tables, static=make.kinds(whole), config=make.config(known_future=["price"]))
    assert found.ledger.set_index("item")["reason"].dropna().to_dict() == {"item 05": "out_of_range"}
    assert "price is 99999.0" in found.ledger.set_index("item").loc["item 05", "detail"]
