"""Figures: the errors of challenger, champion, families and floors on the fold that chose nothing, by fleet and by segment.

Belongs here: metrics of forecasts on judged rows. Does not belong here: the verdict (gate), the count of series (coverage), fitting or choosing (forecasting).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_platform.evaluation.cells import Cells, Codes, Floats
from ml_platform.evaluation.contenders import CHALLENGER, Contender, contenders
from ml_platform.evaluation.losses import Losses, losses
from ml_platform.evaluation.noise import Blocks, Estimate, blocks, difference, difference_by, excess_bias, joined
from ml_platform.forecasting import ForecastConfig, metrics
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.lake import Lake, schemas
from ml_platform.training_tables import CHAMPION

FLEET = "fleet"
ZERO = "floor_zero"
Figures = dict[str, NDArray[np.generic]]


def _weekly_wape(cells: Cells, actual: Floats, forecast: Floats, group: Codes, groups: int) -> Floats:
    """WAPE of the sums by segment and week, per group of segments: the level at which people plan."""
    weeks = cells.weeks
    cell = cells.row_segment * weeks + cells.row_week
    size = len(cells.segments) * weeks
    miss = np.abs(metrics.sums(cell, actual, size) - metrics.sums(cell, forecast, size))
    owner = np.zeros(len(cells.segments), np.int64)
    owner[cells.series_segment] = group
    return metrics.ratio(
        metrics.sums(np.repeat(owner, weeks), miss, groups),
        metrics.sums(np.repeat(owner, weeks), metrics.sums(cell, actual, size), groups),
    )


def measure(cells: Cells, contender: Contender, group: Codes, groups: int, config: ForecastConfig) -> Figures:
    """Every metric of one contender per group of series; `group` has one code per series.

    Rows without an actual do not count; a missing forecast counts as 0, and `rows` says how many there were.
    """
    judged = cells.actual
    if contender.partial:
        judged = np.where(np.isfinite(contender.forecast), judged, np.nan)
    own = metrics.Cells(judged, cells.row_series, group, groups, cells.weight, cells.scale, np.full(len(group), np.nan))
    made = own.seen & np.isfinite(contender.forecast)
    actual, forecast = np.where(own.seen, judged, 0.0), np.where(made, contender.forecast, 0.0)
    rmsse, weight, unscaled = metrics.weighted_rmsse(own, forecast)
    return {
        "weighted_rmsse": rmsse,
        "wape": metrics.wape(own, forecast),
        "wape_week": _weekly_wape(cells, actual, forecast, group, groups),
        "bias": metrics.bias(own, forecast),
        **_intervals(own, contender, config.intervals),
        "weight": weight,
        "series": np.bincount(group, minlength=groups),
        "unscaled": unscaled,
        "rows": metrics.sums(own.cell_group, made, groups).astype(np.int64),
        "error": losses(cells, contender, config).error(group[cells.row_series], groups),
    }


def _intervals(own: metrics.Cells, contender: Contender, levels: Sequence[int]) -> Figures:
    """Of each interval the share of actuals inside, ends included, below and above it, and not below its upper end."""
    out: Figures = {}
    for level in levels:
        low, high = contender.bounds.get(level, (np.full(len(own.actual), np.nan),) * 2)
        there = own.seen & np.isfinite(low) & np.isfinite(high)
        total = metrics.sums(own.cell_group, there, own.groups)
        for name, where in (
            ("below", own.actual < low),
            ("above", own.actual > high),
            ("reaching", own.actual >= high),
        ):
            out[f"{name}_{level}"] = metrics.ratio(metrics.sums(own.cell_group, there & where, own.groups), total)
        out[f"coverage_{level}"] = metrics.coverage(own, low, high)
    return out


def best_floor(cells: Cells, floors: Sequence[Contender], config: ForecastConfig) -> Contender | None:
    """The floor with the least error over the fleet."""
    whole = np.zeros(len(cells.actual), np.int64)
    errors = [float(losses(cells, one, config).error(whole, 1)[0]) for one in floors]
    known = [(error, place) for place, error in enumerate(errors) if np.isfinite(error)]
    return floors[min(known)[1]] if known else None


def evaluate(
    cells: Cells,
    config: ForecastConfig,
    as_of: date,
    champion: Incumbent | None = None,
    champion_id: str | None = None,
    live: pa.Table | None = None,
    earlier: Sequence[Blocks] = (),
) -> pa.Table:
    """Judge all contenders on the fold that chose nothing, by fleet and by segment.

    `cells` are the judged rows of the day, `champion` the choice of the release to beat, `live` what was really forecast at the cut, `earlier`
    blocks of older days on which a fleet made like this one met the same champion. Weighted RMSSE takes the root once, after averaging over series
    by weight (DESIGN section 7, trap 12). Returns rows of gold/fleet_evaluation; a metric without a base is null.
    """
    match = _Match.of(cells, contenders(cells, config, champion, champion_id, live), config)
    fleet = match.figures([FLEET], np.zeros(len(cells.ids), np.int64))
    pair = match.pair
    if pair is not None:
        told = difference(joined([blocks(cells, *pair), *earlier]))
        fleet[CHALLENGER] |= {**_estimates("difference", [told]), "origins": np.array([1 + len(earlier)])}
    segments = match.figures(cells.segments, cells.series_segment)
    if pair is not None:
        size = len(cells.segments)
        segments[CHALLENGER] |= _estimates("difference", difference_by(cells, *pair, cells.series_segment, size))
    schema = schemas.fleet_evaluation(config.intervals).schema
    parts = [
        _rows(schema, as_of, one, level, names, figures[one.name])
        for level, names, figures in ((FLEET, [FLEET], fleet), ("segment", cells.segments, segments))
        for one in match.found
    ]
    return pa.concat_tables(parts).combine_chunks()


@dataclass(frozen=True)
class _Match:
    """All contenders on the same rows: the best floor, and the best of the floors that say how much, which all-zero does not."""

    cells: Cells
    config: ForecastConfig
    found: Sequence[Contender]
    floor: Contender | None
    level_floor: Contender | None

    @classmethod
    def of(cls, cells: Cells, found: Sequence[Contender], config: ForecastConfig) -> "_Match":
        floors = [one for one in found if one.name.startswith("floor_")]
        told = [one for one in floors if one.name != ZERO]
        return cls(cells, config, found, best_floor(cells, floors, config), best_floor(cells, told, config))

    @property
    def challenger(self) -> Contender:
        return next(one for one in self.found if one.name == CHALLENGER)

    @cached_property
    def pair(self) -> tuple[Losses, Losses] | None:
        """Losses of the challenger, and of the champion, or else of the best floor."""
        opponent = next((one for one in self.found if one.name == CHAMPION), self.floor)
        if opponent is None:
            return None
        return losses(self.cells, self.challenger, self.config), losses(self.cells, opponent, self.config)

    def figures(self, names: Sequence[str], group: Codes) -> dict[str, Figures]:
        """Metrics by contender, for groups of series; of the challenger its excess of bias and the share that it improves, too."""
        cells, size = self.cells, len(names)
        base = np.full(size, np.nan)
        if self.floor is not None:
            base = losses(cells, self.floor, self.config).error(group[cells.row_series], size)
        told: dict[str, Figures] = {}
        for one in self.found:
            own = told[one.name] = measure(cells, one, group, size, self.config)
            own["skill"] = 1.0 - np.divide(own["error"], base, out=np.full(size, np.nan), where=base > 0)
        excess = excess_bias(cells, self.challenger, self.level_floor, group, size)
        told[CHALLENGER]["weekly_bias"] = np.array([bias for bias, _ in excess])
        told[CHALLENGER] |= _estimates("excess_bias", [one for _, one in excess])
        if self.pair is not None:
            told[CHALLENGER]["improved"] = _improved(cells, *self.pair, group, size)
        return told


def _estimates(name: str, told: Sequence[Estimate]) -> Figures:
    columns = {name: [one.value for one in told], f"{name}_se": [one.error for one in told]}
    return {
        key: np.array(values, dtype=float)
        for key, values in (columns | {f"{name}_units": [one.units for one in told]}).items()
    }


def _improved(cells: Cells, own: Losses, theirs: Losses, group: Codes, groups: int) -> Floats:
    """Share of the weight that lies in series whose error is not larger than the champion's; ties count as not larger."""
    size = len(cells.ids)
    (first, mass), (second, _) = own.sums(cells.row_series, size), theirs.sums(cells.row_series, size)
    better = first <= second * (1.0 + 1e-9)
    return metrics.ratio(metrics.sums(group, np.where(better, mass, 0.0), groups), metrics.sums(group, mass, groups))


def _rows(
    schema: pa.Schema,
    as_of: date,
    contender: Contender,
    level: str,
    segments: Sequence[str],
    figures: Mapping[str, NDArray[np.generic]],
) -> pa.Table:
    fixed = {"as_of": as_of, "contender": contender.name, "release_id": contender.release_id, "level": level}
    columns: dict[str, pa.Array] = {
        name: pa.array([value] * len(segments), schema.field(name).type) for name, value in fixed.items()
    }
    columns["segment"] = pa.array(list(segments), pa.string())
    unknown = np.full(len(segments), np.nan)
    numbers = {name: figures.get(name, unknown) for name in schema.names if name not in columns}
    columns |= {name: pa.array(values, schema.field(name).type, from_pandas=True) for name, values in numbers.items()}
    return pa.table([columns[name] for name in schema.names], schema=schema)


def store_evaluation(lake: Lake, evaluation: pa.Table, config: ForecastConfig, as_of: date) -> bool:
    """Put the rows of the day in their table; False and no commit where they are there already."""
    spec = schemas.fleet_evaluation(config.intervals)
    lake.migrate(spec)
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
