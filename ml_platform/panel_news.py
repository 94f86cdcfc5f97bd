"""News of the panel: what an earlier day's statistics have not taken in yet, and which series are no longer what they took in.

Belongs here: which months of the panel are read, comparing them with what they were. Does not belong here: whole histories (panel), taking
steps in (forecasting).
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.arrays import Bools, carry_forward, opened
from ml_platform.forecasting.calendar import Floats, Ints, first_position
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.layout import fill_means, series_attributes, series_segments
from ml_platform.forecasting.screening import LIMIT, TOWERING
from ml_platform.lake import Lake
from ml_platform.lake.errors import GoneError
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel import calendar_of, expected_series, panel_at, until
from ml_platform.panel_rows import PanelRows


@dataclass(frozen=True)
class Stored:
    """Statistics as a day left them, and the version of the panel that they were made from."""

    statistics: Statistics
    as_of: date
    panel: int


@dataclass(frozen=True)
class News:
    """For S series of statistics: same (S,), whether all that was taken in still stands; y (S, n) of the steps since, NaN where not observed;
    known (S, 2 K, n + H), their covariates and those of the steps that are forecast, as a shard has them.
    """

    same: Bools
    y: Floats
    known: Floats


def _beyond(y: Floats, everyone: "_Everyone", old: Statistics) -> Bools:
    """Series with a value beyond all measure, or so far beyond their own others that their whole history must say whether it is one of theirs; y (S, n)."""
    most, known = np.full(len(everyone.ids), LIMIT), everyone.place >= 0
    held = TOWERING * old.largest[known]
    most[everyone.place[known]] = np.where(held > 0, np.minimum(held, LIMIT), LIMIT)
    return np.asarray((np.abs(np.nan_to_num(y)) > most[:, None]).any(axis=1))


def read_news(
    lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date, stored: Stored, version: int
) -> News | None:
    """What a version of the panel says of the series of statistics since they were made: the rows of the steps since, and the months that were
    written anew. None where the calendar begins elsewhere now, or the panel of that day is there no more: all series are made from their history.
    """
    series, old = expected_series(catalogue), stored.statistics
    grid = calendar_of(series, config, as_of)
    if first_position(grid[0], config.frequency) != old.begin or old.steps > len(grid) - config.horizon:
        return None
    try:
        months = sorted(
            _rewritten(lake, stored.panel, version)
            | _known_late(lake, config, as_of, stored, version, grid[old.steps - 1])
        )
        first = min(old.steps, int(grid.searchsorted(pd.Timestamp(months[0])))) if months else old.steps
        window = _Window(grid, first, old.steps, months, config)
        all_of_them = _Everyone.of(series, old, config, grid)
        now = window.read(lake, version, all_of_them.ids, as_of)
        all_of_them = all_of_them.without(_beyond(now.y, all_of_them, old))
        all_of_them.fill_means(now)
        same = window.unchanged(lake, stored, now, all_of_them)
    except (GoneError, FileNotFoundError):
        return None
    place = np.maximum(all_of_them.place, 0)
    same = _still_listed(series, all_of_them, old, config, grid) & (same & all_of_them.usable & ~all_of_them.odd)[place]
    y, known = now.y[place, old.steps - first :], now.known[place, :, old.steps - first :]
    if config.missing == "zero":
        y = np.nan_to_num(y, nan=0.0)
    return News(same, y, _carried(old.latest_known, known))


@dataclass(frozen=True)
class _Everyone:
    """The series that are expected now: ids, their segments (S,), which are usable (S,), and `odd` (S,), those of a segment that other series
    belong to than its statistics say: what its covariates were on average has to be learned anew. by_segment: whether there are covariates.

    Of each series of the statistics (N,): its place here, -1 where it is expected no more, and whether it `left` its segment.
    """

    ids: pa.Array
    codes: Ints
    names: tuple[str, ...]
    usable: Bools
    odd: Bools
    by_segment: bool
    place: Ints
    left: Bools

    @classmethod
    def of(cls, series: pa.Table, old: Statistics, config: ForecastConfig, grid: pd.DatetimeIndex) -> "_Everyone":
        """As statistics see them: those in them, those that begin later, and those that their fleet quarantines."""
        ids, (codes, names) = series["series_id"].combine_chunks(), series_segments(series.to_pandas(), config)
        out = old.base.quarantined["series_id"]
        later = pc.greater(series["first_date"], pa.scalar(grid[old.steps - 1].date()))
        known = pa.chunked_array([pa.array(old.series_id, pa.string()), *out.chunks])
        strange = ~np.asarray(pc.or_(pc.is_in(ids, known), later))
        place = pd.Index(ids.to_pandas()).get_indexer(pd.Index(old.series_id)).astype(np.int64)
        left = (place < 0) | (np.asarray(names, dtype=object)[codes[place]] != old.segment)
        strange[place[left & (place >= 0)]] = True
        odd = np.isin(codes, codes[strange]) | np.isin(names, old.segment[left].astype(str))[codes]
        by_segment = bool(config.known_future)
        usable = ~np.asarray(pc.is_in(ids, out))
        return cls(ids, codes, names, usable, odd & by_segment, by_segment, place, left)

    def without(self, bad: Bools) -> "_Everyone":
        """The same, some of which cannot be used, which their segments have to learn."""
        odd = np.isin(self.codes, self.codes[bad & self.usable]) & self.by_segment
        return replace(self, usable=self.usable & ~bad, odd=self.odd | odd)

    def fill_means(self, rows: PanelRows) -> None:
        """Write the means of covariates over usable series into theirs."""
        known = rows.known[self.usable]
        fill_means(known, self.codes[self.usable], self.names)
        rows.known[self.usable] = known


@dataclass(frozen=True)
class _Window:
    """Steps of a grid from `first` on, of which those from `steps` on are new; of the old ones those of `months` are looked at again."""

    grid: pd.DatetimeIndex
    first: int
    steps: int
    months: list[str]
    config: ForecastConfig

    def read(self, lake: Lake, version: int, ids: pa.Array, as_of: date) -> PanelRows:
        """What a version of the panel says as of a day."""
        rows = PanelRows(ids, self.grid[self.first :], self.config, self.config.horizon)
        where = until(as_of, self.config) & (
            (pc.field("date") > self._last) | pc.field("month").isin(pa.array(self.months, pa.string()))
        )
        rows.scan(panel_at(lake, version), where, as_of)
        return rows

    def unchanged(self, lake: Lake, stored: Stored, now: PanelRows, everyone: _Everyone) -> Bools:
        """Whether the old steps of each series are what they were when they were taken in, (S,)."""
        old = self.steps - self.first
        if not old:
            return np.ones(len(now.y), dtype=bool)
        then = PanelRows(now.ids, self.grid[self.first : self.steps], self.config, 0)
        where = (pc.field("date") <= self._last) & pc.field("month").isin(pa.array(self.months, pa.string()))
        then.scan(panel_at(lake, stored.panel), where, stored.as_of)
        everyone.fill_means(then)
        return _equal(now.y[:, :old], then.y) & _equal(now.known[:, :, :old], then.known).all(axis=1)

    @property
    def _last(self) -> pa.Scalar:
        """The last step that was taken in, as the panel writes it."""
        return step_scalar(self.grid[self.steps - 1], self.config)


def step_scalar(step: pd.Timestamp, config: ForecastConfig) -> pa.Scalar:
    """A step as the panel's column `date` has it."""
    if not config.subdaily:
        return pa.scalar(step.date(), pa.date32())
    return pa.scalar(step.tz_localize("UTC").to_pydatetime(), pa.timestamp("us", "UTC"))


def _rewritten(lake: Lake, then: int, now: int) -> set[str]:
    """Months whose files differ between two versions of the panel."""
    if then == now:
        return set()
    return {month for _, month in _files(lake, then) ^ _files(lake, now)}


def _files(lake: Lake, version: int) -> set[tuple[str, str]]:
    found = pa.table(lake.table(SERIES_PANEL, version).get_add_actions(flatten=True))
    return set(zip(found["path"].to_pylist(), found["partition.month"].to_pylist(), strict=True))


def _known_late(
    lake: Lake, config: ForecastConfig, as_of: date, stored: Stored, version: int, last: pd.Timestamp
) -> set[str]:
    """Months in which a covariate of a step that was taken in became known only since."""
    if not config.known_future:
        return set()
    late = (pc.field("known_from") > pa.scalar(stored.as_of)) & (pc.field("known_from") <= pa.scalar(as_of))
    rows = lake.read(SERIES_PANEL, ["month"], late & (pc.field("date") <= step_scalar(last, config)), version)
    return set(rows["month"].unique().to_pylist())


def _still_listed(
    series: pa.Table, everyone: _Everyone, old: Statistics, config: ForecastConfig, grid: pd.DatetimeIndex
) -> Bools:
    """Whether series are expected, of the segment and attributes that they were of, and begin where they did, (S,)."""
    whole, place = series.to_pandas(), np.maximum(everyone.place, 0)
    frame = whole.iloc[place].reset_index(drop=True)
    listed = ~everyone.left & _equal(series_attributes(frame, config), old.static)
    if config.missing != "zero":
        return np.asarray(listed)
    days, begin, codes = pd.DatetimeIndex(whole["first_date"]), old.steps - old.counts, everyone.codes
    earliest = grid.searchsorted(days, side="right") - 1  # below a day a first date is as good as any of its steps
    latest = np.maximum(earliest, grid.searchsorted(days + pd.Timedelta(days=1)) - 1)
    few = frame["active_days"].to_numpy() < config.min_active_days  # begun with their segment, see lay_out
    own = np.where(few, old.room == 0, (earliest[place] <= begin) & (begin <= latest[place]))
    first, last = (opened(each, codes, len(everyone.names), len(grid))[codes[place]] for each in (earliest, latest))
    return np.asarray(listed & own & (first <= begin - old.room) & (begin - old.room <= last))


def _equal(one: Floats, other: Floats) -> Bools:
    """Whether all values along the last axis are the same, unknown ones included."""
    return np.asarray(((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=-1))


def _carried(before: Floats, known: Floats) -> Floats:
    """Covariates (S, 2 K, n) of later steps, the unknown ones as the last known one; `before` (S, 2 K) is that of the step before."""
    known[~np.isfinite(known)] = np.nan
    return carry_forward(np.concatenate([before[:, :, None], known], axis=2))[:, :, 1:]
