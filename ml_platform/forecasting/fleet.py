"""The fleet: what training leaves behind, as rows and small tables.

Belongs here: the Fleet and the form of its parameters and pools. Does not belong here: fitting, forecasting (predict), files, releases.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.intervals import CLASSES
from ml_platform.forecasting.pools import Kind

KINDS: tuple[Kind, ...] = ("counts", "positive", "real")
ROWS_SCHEMA = pa.schema([(n, pa.string()) for n in ("series_id", "family", "state", "reason", "parameters")])
POOL_SCHEMA = pa.schema([("segment", pa.string()), ("item", pa.string()), ("value", pa.float64())])
NEW_SERIES = "new_since_training"


@dataclass(frozen=True)
class Fleet:
    """Trained models: one row per series (ROWS_SCHEMA), pools by name (POOL_SCHEMA) and the configuration."""

    rows: pa.Table
    pools: Mapping[str, pa.Table]
    config: ForecastConfig


@dataclass(frozen=True)
class Recipe:
    """What S series forecast with: weights (S, F), constants of families by name (S, C), quantiles (S, Q), point factors (S,)."""

    weights: Floats
    constants: Mapping[str, Floats]
    quantiles: Floats
    point: Floats


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
    """JSON per series: weights always; where it was fitted its quantiles, and its own constants of the families that weigh something."""
    weights = [{n: w for n, w in zip(names, row, strict=True) if w > 0} for row in recipe.weights.tolist()]
    own = zip(significant(recipe.quantiles).tolist(), recipe.point.tolist(), fitted.tolist(), strict=True)
    rows: list[dict[str, object]] = [
        {"weights": w, "quantiles": q, "point": p} if f else {"weights": w}
        for w, (q, p, f) in zip(weights, own, strict=True)
    ]
    for name, constants in recipe.constants.items():
        for row, weight, values in zip(rows, weights, significant(constants).tolist(), strict=True):
            if name in weight and "point" in row:
                row[name] = values
    return [json.dumps(row) for row in rows]


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


def text_table(text: str) -> pa.Table:
    """A text as a pool: its lines as items, numbered."""
    lines = text.split("\n")
    columns = [pa.array([""] * len(lines)), pa.array(lines, pa.string()), pa.array(range(len(lines)), pa.float64())]
    return pa.table(columns, POOL_SCHEMA)


def quantile_items(quantiles: int) -> tuple[str, ...]:
    """Names of the residual quantiles of a segment by level class."""
    return tuple(f"{level}:{quantile}" for level in range(CLASSES) for quantile in range(quantiles))


def step_items(horizon: int) -> tuple[str, ...]:
    """Names of the steps of a pool."""
    return tuple(str(step) for step in range(1, horizon + 1))


class PoolReader:
    """Pools of a fleet as arrays for segments by name; a segment that training did not know gets the mean of all."""

    def __init__(self, fleet: Fleet, segments: tuple[str, ...]) -> None:
        self.fleet, self.segments = fleet, segments

    def items(self, name: str) -> dict[str, float]:
        """A pool of the whole fleet by item."""
        table = self.fleet.pools[name]
        return dict(zip(table["item"].to_pylist(), table["value"].to_pylist(), strict=True))

    def codes(self, codes: Ints) -> Ints:
        """Segment codes as training counted them, -1 where it knew none."""
        known = pd.Index(self.fleet.pools["weights"]["segment"].unique().to_pandas()).sort_values()
        return np.asarray(known.get_indexer(pd.Index(self.segments))[codes], dtype=np.int64)

    def text(self, name: str) -> str | None:
        """A pool that is a text, None where there is none; the order of its rows does not matter."""
        table = self.fleet.pools.get(name)
        return None if table is None else "\n".join(table.sort_by("value")["item"].to_pylist())

    def array(self, name: str, items: tuple[str, ...], codes: Ints) -> Floats:
        """Items of a pool spread over series by their segment code, (S, I); the order of the pool's rows does not matter."""
        table = self.fleet.pools[name]
        labels, known = pd.factorize(table["segment"].to_pandas(), sort=True)
        place = pd.Index(items).get_indexer(pd.Index(table["item"].to_pandas()))
        values, wanted = np.zeros((len(known) + 1, len(items))), place >= 0
        values[labels[wanted], place[wanted]] = table["value"].to_numpy()[wanted]
        values[-1] = values[:-1].mean(axis=0)
        return np.asarray(values[pd.Index(known).get_indexer(pd.Index(self.segments))[codes]])
