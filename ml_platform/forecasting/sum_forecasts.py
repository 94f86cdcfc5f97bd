"""Forecasts of sums, which agree with those of the series they hold.

Belongs here: adding up, agreement with models of sums, intervals of sums, from a fleet that holds their pools. Does not belong here: what
training learns of sums (sum_pools), the equations of agreement (hierarchy).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.backtest import difference_scale, largest_value
from ml_platform.forecasting.bounds import Law, least_amount
from ml_platform.forecasting.calendar import Floats, plan_folds
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import KINDS, Fleet, PoolReader, step_items
from ml_platform.forecasting.hierarchy import Level, reconciled
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.predict import predict
from ml_platform.forecasting.sparse import Counts, grains
from ml_platform.forecasting.sum_pools import SERIES_VARIANCE, VARIANCE, own_fleet, own_items, pool_name
from ml_platform.forecasting.sums import Sums, summed


@dataclass(frozen=True)
class SumForecasts:
    """Forecasts of the sums of one level: mean and point (G, H), interval bounds (G, H, Q) from the lowest to the highest."""

    sums: Sums
    mean: Floats
    point: Floats
    bounds: Floats


def knows(fleet: Fleet, level: str) -> bool:
    """Whether a fleet was trained with sums of this level."""
    return pool_name(level, "steps") in fleet.pools


def forecast_sums(
    fleet: Fleet, shard: Shard, made: pa.Table, levels: Sequence[Sums]
) -> tuple[pa.Table, list[SumForecasts]]:
    """Forecasts of series that agree with their sums, and those of the sums.

    `made`: forecasts of all series of the shard, in its order, as predict gives them; under `bottom_up` they stay. Levels are such as the fleet knows.
    """
    mean = made["mean"].to_numpy().reshape(len(shard), -1)
    if fleet.config.reconcile == "mint" and levels:
        real = _real(fleet, shard)
        mean = _agreeing(fleet, shard, mean, levels, real)
        made = _moved(made, mean, real, fleet.config)
    return made, [_of_level(fleet, shard, mean, one) for one in levels]


def _real(fleet: Fleet, shard: Shard) -> Bools:
    """Which series may be negative, (S,)."""
    kinds = PoolReader(fleet, shard.segments).array("meta", ("kind",), shard.segment)[:, 0]
    return np.asarray(kinds == KINDS.index("real"), dtype=bool)


def _agreeing(fleet: Fleet, shard: Shard, mean: Floats, levels: Sequence[Sums], real: Bools) -> Floats:
    """Forecasts of the series (S, H) with which their sums agree best with forecasts of the sums themselves."""
    asked = [Level(one.codes, _own(fleet, shard, one), _variance(fleet, one)) for one in levels]
    names = tuple(shard.series_id)
    variance = PoolReader(fleet, names).array(SERIES_VARIANCE, VARIANCE, np.arange(len(names)))[:, 0]
    found = reconciled(mean, variance, asked)
    return np.where(real[:, None], found, np.maximum(found, 0.0))


def _own(fleet: Fleet, shard: Shard, sums: Sums) -> Floats:
    """Forecasts of sums (G, H) by models of their own."""
    made = predict(own_fleet(fleet, sums.name), summed(shard, sums))
    return np.asarray(made["mean"].to_numpy().reshape(len(sums), -1))


def _variance(fleet: Fleet, sums: Sums) -> Floats:
    """Mean squared error of the sums' own models (G,)."""
    return PoolReader(fleet, sums.labels).array(pool_name(sums.name, "variance"), VARIANCE, np.arange(len(sums)))[:, 0]


def _moved(made: pa.Table, mean: Floats, real: Bools, config: ForecastConfig) -> pa.Table:
    """The forecasts around another mean (S, H): point and bounds go along with it; those of counts, all whole numbers, by its share and stay whole."""
    before, after, free = made["mean"].to_numpy(), mean.ravel(), np.repeat(real, config.horizon)
    bounds = [made[name].to_numpy() for name in config.interval_columns]
    whole = np.all([one == np.round(one) for one in bounds], axis=0) & ~free
    share = np.where(before > 0, after / np.where(before > 0, before, 1.0), 1.0)
    for name in ("mean", "point", *config.interval_columns):
        values = made[name].to_numpy()
        moved = np.where(whole, np.round(values * share), values + (after - before))
        held = after if name == "mean" else np.where(free, moved, np.maximum(moved, 0.0))
        made = made.set_column(made.column_names.index(name), name, pa.array(held))
    return made


def _of_level(fleet: Fleet, shard: Shard, mean: Floats, sums: Sums) -> SumForecasts:
    added, history = sums.add(mean), sums.add(shard.y)
    values = _law(fleet, sums, history).bounds(added, _setup(fleet, sums, shard.steps))
    return SumForecasts(sums, added, values[:, :, -1], values[:, :, :-1])


def _law(fleet: Fleet, sums: Sums, history: Floats) -> Law:
    """How sums spread around their means; history (G, T). A sum that training did not know spreads as the others do on average."""
    setup, size = _setup(fleet, sums, history.shape[1]), np.arange(len(sums))
    reader, name = PoolReader(fleet, sums.labels), pool_name(sums.name, "spread")
    own = {part: reader.array(name, items, size) for part, items in own_items(fleet.config).items()}
    steps = _of_all(fleet, sums, step_items(setup.plan.horizon))
    return Law(
        quantiles=own["quantile"],
        scale=difference_scale(history, [history.shape[1]])[:, 0],
        least=least_amount(history[:, -len(setup.plan.interval) * setup.plan.horizon :], setup.kind),
        steps=np.tile(steps, (len(sums), 1)),
        largest=largest_value(history),
        point=own["point"][:, 0],
        counts=Counts(
            grain=grains(history) if setup.kind == "counts" else np.zeros(len(sums)),
            spread=own["spread"][:, 0],
            levels=own["level"],
        ),
    )


def _of_all(fleet: Fleet, sums: Sums, items: tuple[str, ...]) -> Floats:
    """What all sums of a level share, (items,)."""
    return PoolReader(fleet, ("all",)).array(pool_name(sums.name, "steps"), items, np.arange(1))[0]


def _setup(fleet: Fleet, sums: Sums, steps: int) -> Setup:
    kind = KINDS[int(_of_all(fleet, sums, ("kind",))[0])]
    return Setup(fleet.config, plan_folds(fleet.config, steps, False), kind, 1)
