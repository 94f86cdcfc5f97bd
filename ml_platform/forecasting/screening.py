"""Screening: series with a row that cannot be used are set apart, by name and row, before anything is computed.

Belongs here: what is wrong with a row, and whose it is. Does not belong here: laying out what is sound (frames), models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints, phases, wall_times
from ml_platform.forecasting.config import ForecastConfig, days_per_step
from ml_platform.forecasting.errors import InputError
from ml_platform.forecasting.times import Stamps, coded, lenient_times

LIMIT = 1e12  # larger numbers are no measurements: their squares would drown every other series of the pool

TOWERING = 1_000.0  # times as large as every other value of its series: no value of it
COMPANY = 8  # such others, not 0, of which there must be more to say so
ROOM = 20  # marks per row, at most, to find doubles with
ALONE = 0.01  # share of rows after a jump of the whole history that are no history but a mistake
REGULAR = 8  # different times, never next to each other and always as far apart, that belong to a coarser frequency


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

    @cached_property
    def by_series(self) -> tuple[Ints | slice, Ints]:
        """An order of rows by series, which all have some, and where each one's begin in it; a slice, which copies nothing, where they are in order."""
        order = slice(None) if (self.codes[1:] >= self.codes[:-1]).all() else np.argsort(self.codes, kind="stable")
        return order, np.searchsorted(self.codes[order], np.arange(len(self.faults.reasons)))

    def times(self, config: ForecastConfig) -> Stamps:
        """The time column; where it holds no time, the series is refused and the row counts no more."""
        given, values = coded(self.frame[config.time])
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

    def measured(self, column: str) -> Floats:
        """A covariate as numbers, NaN where it is missing; an infinite or absurd one refuses its series."""
        values = self.numbers(column)
        infinite = np.isinf(values)
        self.refuse(infinite, "non_finite", column)
        self.refuse(~infinite & (np.abs(values) > LIMIT), "out_of_range", column)
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
        if _different(cells, len(self.faults.reasons) * width) < mine.sum():
            self.refuse(pd.Series(cells).duplicated().to_numpy() & mine, "doubled", column)


def _different(cells: Ints, size: int) -> int:
    """How many of the numbers from 0 to `size` there are; marks are faster than an order, where there is room for them."""
    if size > ROOM * len(cells):
        return len(np.unique(cells[cells >= 0]))
    return int(_marks(cells, size).sum())


def _marks(numbers: Ints, size: int) -> Bools:
    """Which of the numbers from 0 to `size` there are; -1 is none."""
    taken = np.zeros(size + 1, dtype=bool)
    taken[numbers] = True
    return taken[:-1]


def as_numbers(column: pd.Series) -> tuple[Floats, Bools]:
    """Numbers of a column, NaN where there is none, and which values are there and are no numbers."""
    try:
        return column.astype("float64", copy=False).to_numpy(), np.zeros(len(column), dtype=bool)
    except (ValueError, TypeError, OverflowError):
        values = np.asarray([_number(value) for value in column], dtype=np.float64)
        return values, np.isnan(values) & column.notna().to_numpy()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return float("nan")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def refuse_targets(rows: Rows, target: Floats, config: ForecastConfig) -> None:
    """Values (R,) that are infinite, beyond LIMIT or, where no gap is allowed, missing; and series without any."""
    inside, missing = np.abs(target) <= LIMIT, np.isnan(target)  # what is missing is not inside
    infinite = np.isinf(target)
    rows.refuse(infinite | missing if config.missing == "zero" else infinite, "non_finite", config.target)
    rows.refuse(~inside & ~infinite & ~missing, "out_of_range", config.target)
    nothing = rows.count(~missing & ~infinite) == 0
    if nothing.any():
        rows.refuse(nothing[rows.codes], "no_value", config.target)


@dataclass(frozen=True)
class Sizes:
    """Absolute values of each series (S,): the largest, their sum, and how many are not 0."""

    largest: Floats
    total: Floats
    count: Floats

    def towers(self) -> Bools:
        """Which largest value may be so large that it is none of its series', (S,); what the second largest is tells for sure."""
        return np.asarray(
            (self.count > COMPANY + 1) & (self.total - self.largest <= self.count * self.largest / TOWERING)
        )


def refuse_towers(rows: Rows, values: Floats, column: str) -> Sizes:
    """A value (R,) a thousand times as large as every other one of its series: a slip of the hand, or a code for unknown. Raises all that is pooled otherwise."""
    size = np.abs(values)
    size[~(rows.seen & (size <= LIMIT))] = 0.0
    order, starts = rows.by_series
    each = size[order]
    total, count = np.add.reduceat(each, starts), np.add.reduceat(each > 0, starts, dtype=np.float64)
    sizes = Sizes(np.maximum.reduceat(each, starts), total, count)
    odd = np.flatnonzero(sizes.towers()[rows.codes])
    if len(odd):
        order = odd[np.lexsort((size[odd], rows.codes[odd]))]
        last = np.flatnonzero(np.append(np.diff(rows.codes[order]) > 0, True))
        far = size[order[last]] > TOWERING * size[order[last - 1]]
        bad = np.zeros(len(size), dtype=bool)
        bad[order[last[far]]] = True
        rows.refuse(bad, "out_of_range", column)
    return sizes


def refuse_strays(rows: Rows, stamps: Stamps, config: ForecastConfig) -> None:
    """Times between the steps that most rows lie on."""
    kinds, kind = np.unique(phases(stamps.times, config.frequency), return_inverse=True)
    if len(kinds) > 1:
        counts = np.bincount(kind[stamps.places[rows.seen]], minlength=len(kinds))
        counts[kinds == ""] = -1  # no step, however many
        rows.refuse(kind[stamps.places] != counts.argmax(), "off_calendar", config.time)


def counted(places: Ints) -> tuple[Ints, Ints]:
    """The different places (R,) in order, and how often each is there: faster than a search, as there are few of them."""
    counts = np.bincount(places)
    return np.flatnonzero(counts), counts[counts > 0]


def refuse_early(rows: Rows, stamps: Stamps, config: ForecastConfig) -> None:
    """Hardly any rows so long before all others that the calendar of everyone would more than double: a mistyped year, 1900 for no date."""
    used, counts = counted(stamps.places if rows.seen.all() else stamps.places[rows.seen])
    if len(used) < 3:
        return
    times = stamps.times[used]
    between = _steps_between(times, config)
    left = np.cumsum(between[::-1])[::-1] - between
    odd = (between > np.maximum(left, config.season)) & (np.cumsum(counts)[:-1] <= ALONE * counts.sum())
    if odd.any():
        rows.refuse(stamps.places < used[np.flatnonzero(odd)[-1] + 1], "far_before", config.time)


def require_near(end: pd.Timestamp, newest: pd.Timestamp, config: ForecastConfig) -> None:
    """InputError where as_of lies so far behind the newest row that nothing of what would be forecast was ever seen."""
    ahead = (end - newest) / pd.Timedelta(days=days_per_step(config.frequency))
    if ahead > max(config.season_lengths) + config.horizon:
        raise InputError(
            f"as_of {end} is {ahead:.0f} steps after the newest row of the history ({newest}): "
            "give the newer rows, too, or an as_of up to which there are some"
        )


def require_company(stamps: Stamps, codes: Ints, keys: pd.DataFrame, config: ForecastConfig) -> None:
    """InputError where nobody knows where today is: where one series alone, or hardly a row, reaches more than a season beyond all others."""
    newest = np.zeros(len(keys), dtype=np.int64)
    np.maximum.at(newest, codes, stamps.places)
    order = np.argsort(newest, kind="stable")
    last = pd.Series(stamps.times[newest[order]], index=order)
    used, counts = counted(stamps.places)
    before = np.cumsum(counts)[:-1]
    jumps = _steps_between(stamps.times[used], config) > config.season
    odd = np.flatnonzero(jumps & (len(codes) - before <= ALONE * len(codes)))
    if len(last) > 1 and _steps_between(pd.DatetimeIndex(last.iloc[-2:]), config)[0] > config.season:
        raise InputError(_far_ahead(last, keys, 1, last.iloc[-2], config))
    if len(odd):
        first = stamps.times[used[odd[0]]]
        raise InputError(_far_ahead(last, keys, int((last > first).sum()), first, config))


def _steps_between(times: pd.DatetimeIndex, config: ForecastConfig) -> Floats:
    return np.diff(times.to_numpy()) / np.timedelta64(1, "D") / days_per_step(config.frequency)


def _far_ahead(last: pd.Series, keys: pd.DataFrame, ahead: int, others: pd.Timestamp, config: ForecastConfig) -> str:
    name, end = keys.iloc[int(last.index[-1])].astype(str).to_dict(), last.iloc[-1]
    steps = (end - others) / pd.Timedelta(days=days_per_step(config.frequency))
    who = f"series {name} alone goes" if ahead == 1 else f"{ahead} series, such as {name}, go"
    return (
        f"history: {who} on to {end}, {steps:.0f} steps beyond all others ({others}): "
        "correct these rows, or say with as_of where the history ends"
    )


def require_steps(times: pd.DatetimeIndex, config: ForecastConfig) -> None:
    """InputError where the steps of the frequency are too short for these times of all series together."""
    between = _steps_between(times, config)
    if len(times) >= REGULAR and between.min() > 1.5 and between.max() < 1.2 * between.min():
        raise InputError(
            f"history: no two times are next to each other, all are about {between.mean():.0f} steps of frequency {config.frequency} apart: "
            f"write the frequency that '{config.time}' has"
        )


def _sorted(column: pd.Series, name: str) -> tuple[Ints, pd.Index]:
    # of mixed types pandas sorts some once, and not again
    mixed = pd.api.types.infer_dtype(column, skipna=True).startswith("mixed")
    try:
        if not mixed:
            return pd.factorize(column, sort=True, use_na_sentinel=False)
    except TypeError:
        pass
    kinds = sorted({type(one).__name__ for one in column})
    raise InputError(f"the key '{name}' holds values of the types {kinds}: write all alike, as text or as numbers")


def factorize(frame: pd.DataFrame, columns: tuple[str, ...]) -> tuple[pd.DataFrame, Ints]:
    """Distinct keys in sorted order (types as given, missing ones last) and the row of each key per row of the frame."""
    rows, steps = np.zeros(len(frame), dtype=np.int64), list[tuple[Ints, pd.Index]]()
    for column in columns:
        codes, values = _sorted(frame[column], column)
        found, rows = _ranked(rows * len(values) + codes, (len(steps[-1][0]) if steps else 1) * len(values))
        steps.append((found, values))
    keys, left = dict[str, pd.Series](), np.arange(len(steps[-1][0]))
    for column, (found, values) in zip(reversed(columns), reversed(steps), strict=True):
        left, own = np.divmod(found[left], max(len(values), 1))
        keys[column] = pd.Series(values.take(own), dtype=values.dtype)
    return pd.DataFrame(keys, columns=list(columns)), rows


def _ranked(numbers: Ints, size: int) -> tuple[Ints, Ints]:
    """The different ones of numbers from 0 to `size` in order, and which of them each is; see _different."""
    if size > ROOM * len(numbers):
        return np.unique(numbers, return_inverse=True)
    taken = _marks(numbers, size)
    return np.flatnonzero(taken), (np.cumsum(taken) - 1)[numbers]
