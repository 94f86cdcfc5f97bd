"""The panel as arrays: what training and scoring read from the lake.

Belongs here: reading gold/series_panel up to an as-of day into a Shard. Does not belong here: making the panel (features), models.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.arrays import Shard, carry_forward
from ml_platform.forecasting.calendar import Floats, Ints, last_whole_day, step_times
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.layout import Cells, lay_out, segment_codes
from ml_platform.forecasting.screening import LIMIT
from ml_platform.lake import Lake
from ml_platform.lake.names import SERIES_PANEL

NOT_SERIES = ("excluded", "quarantined")


class PanelError(ValueError):
    """The panel and the catalogue do not fit together; names the table and the way out."""


@dataclass(frozen=True)
class Panel:
    """Arrays of the series that can be used, and the ids of those that hold a value beyond all measure, or none."""

    shard: Shard
    refused: tuple[str, ...]


def read_panel(lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> Panel:
    """All series of a catalogue (as of that day) in series_id order, with nothing newer than `as_of`.

    Targets after as_of are not read; covariates of later dates only where they were known by then. Raises PanelError where
    the panel has no row of a series or a date outside the calendar.
    """
    series = _series(catalogue)
    ids = series["series_id"].combine_chunks()
    end, where = _end(as_of, config), _until(as_of, config)
    first = _first_time(series, config, end)
    grid = step_times(first, end, config.horizon, config.frequency)
    cells = _Rows(ids, grid, config)
    columns = [
        "series_id",
        "date",
        "target",
        *(["weight"] if config.weight else []),
        *config.known_future,
        "known_from",
    ]
    scanner = lake.dataset(SERIES_PANEL, coded=["series_id"]).scanner(
        columns=columns, filter=where, batch_size=1 << 20, batch_readahead=2, fragment_readahead=1
    )
    for batch in scanner.to_batches():
        if batch.num_rows:
            cells.add(batch, as_of)
    return _panel(series, cells, grid, config)


def _series(catalogue: pa.Table) -> pa.Table:
    kept = catalogue.filter(pc.invert(pc.is_in(catalogue["state"], pa.array(NOT_SERIES))))
    if not kept.num_rows:
        raise PanelError("the catalogue holds no series to train: prepare the history of an earlier as-of day first")
    return kept.sort_by("series_id")


def _end(as_of: date, config: ForecastConfig) -> pd.Timestamp:
    """The end of the newest step that is over on the as-of day."""
    return pd.Timestamp(last_whole_day(as_of, config.frequency)) + (
        pd.Timedelta(days=1, microseconds=-1) if config.subdaily else pd.Timedelta(0)
    )


def _until(as_of: date, config: ForecastConfig) -> pc.Expression:
    last = step_times(
        _end(as_of, config) - pd.Timedelta(days=400), _end(as_of, config), config.horizon, config.frequency
    )[-1]
    value = (
        pa.scalar(last.to_pydatetime(), pa.timestamp("us")) if config.subdaily else pa.scalar(last.date(), pa.date32())
    )
    value = pc.assume_timezone(value, "UTC") if config.subdaily else value
    return (pc.field("date") <= value) & (pc.field("month") <= f"{last:%Y-%m}")


def _first_time(series: pa.Table, config: ForecastConfig, end: pd.Timestamp) -> pd.Timestamp:
    first = pd.Timestamp(pc.min(series["first_date"]).as_py())
    if first > end:
        raise PanelError(
            f"the catalogue begins on {first.date()}, after the as-of day {end.date()}: read it as of that day"
        )
    offset = pd.tseries.frequencies.to_offset(config.frequency)
    return first if config.subdaily else pd.Timestamp(offset.rollback(first))


class _Rows:
    """Dense arrays that panel rows are written into, batch by batch, in any order."""

    def __init__(self, ids: pa.Array, grid: pd.DatetimeIndex, config: ForecastConfig) -> None:
        size, width = len(ids), len(grid)
        self.config, self.ids, self.steps = config, ids, width - config.horizon
        self.times = np.asarray(grid.values, dtype="datetime64[ns]")
        self.y = np.full((size, self.steps), np.nan)
        self.weight = np.zeros((size, self.steps)) if config.weight else None
        self.known = np.full((size, len(config.known_future), width), np.nan)
        self.rows = np.zeros(size, dtype=np.int64)

    def add(self, batch: pa.RecordBatch, as_of: date) -> None:
        """Write the rows of known series; rows of others (excluded, newer) are left out."""
        codes, at = self._codes(batch["series_id"]), self._steps(batch["date"])
        if (stray := (codes >= 0) & (at < 0)).any():
            raise PanelError(
                f"table {SERIES_PANEL}: {batch['date'].filter(pa.array(stray))[0]} is no step of frequency {self.config.frequency}: "
                "make the panel anew"
            )
        past = _chosen((codes >= 0) & (at < self.steps))
        place = (codes * self.steps + at)[past]
        self.y.ravel()[place] = _floats(batch["target"])[past]
        self.rows += np.bincount(codes[past], minlength=len(self.rows))
        if self.weight is not None:
            self.weight.ravel()[place] = np.nan_to_num(_floats(batch["weight"]))[past]
        early = (codes >= 0) & _known_by(batch["known_from"], as_of)
        cells = (codes * len(self.config.known_future)) * len(self.times) + at
        for k, name in enumerate(self.config.known_future):
            there = _chosen(early & np.asarray(batch[name].is_valid()))
            self.known.ravel()[cells[there] + k * len(self.times)] = _floats(batch[name])[there]

    def _codes(self, ids: pa.DictionaryArray) -> Ints:
        """Place of each row's series, -1 where it is not wanted: one look per series of the batch, not per row."""
        places = pc.fill_null(pc.index_in(ids.dictionary, self.ids), -1).to_numpy(zero_copy_only=False)
        return np.asarray(places.astype(np.int64)[ids.indices.to_numpy(zero_copy_only=False)])

    def _steps(self, dates: pa.Array) -> Ints:
        """Step of each date, -1 where it is not on the grid: one look per different date of the batch."""
        coded = dates.dictionary_encode()
        each = coded.dictionary.cast(pa.timestamp("ns", getattr(dates.type, "tz", None))).to_numpy(zero_copy_only=False)
        at = np.minimum(np.searchsorted(self.times, each), len(self.times) - 1)
        return np.asarray(np.where(self.times[at] == each, at, -1)[coded.indices.to_numpy(zero_copy_only=False)])


def _chosen(rows: np.ndarray) -> Ints | slice:
    """Places of the rows that are True; a slice, which copies nothing, where all are."""
    return slice(None) if rows.all() else np.flatnonzero(rows)


def _floats(column: pa.Array) -> Floats:
    values: Floats = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
    return values


def _known_by(known_from: pa.Array, as_of: date) -> np.ndarray:
    late = pc.greater(known_from, pa.scalar(as_of, pa.date32()))
    return ~np.asarray(pc.fill_null(late, False).to_numpy(zero_copy_only=False), dtype=bool)


def _panel(series: pa.Table, cells: _Rows, grid: pd.DatetimeIndex, config: ForecastConfig) -> Panel:
    ids = np.asarray(series["series_id"].to_pylist(), dtype=object)
    if (cells.rows == 0).any():
        lost = ids[cells.rows == 0]
        raise PanelError(
            f"table {SERIES_PANEL} has no row of {len(lost)} series, such as {lost[0]}: make the panel of this as-of day first"
        )
    sound = (np.abs(np.nan_to_num(cells.y)) <= LIMIT).all(axis=1) & ~np.isnan(cells.y).all(axis=1)
    own = slice(None) if sound.all() else sound  # a slice copies nothing
    y, known, weight = cells.y[own], cells.known[own], None if cells.weight is None else cells.weight[own]
    frame = series.to_pandas()[sound].reset_index(drop=True)
    known[~np.isfinite(known)] = np.nan
    carry_forward(known)
    layout = Cells(y, known, weight, frame["active_days"].to_numpy(dtype=np.int64))
    segments = segment_codes([frame.get(name) for name in config.segments], len(frame))
    shard = lay_out(ids[sound], layout, segments, np.asarray(grid.values), config)
    return Panel(shard, tuple(ids[~sound].tolist()))
