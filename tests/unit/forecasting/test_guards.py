"""Poison: one bad series never changes or stops another, and every series ends in a state with a reason."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_platform.forecasting import InputError, forecast

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
        bad.loc[row, column] = value
        found = forecast(bad, static=make.kinds(history), config=make.config())
        without = history[history["item"] != item].infer_objects()
        alone = forecast(without, static=make.kinds(history), config=make.config())
        pd.testing.assert_frame_equal(
            found.forecasts.astype({"date": "datetime64[ns]"}), alone.forecasts, check_exact=True
        )
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
