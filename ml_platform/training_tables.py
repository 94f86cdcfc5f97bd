"""The tables that training writes: their schemas and how a trained fleet becomes rows.

Belongs here: gold/candidate_fleet, gold/fleet_pools, gold/fold_metrics, gold/judged_fold. Does not belong here: when they are written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.calendar import Floats, Ints, Times
from ml_platform.forecasting.calibration import calibration_table
from ml_platform.forecasting.config import FAMILIES, FLOORS, ForecastConfig
from ml_platform.forecasting.fleet import ROWS_SCHEMA, Fleet
from ml_platform.forecasting.intervals import CLASSES
from ml_platform.forecasting.pipeline import Part, Trained, residuals
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.selection import KEPT
from ml_platform.lake import TableSpec, names
from ml_platform.panel import OUT_OF_RANGE
from ml_platform.training_passes import Fitted

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
                    "choice",
                    "settings",
                    "beside",
                )
            ),
        ]
    ),
    description="One row per series and as-of day: family with the greatest weight, state, reason, parameters as JSON; detail: why a series failed. "
    "updated_from: the release that took in the day without being trained again, missing for a fleet that was trained. choice: champion where "
    "every series kept the champion's, else new. settings: how the fleet was made; beside: the champion's recipe that it was trained beside.",
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


NEW = "new"  # choice of a fleet in which some series do not keep the champion's


ADAPTED = "adapted"
CHAMPION = "champion"  # columns of its forecasts begin with it


def judged_fold(config: ForecastConfig) -> TableSpec:
    """Schema of gold/judged_fold: one float column per interval bound, family (empty where it was not tried) and floor.

    What adapters forecast lies in one map by name, so that they come and go with the configuration while the columns stay.
    """
    moment = pa.timestamp("us", "UTC") if config.subdaily else pa.date32()
    bounds = [f"{side}_{level}" for level in config.intervals for side in ("lo", "hi")]
    plain = [*(f"family_{name}" for name in FAMILIES), *(f"floor_{name}" for name in FLOORS)]
    floats = ["actual", "mean", *bounds, "weight", "scale", *plain]
    beside = ["point", *(f"{CHAMPION}_{name}" for name in ("mean", "point", *bounds))]
    fields = [("as_of", pa.date32()), ("series_id", pa.string()), ("step", pa.int32()), ("date", moment)]
    return TableSpec(
        names.JUDGED_FOLD,
        pa.schema(
            [
                *fields,
                *((name, pa.float64()) for name in floats),
                (ADAPTED, pa.map_(pa.string(), pa.float64())),
                *((name, pa.float64()) for name in beside),
                *((name, pa.string()) for name in ("settings", "beside")),
            ]
        ),
        description="Forecasts of the newest fold, which chose nothing, with actuals, families and naive floors; champion_*: those of the "
        "champion's recipe, fitted at the same cut. settings: how the fleet was made; beside: the champion's recipe.",
    )


@dataclass(frozen=True)
class Made:
    """How a fleet came about: fingerprint of all it was made from; choice, settings and champion's recipe of a training, or the release an update began with."""

    fingerprint: str
    choice: str | None = None
    settings: str | None = None
    beside: str | None = None
    updated_from: str | None = None


def choice_of(fitted: Fitted) -> str:
    """Whether all cohorts of a fleet kept the champion's choice."""
    kept = all(own is champion for own, champion in zip(fitted.trained, fitted.beside, strict=True))
    return KEPT if kept else NEW


def fleet_rows(fleet: Fleet, refused: Sequence[str], failed: Mapping[str, str], as_of: date, made: Made) -> pa.Table:
    """Rows of gold/candidate_fleet: the series of the fleet, those whose values could not be used, and those that failed, with details."""
    reasons = dict.fromkeys(refused, OUT_OF_RANGE) | dict.fromkeys(failed, FAILED)
    there = set(fleet.rows["series_id"].to_pylist())
    left_out = [
        {"series_id": one, "state": "quarantined", "reason": reason, "parameters": "{}"}
        for one, reason in reasons.items()
        if one not in there
    ]
    rows = pa.concat_tables([fleet.rows, pa.Table.from_pylist(left_out, ROWS_SCHEMA)])
    details = pa.array([failed.get(one) for one in rows["series_id"].to_pylist()], pa.string())
    of_all = {name: pa.repeat(pa.scalar(text, pa.string()), rows.num_rows) for name, text in asdict(made).items()}
    columns = {"as_of": _day(as_of, rows.num_rows), **of_all, "detail": details}
    return pa.table(
        [columns[name] if name in columns else rows[name] for name in CANDIDATE_FLEET.schema.names],
        CANDIDATE_FLEET.schema,
    )


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


@dataclass(frozen=True)
class Opponent:
    """The champion's recipe, fitted at the same cut as a cohort was: its identity and what it is called by."""

    settings: str
    recipe: str | None = None
    trained: Trained | None = None


def judged_rows(trained: Trained, times: Times, as_of: date, opponent: Opponent) -> pa.Table:
    """Rows of gold/judged_fold for a cohort, empty where the history is too short for a fold that judges."""
    setup = trained.cohort.setup
    spec, plan = judged_fold(setup.config), setup.plan
    if not plan.judging:
        return spec.schema.empty_table()
    columns = _judged_series(trained, times, as_of)
    size = len(columns["series_id"])
    told = _said(trained)
    if opponent.trained is not None:
        told |= {f"{CHAMPION}_{name}": values for name, values in _said(opponent.trained).items()}
    columns |= {name: pa.array(values, from_pandas=True) for name, values in told.items()}
    for name, text in (("settings", opponent.settings), ("beside", opponent.recipe)):
        columns[name] = pa.repeat(pa.scalar(text, pa.string()), size)
    return pa.table([columns.get(field.name, pa.nulls(size, field.type)) for field in spec.schema], spec.schema)


def _judged(part: Part, setup: Setup) -> Ints:
    """Rows of a backtest that the judging fold has: their series had begun."""
    return np.flatnonzero(part.backtest.begun[:, setup.plan.evaluated.index(setup.plan.judging)])


def _said(trained: Trained) -> dict[str, Floats]:
    """What a cohort said of the judged rows: mean, bounds by column, and the point of the objective last."""
    setup, parts = trained.cohort.setup, trained.parts
    ends = np.cumsum([0, *(len(part.backtest.rows) for part in parts)])
    told = []
    for part, means, (start, end) in zip(parts, trained.means, pairwise(ends), strict=True):
        seen = residuals([part], [means], [setup.plan.judging], setup)
        mean = seen.mean[:, 0] * trained.spreads.mean[seen.segment][:, None]
        bounds = trained.spreads.law(seen, np.full(len(mean), np.inf), slice(start, end)).bounds(mean, setup)
        told.append(np.concatenate([mean[:, :, None], bounds], axis=2)[_judged(part, setup)])
    names = ("mean", *setup.config.interval_columns, "point")
    values = np.concatenate([one.reshape(-1, len(names)) for one in told])
    return {name: np.ascontiguousarray(values[:, place]) for place, name in enumerate(names)}


def _judged_series(trained: Trained, times: Times, as_of: date) -> dict[str, pa.Array]:
    """What lies in the judged rows beside the blend: keys, dates, actuals, weights, scales, families and floors."""
    setup = trained.cohort.setup
    plan, config = setup.plan, setup.config
    e, horizon = plan.evaluated.index(plan.judging), plan.horizon
    keep = [_judged(part, setup) for part in trained.parts]
    own = list(zip(trained.parts, keep, strict=True))
    ids = np.concatenate([part.series_id[part.backtest.rows[rows]] for part, rows in own])
    size = len(ids) * horizon

    def cells(values: Sequence[Floats]) -> pa.Array:
        return pa.array(np.ascontiguousarray(np.concatenate(values)).ravel(), from_pandas=True)

    def spread(values: Sequence[Floats]) -> pa.Array:
        return pa.array(np.repeat(np.concatenate(values), horizon), from_pandas=True)

    dates = pd.DatetimeIndex(times[plan.origin(plan.judging) :][:horizon])
    moments = pa.array(dates.tz_localize("UTC"), pa.timestamp("us", "UTC")) if config.subdaily else pa.array(dates.date)
    columns: dict[str, pa.Array] = {
        "as_of": _day(as_of, size),
        "series_id": _names(ids, np.repeat(np.arange(len(ids)), horizon)),
        "step": pa.array(np.tile(np.arange(1, horizon + 1, dtype=np.int32), len(ids))),
        "date": moments.take(pa.array(np.tile(np.arange(horizon), len(ids)))),
        "weight": spread([part.weight[part.backtest.rows[rows], plan.judging] for part, rows in own]),
        "scale": spread([part.backtest.scale[rows, e] for part, rows in own]),
        "actual": cells([part.backtest.actual[rows, e] for part, rows in own]),
    }
    for place, name in enumerate(config.family_names):
        if name in FAMILIES:
            columns[f"family_{name}"] = cells([part.backtest.past[rows, e, :, place] for part, rows in own])
    for place, name in enumerate(FLOORS):
        columns[f"floor_{name}"] = cells([part.floors[rows, :, place] for part, rows in own])
    places = [config.family_names.index(adapter.name) for adapter in config.adapters]
    adapted = np.concatenate([part.backtest.past[rows, e][..., places] for part, rows in own])
    columns[ADAPTED] = _by_name([one.name for one in config.adapters], adapted)
    return columns


def with_champion(judged: pa.Table, refitted: pa.Table) -> pa.Table:
    """Judged rows with what those of the champion, made with its own settings, say of the same series and steps; bounds that it has not stay empty."""
    keys = ["series_id", "step"]
    theirs = {
        f"{CHAMPION}_{name}": name
        for name in ("mean", "point", *(n for n in refitted.column_names if n[:3] in ("lo_", "hi_")))
    }
    there = {name: own for name, own in theirs.items() if name in judged.column_names}
    right = (
        refitted.select([*keys, *there.values()]).to_pandas().rename(columns={own: name for name, own in there.items()})
    )
    rows = judged.select(keys).to_pandas().merge(right, how="left", on=keys)
    columns = [
        pa.array(rows[field.name], field.type, from_pandas=True) if field.name in there else judged[field.name]
        for field in judged.schema
    ]
    return pa.table(columns, judged.schema)


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
