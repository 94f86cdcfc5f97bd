"""Sums: which series a sum by some of their keys holds, and its own history.

Belongs here: the sums of one level, their names, values of series added up. Does not belong here: how sums are forecast (sum_forecasts).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Shard, add_up, first_observed
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.screening import factorize


def level_name(columns: Sequence[str]) -> str:
    """Name of the sums by some columns, `total` where there are none."""
    return " x ".join(columns) or "total"


@dataclass(frozen=True)
class Sums:
    """Sums by some key columns or attributes, none for the total: their values (G rows) and the sum that each series belongs to (S,).

    Series without an attribute have a sum of their own, so that every level adds up to the same total.
    """

    columns: tuple[str, ...]
    keys: pd.DataFrame
    codes: Ints

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, columns: tuple[str, ...], attributes: pd.DataFrame) -> "Sums":
        """By columns of the attributes of S series."""
        if not columns:
            return cls((), pd.DataFrame(index=range(1)), np.zeros(len(attributes), dtype=np.int64))
        return cls(columns, *factorize(attributes, columns))

    @property
    def name(self) -> str:
        return level_name(self.columns)

    @cached_property
    def texts(self) -> list[dict[str, str | None]]:
        """The values of each sum as texts by column, None where they are missing."""
        rows = self.keys.to_dict("records") if self.columns else [{}]
        return [{str(name): None if pd.isna(one) else str(one) for name, one in row.items()} for row in rows]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """One text per sum, which no other sum of the level has, the same on every day."""
        return tuple(json.dumps(list(row.values()), ensure_ascii=False) for row in self.texts)

    def add(self, values: Floats) -> Floats:
        """Values of series (S, ...) added up, (G, ...); unknown ones count as nothing."""
        return add_up(values, self.codes, (len(self), *values.shape[1:]))

    def take(self, rows: Ints) -> "Sums":
        """The same sums of some of the series."""
        return replace(self, codes=self.codes[rows])


def summed(shard: Shard, sums: Sums) -> Shard:
    """The history of sums as that of series.

    A step counts where at least half of the series that have begun and not ended were observed; the others count with their own mean.
    """
    steps, size = np.arange(shard.steps), len(sums)
    seen = ~np.isnan(shard.y)
    last = np.where(seen.any(axis=1), shard.steps - 1 - seen[:, ::-1].argmax(axis=1), -1)
    missing = ~seen & (steps >= shard.first[:, None]) & (steps <= last[:, None])
    usual = np.nansum(shard.y, axis=1, dtype=np.float64) / np.maximum(seen.sum(axis=1), 1)
    observed = sums.add(seen.astype(float))
    there = (observed > 0) & (observed >= sums.add(missing.astype(float)))
    y = np.where(there, sums.add(np.where(missing, usual[:, None], shard.y)), np.nan)
    first = first_observed(y)
    return replace(
        shard,
        series_id=np.asarray(sums.labels, dtype=object),
        y=y,
        known=np.zeros((size, 0, shard.known.shape[2])),
        first=first,
        room=first - first.min(),
        active=(~np.isnan(y)).sum(axis=1).astype(np.int64),
        weight=np.ones((size, shard.weight.shape[1])),
        static=np.zeros((size, 0)),
        segment=np.zeros(size, dtype=np.int64),
        segments=("all",),
    )
