"""Dense arrays become a Shard: first steps, missing rule, fleet weights, segments, attributes.

Belongs here: what reading tables (frames) and reading the lake's panel share. Does not belong here: either table.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import (
    Shard,
    add_up,
    carry_forward,
    fill_zero,
    first_observed,
    opened,
    trailing_sums,
)
from ml_platform.forecasting.calendar import Floats, Ints, Times, first_position
from ml_platform.forecasting.config import ForecastConfig, days_per_step

WEIGHT_DAYS = 28
MISSING_ATTRIBUTE = "none"
LONE_SLASHES = r"(?<![^ ])(/+)(?![^ ])"


@dataclass(frozen=True)
class Cells:
    """Values of S series, T observed steps, K covariates, H steps of horizon, A attributes.

    y (S, T) and weight (S, T): NaN where there is no row. known (S, 2 K, T + H): NaN = unknown, the second half is for the means. active (S,): dates with a row. static (S, A).
    """

    y: Floats
    known: Floats
    weight: Floats | None
    active: Ints
    static: Floats


def lay_out(
    ids: np.ndarray, cells: Cells, segments: tuple[Ints, tuple[str, ...]], times: Times, config: ForecastConfig
) -> Shard:
    """A Shard from dense arrays of whole segments, which it takes over; segments are codes and names, times (T + H,) naive.

    Series with few active dates count as begun with the first of their segment under the missing rule `zero`: their first value says
    when they were noticed, not when they began.
    """
    y, first = cells.y, first_observed(cells.y)
    fill_means(cells.known, *segments)
    carry_forward(cells.known)
    room = np.zeros_like(first)
    if config.missing == "zero":
        earliest = opened(first, segments[0], len(segments[1]), y.shape[1])[segments[0]]
        begin = np.where(cells.active < config.min_active_days, earliest, first)
        fill_zero(y, begin)
        room = begin - earliest
    position = first_position(pd.Timestamp(times[0]), config.frequency)
    return Shard(
        ids,
        y,
        cells.known,
        first,
        room,
        cells.active,
        _fleet_weights(cells, config),
        cells.static,
        *segments,
        times,
        position,
    )


def _fleet_weights(cells: Cells, config: ForecastConfig) -> Floats:
    """Sum of the weights of the last 28 days before each fold's origin, (S, back + 1); 1 where no weight is configured."""
    ends = [cells.y.shape[1] - back * config.horizon for back in range(config.folds + 2)]
    if cells.weight is None:
        return np.ones((len(cells.y), len(ends)))
    width = max(1, round(WEIGHT_DAYS / days_per_step(config.frequency)))
    return np.asarray(np.maximum(trailing_sums(cells.weight, ends, width), 0.0))


def fill_means(known: Floats, codes: Ints, names: tuple[str, ...]) -> None:
    """Write the second half of known (S, 2 K, n): the mean of each covariate over the series of the segment that know it, NaN where none does."""
    width = known.shape[1] // 2
    shape = (len(names), width, known.shape[2])
    total = add_up((own[:width] for own in known), codes, shape)
    count = add_up((~np.isnan(own[:width]) for own in known), codes, shape)
    means = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0).astype(known.dtype)
    for code, own in zip(codes.tolist(), known, strict=True):
        own[width:] = means[code]


def series_segments(frame: pd.DataFrame, config: ForecastConfig) -> tuple[Ints, tuple[str, ...]]:
    """Codes and names of the segments of series, one row each."""
    return segment_codes([frame.get(name) for name in config.segments], len(frame))


def series_attributes(frame: pd.DataFrame, config: ForecastConfig) -> Floats:
    """What tells series of a segment apart, (S, A), one row each."""
    return attribute_numbers([frame.get(name) for name in config.attributes], len(frame))


def segment_codes(columns: Sequence[pd.Series | None], size: int) -> tuple[Ints, tuple[str, ...]]:
    """Codes and sorted names of the segments that attribute columns span; a missing attribute is `none`.

    Attributes are joined by a slash between blanks. One that holds such a slash itself has one more there: no two segments share a name.
    """
    labels = pd.Series([""] * size, dtype=object)
    for place, column in enumerate(columns):
        text = _attribute_texts(pd.Series([None] * size) if column is None else column)
        if len(columns) > 1:
            text = text.str.replace(LONE_SLASHES, r"\1/", regex=True)
        labels = text if place == 0 else labels + " / " + text
    codes, names = pd.factorize(labels.where(labels != "", "all"), sort=True)
    return codes.astype(np.int64), tuple(str(name) for name in names)


def _attribute_texts(column: pd.Series) -> pd.Series:
    """Attributes as texts: a whole number is written as one, also where pandas made it a fraction because another is missing."""
    codes, values = pd.factorize(column)
    texts = [str(int(one)) if isinstance(one, float) and one.is_integer() else str(one) for one in values]
    return pd.Series(np.asarray([*texts, MISSING_ATTRIBUTE], dtype=object)[codes])


def attribute_numbers(columns: Sequence[pd.Series | None], size: int) -> Floats:
    """Attributes (S, A) as trees split them, NaN where missing: numbers as they are, all else by a hash that needs no list of what there is."""
    out = np.full((size, len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column is not None:
            out[:, place] = _numbers(column)
    return out


def _numbers(column: pd.Series) -> Floats:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    texts = column.astype(object)
    return texts.map(lambda one: zlib.crc32(str(one).encode()) / 2**32, na_action="ignore").to_numpy(dtype=np.float64)
