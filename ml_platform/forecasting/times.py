"""Times: what a column of times says, and the type that forecasts give them back in.

Belongs here: reading times, dates and texts, zones. Does not belong here: steps of a calendar (calendar), whose row is bad (screening).
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.calendar import Ints
from ml_platform.forecasting.config import step_is_subdaily
from ml_platform.forecasting.errors import InputError

# ISO 8601 alone says which number is the month: pandas reads 01/02/2019 month-first, many who write it mean February
ISO_TIME = re.compile(
    r"\d{4}-\d\d(?:-\d\d(?P<clock>[T ]\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)?)?"
    r"(?(clock)(?: ?(?:Z|[+-]\d\d(?::?\d\d)?))?)"
)


@dataclass(frozen=True)
class Stamps:
    """Naive times (ns) of R rows: which of the different ones, which are in order, each row has (R,), -1 where it has none."""

    places: Ints
    times: pd.DatetimeIndex


def coded(column: pd.Series) -> tuple[Ints, pd.Index]:
    """Codes of the different values of a column, -1 where missing; a list or the like, which is no time, as its text."""
    try:
        return pd.factorize(column)
    except TypeError:
        return pd.factorize(column.map(lambda one: one if isinstance(one, Hashable) else str(one)))


def lenient_times(column: pd.Series, frequency: str) -> pd.Series:
    """Times of a column of times, dates or ISO 8601 texts, with their time zone where they have one in common; NaT for what is none.

    Of several zones, or some with and some without: UTC below a day (those without are UTC), else wall times.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    codes, found = coded(column)
    times = _parsed(np.asarray(found, dtype=object).tolist(), frequency)
    return pd.Series(times.array.take(codes, allow_fill=True), index=column.index, name=column.name)


def _parsed(values: Sequence[object], frequency: str) -> pd.Series:
    """Times of different values, NaT for what is none. Values with and without an offset are read apart: pandas lets one shift the next."""
    read = [_read(value) for value in values]
    zones = {str(zone): zone for time, zone in read if time is not None}  # some packages make many objects of one zone
    subdaily, common = step_is_subdaily(frequency), next(iter(zones.values())) if len(zones) == 1 else None
    utc = common is not None or subdaily
    walls = [None if time is None else _wall(time, own, utc) for time, own in read]
    times = pd.Series(walls, dtype="datetime64[ns]")
    if common is not None:
        return times.dt.tz_localize("UTC").dt.tz_convert(common)
    return times.dt.tz_localize("UTC") if subdaily and any(zones.values()) else times


def _read(value: object) -> tuple[datetime | None, tzinfo | None]:
    """A time and its zone or offset."""
    if isinstance(value, str):
        found = ISO_TIME.fullmatch(value.strip())
        if found is None:
            return None, None
        value = _timestamp(found[0])
    elif isinstance(value, date | np.datetime64):
        value = _timestamp(value)
    return (value, value.tzinfo) if isinstance(value, datetime) else (None, None)


def _timestamp(value: object) -> datetime | None:
    try:
        time: Any = pd.Timestamp(value)  # type: ignore[arg-type]
        return None if pd.isna(time) else time.as_unit("ns")
    except (ValueError, OverflowError):
        return None


def _wall(time: datetime, zone: tzinfo | None, utc: bool) -> datetime:
    """Without its zone: as UTC, or as the clock on the wall there."""
    there = time.astimezone(UTC) if utc and zone is not None else time
    return there.replace(tzinfo=None)


def read_times(column: pd.Series, place: str, frequency: str) -> pd.Series:
    """Times of a column of times, dates or ISO 8601 texts, with their time zone; what is missing stays missing.

    Raises InputError that names `place`, the first value that is anything else and its row.
    """
    times = lenient_times(column, frequency)
    odd = (times.isna() & column.notna()).to_numpy()
    if odd.any():
        first = int(odd.argmax())
        raise InputError(
            f"{place} holds a value that is no time in ISO 8601: {column.iloc[first : first + 1].tolist()[0]!r} in data row "
            f"{first + 1}: write 2019-02-01 or 2019-02-01T13:00+01:00"
        )
    return times


def time_type(column: pd.Series | pa.ChunkedArray, frequency: str) -> pd.Series:
    """A column of the type that forecasts have their times in, that of the usable times of a column: without rows, or with one date."""
    column = column.to_pandas() if isinstance(column, pa.ChunkedArray) else column
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.iloc[:0]
    different = pd.Series(coded(column)[1], dtype=object)
    times = lenient_times(different, frequency)
    usable = different[times.notna()]
    dates = [one for one in usable if isinstance(one, date) and not isinstance(one, datetime)]
    return pd.Series(dates[:1], dtype=object) if len(dates) == len(usable) > 0 else times.iloc[:0]


def give_back_times(times: pd.Series, like: pd.Series, frequency: str) -> pd.Series:
    """Naive times in the type that time_type found: with its time zone, in its unit, or as dates."""
    if not pd.api.types.is_datetime64_any_dtype(like):
        return pd.Series(times.dt.date) if len(like) else times
    if like.dt.tz is not None:
        times = (
            times.dt.tz_localize("UTC").dt.tz_convert(like.dt.tz)
            if step_is_subdaily(frequency)
            else times.dt.tz_localize(
                like.dt.tz, nonexistent="shift_forward", ambiguous=np.ones(len(times), dtype=bool)
            )
        )
    return pd.Series(times.astype(like.dtype))
