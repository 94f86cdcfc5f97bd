"""A small fleet in a real lake: synthetic tables with the schemas that training writes.

Belongs here: fixtures of the judging, releasing and warehouse tests. Does not belong here: fitted models (tests of the kernel).
"""

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml_platform.evaluation import arrange, evaluate, segment_labels, store_evaluation
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.fleet import META
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.gate import GateConfig
from ml_platform.lake import Lake, TableSpec, schemas
from ml_platform.registry import Origin, Registry, ReleaseContents, fleet_tables

DAY = date(2024, 3, 31)
HORIZON = 14
FAMILIES = ("mean_28", "tsb")
FLOORS = ("zero", "seasonal_naive", "mean_28")
CONFIG = ForecastConfig(
    series=["site", "item"],
    time="date",
    target="amount",
    frequency="D",
    horizon=HORIZON,
    segments=["site"],
    sums=[["site"], []],
    families=list(FAMILIES),
)


def series_ids(count: int) -> list[str]:
    return [f"{i:016x}" for i in range(count)]


def make_catalogue(count: int) -> pa.Table:
    return pa.table(
        {
            "series_id": series_ids(count),
            "site": pa.array([1 + i % 3 for i in range(count)], pa.int64()),
            "item": [f"item {i}" for i in range(count)],
            "shard": pa.array([0] * count, pa.int32()),
            "first_date": pa.array([date(2023, 1, 1)] * count),
            "last_date": pa.array([DAY] * count),
            "active_days": pa.array([300] * count, pa.int64()),
            "days_before_fold": pa.array([300] * count, pa.int64()),
            "state": ["active"] * count,
            "reason": pa.array([None] * count, pa.string()),
        }
    )


def make_fold(count: int, as_of: date, error: float = 0.5, bias: float = 0.0, seed: int = 7) -> pa.Table:
    """Judged rows: family tsb errs by `error` standard deviations and `bias`, family mean_28 by 1; the challenger is tsb."""
    rng = np.random.default_rng(seed)
    rows = count * HORIZON
    actual = rng.gamma(4.0, 2.0, rows)
    noise = rng.normal(0, 2.0, rows)
    tsb = np.maximum(actual * (1 + bias) + error * noise, 0)
    steps = np.tile(np.arange(1, HORIZON + 1), count)
    origin = as_of - timedelta(days=HORIZON)
    columns = {
        "as_of": pa.array([as_of] * rows),
        "series_id": np.repeat(series_ids(count), HORIZON),
        "step": pa.array(steps, pa.int32()),
        "date": pa.array([origin + timedelta(days=int(step)) for step in steps]),
        "actual": actual,
        "mean": tsb,
        "lo_80": actual - 1.0,
        "hi_80": np.where(steps % 5 == 0, actual - 0.5, actual + 1.0),
        "lo_95": actual - 2.0,
        "hi_95": actual + 2.0,
        "weight": np.repeat(1.0 + np.arange(count), HORIZON),
        "scale": np.full(rows, 4.0),
        "family_mean_28": np.maximum(actual + noise, 0),
        "family_tsb": tsb,
        "floor_zero": np.zeros(rows),
        "floor_seasonal_naive": np.maximum(actual + 2 * noise, 0),
        "floor_mean_28": np.maximum(actual + noise, 0),
    }
    return pa.table(columns)


def make_fleet(count: int, as_of: date, family: str = "tsb") -> pa.Table:
    return pa.table(
        {
            "as_of": pa.array([as_of] * count),
            "series_id": series_ids(count),
            "family": [family] * count,
            "state": ["fallback"] + ["fitted"] * (count - 1),
            "reason": pa.array(["too_short"] + [None] * (count - 1), pa.string()),
            "parameters": [json.dumps({"weights": {family: 1.0}, "level": i}) for i in range(count)],
            "fingerprint": ["f" * 64] * count,
            "settings": ["5" * 16] * count,
        }
    )


def make_fold_metrics(count: int, as_of: date) -> pa.Table:
    rows = [
        {
            "as_of": as_of,
            "series_id": one,
            "family": family,
            "fold": fold,
            "squared_error": 14.0 + fold,
            "scale": 4.0,
            "absolute_error": 10.0,
            "bias": 0.5,
            "rows": HORIZON,
        }
        for one in series_ids(count)
        for family in FAMILIES
        for fold in range(3)
    ]
    types = {
        "as_of": pa.date32(),
        "fold": pa.int32(),
        "rows": pa.int64(),
        "series_id": pa.string(),
        "family": pa.string(),
    }
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.float64())) for name in rows[0]]))


def make_forecasts(count: int, as_of: date, release_id: str) -> pa.Table:
    rng = np.random.default_rng(as_of.toordinal())
    rows = count * HORIZON
    steps = np.tile(np.arange(1, HORIZON + 1), count)
    mean = rng.gamma(4.0, 2.0, rows)
    spec = schemas.forecasts(CONFIG.interval_columns, pa.date32())
    columns = {
        "as_of": [as_of] * rows,
        "release_id": [release_id] * rows,
        "series_id": np.repeat(series_ids(count), HORIZON),
        "step": steps,
        "date": [as_of + timedelta(days=int(step)) for step in steps],
        "mean": mean,
        "point": mean,
        "lo_95": mean * 0.2,
        "lo_80": mean * 0.5,
        "hi_80": mean * 1.5,
        "hi_95": mean * 2.0,
        "family": ["tsb"] * rows,
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in spec.schema], schema=spec.schema)


def make_sums(count: int, as_of: date, release_id: str) -> pa.Table:
    """Sums of make_forecasts by site, and the total."""
    rows = make_forecasts(count, as_of, release_id).to_pandas().merge(make_catalogue(count).to_pandas(), on="series_id")
    spec, tables = schemas.forecast_sums(CONFIG.interval_columns, pa.date32()), []
    for level in ("site", "total"):
        key = rows["site"].astype(str) if level == "site" else rows["site"] * 0
        grouped = rows.assign(key=key).groupby(["key", "date", "step"], as_index=False)
        numbers = grouped[["mean", "point", *CONFIG.interval_columns]].sum()
        made = numbers.merge(grouped.size().rename(columns={"size": "series"}))
        made["keys"] = [json.dumps({"site": one} if level == "site" else {}) for one in made["key"]]
        made["sum_id"] = [f"{level} {one}" for one in made["key"]]
        fixed = {"as_of": as_of, "release_id": release_id, "level": level, "fallback": 0, "quarantined": 0}
        tables.append(pa.Table.from_pandas(made.assign(**fixed)[spec.schema.names], spec.schema, preserve_index=False))
    return pa.concat_tables(tables)


def make_pools(as_of: date, family: str = "tsb") -> pa.Table:
    """Pools as training writes them, as far as judging reads them: segment weights, factors, the kind of values."""
    rows = [("weights", segment, name, float(name == family)) for segment in "123" for name in FAMILIES]
    rows += [("factors", segment, item, 1.0) for segment in "123" for item in ("mean", "point")]
    rows += [("meta", segment, item, 0.0) for segment in "123" for item in META]
    columns = zip(*rows, strict=True)
    return pa.table(
        {
            "as_of": pa.array([as_of] * len(rows)),
            **dict(zip(("name", "segment", "item", "value"), columns, strict=True)),
        }
    )


def make_champion(shares: dict[str, dict[str, float]], as_of: date = DAY) -> Incumbent:
    """The choice of a fleet of these series and weights; its segments are all `mean_28`."""
    parameters = [World.recipe(**one) for one in shares.values()]
    rows = {"series_id": list(shares), "family": ["tsb"] * len(shares), "state": ["fitted"] * len(shares)}
    table = pa.table({**rows, "reason": pa.nulls(len(shares), pa.string()), "parameters": parameters})
    return Incumbent(fleet_tables(table, make_pools(as_of, "mean_28").drop_columns(["as_of"]), CONFIG), "as before")


def put(lake: Lake, name: str, rows: pa.Table) -> None:
    """Append rows to a table of their own schema."""
    lake.append(TableSpec(name, rows.schema), rows)


@dataclass
class World:
    """A home with one synthetic fleet per trained day, and the makers of its tables."""

    catalogue_of = staticmethod(make_catalogue)
    fold_of = staticmethod(make_fold)
    fleet_of = staticmethod(make_fleet)
    pools_of = staticmethod(make_pools)
    champion_of = staticmethod(make_champion)
    forecasts_of = staticmethod(make_forecasts)
    sums_of = staticmethod(make_sums)

    home: Path
    count: int = 12
    config: ForecastConfig = CONFIG
    gate: GateConfig = field(default_factory=GateConfig)

    @property
    def day(self) -> date:
        return DAY

    @staticmethod
    def recipe(**weights: float) -> str:
        """Parameters of a series as a fleet holds them."""
        return json.dumps({"weights": weights})

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))

    @property
    def registry(self) -> Registry:
        return Registry(
            self.home / "releases", f"sqlite:///{self.home}/mlflow/mlflow.db", self.home / "mlflow" / "artifacts"
        )

    def contents(self, **changes: Any) -> ReleaseContents:
        """A small release of the day."""
        values: dict[str, Any] = {
            "as_of": self.day,
            "parameters": self.fleet_of(5, self.day).drop_columns(["as_of", "fingerprint"]),
            "pools": self.pools_of(self.day).drop_columns(["as_of"]),
            "fold_metrics": pa.table({"series_id": ["a"], "family": ["tsb"], "fold": [0], "squared_error": [1.0]}),
            "evaluation": pa.table(
                {"contender": ["challenger"], "level": ["fleet"], "segment": ["fleet"], "weighted_rmsse": [0.8]}
            ),
            "config": self.config,
            "evidence": {"promoted": True},
            "origin": Origin(created_by="ada", created_at=datetime(2024, 4, 1, tzinfo=UTC)),
            "card": "# A fleet\n\n<script>alert(1)</script>\n",
            "data_versions": {"gold/series_panel": 3},
        }
        return ReleaseContents(**(values | changes))

    @property
    def catalogue(self) -> pa.Table:
        return make_catalogue(self.count)

    def put(self, name: str, rows: pa.Table) -> None:
        put(self.lake, name, rows)

    def evaluate(self, as_of: date) -> None:
        """Judge the trained day without a champion."""
        cells = arrange(make_fold(self.count, as_of), segment_labels(self.catalogue, self.config))
        store_evaluation(self.lake, evaluate(cells, self.config, as_of), self.config, as_of)

    def train(self, as_of: date, error: float = 0.5, bias: float = 0.0) -> None:
        put(self.lake, "gold/candidate_fleet", make_fleet(self.count, as_of))
        put(self.lake, "gold/fold_metrics", make_fold_metrics(self.count, as_of))
        put(self.lake, "gold/judged_fold", make_fold(self.count, as_of, error, bias))
        put(self.lake, "gold/fleet_pools", make_pools(as_of))


@pytest.fixture(scope="session")
def blank_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables: making them takes a second, copying them a millisecond."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = Registry(database.parent, f"sqlite:///{database}", database.parent).versions.client
    client._tracking_client.store.engine.dispose()
    return database


@pytest.fixture
def world(tmp_path: Path, blank_mlflow: Path) -> World:
    (tmp_path / "mlflow").mkdir()
    shutil.copy(blank_mlflow, tmp_path / "mlflow" / "mlflow.db")
    return World(tmp_path)


@pytest.fixture
def plain_world(tmp_path: Path) -> World:
    """A home in which MLflow was never used, for tests that do not, or that see it begin."""
    return World(tmp_path)


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    """For homes that several tests share."""
    return World
