"""The incremental day: after any steps and corrections the same as from the whole history; only what was touched is refitted."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from ml_platform.forecasting import Fleet, ForecastConfig, predict
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.fleet import NEW_SERIES
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.increment import AdapterError
from ml_platform.forecasting.layout import Cells, lay_out
from ml_platform.forecasting.pipeline import train
from ml_platform.forecasting.recorded import row_digests
from ml_platform.forecasting.statistics_table import StatisticsError, from_table, joined, replaced, to_table

SERIES, TRAINED, MOST, HORIZON = 8, 75, 24, 5
KINDS = ("counts", "positive", "real", "mixed")  # mixed: a segment of counts, and one of real values


def config_of(missing: str) -> ForecastConfig:
    """Every family that has no trees; a horizon that is no multiple of the season, and one covariate."""
    names = ["seasonal_naive", "mean_28", "mean_182", "ses_05", "tsb", "croston", "ets", "theta", "ridge"]
    return ForecastConfig.model_validate(
        {
            "series": ["item"],
            "time": "day",
            "target": "units",
            "frequency": "D",
            "horizon": HORIZON,
            "known_future": ["action"],
            "families": names,
            "interval_origins": 4,
            "missing": missing,
        }
    )


def world(kind: str, missing: str, seed: int = 0) -> Shard:
    """Two segments of series over TRAINED + MOST steps, one that begins late; with gaps one that ends with the training. One count is sparse."""
    rng, steps = np.random.default_rng([seed, KINDS.index(kind)]), TRAINED + MOST
    level = rng.uniform(1.0, 6.0, (SERIES, 1)) * (1.0 + 0.4 * np.sin(np.arange(steps) * 2 * np.pi / 7))
    level[4] *= 0.1 if kind in ("counts", "mixed") else 1.0
    part = (0.5 + rng.random((SERIES, steps))) * (kind != "counts")
    part -= 6.0 * (kind in ("real", "mixed"))
    y = rng.poisson(level) + np.where((np.arange(SERIES)[:, None] % 2 == 0) & (kind == "mixed"), 0.0, part)
    y[1, :30] = np.nan
    if missing == "gap":
        y[rng.random(y.shape) < 0.2] = np.nan
        y[2, TRAINED:] = np.nan
    known = np.full((SERIES, 2, steps + HORIZON), np.nan)
    known[:, 0] = rng.random((SERIES, steps + HORIZON)) < 0.2
    known[3, 0, :50] = np.nan
    times = np.asarray(pd.date_range("2022-03-04", periods=steps + HORIZON))
    cells = Cells(y, known, None, (~np.isnan(y)).sum(axis=1), np.arange(SERIES)[:, None] % 3.0)
    ids = np.asarray([f"series {number}" for number in range(SERIES)], dtype=object)
    return lay_out(ids, cells, (np.arange(SERIES) % 2, ("even", "odd")), times, config_of(missing))


def until(shard: Shard, steps: int) -> Shard:
    """The shard as it was after so many steps."""
    end = steps + HORIZON
    return replace(shard, y=shard.y[:, :steps], known=shard.known[:, :, :end], times=shard.times[:end])


@cache
def fleet_of(kind: str, missing: str) -> Fleet:
    """Trained on the first steps, with some of every family: whatever selection prefers, all of them are brought forward."""
    fleet = train(until(world(kind, missing), TRAINED), config_of(missing))[0]
    texts = [json.loads(text) for text in fleet.rows["parameters"].to_pylist()]
    for row, text in enumerate(texts):
        real = kind == "real" or (kind == "mixed" and row % 2 == 1)
        names = [name for name in fleet.config.family_names if not (real and name == "croston")]
        text["weights"] = dict.fromkeys(names, 1.0 / len(names))
        text.update({name: own[row].tolist() for name, own in constants_of(kind, missing).items() if "point" in text})
    column = fleet.rows.column_names.index("parameters")
    rows = fleet.rows.set_column(column, "parameters", [[json.dumps(text) for text in texts]])
    return Fleet(rows, fleet.pools, fleet.config)


@cache
def constants_of(kind: str, missing: str) -> Mapping[str, np.ndarray]:
    """Constants that training fitted to all series."""
    shard, found = until(world(kind, missing), TRAINED), dict[str, np.ndarray]()
    trained = train(shard, config_of(missing))[1]
    assert len(trained) == (2 if kind == "mixed" else 1)
    for one in trained:
        (part,), rows = one.parts, one.cohort.of(shard)
        assert len(part.backtest.rows) == len(rows)
        for name, own in part.backtest.constants.items():
            found.setdefault(name, np.zeros((SERIES, own.shape[1])))[rows] = own
    return found


def brought_forward(statistics: Statistics, shard: Shard, end: int) -> Statistics:
    """Step after step, up to an end."""
    for at in range(statistics.steps, end):
        statistics = statistics.advanced(shard.y[:, at], shard.known[:, :, at : at + 1 + HORIZON])
    return statistics


def assert_same(one: Statistics, other: Statistics) -> None:
    """Every number to 1e-8 of the largest of its kind, and the same recorded rows."""
    left, right = to_table(one), to_table(other)
    assert left.schema.equals(right.schema, check_metadata=True)
    assert left["series_id"].equals(right["series_id"])
    assert left["digest"].equals(right["digest"])
    assert left["cohort"].equals(right["cohort"])
    for name in left.column_names[4:]:
        values = [np.asarray(table[name].to_pylist(), dtype=float) for table in (left, right)]
        top = max(float(np.nanmax(np.abs(values[1]), initial=0.0)), 1e-12)
        np.testing.assert_allclose(values[0], values[1], rtol=1e-8, atol=1e-8 * top, err_msg=name)
    assert one.recorded == other.recorded
    assert_forecasts(one, other.forecasts().to_pandas())


def assert_forecasts(statistics: Statistics, wanted: pd.DataFrame) -> None:
    got = statistics.forecasts().to_pandas()
    numbers = ["mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"]
    pd.testing.assert_frame_equal(got.drop(columns=numbers), wanted.drop(columns=numbers))
    top = float(statistics.largest.max())
    np.testing.assert_allclose(got[numbers], wanted[numbers], rtol=1e-8, atol=1e-8 * top)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    missing=st.sampled_from(["zero", "gap"]),
    end=st.integers(TRAINED + 1, TRAINED + MOST),
    corrections=st.lists(
        st.tuples(st.integers(TRAINED, TRAINED + MOST), st.integers(0, SERIES - 1), st.integers(31, TRAINED - 1)),
        max_size=2,
    ),
)
def test_after_any_steps_and_corrections_it_equals_the_whole_history(
    kind: str, missing: str, end: int, corrections: list[tuple[int, int, int]]
) -> None:
    """A correction comes after a step and changes an older value of a series."""
    fleet, shard = fleet_of(kind, missing), world(kind, missing)
    statistics = Statistics.of(fleet, until(shard, TRAINED))
    for after, row, at in sorted(corrections):
        if after > end:
            continue
        statistics = brought_forward(statistics, shard, after)
        y = shard.y.copy()
        y[row, at] = np.nan_to_num(y[row, at]) + 2.0
        shard = replace(shard, y=y)
        statistics = replaced(statistics, Statistics.of(fleet, until(shard, after).take(np.asarray([row]))))
    assert_same(brought_forward(statistics, shard, end), Statistics.of(fleet, until(shard, end)))


@pytest.mark.parametrize("missing", ["zero", "gap"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_forecasts_as_the_fleet_it_makes(kind: str, missing: str) -> None:
    fleet, shard = fleet_of(kind, missing), world(kind, missing)
    statistics = Statistics.of(fleet, until(shard, TRAINED))
    assert_forecasts(statistics, predict(fleet, until(shard, TRAINED)).to_pandas())
    later = brought_forward(statistics, shard, TRAINED + 9)
    assert_forecasts(later, predict(later.fleet(), until(shard, TRAINED + 9)).to_pandas())


@pytest.mark.parametrize("missing", ["zero", "gap"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_day_of_training_coefficients_are_those_of_training(kind: str, missing: str) -> None:
    statistics = Statistics.of(fleet_of(kind, missing), until(world(kind, missing), TRAINED))
    assert sum(part.known.owns("ridge").sum() for part in statistics.parts) >= SERIES - 1
    for part, places in zip(statistics.parts, statistics.places, strict=True):
        own = part.known.owns("ridge")
        wanted = constants_of(kind, missing)["ridge"][places[own]]
        np.testing.assert_allclose(part.constants["ridge"][own], wanted, rtol=1e-7, atol=1e-9)


def weighed(fleet: Fleet, weights: dict[str, float]) -> Fleet:
    """The fleet with these weights for every series."""
    texts = [{**json.loads(text), "weights": weights} for text in fleet.rows["parameters"].to_pylist()]
    column = fleet.rows.column_names.index("parameters")
    rows = fleet.rows.set_column(column, "parameters", [[json.dumps(text) for text in texts]])
    return Fleet(rows, fleet.pools, fleet.config)


def test_frozen_trees_go_on_with_the_days() -> None:
    config = config_of("zero").model_copy(update={"families": ("mean_28", "lightgbm")})
    shard = world("counts", "zero")
    fleet = train(until(shard, TRAINED), config)[0]
    fleet = weighed(fleet, {"mean_28": 0.5, "lightgbm": 0.5})
    later = brought_forward(Statistics.of(fleet, until(shard, TRAINED)), shard, TRAINED + 9)
    assert "lightgbm" in fleet.pools
    assert_forecasts(later, predict(fleet, until(shard, TRAINED + 9)).to_pandas())


def test_models_of_others_need_the_history() -> None:
    window = {"name": "window", "statsforecast": "WindowAverage", "options": {"window_size": 14}}
    config = ForecastConfig.model_validate(config_of("zero").model_dump() | {"families": ["ridge", window]})
    shard = world("counts", "zero")
    fleet = weighed(train(until(shard, TRAINED), config)[0], {"ridge": 0.5, "window": 0.5})
    later = brought_forward(Statistics.of(fleet, until(shard, TRAINED)), shard, TRAINED + 3)
    with pytest.raises(AdapterError, match=r"window: .* predict\(statistics.fleet\(\), shard\)"):
        later.forecasts()
    anew = Statistics.of(fleet, until(shard, TRAINED + 3)).with_touched(np.ones(SERIES, dtype=bool)).fleet()
    one, other = (predict(each, until(shard, TRAINED + 3)).to_pandas() for each in (later.fleet(), anew))
    np.testing.assert_allclose(one["mean"], other["mean"], rtol=1e-8)


def test_the_order_of_series_does_not_matter() -> None:
    fleet, shard = fleet_of("counts", "zero"), world("counts", "zero")
    mixed = shard.take(np.asarray([5, 2, 7, 0, 1, 6, 3, 4]))
    one, two = (
        joined([brought_forward(Statistics.of(fleet, until(each, TRAINED)), each, TRAINED + 3)])
        for each in (shard, mixed)
    )
    assert_same(one, two)


def test_what_was_not_observed_is_carried_over() -> None:
    fleet, shard = fleet_of("positive", "gap"), world("positive", "gap")
    later = brought_forward(Statistics.of(fleet, until(shard, TRAINED)), shard, TRAINED + 8).fleet()
    before, after = (each.rows.to_pandas().set_index("series_id") for each in (fleet, later))
    assert after.loc["series 2", ["state", "reason"]].tolist() == ["carried_over", "no_new_row"]
    assert after.loc["series 2", "parameters"] == before.loc["series 2", "parameters"]
    others = after.drop(index="series 2")
    assert set(others["state"]) <= {"fitted", "fallback"}
    fitted = others.index[others["state"] == "fitted"]
    assert (after.loc[fitted, "parameters"] != before.loc[fitted, "parameters"]).all()
    for series in fitted:
        own, old = (json.loads(each.loc[series, "parameters"]) for each in (after, before))
        assert own.keys() == old.keys()
        assert {name for name in own if own[name] != old[name]} == {"ridge"}


def test_a_series_is_fitted_again_once_it_is_observed_again() -> None:
    fleet, shard = fleet_of("positive", "gap"), world("positive", "gap")
    y = shard.y.copy()
    y[2, TRAINED + 5] = 4.0
    shard = replace(shard, y=y)
    early = brought_forward(Statistics.of(fleet, until(shard, TRAINED)), shard, TRAINED + 5)
    resting = from_table(to_table(early), early.fleet())
    states = [
        each.fleet().rows["state"].to_pylist()[2] for each in (early, brought_forward(resting, shard, TRAINED + 6))
    ]
    assert states == ["carried_over", "fitted"]


def test_a_new_series_joins_as_a_fallback() -> None:
    whole, shard = fleet_of("counts", "zero"), world("counts", "zero")
    fleet = replace(whole, rows=whole.rows.slice(0, SERIES - 1))
    known, new = (np.arange(SERIES) < SERIES - 1), np.asarray([SERIES - 1])
    later = brought_forward(Statistics.of(fleet, until(shard.take(known), TRAINED)), shard.take(known), TRAINED + 4)
    both = replaced(later, Statistics.of(fleet, until(shard, TRAINED + 4).take(new)))
    assert_same(brought_forward(both, shard, TRAINED + 6), Statistics.of(fleet, until(shard, TRAINED + 6)))
    row = both.fleet().rows.to_pylist()[-1]
    assert (row["series_id"], row["state"], row["reason"]) == (f"series {SERIES - 1}", "fallback", NEW_SERIES)
    assert_forecasts(both, predict(both.fleet(), until(shard, TRAINED + 4)).to_pandas())


def test_rows_on_disk_bring_them_back_bit_for_bit(tmp_path: Path) -> None:
    fleet, shard = fleet_of("counts", "zero"), world("counts", "zero")
    statistics = brought_forward(Statistics.of(fleet, until(shard, TRAINED)), shard, TRAINED + 2)
    feather.write_feather(to_table(statistics), tmp_path / "statistics.arrow")
    back = from_table(feather.read_table(tmp_path / "statistics.arrow"), fleet)
    feather.write_feather(to_table(back), tmp_path / "again.arrow")
    assert (tmp_path / "again.arrow").read_bytes() == (tmp_path / "statistics.arrow").read_bytes()
    assert back.forecasts().equals(statistics.forecasts())
    assert not back.touched.any()


@pytest.mark.parametrize("missing", ["zero", "gap"])
def test_cohorts_lie_in_one_table_and_come_back(missing: str) -> None:
    fleet, shard = fleet_of("mixed", missing), world("mixed", missing)
    chunks = [Statistics.of(fleet, chunk) for chunk in until(shard, TRAINED).chunks(3)]
    whole = joined([*chunks[::-1]])
    assert [one.cohort for one in whole.parts] == [0, 1]
    assert whole.series_id.tolist() == shard.series_id.tolist()
    assert_same(from_table(to_table(whole), fleet), Statistics.of(fleet, until(shard, TRAINED)))
    odd = np.arange(SERIES) % 2 == 1
    alone = brought_forward(whole.take(odd), shard.take(odd), TRAINED + 5)
    assert_same(alone, Statistics.of(fleet, until(shard, TRAINED + 5).take(odd)))


def test_rows_of_something_else_are_refused() -> None:
    fleet, shard = fleet_of("counts", "zero"), world("counts", "zero")
    with pytest.raises(StatisticsError, match="holds no statistics"):
        from_table(fleet.rows, fleet)
    one = Statistics.of(fleet, until(shard, TRAINED))
    with pytest.raises(StatisticsError, match="after different steps"):
        joined([one, brought_forward(one, shard, TRAINED + 1)])


def test_digests_add_up_and_find_what_differs() -> None:
    shard = world("counts", "gap")
    y, known = shard.y, shard.covariates(0, shard.steps)
    whole = row_digests(y, known, shard.position)
    parts = [
        row_digests(y[:, part], known[:, :, part], shard.position + part.start)
        for part in (slice(0, 40), slice(40, 99))
    ]
    assert np.array_equal(parts[0] + parts[1], whole)
    assert len(set(whole.tolist())) == SERIES
    for changed in (y, known[:, 0]):
        for at in (3, 98):
            other, before = ~np.isnan(y[:, at]) & ~np.isnan(changed[:, at]), changed[:, at].copy()
            changed[:, at] += 1.0
            assert np.array_equal(row_digests(y, known, shard.position) != whole, other)
            changed[:, at] = before
