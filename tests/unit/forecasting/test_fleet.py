"""Shards, stored fleets and later days: the same numbers whatever the cut of the work."""

import importlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.forecasting import Fleet, fleet_weights, predict
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.cohorts import cohorts
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import NEW_SERIES, OtherKernelError, significant
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.pipeline import assembled, finish, fit_part, train
from ml_platform.forecasting.pools import PoolSums, combine_pools, derive_pools, pool_sums

NUMBERS = ["mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"]


@pytest.fixture
def config(make) -> ForecastConfig:
    return make.config(weight="value")


@pytest.fixture
def shard(make, config: ForecastConfig) -> Shard:
    history = make.counts(series=40)
    return prepare(history, None, make.kinds(history), None, config).shard


def train_in(count: int, shard: Shard, config: ForecastConfig) -> tuple[Fleet, pd.DataFrame]:
    """Fleet and forecasts of a fleet that is dealt out to `count` shards."""
    rows = [np.arange(first, len(shard), count) for first in range(min(count, len(shard)))]
    shards = [shard.take(own) for own in rows]
    (cohort,) = cohorts(shards, config, judging=True)
    setup = cohort.setup
    tables = [PoolSums.from_table(pool_sums(one, setup).to_table()) for one in shards]
    pools = derive_pools(combine_pools(tables), setup)
    parts = [fit_part(one, pools, setup) for one in shards]
    fleet = assembled([finish(parts, pools, cohort, shard.segments, shard.position)], config)
    out = pa.concat_tables([predict(fleet, one) for one in shards]).to_pandas()
    return fleet, out.sort_values(["series_id", "step"]).reset_index(drop=True)


def test_one_sixteen_and_sixty_four_shards_forecast_the_same(shard: Shard, config: ForecastConfig) -> None:
    one = train_in(1, shard, config)[1]
    for count in (16, 64):
        many = train_in(count, shard, config)[1]
        np.testing.assert_allclose(many[NUMBERS], one[NUMBERS], rtol=1e-9, atol=1e-9)
        assert many["family"].equals(one["family"])


@pytest.mark.parametrize("size", [1, 3])
def test_how_many_series_are_forecast_at_once_does_not_matter(
    shard: Shard, config: ForecastConfig, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    fleet = train(shard, config)[0]
    whole = predict(fleet, shard)
    monkeypatch.setattr(importlib.import_module("ml_platform.forecasting.predict"), "CHUNK", size)
    assert predict(fleet, shard).equals(whole)


def test_the_same_training_twice_is_equal_bit_for_bit(shard: Shard, config: ForecastConfig) -> None:
    (one, _), (two, _) = train_in(4, shard, config), train_in(4, shard, config)
    assert one.rows.equals(two.rows)
    assert all(one.pools[name].equals(two.pools[name]) for name in one.pools)


def test_scoring_a_later_day_uses_its_history_and_the_old_parameters(make, config: ForecastConfig) -> None:
    history = make.counts(series=20)
    kinds, day = make.kinds(history), history["day"].max()
    early = prepare(history[history["day"] < day], None, kinds, None, config).shard
    late = prepare(history, None, kinds, None, config).shard
    fleet = train(early, config)[0]
    today, tomorrow = (predict(fleet, one).to_pandas() for one in (early, late))
    assert (tomorrow["date"].min() - today["date"].min()).days == 1
    assert not np.allclose(today["mean"], tomorrow["mean"])
    both = today.merge(tomorrow, on=["series_id", "date"])
    np.testing.assert_allclose(both["mean_x"].sum(), both["mean_y"].sum(), rtol=0.1)
    again = prepare(
        pd.concat([history, history[history["day"] == day].assign(day=day + pd.Timedelta(days=1))]),
        None,
        kinds,
        day,
        config,
    )
    pd.testing.assert_frame_equal(predict(fleet, again.shard).to_pandas(), tomorrow)


def test_pools_may_come_back_in_any_order(shard: Shard, config: ForecastConfig) -> None:
    fleet = train(shard, config)[0]
    mixed = {
        name: table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
        for name, table in fleet.pools.items()
    }
    assert predict(Fleet(fleet.rows, mixed, config), shard).equals(predict(fleet, shard))


def test_a_series_the_fleet_does_not_know_takes_its_segment(make, config: ForecastConfig) -> None:
    history = make.counts(series=20)
    shard = prepare(history, None, make.kinds(history), None, config).shard
    fleet = train(shard, config)[0]
    known = fleet.rows.slice(1)
    out = predict(Fleet(known, fleet.pools, config), shard).to_pandas()
    whole = predict(fleet, shard).to_pandas()
    assert len(out) == len(whole)
    others = out["series_id"] != shard.series_id[0]
    pd.testing.assert_frame_equal(out[others], whole[others])
    assert np.isfinite(out[NUMBERS].to_numpy()).all()
    assert NEW_SERIES == "new_since_training"


def test_a_segment_the_fleet_does_not_know_takes_their_mean(make, config: ForecastConfig) -> None:
    history = make.counts(series=20)
    fleet = train(prepare(history, None, make.kinds(history), None, config).shard, config)[0]
    strange = prepare(history, None, make.kinds(history).assign(kind="unheard"), None, config).shard
    assert np.isfinite(predict(fleet, strange).to_pandas()[NUMBERS].to_numpy()).all()


def test_a_fleet_of_another_kernel_is_refused(make, config: ForecastConfig, shard: Shard) -> None:
    fleet = train(shard, config)[0]
    meta = fleet.pools["meta"]
    older = replace(fleet, pools={**fleet.pools, "meta": meta.filter(pc.not_equal(meta["item"], "longest"))})
    with pytest.raises(OtherKernelError, match=r"lacks \['longest'\]\): train and release it anew"):
        predict(older, shard)


def parameters(fleet: Fleet) -> Iterator[tuple[str, dict[str, float]]]:
    for state, text in zip(fleet.rows["state"].to_pylist(), fleet.rows["parameters"].to_pylist(), strict=True):
        yield state, fleet_weights(text)


def test_weights_of_every_row_sum_to_one(shard: Shard, config: ForecastConfig) -> None:
    fleet = train(shard, config)[0]
    for _, weights in parameters(fleet):
        assert sum(weights.values()) == pytest.approx(1.0)
        assert set(weights) <= set(config.family_names)


def test_numbers_are_stored_with_ten_digits() -> None:
    values = np.array([0.0, 1 / 3, -123456789.123456, 1e-12 / 7])
    np.testing.assert_allclose(significant(values), values, rtol=1e-9)
    assert len(repr(float(significant(values)[1]))) <= 12
