"""Judged rows: which series, segment and week each row of the fold that chose nothing lies in.

Belongs here: arranging gold/judged_fold. Does not belong here: whose forecasts are judged (contenders), figures of them (figures).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.layout import series_segments
from ml_platform.training_tables import ADAPTED

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]
WEEK_MS = 7 * 86_400_000
FAMILY = "family_"  # begins the columns with forecasts of families


def segment_labels(catalogue: pa.Table, config: ForecastConfig) -> dict[str, str]:
    """series_id -> segment, by the name that training gives it."""
    codes, names = series_segments(catalogue.to_pandas(), config)
    return dict(zip(catalogue["series_id"].to_pylist(), np.asarray(names)[codes].tolist(), strict=True))


@dataclass(frozen=True)
class Cells:
    """Judged rows in the order (series_id, step): which series, segment and week each lies in. `week` counts from the first date."""

    table: pa.Table
    ids: list[str]
    row_series: Codes
    row_week: Codes
    series_segment: Codes
    segments: list[str]
    actual: Floats
    weight: Floats
    scale: Floats

    @property
    def weeks(self) -> int:
        return int(self.row_week.max()) + 1 if len(self.row_week) else 1

    @property
    def row_segment(self) -> Codes:
        """Segment of each row."""
        return self.series_segment[self.row_series]

    @property
    def first_date(self) -> date:
        """Of the judged rows, of which there must be some."""
        return pd.Timestamp(pc.min(self.table["date"]).as_py()).date()

    @property
    def last_date(self) -> date:
        """Of the same."""
        return pd.Timestamp(pc.max(self.table["date"]).as_py()).date()

    @property
    def families(self) -> list[str]:
        """Those that were tried on some series of the fold, in the order of their names."""
        names = (name for name in self.table.column_names if name.startswith(FAMILY))
        return sorted(name.removeprefix(FAMILY) for name in names if self.table[name].null_count < self.table.num_rows)

    def column(self, name: str) -> Floats:
        """A column of the fold, null as NaN."""
        if name not in self.table.column_names:
            return np.full(self.table.num_rows, np.nan)
        return _floats(self.table[name])


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    return values


def _milliseconds(column: pa.ChunkedArray) -> Codes:
    whole = column if pa.types.is_timestamp(column.type) else column.cast(pa.timestamp("ms"))
    values: Codes = whole.cast(pa.timestamp("ms", tz=whole.type.tz)).cast(pa.int64()).to_numpy()
    return values


def _spread_adapted(fold: pa.Table) -> pa.Table:
    """The fold with a column for each adapter, as for every other family."""
    if ADAPTED not in fold.column_names:
        return fold
    found = fold[ADAPTED].combine_chunks()
    for name in pc.unique(found.keys).sort().to_pylist():
        fold = fold.append_column(f"{FAMILY}{name}", pc.map_lookup(found, name, "first"))
    return fold.drop_columns(ADAPTED)


def arrange(fold: pa.Table, labels: Mapping[str, str]) -> Cells:
    """Sort the judged rows and number their series, segments and weeks; weights that are all null mean equal weights."""
    table = _spread_adapted(fold).sort_by([("series_id", "ascending"), ("step", "ascending")])
    encoded = table["series_id"].combine_chunks().dictionary_encode()
    ids, row_series = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
    first = np.searchsorted(row_series, np.arange(len(ids)))
    names = [labels.get(one, "none") for one in ids]
    segments = sorted(set(names))
    place = {name: i for i, name in enumerate(segments)}
    moments = _milliseconds(table["date"])
    weight = _floats(table["weight"])[first] if len(ids) else np.zeros(0)
    return Cells(
        table=table,
        ids=ids,
        row_series=row_series,
        row_week=(moments - (moments.min() if len(moments) else 0)) // WEEK_MS,
        series_segment=np.array([place[name] for name in names], np.int64),
        segments=segments,
        actual=_floats(table["actual"]),
        weight=np.asarray(np.ones(len(ids)) if np.isnan(weight).all() else np.nan_to_num(weight, nan=0.0)),
        scale=_floats(table["scale"])[first] if len(ids) else np.zeros(0),
    )
