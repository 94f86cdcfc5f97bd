"""The tables that training writes: their schemas and how a trained fleet becomes rows.

Belongs here: gold/candidate_fleet, gold/fleet_pools, gold/fold_metrics, gold/judged_fold. Does not belong here: when they are written.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.calendar import Floats, Times
from ml_platform.forecasting.calibration import calibration_table
from ml_platform.forecasting.config import FAMILIES, FLOORS, ForecastConfig
from ml_platform.forecasting.fleet import ROWS_SCHEMA, Fleet
from ml_platform.forecasting.intervals import CLASSES
from ml_platform.forecasting.pipeline import Part, Trained, residuals
from ml_platform.forecasting.pools import Setup
from ml_platform.lake import TableSpec, names
from ml_platform.panel import OUT_OF_RANGE

CANDIDATE_FLEET = TableSpec(
    names.CANDIDATE_FLEET,
    pa.schema(
        [
            ("as_of", pa.date32()),
            *(
                (n, pa.string())
                for n in (
                    "series_id",
                    "family",
                    "state",
                    "reason",
                    "parameters",
                    "fingerprint",
                    "detail",
                    "updated_from",
                )
            ),
        ]
    ),
    description="One row per series and as-of day: family with the greatest weight, state, reason, parameters as JSON; detail: why a series failed. "
    "updated_from: the release that took in the day without being trained again, missing for a fleet that was trained.",
)
FLEET_POOLS = TableSpec(
    names.FLEET_POOLS,
    pa.schema(
        [
            ("as_of", pa.date32()),
            *((name, pa.string()) for name in ("name", "segment", "item")),
            ("value", pa.float64()),
        ]
    ),
    description="What the series of a segment share in a fleet: profiles, drifts, ridge priors, weights, residual quantiles.",
)
FOLD_METRICS = TableSpec(
    names.FOLD_METRICS,
    pa.schema(
        [
            ("as_of", pa.date32()),
            ("series_id", pa.string()),
            ("family", pa.string()),
            ("fold", pa.int32()),
            *((name, pa.float64()) for name in ("squared_error", "scale", "absolute_error", "bias")),
            ("rows", pa.int64()),
        ]
    ),
    partition_by=("as_of",),
    description="Sums of errors (forecast minus actual) per series, family and fold, oldest fold 0; the newest fold only judges. "
    "scale is the mean squared difference of neighbouring values before the fold.",
)

FAILED = "failed"  # reason of a series that no job can train, whatever it is trained with


ADAPTED = "adapted"


def judged_fold(config: ForecastConfig) -> TableSpec:
    """Schema of gold/judged_fold: one float column per interval bound, family (empty where it was not tried) and floor.

    What adapters forecast lies in one map by name, so that they come and go with the configuration while the columns stay.
    """
    moment = pa.timestamp("us", "UTC") if config.subdaily else pa.date32()
    bounds = [f"{side}_{level}" for level in config.intervals for side in ("lo", "hi")]
    plain = [*(f"family_{name}" for name in FAMILIES), *(f"floor_{name}" for name in FLOORS)]
    floats = ["actual", "mean", *bounds, "weight", "scale", *plain]
    fields = [("as_of", pa.date32()), ("series_id", pa.string()), ("step", pa.int32()), ("date", moment)]
    return TableSpec(
        names.JUDGED_FOLD,
        pa.schema([*fields, *((name, pa.float64()) for name in floats), (ADAPTED, pa.map_(pa.string(), pa.float64()))]),
        description="Forecasts of the newest fold, which chose nothing, with actuals, families and naive floors.",
    )


def fleet_rows(
    fleet: Fleet,
    refused: Sequence[str],
    failed: Mapping[str, str],
    as_of: date,
    fingerprint: str,
    updated_from: str | None = None,
) -> pa.Table:
    """Rows of gold/candidate_fleet: the series of the fleet, those whose values could not be used, and those that failed, with details."""
    reasons = dict.fromkeys(refused, OUT_OF_RANGE) | dict.fromkeys(failed, FAILED)
    there = set(fleet.rows["series_id"].to_pylist())
    left_out = [
        {"series_id": one, "state": "quarantined", "reason": reason, "parameters": "{}"}
        for one, reason in reasons.items()
        if one not in there
    ]
    rows = pa.concat_tables([fleet.rows, pa.Table.from_pylist(left_out, ROWS_SCHEMA)])
    details = [failed.get(one) for one in rows["series_id"].to_pylist()]
    size = rows.num_rows
    texts = [pa.array(values, pa.string()) for values in ([fingerprint] * size, details, [updated_from] * size)]
    return pa.table([_day(as_of, size), *rows.columns, *texts], CANDIDATE_FLEET.schema)


def pool_rows(fleet: Fleet, as_of: date) -> pa.Table:
    """Rows of gold/fleet_pools."""
    tables = [
        table.add_column(0, "name", pa.array([name] * table.num_rows, pa.string()))
        for name, table in fleet.pools.items()
    ]
    joined = pa.concat_tables(tables)
    return joined.add_column(0, "as_of", _day(as_of, joined.num_rows)).cast(FLEET_POOLS.schema)


def _day(as_of: date, size: int) -> pa.Array:
    return pa.array([as_of], pa.date32()).take(pa.array(np.zeros(size, dtype=np.int64)))


def _names(values: Sequence[str] | np.ndarray, codes: np.ndarray) -> pa.Array:
    return pa.array(list(values), pa.string()).take(pa.array(codes))


def fold_rows(trained: Sequence[Trained], as_of: date) -> pa.Table:
    """Rows of gold/fold_metrics: every judged series, family and fold at whose origin the series had begun."""
    oldest = max((back for one in trained for back in one.cohort.setup.plan.folds), default=0)
    tables = [_part_folds(part, one.cohort.setup, oldest, as_of) for one in trained for part in one.parts]
    return pa.concat_tables(tables)


def _part_folds(part: Part, setup: Setup, oldest: int, as_of: date) -> pa.Table:
    plan, backtest = setup.plan, part.backtest
    places = [plan.evaluated.index(back) for back in plan.folds]
    actual = backtest.actual[:, places]
    seen = ~np.isnan(actual) & backtest.begun[:, places, None]
    error = np.where(seen[..., None], backtest.past[:, places] - np.nan_to_num(actual)[..., None], 0.0)
    count = seen.sum(axis=2)
    series, fold = np.nonzero(count > 0)
    families = len(setup.config.family_names)
    sums = [(error**2).sum(axis=2), np.abs(error).sum(axis=2), error.sum(axis=2)]
    squared, absolute, bias = (values[series, fold].ravel() for values in sums)
    columns = [
        _day(as_of, len(series) * families),
        _names(part.series_id[backtest.rows], np.repeat(series, families)),
        _names(setup.config.family_names, np.tile(np.arange(families), len(series))),
        pa.array(np.repeat(oldest - np.asarray(plan.folds, dtype=np.int32)[fold], families)),
        pa.array(squared),
        pa.array(np.repeat(backtest.scale[:, places][series, fold], families), from_pandas=True),
        pa.array(absolute),
        pa.array(bias),
        pa.array(np.repeat(count[series, fold], families).astype(np.int64)),
    ]
    return pa.table(columns, FOLD_METRICS.schema)


def judged_rows(trained: Trained, times: Times, as_of: date) -> pa.Table:
    """Rows of gold/judged_fold for a cohort, empty where the history is too short for a fold that judges."""
    setup = trained.cohort.setup
    spec = judged_fold(setup.config)
    if not setup.plan.judging:
        return spec.schema.empty_table()
    ends = np.cumsum([0, *(len(part.backtest.rows) for part in trained.parts)])
    slices = [slice(start, end) for start, end in pairwise(ends)]
    tables = [
        _part_judged(part, trained, mean, own, times, as_of)
        for part, mean, own in zip(trained.parts, trained.means, slices, strict=True)
    ]
    return pa.concat_tables(tables)


def _part_judged(part: Part, trained: Trained, means: Floats, own: slice, times: Times, as_of: date) -> pa.Table:
    setup = trained.cohort.setup
    plan, backtest, config = setup.plan, part.backtest, setup.config
    e = plan.evaluated.index(plan.judging)
    keep = np.flatnonzero(backtest.begun[:, e])
    told = residuals([part], [means], [plan.judging], setup)
    mean = told.mean[:, 0] * trained.spreads.mean[told.segment][:, None]
    bounds = trained.spreads.law(told, np.full(len(mean), np.inf), own).bounds(mean, setup)
    dates = pd.DatetimeIndex(times[plan.origin(plan.judging) :][: plan.horizon])
    moments = pa.array(dates.tz_localize("UTC"), pa.timestamp("us", "UTC")) if config.subdaily else pa.array(dates.date)
    spec, size = judged_fold(config), len(keep) * plan.horizon
    columns: dict[str, pa.Array] = {
        "as_of": _day(as_of, size),
        "series_id": _names(part.series_id[backtest.rows[keep]], np.repeat(np.arange(len(keep)), plan.horizon)),
        "step": pa.array(np.tile(np.arange(1, plan.horizon + 1, dtype=np.int32), len(keep))),
        "date": moments.take(pa.array(np.tile(np.arange(plan.horizon), len(keep)))),
        "weight": pa.array(np.repeat(part.weight[backtest.rows[keep], plan.judging], plan.horizon)),
        "scale": pa.array(np.repeat(backtest.scale[keep, e], plan.horizon), from_pandas=True),
        "actual": pa.array(backtest.actual[keep, e].ravel(), from_pandas=True),
        "mean": pa.array(mean[keep].ravel()),
    }
    grids = dict(zip(config.interval_columns, np.moveaxis(bounds[keep], 2, 0), strict=False))
    untried = np.full((len(keep), plan.horizon), np.nan)
    grids |= dict.fromkeys((f"family_{name}" for name in FAMILIES), untried)
    grids |= {
        f"family_{name}": backtest.past[keep, e, :, f] for f, name in enumerate(config.family_names) if name in FAMILIES
    }
    grids |= {f"floor_{name}": part.floors[keep, :, f] for f, name in enumerate(FLOORS)}
    columns |= {
        name: pa.array(np.ascontiguousarray(values).ravel(), from_pandas=True) for name, values in grids.items()
    }
    places = [config.family_names.index(adapter.name) for adapter in config.adapters]
    columns[ADAPTED] = _by_name([one.name for one in config.adapters], backtest.past[keep, e][..., places])
    return pa.table([columns[name] for name in spec.schema.names], spec.schema)


def judged_calibration(judged: pa.Table, config: ForecastConfig) -> pd.DataFrame:
    """Calibration of the intervals on rows of gold/judged_fold, whose residuals made none of them, by step and by class of level (1 to 4)."""
    rows = judged.select(["series_id", "step", "mean", "actual", *config.interval_columns]).to_pandas()
    level = rows.groupby("series_id")["mean"].transform("mean")
    edges = np.quantile(level, np.arange(1, CLASSES) / CLASSES) if len(level) else np.zeros(CLASSES - 1)
    groups = {"step": rows["step"].to_numpy(np.int64), "level": np.searchsorted(edges, level) + 1}
    bounds = {name: rows[name].to_numpy(float) for name in config.interval_columns}
    return calibration_table(rows["actual"].to_numpy(float), bounds, groups, config.intervals)


def _by_name(own: list[str], values: Floats) -> pa.Array:
    """A map from name to value for each cell of values (..., names)."""
    cells = values.size // len(own) if own else int(np.prod(values.shape[:-1]))
    offsets = np.arange(cells + 1, dtype=np.int32) * len(own)
    return pa.MapArray.from_arrays(offsets, pa.array(own * cells, pa.string()), pa.array(values.ravel()))
