"""Statistics as rows: one per series, so that a day starts from what the day before wrote.

Belongs here: the form of statistics in an Arrow table, joining and correcting by series. Does not belong here: what they mean (increment), where tables lie.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting import lags, ridge
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import WALKS
from ml_platform.forecasting.calendar import Floats, Plan
from ml_platform.forecasting.fleet import Fleet, of_cohort
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.grams import DECAY, Grams, symmetric, triangle, upper_triangle
from ml_platform.forecasting.increment import REGRESSIONS, CohortStatistics, Lessons
from ml_platform.forecasting.levels import History
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.predict import Known, fleet_places
from ml_platform.forecasting.ridge import Moments
from ml_platform.forecasting.running import Running
from ml_platform.forecasting.sparse import Tally
from ml_platform.forecasting.standing import Standing

CLOCK = b"ml_platform.statistics"  # schema metadata: steps so far, number of the first one held, time of the last one, families by cohort

FIRST = ("series_id", "segment", "cohort", "digest")
LISTS = (
    "y", "known", "static", "before", "running", "seasons", "largest", "squares", "tally", "room",
    "moments", "moving", "moments_last", "ridge",
    "gram", "gram_weight", "gram_last", "block", "ridge_lags",
)  # fmt: skip
WALK_LISTS = tuple(f"walk_{name}" for name in WALKS)


class StatisticsError(ValueError):
    """Rows that are no statistics, or not of the same day; names what differs and the way out."""


def to_table(statistics: Statistics) -> pa.Table:
    """One row per series: series_id, segment, cohort, digest and lists of float64, missing where a cohort needs none; the clock lies in the
    schema's metadata.
    """
    shard = statistics.parts[0].standing.shard
    tables = [_part_table(one) for one in statistics.parts]
    columns = [name for name in (*FIRST, *LISTS, *WALK_LISTS) if any(name in one.column_names for one in tables)]
    whole = pa.concat_tables(tables, promote_options="default").select(columns)
    last = pd.Timestamp(shard.times[shard.steps - 1]).isoformat()
    families = {str(one.cohort): one.known.setup.config.family_names for one in statistics.parts}
    clock = {"steps": statistics.steps, "position": shard.position, "last": last, "families": families}
    order = np.argsort(np.concatenate(statistics.places))
    return whole.take(pa.array(order)).replace_schema_metadata({CLOCK: json.dumps(clock)})


def _widths(plan: Plan, shard: Shard) -> dict[str, int]:
    """Numbers per series of the lists whose length follows from the features of regressions."""
    features, lagged = ridge.width(plan, shard), lags.feature_width(plan, shard)
    return {
        "moments": triangle(features + 2),
        "moving": 2 * (features + 2),
        ridge.NAME: features,
        "gram": triangle(lagged + 1),
        lags.NAME: lagged,
    }


def _widest(setup: Setup, shard: Shard) -> dict[str, int]:
    """The same where all seasons are described: cohorts that are known less far back have shorter lists, and all lie in one column."""
    return _widths(replace(setup.plan, longest=max(setup.config.season_lengths)), shard)


def _part_table(part: CohortStatistics) -> pa.Table:
    shard, size, widest = part.standing.shard, len(part), _widest(part.known.setup, part.standing.shard)
    columns = {
        "series_id": pa.array(shard.series_id, pa.string()),
        "segment": pa.array(np.asarray(shard.segments, dtype=object)[shard.segment], pa.string()),
        "cohort": pa.array(np.full(size, part.cohort, dtype=np.int64)),
        "digest": pa.array(part.digests.view(np.int64)),
    }
    for name, values in _arrays(part).items():
        flat = np.ascontiguousarray(values, dtype=np.float64).reshape(size, -1)
        if flat.shape[1]:
            if flat.shape[1] < widest.get(name, 0):
                flat = np.pad(flat, ((0, 0), (0, widest[name] - flat.shape[1])))
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
    return pa.table(columns)


def _arrays(statistics: CohortStatistics) -> dict[str, Floats]:
    standing, lessons = statistics.standing, statistics.lessons
    history, grams, moments = standing.history, lessons.grams, standing.moments
    return {
        "y": standing.shard.y,
        "known": standing.shard.known,
        "static": standing.shard.static,
        "before": history.before,
        "running": standing.running.rows(),
        "seasons": np.moveaxis(standing.seasons, 1, 0),
        **{f"walk_{name}": states for name, states in standing.walks.items()},
        "largest": standing.largest,
        "squares": standing.squares.T,
        "tally": standing.tally.rows(),
        "room": standing.shard.room.astype(np.float64),
        "moments": upper_triangle(moments.gram),
        "moving": moments.moving,
        "moments_last": moments.last.astype(np.float64),
        **{name: statistics.constants.get(name, np.zeros((len(statistics), 0))) for name in REGRESSIONS},
        "gram": upper_triangle(grams.gram),
        "gram_weight": grams.weight,
        "gram_last": grams.last.astype(np.float64),
        "block": lessons.block,
    }


def from_table(table: pa.Table, fleet: Fleet) -> Statistics:
    """Read what to_table wrote, for the fleet it was written with. Raises StatisticsError for other rows."""
    metadata = (table.schema.metadata or {}).get(CLOCK)
    if metadata is None:
        raise StatisticsError("the table holds no statistics: make them from the history")
    clock, cohort = json.loads(metadata), table["cohort"].to_numpy()
    rows = {number: np.flatnonzero(cohort == number) for number in np.unique(cohort).tolist()}
    whole = len(rows) == 1  # one cohort, most often: no copy of all
    parts = [_part(table if whole else table.take(pa.array(own)), number, clock, fleet) for number, own in rows.items()]
    return Statistics(fleet, tuple(parts), tuple(rows.values()))


def _part(table: pa.Table, cohort: int, clock: dict[str, Any], fleet: Fleet) -> CohortStatistics:
    size, own = table.num_rows, of_cohort(fleet, cohort)
    values = {name: _matrix(table, name) for name in (*LISTS, *WALK_LISTS)}
    shard = _shard(table, values, clock, fleet)
    known = Known(own, shard, fleet_places(fleet, shard)[0], tuple(clock["families"][str(cohort)]))
    setup, constants = known.setup, known.constants()
    here, widest = _widths(setup.plan, shard), _widest(setup, shard)
    for name in REGRESSIONS:
        if values[name].shape[1] != (widest[name] if name in constants else 0):
            raise StatisticsError("the statistics belong to a fleet with other features: make them from the history")
    values |= {name: values[name][:, :width] for name, width in here.items()}
    constants |= {name: values[name] for name in REGRESSIONS if name in constants}
    history = History.of(shard, setup.config.missing, values["before"])
    standing = Standing(
        history,
        Running.from_rows(values["running"], int(clock["steps"])),
        np.ascontiguousarray(np.moveaxis(values["seasons"].reshape(size, 2, -1), 0, 1)),
        {name: values[f"walk_{name}"] for name in constants if name in WALKS},
        values["largest"][:, 0],
        np.ascontiguousarray(values["squares"].T),
        Tally.from_rows(values["tally"]),
        _moments(shard, values, setup),
    )
    width = values["ridge_lags"].shape[1]
    grams = Grams(
        symmetric(values["gram"][:, : triangle(width + 1)], width + 1),
        values["gram_weight"][:, 0].copy(),
        values["gram_last"][:, 0].astype(np.int64),
        DECAY[setup.kind],
    )
    digests = table["digest"].to_numpy().view(np.uint64)
    untouched = np.zeros(size, dtype=bool)
    lessons = Lessons(grams, values["block"])
    return CohortStatistics(cohort, known.on(standing), standing, lessons, constants, digests, untouched)


def _moments(shard: Shard, values: dict[str, Floats], setup: Setup) -> Moments:
    if not setup.with_moments:
        return Moments.none(len(shard))
    empty = Moments.empty(shard, setup.plan, setup.kind, teaches=True)
    moving, last = values["moving"].reshape(empty.moving.shape), values["moments_last"][:, 0].astype(np.int64)
    return replace(empty, gram=symmetric(values["moments"], empty.gram.shape[-1]), moving=moving, last=last)


def _shard(table: pa.Table, values: dict[str, Floats], clock: dict[str, Any], fleet: Fleet) -> Shard:
    config, (size, held) = fleet.config, values["y"].shape
    last = pd.Timestamp(str(clock["last"]))
    past = pd.date_range(end=last, periods=held, freq=config.frequency)
    later = pd.date_range(last, periods=config.horizon + 1, freq=config.frequency)[1:]
    segments, codes = np.unique(table["segment"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    covariates = values["known"].reshape(size, 2 * len(config.known_future), config.horizon + 1)
    counts = values["before"][:, 1].astype(np.int64) + (~np.isnan(values["y"])).sum(axis=1)
    return Shard(
        series_id=table["series_id"].to_numpy(zero_copy_only=False),
        y=values["y"],
        known=covariates,
        first=np.zeros(size, dtype=np.int64),
        room=values["room"][:, 0].astype(np.int64),
        active=counts,
        weight=np.ones((size, 1)),
        static=values["static"],
        segment=codes.astype(np.int64),
        segments=tuple(segments.tolist()),
        times=np.asarray(past.append(later)),
        position=int(str(clock["position"])),
    )


def _matrix(table: pa.Table, name: str) -> Floats:
    """Lists of one length as an array (S, n), n is 0 where there is no such column, or it is missing."""
    if name not in table.column_names or table[name].null_count:
        return np.zeros((table.num_rows, 0))
    joined = pa.concat_arrays(table[name].chunks)
    flat: Floats = joined.flatten().to_numpy()
    return flat.reshape(len(joined), joined.type.list_size)


def joined(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of the series of all parts, by id. Raises StatisticsError where the parts are not of the same step."""
    tables = [to_table(one) for one in parts]
    clock = _one_clock([json.loads(table.schema.metadata[CLOCK]) for table in tables])
    whole = pa.concat_tables([table.replace_schema_metadata() for table in tables], promote_options="default")
    ordered = whole.sort_by("series_id").replace_schema_metadata({CLOCK: json.dumps(clock)})
    made = from_table(ordered, parts[0].base)
    touched = np.concatenate([one.series_id[one.touched] for one in parts]).astype(str)
    return made.with_touched(np.isin(made.series_id.astype(str), touched))


def _one_clock(clocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The clock of all parts. A family that one part does without weighs nothing for any series of that cohort."""
    without = sorted({json.dumps({**clock, "families": None}) for clock in clocks})
    if len(without) > 1:
        raise StatisticsError(
            f"statistics after different steps cannot be joined ({', '.join(without)}): bring all to one day"
        )
    families: dict[str, list[str]] = {}
    for clock in clocks:
        for cohort, names in clock["families"].items():
            families[cohort] = [name for name in families.get(cohort, names) if name in names]
    return {**clocks[0], "families": families}


def replaced(statistics: Statistics, corrected: Statistics) -> Statistics:
    """The same with corrected series in the place of those with the same id, or added, and marked as touched.

    A corrected value lies in the features of every later row of its series: such a series is made from its history anew (Statistics.of),
    which is simpler than to take its rows out again and no slower. Raises StatisticsError where the steps differ.
    """
    others = statistics.take(~np.isin(statistics.series_id.astype(str), corrected.series_id.astype(str)))
    return joined([others, corrected.with_touched(np.ones(len(corrected), dtype=bool))])
