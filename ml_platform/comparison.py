"""Two releases side by side: which series changed family, error or forecast.

Belongs here: comparing what two releases hold and forecast. Does not belong here: judging which is better (evaluation), showing it (console_releases).
"""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.lake import Lake, names
from ml_platform.registry import Registry, Sealed

NEAR = 1e-9  # relative difference up to which two numbers are the same


@dataclass(frozen=True)
class Comparison:
    """A frame of series that differ (index series_id) and counts by what changed.

    Columns: family_a, family_b, state_a, state_b; error_a, error_b: root mean squared scaled error of the family on the newest fold that all families were tried
    on; forecast_a, forecast_b: mean per step on the as-of day `day`, which both forecast (None where there is none).
    """

    first: str
    second: str
    day: date | None
    series: pd.DataFrame
    counts: dict[str, int]


def compare(lake: Lake, registry: Registry, first: str, second: str) -> Comparison:
    """What differs between two releases; ReleaseError where one of them is not what was sealed."""
    both = [registry.open(one) for one in (first, second)]
    day = _common_day(lake, first, second)
    frames = [_of(lake, one, day, side) for one, side in zip(both, "ab", strict=True)]
    joined = frames[0].join(frames[1], how="outer")
    changes = {
        "only in the first": joined["state_b"].isna(),
        "only in the second": joined["state_a"].isna(),
        "family": joined["family_a"].notna() & joined["family_b"].notna() & (joined["family_a"] != joined["family_b"]),
        "weights": joined["weights_a"].notna()
        & joined["weights_b"].notna()
        & (joined["weights_a"] != joined["weights_b"]),
        "error": _apart(joined["error_a"], joined["error_b"]),
        "forecast": _apart(joined["forecast_a"], joined["forecast_b"]),
    }
    differs = np.logical_or.reduce([one.to_numpy(bool) for one in changes.values()])
    counts = {
        "series": len(joined),
        "unchanged": int((~differs).sum()),
        **{name: int(one.sum()) for name, one in changes.items()},
    }
    shown = pd.DataFrame(joined[differs]).drop(columns=["weights_a", "weights_b"])
    return Comparison(first, second, day, shown.reindex(_largest_first(shown)), counts)


def _of(lake: Lake, sealed: Sealed, day: date | None, side: str) -> pd.DataFrame:
    rows = sealed.parameters.select(["series_id", "family", "state", "parameters"]).to_pandas().set_index("series_id")
    weights = [
        json.dumps(json.loads(text or "{}").get("weights", {}), sort_keys=True) for text in rows.pop("parameters")
    ]
    rows = rows.assign(weights=weights, error=_errors(sealed, rows["family"]))
    rows["forecast"] = _forecasts(lake, sealed.release_id, day).reindex(rows.index) if day else np.nan
    return rows.add_suffix(f"_{side}")


def _errors(sealed: Sealed, family: pd.Series) -> pd.Series:
    """Error of each series' family on its newest fold."""
    folds = sealed.fold_metrics
    if not folds.num_rows or "scale" not in folds.column_names:
        return pd.Series(np.nan, family.index)
    newest = folds.filter(pc.equal(folds["fold"], pc.max(folds["fold"]))).to_pandas().set_index(["series_id", "family"])
    own = newest.reindex(pd.MultiIndex.from_arrays([family.index, family]))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(own["squared_error"] / own["rows"] / own["scale"].where(own["scale"] > 0))
    return pd.Series(error.to_numpy(), family.index)


def _common_day(lake: Lake, first: str, second: str) -> date | None:
    """The newest as-of day that both releases forecast."""
    if not lake.exists(names.FORECASTS):
        return None
    days = [set(_rows(lake, one, ["as_of"])["as_of"].unique().to_pylist()) for one in (first, second)]
    return max(days[0] & days[1], default=None)


def _forecasts(lake: Lake, release_id: str, day: date) -> pd.Series:
    rows = _rows(lake, release_id, ["series_id", "mean"], pc.field("as_of") == pa.scalar(day))
    told: Any = rows.to_pandas().groupby("series_id")["mean"].mean()
    return pd.Series(told)


def _rows(lake: Lake, release_id: str, columns: list[str], more: pc.Expression | None = None) -> pa.Table:
    where = pc.field("release_id") == release_id
    return lake.read(names.FORECASTS, columns, where if more is None else where & more)


def _apart(first: pd.Series, second: pd.Series) -> pd.Series:
    size = np.maximum(np.maximum(first.abs(), second.abs()), 1e-300)
    return pd.Series(((first - second).abs() / size).fillna(0.0) > NEAR)


def _largest_first(rows: pd.DataFrame) -> pd.Index:
    """The largest changes of the forecast first, then those of the error."""
    keys = pd.DataFrame(
        {name: (rows[f"{name}_a"] - rows[f"{name}_b"]).abs().fillna(-1.0) for name in ("forecast", "error")}
    )
    return keys.sort_values(["forecast", "error"], ascending=False, kind="stable").index
