"""Files that the driver of a training and its shard jobs hand to each other, in one work folder.

Belongs here: arrays and tables as files, by shard. Does not belong here: computing them. The files live as long as one training.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import feather

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import Backtest
from ml_platform.forecasting.boosted import Lessons
from ml_platform.forecasting.calendar import plan_folds
from ml_platform.forecasting.config import ForecastConfig, parse_config
from ml_platform.forecasting.pipeline import Part
from ml_platform.forecasting.pools import PoolSums, Setup

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class WorkFolder:
    """Names and formats of the files of one training: setup.json, shard_*.npz, pools_*.arrow, part_*.npz."""

    path: Path

    def write_setup(self, setup: Setup) -> None:
        """Store what all jobs agree on."""
        plan = setup.plan
        content = {
            "steps": plan.steps,
            "judging": bool(plan.judging),
            "kind": setup.kind,
            "segments": setup.segments,
            "cells": setup.cells,
        }
        config = setup.config.model_dump(mode="json")
        (self.path / "setup.json").write_text(json.dumps({**content, "config": config}), encoding="utf-8")

    def read_setup(self) -> Setup:
        content = json.loads((self.path / "setup.json").read_text(encoding="utf-8"))
        config: ForecastConfig = parse_config(content["config"], "setup.json")
        plan = plan_folds(config, content["steps"], content["judging"])
        return Setup(config, plan, content["kind"], content["segments"], cells=content["cells"])

    def write_shard(self, number: int, shard: Shard) -> None:
        arrays: Arrays = {field.name: np.asarray(getattr(shard, field.name)) for field in fields(Shard)}
        self._write(
            f"shard_{number}",
            {**arrays, "series_id": _text(arrays["series_id"]), "segments": _text(arrays["segments"])},
        )

    def read_shard(self, number: int) -> Shard:
        arrays = self._read(f"shard_{number}")
        ids, segments = arrays.pop("series_id").astype(object), tuple(arrays.pop("segments").tolist())
        position = int(arrays.pop("position"))
        return Shard(series_id=ids, segments=segments, position=position, **arrays)  # type: ignore[arg-type]

    def write_pools(self, name: str, sums: PoolSums) -> None:
        """Store pool sums: of one shard under its number, of all under `all`."""
        feather.write_feather(sums.to_table(), self.path / f"pools_{name}.arrow", compression="uncompressed")

    def read_pools(self, name: str) -> PoolSums:
        table: pa.Table = feather.read_table(self.path / f"pools_{name}.arrow")
        return PoolSums.from_table(table)

    def write_lessons(self, number: int, lessons: Lessons) -> None:
        arrays: Arrays = {field.name: np.asarray(getattr(lessons, field.name)) for field in fields(Lessons)}
        self._write(f"lessons_{number}", {**arrays, "series_id": _text(arrays["series_id"])})

    def read_lessons(self, number: int) -> Lessons:
        arrays = self._read(f"lessons_{number}")
        return Lessons(series_id=arrays.pop("series_id").astype(object), **arrays)  # type: ignore[arg-type]

    def write_models(self, models: Mapping[int, str]) -> None:
        """Store the models of all series by refit."""
        (self.path / "models.json").write_text(json.dumps(dict(models)), encoding="utf-8")

    def read_models(self) -> dict[int, str]:
        path = self.path / "models.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
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
        with (self.path / f"{name}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _read(self, name: str) -> Arrays:
        with np.load(self.path / f"{name}.npz", allow_pickle=False) as content:
            return {key: content[key] for key in content.files}


def _taken(arrays: Arrays, prefix: str) -> Arrays:
    """Arrays whose name begins so, by the rest of it; `arrays` has them no more."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _text(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return values.astype(str)
