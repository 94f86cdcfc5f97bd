"""Folds as people read them: the errors of every family and of the blend, and how often intervals held what came.

Belongs here: the tables of forecast() on past origins. Does not belong here: what a figure means (metrics, calibration), choosing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ml_platform.forecasting import metrics
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.bounds import quantile_levels
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.calibration import calibration_table, unseen_intervals
from ml_platform.forecasting.config import FAMILIES, FLOORS, ForecastConfig
from ml_platform.forecasting.intervals import level_class
from ml_platform.forecasting.levels import History, plain_floor
from ml_platform.forecasting.metrics import Cells
from ml_platform.forecasting.pipeline import Trained, residuals


@dataclass(frozen=True)
class Fold:
    """One fold of N judged series: forecasts by family (N, H), floors (N, H, FLOORS), the blend's mean (N, H) and interval bounds (N, H, Q).

    A family is NaN where it did not run. bounds are those of residuals at other origins; NaN where there are none. level (N,): class of
    the blend's level, from 1.
    """

    cells: Cells
    families: dict[str, Floats]
    floors: Floats
    mean: Floats
    bounds: Floats
    level: Ints

    def row(self, name: str, forecast: Floats) -> dict[str, object]:
        """The figures of a forecast (N, H), on the cells that it has; skill is against the best floor on the same cells."""
        said, cells = forecast.ravel(), self._with(forecast)
        floors = [metrics.weighted_rmsse(cells, self.floors[..., f].ravel())[0] for f in range(len(FLOORS))]
        error, best = float(metrics.weighted_rmsse(cells, said)[0][0]), float(np.min(floors))
        figures = {"family": name, "weighted_rmsse": error, "skill": 1.0 - error / best if best > 0 else float("nan")}
        for figure in (metrics.mase, metrics.wape, metrics.smape, metrics.mape, metrics.bias):
            figures[figure.__name__] = float(figure(cells, said)[0])
        return figures | {"rows": int(cells.seen.sum())}

    def _with(self, said: Floats) -> Cells:
        """The cells of which a forecast or a bound (N, H) says something."""
        return replace(self.cells, actual=np.where(np.isfinite(said.ravel()), self.cells.actual, np.nan))

    def interval_figures(self, config: ForecastConfig) -> dict[str, float]:
        """Pinball loss over all interval quantiles, and coverage of each interval."""
        places = dict(zip(config.interval_columns, np.moveaxis(self.bounds, 2, 0), strict=True))
        losses = [
            metrics.pinball(self._with(bound), bound.ravel(), probability)[0]
            for bound, probability in zip(places.values(), quantile_levels(config), strict=False)
        ]
        covered = {
            f"coverage_{one}": metrics.coverage(self.cells, places[f"lo_{one}"].ravel(), places[f"hi_{one}"].ravel())[0]
            for one in config.intervals
        }
        return {"pinball": float(np.mean(losses)), **{name: float(value) for name, value in covered.items()}}


@dataclass(frozen=True)
class Past:
    """A trained fleet's past origins, which are worked out when somebody looks: that takes about as long as training did."""

    shard: Shard
    trained: Sequence[Trained]

    @property
    def config(self) -> ForecastConfig:
        """What all cohorts have in common."""
        return self.trained[0].cohort.setup.config

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds that chose, oldest first; of each the cohorts that are known so far back."""
        plans = [one.cohort.setup.plan for one in self.trained]
        return [
            _joined(
                [
                    _fold(one.cohort.of(self.shard), self.shard, one, back)
                    for one, plan in zip(self.trained, plans, strict=True)
                    if back in plan.folds
                ]
            )
            for back in sorted({back for plan in plans for back in plan.folds}, reverse=True)
        ]

    def metrics(self) -> pd.DataFrame:
        """Figures per fold and family, the blend as family `blend`; see docs/forecasting.md."""
        rows: list[dict[str, object]] = []
        for number, fold in enumerate(self.folds):
            rows += [{"fold": number} | fold.row(name, said) for name, said in fold.families.items()]
            rows.append({"fold": number} | fold.row("blend", fold.mean) | fold.interval_figures(self.config))
        names = ["fold", "family", "weighted_rmsse", "skill", "mase", "wape", "smape", "mape", "bias", "pinball"]
        return pd.DataFrame(rows, columns=[*names, *(f"coverage_{one}" for one in self.config.intervals), "rows"])

    def calibration(self) -> pd.DataFrame:
        """How often the blend's intervals held what came, of all folds together, by step and by class of the blend's level (1 is the lowest quarter)."""
        horizon, columns = self.config.horizon, self.config.interval_columns
        actual = np.concatenate([np.zeros(0), *(fold.cells.actual for fold in self.folds)])
        bounds = np.concatenate([np.zeros((0, horizon, len(columns))), *(fold.bounds for fold in self.folds)])
        level = np.repeat(np.concatenate([np.zeros(0, dtype=np.int64), *(fold.level for fold in self.folds)]), horizon)
        step = np.tile(np.arange(1, horizon + 1), len(bounds))
        flat = dict(zip(columns, np.moveaxis(bounds, 2, 0).reshape(len(columns), -1), strict=True))
        return calibration_table(actual, flat, {"step": step, "level": level}, self.config.intervals)


def _fold(rows: Ints, shard: Shard, trained: Trained, back: int) -> Fold:
    """A fold of one cohort, whose series have these places in the shard."""
    setup, start, found = trained.cohort.setup, 0, list[tuple[Floats, ...]]()
    plan, e = setup.plan, setup.plan.evaluated.index(back)
    for part in trained.parts:
        own = shard.take(rows[start:][part.backtest.rows])
        history, start = History.of(own, setup.config.missing), start + len(part.segment)
        origin = plan.origin(back)
        said = [plain_floor(history, name, origin, plan.horizon, plan.season) for name in FLOORS]
        largest = np.abs(history.y[:, :origin]).max(axis=1, initial=0.0)
        scale = season_scale(own.y[:, :origin], plan.season)
        found.append((np.stack(said, axis=2), largest, scale, part.weight[part.backtest.rows, back]))
    floors, largest, scale, weight = (np.concatenate(one) for one in zip(*found, strict=True))
    told = residuals(trained.parts, trained.means, [back], setup)
    size = len(told.segment)
    numbers, nothing = np.repeat(np.arange(size), plan.horizon), np.zeros(size, dtype=np.int64)
    cells = Cells(told.actual[:, 0].ravel(), numbers, nothing, 1, weight, told.scale, scale)
    past = np.concatenate([part.backtest.past[:, e] for part in trained.parts])
    families = {name: past[..., f] for f, name in enumerate(setup.config.family_names)}
    mean, bounds = unseen_intervals(trained, back, largest)
    level = level_class(mean.mean(axis=1), trained.spreads.edges[told.segment]) + 1
    return Fold(cells, families, floors, mean, bounds, level)


def _joined(parts: Sequence[Fold]) -> Fold:
    """A fold of all cohorts."""
    ran = dict.fromkeys(name for part in parts for name in part.families)
    names = [*(name for name in FAMILIES if name in ran), *(name for name in ran if name not in FAMILIES)]
    families = {
        name: np.concatenate([part.families.get(name, np.full(part.mean.shape, np.nan)) for part in parts])
        for name in names
    }
    starts = np.cumsum([0, *(len(part.mean) for part in parts)])
    series = np.concatenate([part.cells.series + start for part, start in zip(parts, starts, strict=False)])
    rest = {
        name: np.concatenate([getattr(part.cells, name) for part in parts])
        for name in ("actual", "group", "weight", "scale", "season_scale")
    }
    cells = Cells(series=series, groups=1, **rest)
    whole = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("floors", "mean", "bounds", "level")
    }
    return Fold(cells=cells, families=families, **whole)


def season_scale(y: Floats, season: int) -> Floats:
    """Mean absolute difference to the value one season before, (S,), of y (S, T); NaN without any."""
    apart = np.abs(y[:, season:] - y[:, :-season]) if y.shape[1] > season else np.zeros((len(y), 0))
    count = (~np.isnan(apart)).sum(axis=1)
    return np.where(count > 0, np.nansum(apart, axis=1) / np.maximum(count, 1), np.nan)
