"""The generator's world as one table of rows, as every contender reads it, and the truth that judges them.

Belongs here: files of rows, their truth. Does not belong here: the world (generator), the platform's own tables (fleet), judging.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.generator import FIRST, HORIZON, PRODUCTS, Profile, World, blocks

SEASON, RECENT = 7, 28
COVARIATES = ("price", "promotion", "holiday")
MEANS = tuple(f"{name}_mean" for name in COVARIATES)  # over all series of a product that have begun
SCHEMA = pa.schema(
    [
        ("unique_id", pa.string()),
        ("product", pa.string()),
        ("ds", pa.timestamp("us")),
        ("y", pa.float64()),
        *((name, pa.float64()) for name in (*COVARIATES, *MEANS)),
    ]
)


@dataclass(frozen=True)
class Truth:
    """Of S series: id (S,), units and true mean of the horizon (S, H), the last season again (S, H), squared scale and weight (S,).

    Units are -1 where a series has ended: such cells are not judged. The scale is the mean squared difference of neighbouring
    days since the first sale, the weight what was sold in the last four weeks.
    """

    series: npt.NDArray[np.str_]
    units: npt.NDArray[np.int32]
    mean: npt.NDArray[np.float32]
    naive: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    def save(self, path: Path) -> None:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Truth":
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def take(self, series: npt.NDArray[np.str_]) -> "Truth":
        """The same truth of some series, in the order given."""
        place = pd.Index(self.series).get_indexer(pd.Index(series))
        return Truth(**{field.name: getattr(self, field.name)[place] for field in fields(self)})


def write_rows(folder: Path, profile: Profile, samples: dict[str, int], seed: int) -> Truth:
    """Write `<sample>.parquet` for every sample (series at random, nested: the first so many of one permutation) and the truth of all.

    Every series has a row per day from its first one on; y is missing in the days ahead, whose covariates are known.
    """
    order = np.random.default_rng([seed, 9]).permutation(profile.series)
    means = _means(profile, seed)
    writers = {name: pq.ParquetWriter(folder / f"{name}.parquet", SCHEMA) for name in samples}
    truths, start = list[Truth](), 0
    for world in blocks(profile, seed):
        own = order.argsort()[start : start + len(world.store)]
        for name, size in samples.items():
            for table in _tables(world, means, profile.days, np.flatnonzero(own < size)):
                writers[name].write_table(table)
        truths.append(_truth(world, profile.days))
        start += len(world.store)
    for writer in writers.values():
        writer.close()
    truth = Truth(**{field.name: np.concatenate([getattr(t, field.name) for t in truths]) for field in fields(Truth)})
    truth.save(folder / "truth.npz")
    return truth


def _ids(world: World) -> npt.NDArray[np.str_]:
    return np.asarray([f"{s:04d}/{p:02d}" for s, p in zip(world.store, world.product, strict=True)])


def _begun(world: World) -> npt.NDArray[np.bool_]:
    return np.maximum.accumulate(world.units >= 0, axis=1)


def _means(profile: Profile, seed: int) -> npt.NDArray[np.float64]:
    """Mean of each covariate by product and day, (P, K, T + H)."""
    shape = (PRODUCTS, profile.days + HORIZON)
    total, count = np.zeros((len(COVARIATES), *shape)), np.zeros(shape)
    for world in blocks(profile, seed):
        begun = _begun(world)
        np.add.at(count, world.product, begun)
        for place, name in enumerate(COVARIATES):
            np.add.at(total[place], world.product, np.where(begun, getattr(world, name), 0.0))
    return (total / np.maximum(count, 1.0)).transpose(1, 0, 2)


def _tables(world: World, means: npt.NDArray[np.float64], days: int, rows: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    if not len(rows):
        return
    begun = _begun(world)[rows]
    series, day = np.nonzero(begun)
    ahead = day >= days
    yield pa.table(
        {
            "unique_id": _ids(world)[rows][series],
            "product": np.char.mod("%02d", world.product[rows])[series],
            "ds": (np.datetime64(FIRST) + day).astype("datetime64[us]"),
            "y": pa.array(np.maximum(world.units[rows][series, day], 0).astype(float), mask=ahead),
            **{name: getattr(world, name)[rows][series, day].astype(float) for name in COVARIATES},
            **{name: means[world.product[rows][series], place, day] for place, name in enumerate(MEANS)},
        },
        SCHEMA,
    )


def _truth(world: World, days: int) -> Truth:
    past = np.maximum(world.units[:, :days], 0).astype(float)
    sold = np.maximum.accumulate(past > 0, axis=1)[:, :-1]
    squares = np.where(sold, np.diff(past, axis=1) ** 2, 0.0).sum(axis=1)
    return Truth(
        _ids(world),
        world.units[:, days:],
        world.mean[:, days:],
        past[:, days - SEASON + np.arange(HORIZON) % SEASON],
        squares / np.maximum(sold.sum(axis=1), 1),
        past[:, -RECENT:].sum(axis=1),
    )
