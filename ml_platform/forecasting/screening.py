"""Screening: series with a row that cannot be used are set apart, by name and row, before anything is computed.

Belongs here: what is wrong with a row, and whose it is. Does not belong here: laying out what is sound (frames), models.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints, days_per_step, phases, wall_times
from ml_platform.forecasting.config import ForecastConfig, step_is_subdaily

LIMIT = 1e12  # larger numbers are no measurements: their squares would drown every other series of the pool

# ISO 8601 alone says which number is the month: pandas reads 01/02/2019 month-first, many who write it mean February
ISO_TIME = re.compile(
    r"(?P<local>\d{4}-\d\d(?:-\d\d(?P<clock>[T ]\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)?)?)"
    r"(?(clock)(?P<offset> ?(?:Z|[+-]\d\d(?::?\d\d)?))?)"
)


class InputError(ValueError):
    """A table that cannot be forecast; names the table, an example and the way out."""


class Faults:
    """The first fault of each of `size` series: why it cannot be used (`reasons`), and the table, row and value (`details`); None without one."""

    def __init__(self, size: int) -> None:
        self.reasons = np.full(size, None, dtype=object)
        self.details = np.full(size, None, dtype=object)

    @property
    def any(self) -> Bools:
        """Which series have one."""
        return np.asarray(self.reasons != None, dtype=bool)  # noqa: E711  elementwise

    def add(self, codes: Ints, bad: Bools, reason: str, words: Callable[[int], str]) -> None:
        """Rows of series `codes` (R,), -1 for none of them, that are `bad` (R,); `words` describes one of them."""
        if not bad.any():
            return
        rows = np.flatnonzero(bad & (codes >= 0))
        series, first = np.unique(codes[rows], return_index=True)
        for one, row in zip(series.tolist(), rows[first].tolist(), strict=True):
            if self.reasons[one] is None:
                self.reasons[one], self.details[one] = reason, words(row)


@dataclass(frozen=True)
class Stamps:
    """Naive times (ns) of R rows: which of the different ones, which are in order, each row has (R,), -1 where it has none."""

    places: Ints
    times: pd.DatetimeIndex


class Rows:
    """One table's rows while they are judged: the frame as it was given, the series of each row (R,), and which rows count (R,)."""

    def __init__(self, name: str, frame: pd.DataFrame, codes: Ints, faults: Faults) -> None:
        self.name, self.frame, self.codes, self.faults = name, frame, codes, faults
        self.seen = np.ones(len(frame), dtype=bool)

    def refuse(self, bad: Bools, reason: str, column: str) -> None:
        """Series of these rows (R,) cannot be used; the words show a row's value in a column."""
        values = self.frame[column]
        words = lambda row: f"{self.name} row {row + 1}: {column} is {_shown(values.iloc[row])}"  # noqa: E731
        self.faults.add(self.codes, bad & self.seen, reason, words)

    def times(self, config: ForecastConfig) -> Stamps:
        """The time column; where it holds no time, the series is refused and the row counts no more."""
        given, values = pd.factorize(self.frame[config.time])
        found = wall_times(lenient_times(pd.Series(values, dtype=values.dtype), config.frequency), config.frequency)
        order, different = pd.factorize(found, sort=True)
        places = np.append(order, -1)[given]
        missing = places < 0
        self.refuse(missing, "no_time", config.time)
        self.seen &= ~missing
        return Stamps(places, pd.DatetimeIndex(different))

    def numbers(self, column: str) -> Floats:
        """A column as numbers, NaN where it is missing; what is there and is none refuses its series."""
        values, texts = as_numbers(self.frame[column])
        self.refuse(texts, "not_a_number", column)
        return values

    def count(self, among: Bools | None = None) -> Ints:
        """How many rows that count, and are `among` some (R,), each series has."""
        mine = self.seen if among is None else self.seen & among
        codes = self.codes if mine.all() else self.codes[mine]
        return np.bincount(codes, minlength=len(self.faults.reasons))

    def refuse_doubles(self, places: Ints, column: str) -> None:
        """Rows of the series and place (R,) of an earlier row."""
        width = int(places.max(initial=0)) + 1
        mine = self.seen & (self.codes >= 0)
        cells = np.where(mine, self.codes * width + places, -1)
        taken = np.zeros(len(self.faults.reasons) * width + 1, dtype=bool)
        taken[cells] = True
        if taken[:-1].sum() < mine.sum():
            self.refuse(pd.Series(cells).duplicated().to_numpy() & mine, "doubled", column)


def as_numbers(column: pd.Series) -> tuple[Floats, Bools]:
    """Numbers of a column, NaN where there is none, and which values are there and are no numbers."""
    try:
        return column.astype("float64", copy=False).to_numpy(), np.zeros(len(column), dtype=bool)
    except (ValueError, TypeError):
        values = np.asarray([_number(value) for value in column], dtype=np.float64)
        return values, np.isnan(values) & column.notna().to_numpy()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        return float("nan")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def lenient_times(column: pd.Series, frequency: str) -> pd.Series:
    """Times of a column of times, dates or ISO 8601 texts, with their time zone; NaT for what is none."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    codes, found = pd.factorize(column)
    times = _parsed(np.asarray(found, dtype=object).tolist(), frequency)
    return pd.Series(times.array.take(codes, allow_fill=True), index=column.index, name=column.name)


def _parsed(values: Sequence[object], frequency: str) -> pd.Series:
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


def refuse_targets(rows: Rows, target: Floats, config: ForecastConfig) -> None:
    """Values (R,) that are infinite, beyond LIMIT or, where no gap is allowed, missing; and series without any."""
    inside, missing = np.abs(target) <= LIMIT, np.isnan(target)  # what is missing is not inside
    infinite = np.isinf(target)
    rows.refuse(infinite | missing if config.missing == "zero" else infinite, "non_finite", config.target)
    rows.refuse(~inside & ~infinite & ~missing, "out_of_range", config.target)
    nothing = rows.count(~missing & ~infinite) == 0
    if nothing.any():
        rows.refuse(nothing[rows.codes], "no_value", config.target)


def refuse_strays(rows: Rows, stamps: Stamps, config: ForecastConfig) -> None:
    """Times between the steps that most rows lie on."""
    kinds, kind = np.unique(phases(stamps.times, config.frequency), return_inverse=True)
    if len(kinds) > 1:
        counts = np.bincount(kind[stamps.places[rows.seen]], minlength=len(kinds))
        counts[kinds == ""] = -1  # no step, however many
        rows.refuse(kind[stamps.places] != counts.argmax(), "off_calendar", config.time)


def require_company(newest: pd.Series, keys: pd.DataFrame, config: ForecastConfig) -> None:
    """InputError where one series alone (its newest time by code) reaches more than a season beyond all others: nobody knows where today is."""
    if len(newest) < 2:
        return
    last, second = newest.nlargest(2)
    ahead = (last - second) / pd.Timedelta(days=days_per_step(config.frequency))
    if ahead > config.season:
        name = keys.iloc[int(newest.idxmax())].astype(str).to_dict()
        raise InputError(
            f"history: series {name} alone goes on to {last}, {ahead:.0f} steps beyond all others ({second}): "
            "correct its rows, or say with as_of where the history ends"
        )


def factorize(frame: pd.DataFrame, columns: tuple[str, ...]) -> tuple[pd.DataFrame, Ints]:
    """Distinct keys in sorted order (types as given, missing ones last) and the row of each key per row of the frame."""
    code, parts = np.zeros(len(frame), dtype=np.int64), []
    for column in columns:
        codes, values = pd.factorize(frame[column], sort=True, use_na_sentinel=False)
        code = code * len(values) + codes
        parts.append(values)
    rows, found = pd.factorize(code)
    order = np.argsort(found)
    places, left = np.empty_like(order), found[order]
    places[order] = np.arange(len(order))
    keys: dict[str, pd.Series] = {}
    for column, values in zip(reversed(columns), reversed(parts), strict=True):
        left, own = np.divmod(left, max(len(values), 1))
        keys[column] = pd.Series(values.take(own), dtype=values.dtype)
    return pd.DataFrame(keys, columns=list(columns)), places[rows]
