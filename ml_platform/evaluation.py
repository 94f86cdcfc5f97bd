"""Judging: the errors of challenger, champion, families and floors on the fold that chose nothing, by fleet and by segment.

Belongs here: metrics of forecasts on judged rows. Does not belong here: the verdict (gate), the count of series (coverage), fitting or choosing (forecasting).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_platform.forecasting import ForecastConfig, metrics
from ml_platform.forecasting.layout import series_segments
from ml_platform.lake import Lake, schemas
from ml_platform.training_tables import ADAPTED

if TYPE_CHECKING:
    from ml_platform.forecasting import Fleet
    from ml_platform.forecasting.fleet import PoolReader

Floats = NDArray[np.floating]
Codes = NDArray[np.int64]
FLEET = "fleet"
WEEK_MS = 7 * 86_400_000


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

    def column(self, name: str) -> Floats:
        """A column of the fold, null as NaN."""
        return _floats(self.table[name])


@dataclass(frozen=True)
class Contender:
    """One forecast of every judged row, with its interval bounds by percent where it has any."""

    name: str
    forecast: Floats
    bounds: Mapping[int, tuple[Floats, Floats]] = field(default_factory=dict)
    release_id: str | None = None


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
        fold = fold.append_column(f"family_{name}", pc.map_lookup(found, name, "first"))
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


def _weekly_wape(cells: Cells, actual: Floats, forecast: Floats, group: Codes, groups: int) -> Floats:
    """WAPE of the sums by segment and week, per group of segments: the level at which people plan."""
    weeks = int(cells.row_week.max()) + 1 if len(cells.row_week) else 1
    cell = cells.series_segment[cells.row_series] * weeks + cells.row_week
    size = len(cells.segments) * weeks
    miss = np.abs(metrics.sums(cell, actual, size) - metrics.sums(cell, forecast, size))
    owner = np.zeros(len(cells.segments), np.int64)
    owner[cells.series_segment] = group
    return metrics.ratio(
        metrics.sums(np.repeat(owner, weeks), miss, groups),
        metrics.sums(np.repeat(owner, weeks), metrics.sums(cell, actual, size), groups),
    )


def measure(
    cells: Cells, contender: Contender, group: Codes, groups: int, intervals: tuple[int, ...]
) -> dict[str, NDArray[np.generic]]:
    """Every metric of one contender per group of series; `group` has one code per series.

    Rows without an actual do not count; a missing forecast counts as 0, and `rows` says how many there were.
    """
    own = metrics.Cells(
        cells.actual, cells.row_series, group, groups, cells.weight, cells.scale, np.full(len(group), np.nan)
    )
    made = own.seen & np.isfinite(contender.forecast)
    actual, forecast = np.where(own.seen, cells.actual, 0.0), np.where(made, contender.forecast, 0.0)
    rmsse, weight, unscaled = metrics.weighted_rmsse(own, forecast)
    nothing = np.full(groups, np.nan)
    covered = {
        f"coverage_{one}": metrics.coverage(own, *contender.bounds[one]) if one in contender.bounds else nothing
        for one in intervals
    }
    return {
        "weighted_rmsse": rmsse,
        "wape": metrics.wape(own, forecast),
        "wape_week": _weekly_wape(cells, actual, forecast, group, groups),
        "bias": metrics.bias(own, forecast),
        **covered,
        "weight": weight,
        "series": np.bincount(group, minlength=groups),
        "unscaled": unscaled,
        "rows": metrics.sums(own.cell_group, made, groups).astype(np.int64),
    }


def recipe_forecast(cells: Cells, families: list[str], fleet: "Fleet") -> Floats:
    """Blend the fold's family forecasts as a fleet would: its weights per series and its factors.

    A series that the fleet lacks takes the weights of its segment, as it would in scoring; families that were not tried on a series of this fold
    leave their share to the others.
    """
    from ml_platform.forecasting.fleet import KINDS, PoolReader
    from ml_platform.forecasting.selection import blend

    reader = PoolReader(fleet, tuple(cells.segments))
    known = [name for name in fleet.config.family_names if name in families]
    columns = np.stack([cells.column(f"family_{name}") for name in known], axis=1)
    own = _recipe_weights(cells, fleet, reader)[:, [fleet.config.family_names.index(name) for name in known]]
    tried = np.isfinite(columns)
    weights = np.where(tried, own[cells.row_series], 0.0)
    total = weights.sum(axis=1, keepdims=True)
    even = tried / np.maximum(tried.sum(axis=1, keepdims=True), 1)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), even)
    kind = reader.array("meta", ("kind",), cells.series_segment)[cells.row_series, 0]
    columns = np.where(tried, columns, 0.0)
    mean = np.where(kind == KINDS.index("positive"), blend(columns, weights, True), blend(columns, weights, False))
    mean = np.asarray(mean * reader.array("factors", ("mean",), cells.series_segment)[cells.row_series, 0], np.float64)
    return np.where(kind == KINDS.index("real"), mean, np.maximum(mean, 0.0))


def _recipe_weights(cells: Cells, fleet: "Fleet", reader: "PoolReader") -> Floats:
    """Weights per series of the fold and family of the fleet, its segment's where it has no row of its own."""
    from ml_platform.forecasting import fleet_weights

    place, names = {one: i for i, one in enumerate(cells.ids)}, fleet.config.family_names
    weights = reader.array("weights", names, cells.series_segment).copy()
    for one, text in zip(fleet.rows["series_id"].to_pylist(), fleet.rows["parameters"].to_pylist(), strict=True):
        share = fleet_weights(text) if one in place and text else {}
        if share:
            weights[place[one]] = [share.get(name, 0.0) for name in names]
    return weights


def contenders(
    cells: Cells, config: ForecastConfig, champion: "Fleet | None" = None, champion_id: str | None = None
) -> list[Contender]:
    """The challenger as the fold holds it, the champion by its recipe, every family and every floor."""
    names = [name for name in cells.table.column_names if cells.table[name].null_count < cells.table.num_rows]
    whole = [name for name in names if not cells.table[name].null_count]
    families = [name.removeprefix("family_") for name in names if name.startswith("family_")]
    bounds = {one: (cells.column(f"lo_{one}"), cells.column(f"hi_{one}")) for one in config.intervals}
    found = [Contender("challenger", cells.column("mean"), bounds)]
    if champion is not None:
        found.append(Contender("champion", recipe_forecast(cells, families, champion), release_id=champion_id))
    plain = [name for name in whole if name.startswith(("family_", "floor_"))]
    return [*found, *(Contender(name, cells.column(name)) for name in plain)]


def evaluate(
    judged_fold: pa.Table,
    catalogue: pa.Table,
    config: ForecastConfig,
    as_of: date,
    champion: "Fleet | None" = None,
    champion_id: str | None = None,
) -> pa.Table:
    """Judge all contenders on the fold that chose nothing, by fleet and by segment.

    `judged_fold` is gold/judged_fold of the day, `champion` the fleet of the release to beat. Weighted RMSSE takes
    the root once, after averaging over series by weight (DESIGN section 7, trap 12). Returns rows of gold/fleet_evaluation; a metric without a base is null.
    """
    spec = schemas.fleet_evaluation(config.intervals)
    cells = arrange(judged_fold, segment_labels(catalogue, config))
    whole = np.zeros(len(cells.ids), np.int64)
    parts = []
    for contender in contenders(cells, config, champion, champion_id):
        parts.append(
            _rows(spec.schema, as_of, contender, FLEET, [FLEET], measure(cells, contender, whole, 1, config.intervals))
        )
        by_segment = measure(cells, contender, cells.series_segment, len(cells.segments), config.intervals)
        parts.append(_rows(spec.schema, as_of, contender, "segment", cells.segments, by_segment))
    return pa.concat_tables(parts).combine_chunks()


def _rows(
    schema: pa.Schema,
    as_of: date,
    contender: Contender,
    level: str,
    segments: list[str],
    figures: dict[str, NDArray[np.generic]],
) -> pa.Table:
    fixed = {"as_of": as_of, "contender": contender.name, "release_id": contender.release_id, "level": level}
    columns: dict[str, pa.Array] = {
        name: pa.array([value] * len(segments), schema.field(name).type) for name, value in fixed.items()
    }
    columns["segment"] = pa.array(segments, pa.string())
    columns |= {name: pa.array(values, schema.field(name).type, from_pandas=True) for name, values in figures.items()}
    return pa.table([columns[name] for name in schema.names], schema=schema)


def store_evaluation(lake: Lake, evaluation: pa.Table, config: ForecastConfig, as_of: date) -> bool:
    """Put the rows of the day in their table; False and no commit where they are there already."""
    spec = schemas.fleet_evaluation(config.intervals)
    kept = (
        lake.read(spec.name, where=pc.field("as_of") == pa.scalar(as_of))
        if lake.exists(spec.name)
        else spec.schema.empty_table()
    )
    order = [("contender", "ascending"), ("level", "ascending"), ("segment", "ascending")]
    if kept.num_rows and kept.select(spec.schema.names).cast(spec.schema).sort_by(order).equals(
        evaluation.sort_by(order)
    ):
        return False
    lake.replace(spec, evaluation, f"as_of = '{as_of.isoformat()}'")
    return True
