"""From tables people have to arrays, and back: pandas or Arrow in, a Shard and its keys out.

Belongs here: reading history, future and static; checking them. Does not belong here: lake tables (training) and models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.tseries.frequencies import to_offset

from ml_platform.forecasting.arrays import Bools, Shard, numbered, scatter
from ml_platform.forecasting.calendar import Floats, Ints, step_times, wall_times
from ml_platform.forecasting.config import ForecastConfig, days_per_step
from ml_platform.forecasting.errors import InputError
from ml_platform.forecasting.layout import Cells, lay_out, series_attributes, series_segments
from ml_platform.forecasting.screening import (
    COMPANY,
    LIMIT,
    TOWERING,
    Faults,
    Rows,
    counted,
    factorize,
    refuse_early,
    refuse_strays,
    refuse_targets,
    refuse_towers,
    require_company,
    require_near,
    require_steps,
)
from ml_platform.forecasting.times import Stamps, read_times

Table: TypeAlias = pd.DataFrame | pa.Table


@dataclass(frozen=True)
class Prepared:
    """Arrays of the series that can be used, whose keys are `keys` (row s is series s), and how their covariates were filled.

    attributes: keys with the static attributes, in the same order. refused: key columns, reason and detail of
    the others. unseen: rows after the origin, which nothing was made of.
    """

    shard: Shard
    keys: pd.DataFrame
    attributes: pd.DataFrame
    filled: tuple[str, ...]
    refused: pd.DataFrame
    unseen: int


@dataclass(frozen=True)
class Later:
    """Rows of `future`: the series (R,), the times and each covariate (R,) of them."""

    codes: Ints
    stamps: Stamps
    covariates: tuple[Floats, ...]


def to_pandas(table: Table, name: str, columns: list[str]) -> pd.DataFrame:
    """The needed columns, at least, of a pandas or Arrow table, under any index. Raises InputError where one is missing."""
    if not isinstance(table, pd.DataFrame | pa.Table):
        raise InputError(f"{name} is of type {type(table).__name__}: give a pandas DataFrame or an Arrow table")
    present = table.column_names if isinstance(table, pa.Table) else list(table.columns)
    twice = sorted({column for column in columns if present.count(column) > 1})
    if twice:
        raise InputError(f"{name} holds the columns {twice} more than once: name each one differently")
    missing = [column for column in columns if column not in present]
    if missing:
        raise InputError(
            f"{name} lacks the columns {missing}; it has {[str(c) for c in present]}: see the configuration"
        )
    return table.select(columns).to_pandas() if isinstance(table, pa.Table) else table


def prepare(
    history: Table, future: Table | None, static: Table | None, as_of: object, config: ForecastConfig
) -> Prepared:
    """Check the tables and lay them out as arrays that end at `as_of`, else at the newest time of the history.

    A series with a row that cannot be used is left out of everything and named. Raises InputError where none is left, and where one
    series alone says how far the history goes.
    """
    past = _past(history, config)
    keys, codes = factorize(past, config.series)
    faults, end = Faults(len(keys)), _as_of(as_of, config)
    rows = _History(Rows("history", past, codes, faults), end, config)
    later, attributes = _later(future, keys, rows, faults, config), _attributes(static, keys, faults, config)
    sound = ~faults.any & (rows.counts > 0)
    if not sound.any():
        raise InputError(_nothing_left(faults, end, config))
    own, place, kept = rows.of(sound), np.where(sound, np.cumsum(sound) - 1, -1), keys[sound].reset_index(drop=True)
    mine, at, times = place[codes[own]], rows.stamps.places[own], rows.stamps.times
    require_steps(times[counted(at)[0]], config)
    if end is None:
        require_company(Stamps(at, times), mine, kept, config)
        end = times[at.max()]
    else:
        require_near(end, times[rows.stamps.places[rows.seen].max()], config)
    grid = step_times(times[at.min()], end, config.horizon, config.frequency)
    steps = _steps(at, times, grid[: len(grid) - config.horizon], config)
    cells = _Cells(len(kept), grid, config, mine, steps)
    known = cells.covariates([column[own] for column in rows.known], later, place)
    missing = np.asarray(np.isnan(known[:, : len(rows.known), len(grid) - config.horizon :]).any(axis=(1, 2)))
    attributes = attributes[sound].reset_index(drop=True)
    segments, static = series_segments(attributes, config), series_attributes(attributes, config)
    laid = cells.lay(rows.target[own], None if rows.weight is None else rows.weight[own], known, static)
    shard = lay_out(numbered(len(kept)), laid, segments, np.asarray(grid), config)
    refused = keys.assign(reason=faults.reasons, detail=faults.details)[faults.any].reset_index(drop=True)
    return Prepared(shard, kept, attributes, _filled(missing, shard), refused, rows.unseen)


class _History:
    """The history's columns as numbers and times, its faults named; counts (S,): rows of each series up to the origin."""

    def __init__(self, rows: Rows, end: pd.Timestamp | None, config: ForecastConfig) -> None:
        self.codes, self.stamps = rows.codes, rows.times(config)
        self.unseen = 0
        if end is not None:
            later = np.append(self.stamps.times > end, False)[self.stamps.places]
            self.unseen = int(later.sum())
            rows.seen &= ~later
        refuse_strays(rows, self.stamps, config)
        refuse_early(rows, self.stamps, config)
        rows.refuse_doubles(self.stamps.places, config.time)
        self.target = rows.numbers(config.target)
        refuse_targets(rows, self.target, config)
        if config.missing == "gap":  # rows of the future may stand below
            filled = rows.seen & ~np.isnan(self.target)
            rows.seen &= self.stamps.places <= self.stamps.places[filled].max(initial=-1)
        self.weight = rows.numbers(config.weight) if config.weight else None
        if config.weight and self.weight is not None:
            absurd = np.isfinite(self.weight) & ((self.weight > LIMIT) | (self.weight < -LIMIT))
            rows.refuse(absurd, "out_of_range", config.weight)
        refuse_towers(rows, self.target, config.target)
        self.known = [rows.measured(name) for name in config.known_future]
        self.sizes = [
            refuse_towers(rows, each, name) for name, each in zip(config.known_future, self.known, strict=True)
        ]
        self.seen, self.counts = rows.seen, rows.count()

    def of(self, series: Bools) -> Ints | slice:
        """Rows of some series (S,) up to the origin."""
        own = self.seen & series[self.codes]
        return slice(None) if own.all() else np.flatnonzero(own)


def _past(history: Table, config: ForecastConfig) -> pd.DataFrame:
    weight = [] if config.weight is None else [config.weight]
    past = to_pandas(history, "history", [*config.series, config.time, config.target, *weight, *config.known_future])
    if past.empty:
        raise InputError("history is empty: there is nothing to forecast from")
    for column in config.series:
        if past[column].hasnans:
            without = past[column].isna().to_numpy()
            told = f"{without.sum()} rows have" if without.sum() > 1 else "1 row has"
            raise InputError(
                f"history row {without.argmax() + 1} has no key in '{column}'; {told} none: drop or name them"
            )
    return past


def _nothing_left(faults: Faults, end: pd.Timestamp | None, config: ForecastConfig) -> str:
    if not faults.any.any():
        return f"history has no row up to {end}: check as_of and the column '{config.time}'"
    reasons, places = np.unique(faults.reasons[faults.any].astype(str), return_index=True)
    told = [
        f"{reason}: {faults.details[faults.any][place]}{_way_out(reason, config)}"
        for reason, place in zip(reasons, places, strict=True)
    ]
    return f"no series of the history can be used. {'; '.join(told)}. See docs/forecasting.md"


def _way_out(reason: str, config: ForecastConfig) -> str:
    return {
        "off_calendar": f" (the frequency is {config.frequency}: write the one that '{config.time}' has, or round it)",
        "non_finite": " (rows of the future belong in `future`, or say with as_of where the history ends)",
        "not_a_number": " (write numbers as 16.5, without units and thousands separators)",
        "no_time": " (write times as 2019-02-01 or 2019-02-01T10:00:00+01:00)",
        "doubled": " (add up such rows, or name the column that tells them apart in `series`)",
    }.get(reason, "")


def _as_of(as_of: object, config: ForecastConfig) -> pd.Timestamp | None:
    if as_of is None:
        return None
    wanted = read_times(pd.Series([str(as_of)]), "as_of", config.frequency)
    return pd.Timestamp(wall_times(wanted, config.frequency).iloc[0])


def _steps(at: Ints, times: pd.DatetimeIndex, grid: pd.DatetimeIndex, config: ForecastConfig) -> Ints:
    """The step of each row, whose time is `at` (R,) among these."""
    steps: Ints = grid.get_indexer(times).astype(np.int64)[at]
    if steps.min() < 0:
        raise InputError(
            f"history: {times[at[steps.argmin()]]} is no step of frequency {config.frequency} counted from {grid[0]}: {_fitting(times, config)}"
        )
    return steps


def _fitting(times: pd.DatetimeIndex, config: ForecastConfig) -> str:
    """What to write where times lie on no step: the frequency of which all are steps, if there is one of about that length."""
    usual = [f"W-{times[0]:%a}".upper(), "MS", "ME", "QS", "QE", "YS", "YE"]
    alike = [one for one in usual if 0.8 < days_per_step(one) / days_per_step(config.frequency) < 1.2]
    for frequency in alike:
        offset = to_offset(frequency)
        if all(offset.is_on_offset(one) for one in times):
            return f"all lie on steps of {frequency}, write that as the frequency"
    return f"round '{config.time}'"


def _later(
    future: Table | None, keys: pd.DataFrame, past: _History, faults: Faults, config: ForecastConfig
) -> Later | None:
    """The rows of `future`; those of series that the history does not hold have the code -1."""
    if future is None or not config.known_future:
        return None
    frame = to_pandas(future, "future", [*config.series, config.time, *config.known_future])
    rows = Rows("future", frame, match("future", frame, keys, config.series), faults)
    stamps = rows.times(config)
    rows.refuse_doubles(stamps.places, config.time)
    covariates = tuple(rows.measured(name) for name in config.known_future)
    for name, each, sizes in zip(config.known_future, covariates, past.sizes, strict=True):
        most = np.where(sizes.count > COMPANY, TOWERING * sizes.largest, np.inf)
        rows.refuse(np.abs(each) > np.append(most, np.inf)[rows.codes], "out_of_range", name)
    return Later(rows.codes, stamps, covariates)


def _attributes(static: Table | None, keys: pd.DataFrame, faults: Faults, config: ForecastConfig) -> pd.DataFrame:
    """Keys with the static attributes, missing where `static` lacks a series."""
    wanted = list(config.static)
    if not wanted:
        return keys
    if static is None:
        raise InputError(
            f"static: the configuration names {wanted}, and there is no table of them: give one, or leave them out"
        )
    frame = to_pandas(static, "static", [*config.series, *wanted])
    rows = Rows("static", frame, match("static", frame, keys, config.series), faults)
    rows.refuse_doubles(np.zeros(len(frame), dtype=np.int64), config.series[-1])
    one_each = frame[[*config.series, *wanted]].reset_index(drop=True).drop_duplicates(list(config.series))
    return keys.merge(one_each, on=list(config.series), how="left", validate="one_to_one")


def match(name: str, frame: pd.DataFrame, keys: pd.DataFrame, columns: tuple[str, ...]) -> Ints:
    """Row of `keys` for each row of a frame, -1 where there is none. Raises InputError for keys of another type."""
    numbered = keys[list(columns)].assign(__row=np.arange(len(keys)))
    wanted = frame[list(columns)].reset_index(drop=True)
    for column in columns:
        if pd.api.types.is_numeric_dtype(wanted[column]) != pd.api.types.is_numeric_dtype(numbered[column]):
            raise InputError(
                f"{name}: the key '{column}' is of type {wanted[column].dtype}, that of the history of type {numbered[column].dtype}: "
                "write both alike, as text or as numbers"
            )
    joined = wanted.merge(numbered, on=list(columns), how="left", validate="many_to_one")
    return joined["__row"].fillna(-1).to_numpy(dtype=np.int64)


def _filled(missing: Bools, shard: Shard) -> tuple[str, ...]:
    """How covariates were filled where some were `missing` (S,) after the origin: '', carried_forward or unknown."""
    unknown = np.isnan(shard.covariates(shard.steps, len(shard.times))).any(axis=(1, 2))
    return tuple(np.where(unknown, "unknown", np.where(missing, "carried_forward", "")).tolist())


@dataclass(frozen=True)
class _Cells:
    """Where each of R rows goes: its series (R,) of `size`, and its step (R,) of a grid that has the horizon at its end."""

    size: int
    grid: pd.DatetimeIndex
    config: ForecastConfig
    codes: Ints
    at: Ints

    def covariates(self, values: Sequence[Floats], later: Later | None, place: Ints) -> Floats:
        """Known-future covariates (S, 2 K, T + H), NaN where unknown, the second half is room for their means; each of R values; `place`: series of each code of `later`."""
        known = np.empty((self.size, 2 * len(values), len(self.grid)), dtype=np.float32)
        known[:, : len(values)] = np.nan
        for column, each in enumerate(values):
            known[self.codes, column, self.at] = each
        if later is not None:
            rows = np.append(place, -1)[later.codes]
            step = np.append(self.grid.get_indexer(later.stamps.times), -1)[later.stamps.places]
            inside = (rows >= 0) & (step >= len(self.grid) - self.config.horizon)
            for column, each in enumerate(later.covariates):
                known[rows[inside], column, step[inside]] = each[inside]
            if len(rows) and not inside.any():
                raise InputError(
                    f"future: none of its {len(rows)} rows is of a series of the history and one of the steps from {self.grid[-self.config.horizon]} to {self.grid[-1]}: "
                    "write keys as in the history and times of these steps, or leave it out"
                )
        return known

    def lay(self, target: Floats, weight: Floats | None, known: Floats, static: Floats) -> Cells:
        """The history as dense arrays."""
        shape = (self.size, len(self.grid) - self.config.horizon)
        weights = None if weight is None else np.nan_to_num(weight, posinf=0.0, neginf=0.0)
        y = scatter(shape, self.codes, self.at, target)
        return Cells(
            y=y,
            known=known,
            weight=None if weights is None else scatter(shape, self.codes, self.at, weights),
            active=(~np.isnan(y)).sum(axis=1),
            static=static,
        )
