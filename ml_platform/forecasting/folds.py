"""Folds as people read them: the errors of every family and of the blend, and how often intervals held what came.

Belongs here: the tables of forecast() on past origins. Does not belong here: what a figure means (metrics, calibration), choosing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ml_platform.forecasting import metrics
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.calibration import calibration_table, unseen_intervals
from ml_platform.forecasting.config import FLOORS
from ml_platform.forecasting.intervals import level_class, quantile_levels
from ml_platform.forecasting.levels import History, plain_floor
from ml_platform.forecasting.metrics import Cells
from ml_platform.forecasting.pipeline import Part, Trained
from ml_platform.forecasting.pools import Setup


@dataclass(frozen=True)
class Fold:
    """One fold of N judged series: forecasts by family (N, H, F), floors (N, H, FLOORS), the blend's mean (N, H) and interval bounds (N, H, Q).

    bounds are those of residuals at other origins; NaN where there are none.
    """

    cells: Cells
    families: Floats
    floors: Floats
    mean: Floats
    bounds: Floats

    def row(self, name: str, forecast: Floats, best: float) -> dict[str, object]:
        """The figures of a forecast (N, H); `best` is the error of the best floor."""
        said = forecast.ravel()
        error = float(metrics.weighted_rmsse(self.cells, said)[0][0])
        figures = {"family": name, "weighted_rmsse": error, "skill": 1.0 - error / best if best > 0 else float("nan")}
        for figure in (metrics.mase, metrics.wape, metrics.smape, metrics.mape, metrics.bias):
            figures[figure.__name__] = float(figure(self.cells, said)[0])
        return figures

    def interval_figures(self, setup: Setup) -> dict[str, float]:
        """Pinball loss over all interval quantiles, and coverage of each interval."""
        places = dict(zip(setup.config.interval_columns, np.moveaxis(self.bounds, 2, 0), strict=True))
        losses = [
            metrics.pinball(self.cells, bound.ravel(), probability)[0]
            for bound, probability in zip(places.values(), quantile_levels(setup.config), strict=False)
        ]
        covered = {
            f"coverage_{one}": metrics.coverage(self.cells, places[f"lo_{one}"].ravel(), places[f"hi_{one}"].ravel())[0]
            for one in setup.config.intervals
        }
        return {"pinball": float(np.mean(losses)), **{name: float(value) for name, value in covered.items()}}


@dataclass(frozen=True)
class Past:
    """A trained fleet's past origins, which are worked out when somebody looks: that takes about as long as training did."""

    shard: Shard
    parts: Sequence[Part]
    trained: Trained
    setup: Setup

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds that chose, oldest first."""
        return [_fold(self.shard, self.parts, self.trained, self.setup, back) for back in self.setup.plan.folds]

    def metrics(self) -> pd.DataFrame:
        """Figures per fold and family, the blend as family `blend`; see docs/forecasting.md."""
        rows: list[dict[str, object]] = []
        for number, fold in enumerate(self.folds):
            floors = [metrics.weighted_rmsse(fold.cells, fold.floors[..., f].ravel())[0] for f in range(len(FLOORS))]
            best, both = float(np.min(floors)), {"fold": number, "rows": int(fold.cells.seen.sum())}
            for f, name in enumerate(self.setup.config.family_names):
                rows.append(both | fold.row(name, fold.families[..., f], best))
            rows.append(both | fold.row("blend", fold.mean, best) | fold.interval_figures(self.setup))
        names = ["fold", "family", "weighted_rmsse", "skill", "mase", "wape", "smape", "mape", "bias", "pinball"]
        return pd.DataFrame(rows, columns=[*names, *(f"coverage_{one}" for one in self.setup.config.intervals), "rows"])

    def calibration(self) -> pd.DataFrame:
        """How often the blend's intervals held what came, of all folds together, by step and by class of the blend's level."""
        return _calibration(self.folds, self.trained, self.setup)


def _fold(shard: Shard, parts: Sequence[Part], trained: Trained, setup: Setup, back: int) -> Fold:
    plan, e, start = setup.plan, setup.plan.evaluated.index(back), 0
    origin, found = plan.origin(back), list[tuple[Floats, ...]]()
    for part in parts:
        own = shard.take(slice(start, start + len(part.segment))).take(part.backtest.rows)
        history, start = History(own, setup.config.missing), start + len(part.segment)
        said = [plain_floor(history, name, origin, plan.horizon, plan.season) for name in FLOORS]
        largest = np.abs(history.y[:, :origin]).max(axis=1, initial=0.0)
        scale = season_scale(own.y[:, :origin], plan.season)
        weight = part.weight[part.backtest.rows, back]
        found.append((np.stack(said, axis=2), largest, scale, weight))
    floors, largest, scale, weight = (np.concatenate(one) for one in zip(*found, strict=True))
    actual = np.concatenate([np.where(p.backtest.begun[:, e, None], p.backtest.actual[:, e], np.nan) for p in parts])
    size = len(actual)
    nothing: Ints = np.zeros(size, dtype=np.int64)
    differences = np.concatenate([part.backtest.scale[:, e] for part in parts])
    numbers = np.repeat(np.arange(size), plan.horizon)
    cells = Cells(actual.ravel(), numbers, nothing, 1, weight, differences, scale)
    families = np.concatenate([part.backtest.past[:, e] for part in parts])
    return Fold(cells, families, floors, *unseen_intervals(parts, trained, setup, e, largest))


def season_scale(y: Floats, season: int) -> Floats:
    """Mean absolute difference to the value one season before, (S,), of y (S, T); NaN without any."""
    apart = np.abs(y[:, season:] - y[:, :-season]) if y.shape[1] > season else np.zeros((len(y), 0))
    count = (~np.isnan(apart)).sum(axis=1)
    return np.where(count > 0, np.nansum(apart, axis=1) / np.maximum(count, 1), np.nan)


def _calibration(folds: Sequence[Fold], trained: Trained, setup: Setup) -> pd.DataFrame:
    """See Past.calibration; level 1 is the lowest quarter of the blend's levels."""
    horizon = setup.plan.horizon
    actual = np.concatenate([np.zeros(0), *(fold.cells.actual for fold in folds)])
    bounds = np.concatenate([np.zeros((0, horizon, len(setup.config.interval_columns))), *(f.bounds for f in folds)])
    classes = [level_class(fold.mean.mean(axis=1), trained.spreads.edges) + 1 for fold in folds]
    level = np.repeat(np.concatenate([np.zeros(0, dtype=np.int64), *classes]), horizon)
    step = np.tile(np.arange(1, horizon + 1), len(bounds))
    flat = dict(zip(setup.config.interval_columns, np.moveaxis(bounds, 2, 0).reshape(bounds.shape[2], -1), strict=True))
    return calibration_table(actual, flat, {"step": step, "level": level}, setup.config.intervals)
