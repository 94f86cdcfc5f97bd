"""Files that the driver of a training and its shard jobs hand to each other, in one work folder.

Belongs here: arrays and tables as files, by shard. Does not belong here: computing them. The files live as long as one training.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import feather

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import Backtest
from ml_platform.forecasting.boosted import Lessons
from ml_platform.forecasting.calendar import Plan
from ml_platform.forecasting.cohorts import Cohort
from ml_platform.forecasting.config import ForecastConfig, parse_config
from ml_platform.forecasting.pipeline import Part
from ml_platform.forecasting.pools import PoolSums, Setup

COHORT = 10_000  # numbers of shards that a cohort has to itself
Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class WorkFolder:
    """Names and formats of the files of one training: setup.json, shard_*.npz, pools_*.arrow, lessons_*.npz,
    models_*.json, part_*.npz.

    A file is there whole or not at all, so that what a job made before it was killed can be told from what it did not.
    """

    path: Path

    def needs(self, step: str, number: int) -> tuple[str, ...]:
        """Names of the files that a job reads for a shard."""
        own, cohort = ("setup.json", f"shard_{number}.npz"), self.cohort(number)
        return own if step == "pools" else (*own, f"pools_all_{cohort}.arrow", f"models_{cohort}.json")

    def made(self, step: str, number: int) -> tuple[str, ...]:
        """Names of the files that a job has written for a shard; none until the last of them is there."""
        last = f"part_{number}.npz" if step == "fit" else f"pools_{number}.arrow"
        names = (last,) if step == "fit" else (f"lessons_{number}.npz", last)
        return () if self.lacks([last]) else tuple(name for name in names if not self.lacks([name]))

    def lacks(self, names: Sequence[str]) -> list[str]:
        """Those of some files that are not there."""
        return [name for name in names if not (self.path / name).exists()]

    def shards(self) -> list[int]:
        """Numbers of the shards whose arrays are there."""
        found = (re.fullmatch(r"shard_(\d+)\.npz", path.name) for path in self.path.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def halve(self, number: int) -> tuple[int, int]:
        """Write the two halves of a shard of at least two series as shards of its cohort; returns their numbers."""
        shard, cohort = self.read_shard(number), self.cohort(number)
        free, middle = max(one for one in self.shards() if self.cohort(one) == cohort) + 1, len(shard) // 2
        self.write_shard(free, shard.take(slice(0, middle)))
        self.write_shard(free + 1, shard.take(slice(middle, None)))
        return free, free + 1

    @staticmethod
    def cohort(number: int) -> int:
        """The cohort of a shard, which its number tells."""
        return number // COHORT

    def write_cohorts(self, cohorts: Sequence[Cohort]) -> None:
        """Store what all jobs agree on."""
        content = [{"codes": one.codes.tolist(), **_described(one.setup)} for one in cohorts]
        with self._new("setup.json") as file:
            file.write(json.dumps(content).encode())

    def read_cohorts(self) -> tuple[Cohort, ...]:
        content = json.loads((self.path / "setup.json").read_text(encoding="utf-8"))
        return tuple(Cohort(np.asarray(one.pop("codes"), dtype=np.int64), _setup(one)) for one in content)

    def write_shard(self, number: int, shard: Shard) -> None:
        """Store the arrays of a shard, whose series are all of one cohort."""
        arrays: Arrays = {field.name: np.asarray(getattr(shard, field.name)) for field in fields(Shard)}
        texts = {name: _text(arrays[name]) for name in ("series_id", "segments")}
        self._write(f"shard_{number}", {**arrays, **texts})

    def read_shard(self, number: int) -> Shard:
        arrays = self._read(f"shard_{number}")
        ids, segments = arrays.pop("series_id").astype(object), tuple(arrays.pop("segments").tolist())
        position = int(arrays.pop("position"))
        return Shard(series_id=ids, segments=segments, position=position, **arrays).working()  # type: ignore[arg-type]

    def write_pools(self, name: str, sums: PoolSums) -> None:
        """Store pool sums: of one shard under its number, of all of a cohort under `all_` and its number."""
        with self._new(f"pools_{name}.arrow") as file:
            feather.write_feather(sums.to_table(), file, compression="uncompressed")

    def read_pools(self, name: str) -> PoolSums:
        table: pa.Table = feather.read_table(self.path / f"pools_{name}.arrow")
        return PoolSums.from_table(table)

    def write_lessons(self, number: int, lessons: Lessons) -> None:
        arrays: Arrays = {field.name: np.asarray(getattr(lessons, field.name)) for field in fields(Lessons)}
        self._write(f"lessons_{number}", {**arrays, "series_id": _text(arrays["series_id"])})

    def read_lessons(self, number: int) -> Lessons:
        arrays = self._read(f"lessons_{number}")
        return Lessons(series_id=arrays.pop("series_id").astype(object), **arrays)  # type: ignore[arg-type]

    def write_models(self, cohort: int, models: Mapping[int, str]) -> None:
        """Store the models of all series of a cohort, by refit."""
        with self._new(f"models_{cohort}.json") as file:
            file.write(json.dumps(dict(models)).encode())

    def read_models(self, cohort: int) -> dict[int, str]:
        found = json.loads((self.path / f"models_{cohort}.json").read_text(encoding="utf-8"))
        return {int(back): text for back, text in found.items()}

    def write_part(self, number: int, part: Part) -> None:
        arrays: Arrays = {f.name: np.asarray(getattr(part, f.name)) for f in fields(Part) if f.name != "backtest"}
        backtest = {
            f"backtest.{f.name}": np.asarray(getattr(part.backtest, f.name))
            for f in fields(Backtest)
            if f.name != "constants"
        }
        constants = {f"constants.{name}": np.asarray(own) for name, own in part.backtest.constants.items()}
        self._write(f"part_{number}", {**arrays, **backtest, **constants, "series_id": _text(arrays["series_id"])})

    def read_part(self, number: int) -> Part:
        arrays = self._read(f"part_{number}")
        inner, constants = _taken(arrays, "backtest."), _taken(arrays, "constants.")
        ids = arrays.pop("series_id").astype(object)
        return Part(series_id=ids, backtest=Backtest(constants=constants, **inner), **arrays)  # type: ignore[arg-type]

    def _write(self, name: str, arrays: Arrays) -> None:
        with self._new(f"{name}.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _read(self, name: str) -> Arrays:
        with np.load(self.path / f"{name}.npz", allow_pickle=False) as content:
            return {key: content[key] for key in content.files}

    @contextmanager
    def _new(self, name: str) -> Iterator[BinaryIO]:
        """A file that gets its name when it is whole."""
        draft = self.path / f"{name}.{os.getpid()}.draft"
        with draft.open("wb") as file:
            yield file
        draft.replace(self.path / name)


def _described(setup: Setup) -> dict[str, object]:
    content = {"plan": asdict(setup.plan), "kind": setup.kind, "segments": setup.segments, "cells": setup.cells}
    return {**content, "config": setup.config.model_dump(mode="json")}


def _setup(content: dict[str, Any]) -> Setup:
    config: ForecastConfig = parse_config(content["config"], "setup.json")
    plan: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in content["plan"].items()}
    return Setup(config, Plan(**plan), content["kind"], content["segments"], cells=content["cells"])


def _taken(arrays: Arrays, prefix: str) -> Arrays:
    """Arrays whose name begins so, by the rest of it; `arrays` has them no more."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _text(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values.astype(str)
