"""Calibration: how often intervals held what came, of origins whose residuals did not make them.

Belongs here: intervals of a past origin from the other origins, nominal against actual coverage. Does not belong here: making intervals (intervals).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.intervals import held_bounds, measure, unit
from ml_platform.forecasting.pipeline import Part, Trained
from ml_platform.forecasting.pools import Setup

COLUMNS = ["by", "group", "nominal", "covered", "below", "above", "rows"]


def unseen_intervals(
    parts: Sequence[Part], trained: Trained, setup: Setup, e: int, largest: Floats
) -> tuple[Floats, Floats]:
    """The blend's mean (N, H) at evaluated origin `e` and its interval bounds (N, H, Q), measured at all other residual origins.

    Without another one the bounds are NaN. largest (N,): see hold_bounds. The weights of the blend are those of all folds: they are few,
    shared, and hardly feel one fold.
    """
    places = [setup.plan.evaluated.index(back) for back in setup.plan.interval]
    others = [place for place in places if place != e]
    means, scale = np.concatenate(trained.means), np.concatenate([part.backtest.scale for part in parts])
    if not others:
        return means[:, e], np.full((*means[:, e].shape, len(setup.config.interval_columns)), np.nan)
    actual = np.concatenate([part.backtest.actual[:, others] for part in parts])
    begun = np.concatenate([part.backtest.begun[:, others] for part in parts])
    segment = np.concatenate([part.segment[part.backtest.rows] for part in parts])
    spreads = measure(means[:, others], actual, begun, scale[:, others[-1]], segment, setup)
    mean = means[:, e] * spreads.mean[segment][:, None]
    spread = unit(mean, scale[:, e], setup.kind, spreads.least) * spreads.steps[segment]
    return mean, held_bounds(mean, spread, spreads.series, largest, spreads.point, setup)[:, :, :-1]


def calibration_table(
    actual: Floats, bounds: Mapping[str, Floats], groups: Mapping[str, Ints], intervals: Sequence[int]
) -> pd.DataFrame:
    """Nominal against actual coverage of R cells, of all and by each grouping.

    actual (R,), bounds lo_<n> and hi_<n> (R,): NaN does not count; groups: codes (R,) by name. Columns: by (all or a name), group, nominal
    (percent), covered, below, above (shares of rows), rows.
    """
    rows = []
    for by, codes in {"all": np.zeros(len(actual), dtype=np.int64), **groups}.items():
        for nominal in intervals:
            low, high = bounds[f"lo_{nominal}"], bounds[f"hi_{nominal}"]
            seen = np.isfinite(actual) & np.isfinite(low) & np.isfinite(high)
            below, above = seen & (actual < low), seen & (actual > high)
            for group in np.unique(codes[seen]).tolist():
                own = codes == group
                size = int((own & seen).sum())
                under, over = float((own & below).sum()) / size, float((own & above).sum()) / size
                rows.append((by, group, nominal, 1.0 - under - over, under, over, size))
    return pd.DataFrame(rows, columns=COLUMNS)
