"""The history of a source's drops: figures per drop day, and the range in which each of them usually lies.

Belongs here: arithmetic on the ledger alone, vectorised over days; no row of data is read. Does not belong here: sentences and checks
(drop_warnings), pictures (plots).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.expect import Expect
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

WEEK = 7
DAY = np.timedelta64(1, "D")
AHEAD = np.timedelta64(366, "D")
TOGETHER = 7  # days that come within an hour: more of them are a replay or a first load, whose lag says nothing
HOUR = np.timedelta64(1, "h")
HABIT = 0.75  # share of its same weekdays with files from which a day is expected
UNDATED = ("unknown_format", "outside_calendar")  # refused by name: their drop day is none of the source's
REPLAY = timedelta(days=31)  # that long after its end, a calendar holds the past alone
MAD = 1.4826  # makes the median of absolute deviations a standard deviation, for a normal spread


@dataclass(frozen=True)
class Figures:
    """What was delivered, one value per place; NaN where there is nothing to judge.

    Places are all days from the first to the newest drop day; of snapshots, and of sources that mostly deliver less than once a week, the deliveries.
    `season`: places after which a place is comparable again. `quarantined`, `duplicate`: shares of the day's rows. `lag`: days from the end
    of the drop day to its arrival, where it came by itself. `loaded`: loaded drops; `complete`: enough of them.
    """

    days: NDArray[np.datetime64]
    season: int
    rows: Numbers
    files: Numbers
    row_bytes: Numbers
    quarantined: Numbers
    duplicate: Numbers
    lag: Numbers
    loaded: Numbers
    complete: Flags
    holiday: Flags

    @property
    def delivered(self) -> Flags:
        return np.isfinite(self.rows)


@dataclass(frozen=True)
class Band:
    """The usual range per place; NaN where the history is too short."""

    low: Numbers
    high: Numbers

    @property
    def judged(self) -> Flags:
        return np.isfinite(self.low)

    def map(self, function: Callable[[Numbers], Numbers]) -> "Band":
        return Band(function(self.low), function(self.high))


def figures(ledger: pa.Table, contract: SourceContract, calendar: Calendar) -> Figures:
    """Figures of one source from its rows of ops/ledger, in any order; without rows all arrays are empty."""
    drops = _dated(ledger)
    if contract.kind == "snapshot":
        return _of_snapshot(drops, contract, calendar)
    drops = _inside(drops, calendar)
    newest = drops[drops["state"].isin([LOADED, QUARANTINED])].sort_values("settled_at", kind="stable")
    newest = newest.drop_duplicates("path", keep="last")
    came = newest["drop_day"].to_numpy("datetime64[D]")
    days = np.unique(came)
    season = WEEK if len(days) > 1 and np.median(np.diff(days) / DAY) <= WEEK else 1
    if season == WEEK:
        days = np.arange(days[0], days[-1] + DAY)
    placed = newest.assign(place=np.searchsorted(days, came))
    return _figures(placed, drops, days, season, contract, calendar)


def _of_snapshot(drops: pd.DataFrame, contract: SourceContract, calendar: Calendar) -> Figures:
    """Every delivery is a place; their days are those of their arrival, and say nothing of lateness."""
    kept = drops[drops["state"].isin([LOADED, REPLACED, QUARANTINED])].sort_values("settled_at", kind="stable")
    days = kept["drop_day"].to_numpy("datetime64[D]")
    return _figures(kept.assign(place=np.arange(len(kept))), drops.iloc[:0], days, 1, contract, calendar)


def _dated(ledger: pa.Table) -> pd.DataFrame:
    drops: pd.DataFrame = ledger.to_pandas(date_as_object=False)
    undated = drops["reason"].fillna("").astype(str).str.startswith(UNDATED) & (drops["state"] == QUARANTINED)
    return drops[~undated]


def _inside(drops: pd.DataFrame, calendar: Calendar) -> pd.DataFrame:
    """Drops of the calendar's days and of plans up to a year ahead: one file of the year 0207 must not make a history of 1,800 years."""
    days = drops["drop_day"].to_numpy("datetime64[D]")
    first, last = np.datetime64(calendar.first), np.datetime64(calendar.last) + AHEAD
    return drops[(days >= first) & (days <= last)]


def _figures(
    placed: pd.DataFrame,
    drops: pd.DataFrame,
    days: NDArray[np.datetime64],
    season: int,
    contract: SourceContract,
    calendar: Calendar,
) -> Figures:
    """Sums per place. `placed`: the newest delivery of every path, with its place; `drops`: everything that ever came."""
    size, place = len(days), placed["place"].to_numpy(np.int64)
    is_loaded = (placed["state"] == LOADED).to_numpy().astype(np.float64)
    files, loaded = _sums(place, np.ones(len(place)), size), _sums(place, is_loaded, size)
    rows, length, refused = (
        _sums(place, placed[name].to_numpy(float), size) for name in ("rows_in", "length", "rows_quarantined")
    )
    again = _per_day(drops[drops["state"] == DUPLICATE], "rows_duplicate", days)
    come = files > 0
    return Figures(
        days,
        season,
        rows=_where(come, rows),
        files=_where(come, files),
        row_bytes=_share(length, rows),
        quarantined=_share(refused, rows),
        duplicate=_share(again, rows + again),
        lag=_lag(drops, days, contract.drops_per_day, calendar),
        loaded=loaded,
        complete=loaded >= contract.drops_per_day,
        holiday=np.array([contract.expect.is_holiday(day) for day in days.tolist()], bool),
    )


def _sums(place: NDArray[np.int64], values: Numbers, size: int) -> Numbers:
    """Sum of the values per place."""
    return np.asarray(np.bincount(place, np.nan_to_num(values), size), np.float64)


def _where(there: Flags, values: Numbers) -> Numbers:
    return np.where(there, values, np.nan)


def _share(part: Numbers, whole: Numbers) -> Numbers:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _per_day(drops: pd.DataFrame, column: str, days: NDArray[np.datetime64]) -> Numbers:
    """Sum of a column per day of `days`; drops of other days are left out."""
    came = drops["drop_day"].to_numpy("datetime64[D]")
    known = np.isin(came, days)
    return _sums(np.searchsorted(days, came[known]), drops[column].to_numpy(float)[known], len(days))


def _lag(drops: pd.DataFrame, days: NDArray[np.datetime64], drops_per_day: int, calendar: Calendar) -> Numbers:
    """Days from the end of each day until enough of its files had come for the first time; NaN where that says nothing.

    Samples, replays and first loads bring a history at once, or long after their calendar's end: they are late by construction, and no habit.
    """
    first = drops.sort_values("first_seen_at", kind="stable").drop_duplicates("path", keep="first")
    known = np.isin(first["drop_day"].to_numpy("datetime64[D]"), days)
    enough = first[(first.groupby("drop_day").cumcount() == drops_per_day - 1) & known]
    day, moments = enough["drop_day"].to_numpy("datetime64[D]"), enough["first_seen_at"].dt.tz_localize(None)
    arrived = moments.to_numpy("datetime64[us]")
    order = np.sort(arrived)
    beside = np.searchsorted(order, arrived + HOUR, "right") - np.searchsorted(order, arrived - HOUR, "left")
    alone = beside <= TOGETHER
    if calendar.end:
        alone &= arrived < np.datetime64(calendar.end + REPLAY)
    lag = np.full(len(days), np.nan)
    lag[np.searchsorted(days, day)] = _where(alone, (arrived - (day + DAY)) / DAY)
    return lag


def usual(values: Numbers, season: int, expect: Expect, least: float) -> Band:
    """The usual range of every place, from the `expect.weeks` seasons before it; what comes after it changes nothing.

    Centre: the level of the newer half of these weeks, so that growth is followed, plus what is usual for its weekday beside the level.
    Half width: `expect.spread` robust standard deviations of all days about that, at least `least`.
    """
    weeks, size, half = expect.weeks, len(values), expect.weeks // 2 * season
    padded = np.concatenate([np.full(weeks * season, np.nan), values])
    window = np.lib.stride_tricks.sliding_window_view(padded, weeks * season)[:size]
    older, newer = window[:, :half], window[:, half:]
    levels = _median(older), _median(newer)
    beside = np.hstack([older - levels[0][:, None], newer - levels[1][:, None]]).reshape(size, weeks, season)
    weekdays = _median(beside.swapaxes(1, 2))
    spread = MAD * _median(np.abs(beside - weekdays[:, None, :]).reshape(size, weeks * season))
    width = np.fmax(expect.spread * spread, least)
    known = np.isfinite(beside[:, :, 0]).sum(1) >= expect.at_least
    centre = np.where(np.isfinite(levels[1]), levels[1], levels[0]) + weekdays[:, 0]
    return Band(np.where(known, centre - width, np.nan), np.where(known, centre + width, np.nan))


def _median(values: Numbers) -> Numbers:
    """Median over the last axis without NaN; NaN where nothing is left (np.nanmedian would warn)."""
    ordered, count = np.sort(values, axis=-1), np.isfinite(values).sum(-1)
    places = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, values.shape[-1] - 1)], -1)
    middle: Numbers = np.take_along_axis(ordered, places, -1).mean(-1)
    return np.where(count > 0, middle, np.nan)


def expected(found: Figures, expect: Expect) -> Flags:
    """Days that should have files: their weekday mostly had some in the weeks before, or after where too few lie before."""
    if found.season != WEEK:
        return np.zeros(len(found.days), bool)
    weeks = -(-len(found.days) // WEEK)
    came = np.full(weeks * WEEK, np.nan)
    came[: len(found.days)] = np.where(found.holiday, np.nan, found.complete)
    grid = came.reshape(weeks, WEEK)
    before, after = _habit(grid, expect), _habit(grid[::-1], expect)[::-1]
    share = np.where(np.isfinite(before), before, after).ravel()[: len(found.days)]
    return np.asarray((share >= HABIT) & ~found.holiday, bool)


def _habit(came: Numbers, expect: Expect) -> Numbers:
    """Share of complete days among the `weeks` rows before each one, per weekday; NaN where fewer than `at_least` are known."""
    known = _sum_before(np.isfinite(came).astype(float), expect.weeks)
    complete = _sum_before(np.nan_to_num(came), expect.weeks)
    return np.where(known >= expect.at_least, complete / np.maximum(known, 1), np.nan)


def _sum_before(values: Numbers, rows: int) -> Numbers:
    total, here = np.vstack([np.zeros((1, WEEK)), values.cumsum(0)]), np.arange(len(values))
    return np.asarray(total[here] - total[np.maximum(here - rows, 0)], np.float64)


def overdue(found: Figures, expect: Expect, calendar: Calendar, now: datetime) -> list[date]:
    """Days of the calendar after the newest one that should have come by `now`: their weekday's usual arrival is over by `late_days`.

    None without a habit: lags are known of days that came one by one only.
    """
    if found.season != WEEK or expect.late_days is False:
        return []
    today, day = now.astimezone(UTC), timedelta(days=1)
    newest = found.days[-1].item()
    ahead = min((min(today.date(), calendar.last) - newest).days, expect.weeks * WEEK)
    coming = [newest + n * day for n in range(1, ahead + 1)]
    lag = np.concatenate([found.lag, np.full(len(coming), np.nan)])
    latest = usual(lag, WEEK, expect, expect.late_days).high[len(found.days) :]
    waited = np.array([(today - datetime.combine(one + day, time(), UTC)) / day for one in coming])
    late = waited > latest if coming else np.array([], bool)
    return [one for one, over in zip(coming, late, strict=True) if over and not expect.is_holiday(one)]
