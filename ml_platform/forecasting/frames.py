"""From tables people have to arrays, and back: pandas or Arrow in, a Shard and its keys out.

Belongs here: reading history, future and static; checking them. Does not belong here: lake tables (training) and models.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.arrays import (
    Bools,
    Shard,
    carry_forward,
    scatter,
)
from ml_platform.forecasting.calendar import (
    Floats,
    Ints,
    step_times,
    wall_times,
)
from ml_platform.forecasting.config import ForecastConfig, step_is_subdaily
from ml_platform.forecasting.layout import LIMIT, Cells, lay_out, segment_codes

Table: TypeAlias = pd.DataFrame | pa.Table

# ISO 8601 alone says which number is the month: pandas reads 01/02/2019 month-first, many who write it mean February
ISO_TIME = re.compile(
    r"(?P<local>\d{4}-\d\d(?:-\d\d(?P<clock>[T ]\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)?)?)"
    r"(?(clock)(?P<offset> ?(?:Z|[+-]\d\d(?::?\d\d)?))?)"
)


class InputError(ValueError):
    """A table that cannot be forecast; names the table, an example and the way out."""


@dataclass(frozen=True)
class Prepared:
    """Arrays of a fleet, the keys of its series (row s belongs to series s) and the covariates that had to be filled."""

    shard: Shard
    keys: pd.DataFrame
    filled: tuple[str, ...]


def to_pandas(table: Table, name: str, columns: list[str]) -> pd.DataFrame:
    """The needed columns of a pandas or Arrow table. Raises InputError where one is missing."""
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(
            f"{name} lacks the columns {missing}; it has {[str(c) for c in frame.columns]}: see the configuration"
        )
    found: pd.DataFrame = frame[columns].reset_index(drop=True)
    return found


def prepare(
    history: Table, future: Table | None, static: Table | None, as_of: object, config: ForecastConfig
) -> Prepared:
    """Check the tables and lay them out as arrays that end at `as_of`, else at the newest time of the history."""
    weight = [] if config.weight is None else [config.weight]
    past = to_pandas(history, "history", [*config.series, config.time, config.target, *weight, *config.known_future])
    if past[list(config.series)].isna().any(axis=None):
        raise InputError(f"history holds rows without a key in {list(config.series)}: drop or name them")
    times = _times(past, "history", config)
    end = _origin(times, as_of, config)
    keep = (times <= end).to_numpy()
    past, times = past[keep].reset_index(drop=True), times[keep].reset_index(drop=True)
    if past.empty:
        raise InputError(f"history has no row up to {end}: check as_of and the column '{config.time}'")
    keys, codes = factorize(past, config.series)
    grid = step_times(times.min(), end, config.horizon, config.frequency)
    steps = len(grid) - config.horizon
    at = _places(times, grid[:steps], "history", config)
    _refuse_doubles(codes, at, len(grid), past, config)
    known = _covariates(past, codes, at, future, keys, grid, config)
    marks = _filled(known, steps)
    ids = np.asarray([f"{row:08d}" for row in range(len(keys))], dtype=object)
    cells = _cells(past, codes, at, known, config)
    return Prepared(lay_out(ids, cells, _segments(keys, static, config), np.asarray(grid), config), keys, marks)


def read_times(column: pd.Series, place: str, frequency: str) -> pd.Series:
    """Times of a column of times, dates or ISO 8601 texts, with their time zone; what is missing stays missing.

    Raises InputError that names `place`, the first value that is anything else and its row.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    codes, found = pd.factorize(column)
    values = np.asarray(found, dtype=object).tolist()
    times = _parse_times(values, frequency)
    if times.isna().any():
        first = int(times.isna().to_numpy().argmax())
        raise InputError(
            f"{place} holds a value that is no time in ISO 8601: {values[first]!r} in data row "
            f"{int((codes == first).argmax()) + 1}: write 2019-02-01 or 2019-02-01T13:00+01:00"
        )
    return pd.Series(times.array.take(codes, allow_fill=True), index=column.index, name=column.name)


def _parse_times(values: Sequence[object], frequency: str) -> pd.Series:
    """Times of different values, NaT for what is none. Several offsets: UTC below a day, else the wall time."""
    texts = [ISO_TIME.fullmatch(value.strip()) if isinstance(value, str) else None for value in values]
    several = len({text["offset"] for text in texts if text}) > 1
    part = "local" if several and not step_is_subdaily(frequency) else 0
    wanted = [
        text[part] if text else value if isinstance(value, date | np.datetime64) else None
        for text, value in zip(texts, values, strict=True)
    ]
    utc = several and part == 0
    return pd.to_datetime(pd.Series(wanted, dtype=object), format="ISO8601", errors="coerce", utc=utc)


def _times(frame: pd.DataFrame, name: str, config: ForecastConfig) -> pd.Series:
    times = wall_times(
        read_times(frame[config.time], f"{name}: the column '{config.time}'", config.frequency), config.frequency
    )
    if times.isna().any():
        raise InputError(f"{name} holds rows without a time in '{config.time}': drop them")
    return times


def _origin(times: pd.Series, as_of: object, config: ForecastConfig) -> pd.Timestamp:
    if times.empty:
        raise InputError("history is empty: there is nothing to forecast from")
    if as_of is None:
        return pd.Timestamp(times.max())
    wanted = read_times(pd.Series([str(as_of)]), "as_of", config.frequency)
    return pd.Timestamp(wall_times(wanted, config.frequency).iloc[0])


def factorize(frame: pd.DataFrame, columns: tuple[str, ...]) -> tuple[pd.DataFrame, Ints]:
    """Distinct keys in sorted order (types as given) and the row of each key per row of the frame."""
    code = np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        codes, values = pd.factorize(frame[column], sort=True)
        code = code * len(values) + codes
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    keys = frame.loc[first, list(columns)].reset_index(drop=True)
    return keys, inverse.astype(np.int64)


def _places(times: pd.Series, grid: pd.DatetimeIndex, name: str, config: ForecastConfig) -> Ints:
    unique, values = pd.factorize(times)
    places = grid.get_indexer(pd.DatetimeIndex(values))
    if (places < 0).any():
        example = pd.DatetimeIndex(values)[places < 0][0]
        raise InputError(
            f"{name}: {example} is no step of frequency {config.frequency} counted from {grid[0]}: round '{config.time}'"
        )
    return places.astype(np.int64)[unique]


def _refuse_doubles(codes: Ints, at: Ints, width: int, past: pd.DataFrame, config: ForecastConfig) -> None:
    cell = np.sort(codes * width + at)
    double = np.flatnonzero(cell[1:] == cell[:-1])
    if len(double):
        row = int(np.flatnonzero(codes * width + at == cell[double[0]])[0])
        example = {c: str(past[c].iloc[row]) for c in (*config.series, config.time)}
        raise InputError(
            f"history has {len(double)} doubled rows per series and time, such as {example}: sum them or keep one"
        )


def _numbers(frame: pd.DataFrame, column: str, name: str) -> Floats:
    try:
        return np.asarray(frame[column].astype("float64"), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: the column '{column}' holds a value that is no number: {error}") from error


def _covariates(
    past: pd.DataFrame,
    codes: Ints,
    at: Ints,
    future: Table | None,
    keys: pd.DataFrame,
    grid: pd.DatetimeIndex,
    config: ForecastConfig,
) -> Floats:
    """Known-future covariates (S, K, T + H), NaN where unknown."""
    known = np.full((len(keys), len(config.known_future), len(grid)), np.nan)
    for k, column in enumerate(config.known_future):
        known[codes, k, at] = _numbers(past, column, "history")
    if future is not None and config.known_future:
        later = to_pandas(future, "future", [*config.series, config.time, *config.known_future])
        rows = match(later, keys, config.series)
        place = grid.get_indexer(pd.DatetimeIndex(_times(later, "future", config)))
        inside = (rows >= 0) & (place >= len(grid) - config.horizon)
        for k, column in enumerate(config.known_future):
            known[rows[inside], k, place[inside]] = _numbers(later, column, "future")[inside]
    known[~np.isfinite(known) | (np.abs(known) > LIMIT)] = np.nan
    return known


def match(frame: pd.DataFrame, keys: pd.DataFrame, columns: tuple[str, ...]) -> Ints:
    """Row of `keys` for each row of a frame, -1 where there is none."""
    numbered = keys[list(columns)].assign(__row=np.arange(len(keys)))
    joined = frame[list(columns)].merge(numbered, on=list(columns), how="left", validate="many_to_one")
    return joined["__row"].fillna(-1).to_numpy(dtype=np.int64)


def _filled(known: Floats, steps: int) -> tuple[str, ...]:
    """Carry the covariates forward; says per series what was missing after the origin: '', carried or unknown."""
    missing = np.isnan(known[:, :, steps:]).any(axis=(1, 2))
    carry_forward(known)
    unknown = np.isnan(known[:, :, steps:]).any(axis=(1, 2))
    return tuple(np.where(unknown, "unknown", np.where(missing, "carried_forward", "")).tolist())


def _segments(keys: pd.DataFrame, static: Table | None, config: ForecastConfig) -> tuple[Ints, tuple[str, ...]]:
    """Segment code per series and the names of all segments, sorted."""
    frame = keys.copy()
    wanted = [name for name in config.static if name in config.segments]
    if static is not None and wanted:
        columns = to_pandas(static, "static", [*config.series, *wanted])
        if columns.duplicated(list(config.series)).any():
            example = columns[columns.duplicated(list(config.series))].iloc[0].astype(str).to_dict()
            raise InputError(f"static has several rows of one series, such as {example}: keep one")
        frame = frame.merge(columns, on=list(config.series), how="left", validate="one_to_one")
    return segment_codes([frame.get(name) for name in config.segments], len(keys))


def _cells(past: pd.DataFrame, codes: Ints, at: Ints, known: Floats, config: ForecastConfig) -> Cells:
    """The history as dense arrays; series that cannot be used are empty and marked."""
    shape = (len(known), known.shape[2] - config.horizon)
    target = _numbers(past, config.target, "history")
    broken = broken_series(target, codes, shape[0], config.missing)
    weight = None
    if config.weight is not None:
        values = np.nan_to_num(_numbers(past, config.weight, "history"), posinf=0.0, neginf=0.0)
        weight = scatter(shape, codes, at, values)
    return Cells(
        y=scatter(shape, codes, at, np.where(broken[codes], np.nan, target)),
        known=known,
        weight=weight,
        active=np.bincount(codes[~np.isnan(target)], minlength=shape[0]).astype(np.int64),
        broken=broken,
    )


def broken_series(target: Floats, codes: Ints, size: int, missing: str) -> Bools:
    """Series with a value that is infinite, beyond LIMIT or, unless gaps are allowed, not a number; or without any."""
    bad = ~(np.abs(np.nan_to_num(target)) <= LIMIT)
    if missing == "zero":
        bad |= np.isnan(target)
    broken = np.bincount(codes[bad], minlength=size) > 0
    return np.asarray(broken | (np.bincount(codes[~np.isnan(target)], minlength=size) == 0))


def give_back_times(times: pd.Series, like: pd.Series, frequency: str) -> pd.Series:
    """Naive times in the type that the input's time column has: its time zone, its unit, or dates."""
    if pd.api.types.is_datetime64_any_dtype(like):
        if like.dt.tz is not None:
            subdaily = not (times.dt.normalize() == times).all() or pd.tseries.frequencies.to_offset(
                frequency
            ).name in ("h", "min")
            times = (
                times.dt.tz_localize("UTC").dt.tz_convert(like.dt.tz) if subdaily else times.dt.tz_localize(like.dt.tz)
            )
        return pd.Series(times.astype(like.dtype))
    if len(like) and isinstance(like.iloc[0], date) and not isinstance(like.iloc[0], pd.Timestamp):
        return pd.Series(times.dt.date)
    return times
