"""Calibration: how often intervals held what came, of origins whose residuals did not make them.

Belongs here: intervals of a past origin from the other origins, nominal against actual coverage. Does not belong here: making intervals (intervals).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.intervals import measure
from ml_platform.forecasting.pipeline import Trained, residuals

COLUMNS = ["by", "group", "nominal", "covered", "below", "above", "rows"]


def unseen_intervals(trained: Trained, back: int, largest: Floats) -> tuple[Floats, Floats]:
    """The blend's mean (N, H) of a cohort at one origin and its interval bounds (N, H, Q), measured at all other residual origins.

    Without another one the bounds are NaN. largest (N,): see hold_bounds. The weights of the blend are those of all folds: they are few,
    shared, and hardly feel one fold.
    """
    setup = trained.cohort.setup
    others = [one for one in setup.plan.interval if one != back]
    here = residuals(trained.parts, trained.means, [back], setup)
    if not others:
        return here.mean[:, 0], np.full((*here.mean[:, 0].shape, len(setup.config.interval_columns)), np.nan)
    spreads = measure(residuals(trained.parts, trained.means, others, setup), setup)
    mean = here.mean[:, 0] * spreads.mean[here.segment][:, None]
    return mean, spreads.law(here, largest).bounds(mean, setup)[:, :, :-1]


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
