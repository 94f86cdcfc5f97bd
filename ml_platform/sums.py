"""Sums of the platform: which sums the series of a catalogue belong to, and forecasts of sums as rows of the lake.

Belongs here: levels of a catalogue, rows of gold/forecast_sums. Does not belong here: forecasts of sums (forecasting), when they are written
(training, scoring).
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.sum_forecasts import SumForecasts, forecast_sums, knows
from ml_platform.forecasting.sums import Sums, level_name
from ml_platform.series import series_id

Levels = Sequence[tuple[str, ...]]
OWN_MODEL = ("fitted", "carried_over")


def catalogue_sums(catalogue: pa.Table, series: np.ndarray, levels: Levels) -> list[Sums]:
    """The sums of each level that some series of a catalogue, by id (S,), belong to."""
    place = pc.index_in(pa.array(series, pa.string()), catalogue["series_id"].combine_chunks())
    columns = sorted({name for level in levels for name in level})
    frame = catalogue.select(["series_id", *columns]).take(place).to_pandas()
    return [Sums.of(level, frame) for level in levels]


def sum_ids(sums: Sums) -> list[str]:
    """Stable ids of the sums of a level."""
    return [series_id([sums.name, label]) for label in sums.labels]


def known_levels(fleet: Fleet, config: ForecastConfig) -> tuple[Levels, tuple[str, ...]]:
    """Levels that a configuration asks for and a fleet was trained with, and the names of those it was not."""
    known = [level for level in config.sums if knows(fleet, level_name(level))]
    return known, tuple(level_name(level) for level in config.sums if level not in known)


NOTHING = pa.table({"level": pa.array([], pa.string())})  # where there are no sums


def sum_rows(
    fleet: Fleet, shard: Shard, made: pa.Table, expected: pa.Table, levels: Levels
) -> tuple[pa.Table, pa.Table]:
    """Forecasts of series that agree with their sums, and the forecasts of the sums: level, sum_id, keys, step, date, mean, point, bounds,
    and of how many series.

    `made`: complete forecasts, as predict gives them for the shard. `expected`: rows of the catalogue for these series and those that are
    quarantined. A sum none of whose series is forecast has no rows.
    """
    ids = made["series_id"].to_numpy(zero_copy_only=False)[:: fleet.config.horizon]
    there = shard.take(pd.Index(shard.series_id).get_indexer(pd.Index(ids)).astype(np.int64))
    made, said = forecast_sums(fleet, there, made, catalogue_sums(expected, there.series_id, levels))
    place = pc.index_in(pa.array(there.series_id, pa.string()), fleet.rows["series_id"].combine_chunks())
    lost = expected.filter(pc.invert(pc.is_in(expected["series_id"], pa.array(there.series_id, pa.string()))))
    counted = _counted(levels, said, fleet.rows["state"].combine_chunks().take(place), lost)
    dates = made["date"].slice(0, fleet.config.horizon)
    tables = [_table(one, dates, members, fleet.config) for one, members in zip(said, counted, strict=True)]
    return made, pa.concat_tables(tables) if tables else NOTHING


def _counted(
    levels: Levels, said: Sequence[SumForecasts], states: pa.Array, lost: pa.Table
) -> list[dict[str, np.ndarray]]:
    """Series in the sums (G,) of each level: forecast ones, those of them without a model of their own by state (S,), and `lost` ones.

    lost: rows of the catalogue for expected series that are not forecast.
    """
    own = pc.fill_null(pc.is_in(states, pa.array(OWN_MODEL)), False).to_numpy(zero_copy_only=False)
    ids = np.asarray(lost["series_id"].to_pylist(), dtype=object)
    missing = [pd.Series(np.asarray(one.labels, dtype=object)[one.codes]) for one in catalogue_sums(lost, ids, levels)]
    return [
        {
            "series": np.bincount(sums.codes, minlength=len(sums)),
            "fallback": np.bincount(sums.codes[~own], minlength=len(sums)),
            "quarantined": labels.value_counts().reindex(list(sums.labels), fill_value=0).to_numpy(),
        }
        for sums, labels in zip((one.sums for one in said), missing, strict=True)
    ]


def _table(
    said: SumForecasts, dates: pa.ChunkedArray, members: dict[str, np.ndarray], config: ForecastConfig
) -> pa.Table:
    """Rows of one level, by sum and step."""
    size, horizon = said.mean.shape
    each, steps = np.repeat(np.arange(size), horizon), np.tile(np.arange(horizon), size)
    keys = pa.array([json.dumps(one, ensure_ascii=False) for one in said.sums.texts], pa.string())
    columns = {
        "level": pa.repeat(pa.scalar(said.sums.name), size * horizon),
        "sum_id": pa.array(sum_ids(said.sums), pa.string()).take(pa.array(each)),
        "keys": keys.take(pa.array(each)),
        "step": pa.array(steps + 1, pa.int32()),
        "date": dates.take(pa.array(steps)),
        "mean": pa.array(said.mean.ravel()),
        "point": pa.array(said.point.ravel()),
    }
    bounds = said.bounds.reshape(size * horizon, -1).T
    columns |= {name: pa.array(bound) for name, bound in zip(config.interval_columns, bounds, strict=True)}
    return pa.table(columns | {name: pa.array(counted[each]) for name, counted in members.items()})
