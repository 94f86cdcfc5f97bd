"""Contenders: whose forecasts of the judged rows are compared.

Belongs here: challenger, champion, families and floors as forecasts of every judged row. Does not belong here: figures of them (figures).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ml_platform.evaluation.cells import FAMILY, Cells, Floats
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.training_tables import CHAMPION

if TYPE_CHECKING:
    from ml_platform.forecasting import Fleet
    from ml_platform.forecasting.fleet import PoolReader

CHALLENGER = "challenger"
LIVE = "champion_live"  # what was really forecast at the cut
BESIDE_LIVE = "challenger_beside_live"  # the challenger on the same rows


@dataclass(frozen=True)
class Contender:
    """One forecast of every judged row: its mean, the point of the objective, and its interval bounds by percent where it has any.

    partial: it forecast some rows only, and the others do not count; else a missing forecast counts as 0.
    """

    name: str
    forecast: Floats
    bounds: Mapping[int, tuple[Floats, Floats]] = field(default_factory=dict)
    release_id: str | None = None
    best: Floats | None = None
    partial: bool = False

    @property
    def point(self) -> Floats:
        """What the objective is measured on; the mean where nothing else is known."""
        return self.forecast if self.best is None else np.where(np.isfinite(self.best), self.best, self.forecast)


def recipe_forecast(cells: Cells, fleet: "Fleet") -> Floats:
    """Blend the fold's family forecasts as a fleet would: its weights per series and its factors.

    A series that the fleet lacks takes the weights of its segment, as it would in scoring; families that were not tried on a series of this fold
    leave their share to the others.
    """
    from ml_platform.forecasting.fleet import KINDS, PoolReader
    from ml_platform.forecasting.selection import blend

    reader = PoolReader(fleet, tuple(cells.segments))
    known = [name for name in fleet.config.family_names if name in cells.families]
    columns = np.stack([cells.column(f"{FAMILY}{name}") for name in known], axis=1)
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
    cells: Cells,
    config: ForecastConfig,
    champion: Incumbent | None = None,
    champion_id: str | None = None,
    live: pa.Table | None = None,
) -> list[Contender]:
    """The challenger as the fold holds it, the champion fitted at the same cut, what was really forecast there, every family and every floor."""
    whole = [name for name in cells.table.column_names if not cells.table[name].null_count]
    found = [_held(cells, config, CHALLENGER)]
    if champion is not None:
        found.append(_champion(cells, config, champion, champion_id))
    if live is not None and live.num_rows:
        found += _live(cells, live, found[0])
    plain = [name for name in whole if name.startswith((FAMILY, "floor_"))]
    return [*found, *(Contender(name, cells.column(name)) for name in plain)]


def _held(
    cells: Cells, config: ForecastConfig, name: str, before: str = "", release_id: str | None = None
) -> Contender:
    bounds = {one: (cells.column(f"{before}lo_{one}"), cells.column(f"{before}hi_{one}")) for one in config.intervals}
    return Contender(name, cells.column(f"{before}mean"), bounds, release_id, cells.column(f"{before}point"))


def _champion(cells: Cells, config: ForecastConfig, champion: Incumbent, champion_id: str | None) -> Contender:
    """As the training fitted it, where it was trained beside this champion; else by its weights on the families of the fold."""
    beside = cells.table["beside"].unique().to_pylist() if "beside" in cells.table.column_names else []
    if beside == [champion.recipe]:
        return _held(cells, config, CHAMPION, f"{CHAMPION}_", champion_id)
    return Contender(CHAMPION, recipe_forecast(cells, champion.fleet), release_id=champion_id)


def _live(cells: Cells, live: pa.Table, challenger: Contender) -> list[Contender]:
    keys = cells.table.select(["series_id", "date"]).to_pandas()
    mean = keys.merge(live.select(["series_id", "date", "mean"]).to_pandas(), how="left")["mean"].to_numpy(float)
    there = np.isfinite(mean)
    beside = Contender(BESIDE_LIVE, np.where(there, challenger.forecast, np.nan), partial=True)
    return [Contender(LIVE, mean, release_id=live["release_id"][0].as_py(), partial=True), beside]
