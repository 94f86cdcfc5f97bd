"""Rows of the panel as dense arrays, whatever part of it is read.

Belongs here: where a row's values lie in the arrays, what was known by a day. Does not belong here: which rows are read (panel, panel_news).
"""

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.lake.names import SERIES_PANEL


class PanelError(ValueError):
    """The panel and the catalogue do not fit together; names the table and the way out."""


class PanelRows:
    """Dense arrays that panel rows are written into, batch by batch, in any order.

    In single precision: y (S, T) and weight (S, T), NaN and 0 where there is no row; known (S, 2 K, T + ahead), NaN where unknown and in the second
    half, which is for means. rows (S,): how
    many of each series.
    """

    def __init__(self, ids: pa.Array, grid: pd.DatetimeIndex, config: ForecastConfig, ahead: int) -> None:
        """For series, and the steps of a grid of which the last `ahead` have no target."""
        size, width = len(ids), len(grid)
        self.config, self.ids, self.steps = config, ids, width - ahead
        self.times = np.asarray(grid.values, dtype="datetime64[ns]")
        self.y = np.full((size, self.steps), np.nan, dtype=np.float32)
        self.weight = np.zeros((size, self.steps), dtype=np.float32) if config.weight else None
        self.known = np.full((size, 2 * len(config.known_future), width), np.nan, dtype=np.float32)
        self.rows = np.zeros(size, dtype=np.int64)

    def scan(self, dataset: ds.Dataset, where: pc.Expression, as_of: date) -> None:
        """Write the rows of a panel for which `where` holds, as they were known on the as-of day; its steps lie on the grid."""
        config = self.config
        names = [
            "series_id",
            "date",
            "target",
            *(["weight"] if config.weight else []),
            *config.known_future,
            "known_from",
        ]
        scanner = dataset.scanner(
            columns=names, filter=where, batch_size=1 << 20, batch_readahead=2, fragment_readahead=1
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                self.add(batch, as_of)

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
        cells = (codes * self.known.shape[1]) * len(self.times) + at
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
    values: Floats = pc.fill_null(column.cast(pa.float32(), safe=False), np.nan).to_numpy(zero_copy_only=False)
    return values


def _known_by(known_from: pa.Array, as_of: date) -> np.ndarray:
    late = pc.greater(known_from, pa.scalar(as_of, pa.date32()))
    return ~np.asarray(pc.fill_null(late, False).to_numpy(zero_copy_only=False), dtype=bool)
