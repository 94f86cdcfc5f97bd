"""The panel as arrays: what training and scoring read from the lake.

Belongs here: reading gold/series_panel up to an as-of day into a Shard. Does not belong here: making the panel (features), models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import last_whole_day, step_times
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import Fleet
from ml_platform.forecasting.layout import Cells, lay_out, series_attributes, series_segments
from ml_platform.forecasting.screening import LIMIT, TOWERING, Sizes
from ml_platform.lake import Lake
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel_rows import PanelError, PanelRows

NOT_SERIES = ("excluded", "quarantined")
OUT_OF_RANGE = "out_of_range"  # why a series is refused


@dataclass(frozen=True)
class Panel:
    """Arrays of the series that can be used, and the ids of those that hold a value beyond all measure, or none."""

    shard: Shard
    refused: tuple[str, ...]

    def of(self, ids: Sequence[str]) -> "Panel":
        """The same of some series."""
        wanted = set(ids)
        own = np.asarray([one in wanted for one in self.shard.series_id], dtype=bool)
        return Panel(self.shard.take(own), tuple(one for one in self.refused if one in wanted))


def read_panel(
    lake: Lake,
    catalogue: pa.Table,
    config: ForecastConfig,
    as_of: date,
    *,
    only: pa.Array | None = None,
    version: int | None = None,
    judging: bool = False,
) -> Panel:
    """All series of a catalogue (as of that day) in series_id order, with nothing newer than `as_of`.

    Targets after as_of are not read; covariates of later dates only where they were known by then. `only`: ids of the series to read, on the calendar
    of all. `version`: of the panel, by default the newest. `judging`: active days are those before the fold that judges. Raises PanelError where the panel has no row of a series or a date outside the calendar.
    """
    series = expected_series(catalogue)
    grid, where = calendar_of(series, config, as_of), until(as_of, config)
    if only is not None:
        series = _whole_segments(series, only, config)
        begin = _first_time(series, config, _end(as_of, config))
        where &= pc.field("series_id").isin(series["series_id"].combine_chunks()) & (
            pc.field("month") >= f"{begin:%Y-%m}"
        )
    cells = PanelRows(series["series_id"].combine_chunks(), grid, config, config.horizon)
    cells.scan(panel_at(lake, version), where, as_of)
    panel = _panel(series, cells, grid, config, "days_before_fold" if judging else "active_days")
    return panel if only is None else panel.of(only.to_pylist())


def _whole_segments(series: pa.Table, only: pa.Array, config: ForecastConfig) -> pa.Table:
    """Rows of the catalogue that `only` some series need: those whose means of covariates, or first step, are theirs, too."""
    own = pc.is_in(series["series_id"], only)
    if not config.known_future and config.missing != "zero":
        return series.filter(own)
    codes, _ = series_segments(series.to_pandas(), config)
    return series.filter(pa.array(np.isin(codes, codes[own.to_numpy()])))


def panel_at(lake: Lake, version: int | None) -> ds.Dataset:
    """The panel to scan, its series as codes."""
    return lake.dataset(SERIES_PANEL, version, coded=["series_id"])


def expected_series(catalogue: pa.Table) -> pa.Table:
    """Rows of the catalogue that have a model, by series_id."""
    kept = catalogue.filter(pc.invert(pc.is_in(catalogue["state"], pa.array(NOT_SERIES))))
    if not kept.num_rows:
        raise PanelError("the catalogue holds no series to train: prepare the history of an earlier as-of day first")
    return kept.sort_by("series_id")


def _towers(size: np.ndarray) -> np.ndarray:
    """Series one of whose absolute values (S, T) is a thousand times as large as every other one."""
    sizes = Sizes(size.max(axis=1, initial=0.0), size.sum(axis=1), (size > 0).sum(axis=1).astype(float))
    found = sizes.towers()
    rows = np.flatnonzero(found)
    if len(rows):
        second = np.partition(size[rows], -2, axis=1)[:, -2]
        found[rows] = sizes.largest[rows] > TOWERING * second
    return found


def without(catalogue: pa.Table, series: Iterable[str]) -> pa.Table:
    """A catalogue without some series."""
    return catalogue.filter(pc.invert(pc.is_in(catalogue["series_id"], pa.array(list(series), pa.string()))))


def without_failed(catalogue: pa.Table, fleet: Fleet) -> pa.Table:
    """A catalogue without the series at which the training of a fleet failed: they are in no mean, as in training."""
    out = fleet.quarantined
    return without(catalogue, out.filter(pc.not_equal(out["reason"], OUT_OF_RANGE))["series_id"].to_pylist())


def _end(as_of: date, config: ForecastConfig) -> pd.Timestamp:
    """The end of the newest step that is over on the as-of day."""
    return pd.Timestamp(last_whole_day(as_of, config.frequency)) + (
        pd.Timedelta(days=1, microseconds=-1) if config.subdaily else pd.Timedelta(0)
    )


def until(as_of: date, config: ForecastConfig) -> pc.Expression:
    """Rows up to the last step that is forecast."""
    last = step_times(
        _end(as_of, config) - pd.Timedelta(days=400), _end(as_of, config), config.horizon, config.frequency
    )[-1]
    value = (
        pa.scalar(last.to_pydatetime(), pa.timestamp("us")) if config.subdaily else pa.scalar(last.date(), pa.date32())
    )
    value = pc.assume_timezone(value, "UTC") if config.subdaily else value
    return (pc.field("date") <= value) & (pc.field("month") <= f"{last:%Y-%m}")


def calendar_of(series: pa.Table, config: ForecastConfig, as_of: date) -> pd.DatetimeIndex:
    """Steps from the first one of any series to the newest that is over on the as-of day, and those that are forecast."""
    end = _end(as_of, config)
    return step_times(_first_time(series, config, end), end, config.horizon, config.frequency)


def _first_time(series: pa.Table, config: ForecastConfig, end: pd.Timestamp) -> pd.Timestamp:
    first = pd.Timestamp(pc.min(series["first_date"]).as_py())
    if first > end:
        raise PanelError(
            f"the catalogue begins on {first.date()}, after the as-of day {end.date()}: read it as of that day"
        )
    offset = pd.tseries.frequencies.to_offset(config.frequency)
    return first if config.subdaily else pd.Timestamp(offset.rollback(first))


def _panel(series: pa.Table, cells: PanelRows, grid: pd.DatetimeIndex, config: ForecastConfig, active: str) -> Panel:
    ids = np.asarray(series["series_id"].to_pylist(), dtype=object)
    if (cells.rows == 0).any():
        lost = ids[cells.rows == 0]
        raise PanelError(
            f"table {SERIES_PANEL} has no row of {len(lost)} series, such as {lost[0]}: make the panel of this as-of day first"
        )
    size = np.abs(np.nan_to_num(cells.y))
    sound = (size <= LIMIT).all(axis=1) & ~np.isnan(cells.y).all(axis=1) & ~_towers(size)
    own = slice(None) if sound.all() else sound  # a slice copies nothing
    y, known, weight = cells.y[own], cells.known[own], None if cells.weight is None else cells.weight[own]
    frame = series.to_pandas()[sound].reset_index(drop=True)
    known[~np.isfinite(known)] = np.nan
    static = series_attributes(frame, config)
    layout = Cells(y, known, weight, frame[active].to_numpy(dtype=np.int64), static)
    shard = lay_out(ids[sound], layout, series_segments(frame, config), np.asarray(grid.values), config)
    return Panel(shard, tuple(ids[~sound].tolist()))
