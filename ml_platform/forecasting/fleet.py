"""The fleet: what training leaves behind, as rows and small tables.

Belongs here: the Fleet and the form of its parameters and pools. Does not belong here: fitting, forecasting (predict), files, releases.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.intervals import CLASSES
from ml_platform.forecasting.pools import Kind

KINDS: tuple[Kind, ...] = ("counts", "positive", "real")
ROWS_SCHEMA = pa.schema([(n, pa.string()) for n in ("series_id", "family", "state", "reason", "parameters")])
POOL_SCHEMA = pa.schema([("segment", pa.string()), ("item", pa.string()), ("value", pa.float64())])
META = ("kind", "longest", "begin", "settled", "origins", "cohort", "code")
# of each segment: place in KINDS, the longest season that regressions describe, number of its first ridge row's step, its cohort, its code in training
NEW_SERIES = "new_since_training"


class OtherKernelError(ValueError):
    """A fleet that another version of the kernel trained; names what it lacks and the way out."""


@dataclass(frozen=True)
class Fleet:
    """Trained models: one row per series (ROWS_SCHEMA), pools by name (POOL_SCHEMA) and the configuration."""

    rows: pa.Table
    pools: Mapping[str, pa.Table]
    config: ForecastConfig

    @property
    def quarantined(self) -> pa.Table:
        """Rows of the series that have no forecast."""
        return self.rows.filter(pc.equal(self.rows["state"], "quarantined"))


@dataclass(frozen=True)
class Recipe:
    """What S series forecast with: weights (S, F), constants of families by name (S, C), quantiles (S, Q), point factors (S,).

    spread (S,): variance over mean of a sparse series, 0 of others. origins (S,): at which the series had begun, of those whose residuals make intervals.
    failed (S,): which adapters failed on a series, '' where none did.
    """

    weights: Floats
    constants: Mapping[str, Floats]
    quantiles: Floats
    point: Floats
    spread: Floats
    origins: Ints
    failed: Sequence[str]


def fleet_weights(parameters: str) -> dict[str, float]:
    """Weight of each family in the blend of one fleet row, from its `parameters`; families that are absent weigh 0."""
    return {str(name): float(value) for name, value in json.loads(parameters).get("weights", {}).items()}


def significant(values: Floats, digits: int = 10) -> Floats:
    """Values rounded to significant digits, so that they are short as text."""
    with np.errstate(divide="ignore"):
        power = np.where(values == 0, 0.0, np.floor(np.log10(np.abs(values))))
    unit_of = 10.0 ** np.clip(digits - 1 - power, -300, 300)
    return np.asarray(np.round(values * unit_of) / unit_of)


def parameter_rows(recipe: Recipe, fitted: Bools, names: tuple[str, ...]) -> list[str]:
    """JSON per series: weights always; where it was fitted its quantiles and from how many origins, and its own constants of the families that weigh something; what failed."""
    weights = [{n: w for n, w in zip(names, row, strict=True) if w > 0} for row in recipe.weights.tolist()]
    own = zip(
        significant(recipe.quantiles).tolist(),
        recipe.point.tolist(),
        recipe.origins.tolist(),
        fitted.tolist(),
        strict=True,
    )
    rows: list[dict[str, object]] = [
        {"weights": w, "quantiles": q, "point": p, "origins": o} if f else {"weights": w}
        for w, (q, p, o, f) in zip(weights, own, strict=True)
    ]
    for row, spread in zip(rows, significant(recipe.spread).tolist(), strict=True):
        if spread and "point" in row:
            row["spread"] = spread
    for name, constants in recipe.constants.items():
        for row, weight, values in zip(rows, weights, significant(constants).tolist(), strict=True):
            if name in weight and "point" in row:
                row[name] = values
    for row, words in zip(rows, recipe.failed, strict=True):
        if words:
            row["failed"] = words
    return [json.dumps(row) for row in rows]


def failures(fleet: Fleet) -> list[str]:
    """Which adapters failed on each row of a fleet, '' where none did."""
    return [str(json.loads(text).get("failed", "")) for text in fleet.rows["parameters"].to_pylist()]


def interval_origins(fleet: Fleet) -> list[int]:
    """At how many origins the residuals of each series were measured; 0 where its intervals are its segment's alone."""
    return [int(json.loads(text).get("origins", 0)) for text in fleet.rows["parameters"].to_pylist()]


def pool_table(values: Floats, segments: tuple[str, ...], items: tuple[str, ...]) -> pa.Table:
    """A pool (G, I) as rows, segment by segment."""
    flat = np.asarray(values, dtype=float).reshape(len(segments), len(items))
    columns = [
        np.repeat(np.asarray(segments, dtype=object), len(items)),
        np.tile(np.asarray(items, dtype=object), len(segments)),
    ]
    return pa.table(
        [pa.array(columns[0], pa.string()), pa.array(columns[1], pa.string()), pa.array(flat.ravel())], POOL_SCHEMA
    )


def text_table(text: str, segment: str) -> pa.Table:
    """A text as a pool: its lines as items, numbered; it belongs to the cohort of a segment."""
    lines = text.split("\n")
    columns = [
        pa.array([segment] * len(lines), pa.string()),
        pa.array(lines, pa.string()),
        pa.array(range(len(lines)), pa.float64()),
    ]
    return pa.table(columns, POOL_SCHEMA)


def quantile_items(quantiles: int) -> tuple[str, ...]:
    """Names of the residual quantiles of a segment by level class."""
    return tuple(f"{level}:{quantile}" for level in range(CLASSES) for quantile in range(quantiles))


def triangle_items(width: int) -> tuple[str, ...]:
    """Names of the values of a symmetric matrix on and above its diagonal, row by row."""
    return tuple(f"{row}:{column}" for row in range(width) for column in range(row, width))


def class_items(classes: int) -> tuple[str, ...]:
    """Names of level classes, or of the edges between them."""
    return tuple(str(level) for level in range(classes))


def step_items(horizon: int) -> tuple[str, ...]:
    """Names of the steps of a pool."""
    return tuple(str(step) for step in range(1, horizon + 1))


def cohorts_of(fleet: Fleet, segments: tuple[str, ...]) -> Ints:
    """The cohort of each segment by name; one that training did not know belongs to that of most segments."""
    table = fleet.pools["meta"].filter(pc.equal(fleet.pools["meta"]["item"], "cohort"))
    known = pd.Series(table["value"].to_numpy().astype(np.int64), table["segment"].to_pandas())
    return known.reindex(list(segments)).fillna(known.mode().iloc[0]).to_numpy(dtype=np.int64)


def of_cohort(fleet: Fleet, cohort: int) -> Fleet:
    """The fleet with the pools of the segments of one cohort."""
    names = tuple(fleet.pools["meta"]["segment"].unique().to_pylist())
    own = pa.array([name for name, number in zip(names, cohorts_of(fleet, names), strict=True) if number == cohort])
    pools = {name: table.filter(pc.is_in(table["segment"], own)) for name, table in fleet.pools.items()}
    return replace(fleet, pools={name: table for name, table in pools.items() if len(table)})


def require_own(fleet: Fleet) -> None:
    """Raises OtherKernelError for a fleet whose parameters mean something else here."""
    missing = sorted(set(META) - set(fleet.pools["meta"]["item"].unique().to_pylist()))
    if missing:
        raise OtherKernelError(
            f"the fleet was trained by another version of this package (its pool `meta` lacks {missing}): train and release it anew, "
            "or forecast with the version that trained it"
        )


class PoolReader:
    """Pools of a fleet as arrays for segments by name; a segment that training did not know gets the mean of all."""

    def __init__(self, fleet: Fleet, segments: tuple[str, ...]) -> None:
        self.fleet, self.segments = fleet, segments

    def text(self, name: str) -> str | None:
        """A pool that is a text, None where there is none; the order of its rows does not matter."""
        table = self.fleet.pools.get(name)
        return None if table is None else "\n".join(table.sort_by("value")["item"].to_pylist())

    def codes(self, codes: Ints) -> Ints:
        """Segment codes as training counted them, -1 where it knew none."""
        table = self.fleet.pools["meta"].filter(pc.equal(self.fleet.pools["meta"]["item"], "code"))
        known = pd.Series(table["value"].to_numpy(), table["segment"].to_pandas())
        return known.reindex(list(self.segments)).fillna(-1).to_numpy(dtype=np.int64)[codes]

    def array(self, name: str, items: tuple[str, ...], codes: Ints) -> Floats:
        """Items of a pool spread over series by their segment code, (S, I); the order of the pool's rows does not matter."""
        if not items:  # a pool without any has no rows, and is kept nowhere
            return np.zeros((len(codes), 0))
        table = self.fleet.pools[name]
        labels, known = pd.factorize(table["segment"].to_pandas(), sort=True)
        place = pd.Index(items).get_indexer(pd.Index(table["item"].to_pandas()))
        values, wanted = np.zeros((len(known) + 1, len(items))), place >= 0
        values[labels[wanted], place[wanted]] = table["value"].to_numpy()[wanted]
        values[-1] = values[:-1].mean(axis=0)
        return np.asarray(values[pd.Index(known).get_indexer(pd.Index(self.segments))[codes]])
