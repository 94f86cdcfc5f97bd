"""The incumbent: which families an earlier fleet took for each series, so that a new one may stay with them.

Belongs here: its weights as a cohort reads them, its identity. Does not belong here: whether to stay with it (selection), its parameters (fleet).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import Fleet, fleet_weights

NO_CHOICE = frozenset({"name"})  # of a configuration: what no forecast depends on


@dataclass(frozen=True)
class Shares:
    """Weights of families by series (N, F) and by segment (G, F); NaN where an earlier fleet says nothing."""

    series: Floats
    segment: Floats


def settings_of(config: ForecastConfig, code: str) -> str:
    """Hash of all that decides how a fleet is made, its data and its choice aside; `code` is the version of the kernel."""
    left_out = NO_CHOICE if config.reconcile == "mint" else NO_CHOICE | {"sums"}
    versions = [one.version for one in config.adapters]
    told = config.model_dump(mode="json", exclude=set(left_out))
    return hashlib.sha256(json.dumps([told, versions, code], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Incumbent:
    """The choice of a fleet, the settings that it was made with (see settings_of), and the training that made this choice first, where that is known."""

    fleet: Fleet
    settings: str
    lineage: str = ""

    @property
    def families(self) -> tuple[str, ...]:
        return self.fleet.config.family_names

    @cached_property
    def recipe(self) -> str:
        """Identity of settings and choice: equal for fleets that differ in nothing but their data."""
        fitted = self.fleet.rows.filter(pc.equal(self.fleet.rows["state"], "fitted")).sort_by("series_id")
        own = [[one, fleet_weights(text)] for one, text in _texts(fitted)]
        keys = [("segment", "ascending"), ("item", "ascending")]
        shared = self.fleet.pools["weights"].sort_by(keys).to_pydict()
        return hashlib.sha256(json.dumps([self.settings, own, shared], sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def of_series(self) -> pd.DataFrame:
        """Weights by series_id and family."""
        rows = {one: fleet_weights(text) for one, text in _texts(self.fleet.rows)}
        return _frame({one: share for one, share in rows.items() if share}, self.families)

    @cached_property
    def of_segments(self) -> pd.DataFrame:
        """Weights by segment and family."""
        table = self.fleet.pools["weights"]
        wide = table.to_pandas().pivot_table(index="segment", columns="item", values="value", aggfunc="first")
        return wide.reindex(columns=list(self.families)).fillna(0.0)

    def shares(self, series: np.ndarray, segments: np.ndarray, names: tuple[str, ...], own: tuple[str, ...]) -> Shares:
        """Its weights for series (N,) of segments (N,) by name, of all segments `names` (G,), over the families `own` (F,).

        A series it does not know takes those of its segment. Families that are not among `own` leave their share to the others.
        """
        by_segment = _only(self.of_segments.reindex(list(names)), own)
        place = pd.Index(names).get_indexer(pd.Index(segments))
        by_series = _only(self.of_series.reindex(list(series)), own)
        unknown = np.isnan(np.concatenate([by_series, by_segment[place]], axis=1)).any(axis=1, keepdims=True)
        return Shares(np.where(unknown, by_segment[place], by_series), by_segment)


def differing(own: Incumbent, other: Incumbent, segments: Mapping[str, str]) -> int:
    """Series that are fitted in both fleets and choose otherwise, and segments of such series (by series_id) that do: what others of them take."""
    both = sorted(_fitted(own.fleet) & _fitted(other.fleet))
    series = _apart(*(one.of_series.reindex(both) for one in (own, other)))
    known = sorted({segments[one] for one in both if one in segments})
    return series + _apart(*(one.of_segments.reindex(known) for one in (own, other)))


def _fitted(fleet: Fleet) -> set[str]:
    return set(fleet.rows.filter(pc.equal(fleet.rows["state"], "fitted"))["series_id"].to_pylist())


def _apart(first: pd.DataFrame, second: pd.DataFrame) -> int:
    """Rows in which the weights are others; a family that one does not have weighs nothing there."""
    names = sorted({*first.columns, *second.columns})
    left, right = (one.reindex(columns=names).fillna(0.0).to_numpy(float) for one in (first, second))
    return int((left != right).any(axis=1).sum())


def _texts(rows: pa.Table) -> list[tuple[str, str]]:
    texts = [text or "{}" for text in rows["parameters"].to_pylist()]
    return list(zip(rows["series_id"].to_pylist(), texts, strict=True))


def _frame(rows: dict[str, dict[str, float]], families: tuple[str, ...]) -> pd.DataFrame:
    values = [[share.get(name, 0.0) for name in families] for share in rows.values()]
    return pd.DataFrame(values, index=list(rows), columns=list(families), dtype=float)


def _only(weights: pd.DataFrame, families: tuple[str, ...]) -> Floats:
    """Weights over some families alone, summing to 1; NaN where none of them weighs anything."""
    kept: Floats = weights.reindex(columns=list(families), fill_value=0.0).to_numpy(float)
    total: Floats = kept.sum(axis=1, keepdims=True)
    rescaled = np.divide(kept, total, out=np.full(kept.shape, np.nan), where=total > 0)
    whole: Bools = np.abs(total - 1.0) < 1e-9
    return np.where(whole, kept, rescaled)  # as they were, to the last digit, where none is left out
