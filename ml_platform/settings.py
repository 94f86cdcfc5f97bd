"""Settings: where things lie and how the laptop or the cloud is used.

Belongs here: every value that differs between installations, with a default that works on a laptop. This is the only reader
of the environment (`ML_PLATFORM_*`). Does not belong here: what a feed looks like (contracts) or how to forecast (forecast.yaml).
"""

import os
from datetime import date
from pathlib import Path
from typing import Self
from urllib.parse import urlparse

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGED_CONFIGS = Path(__file__).parent / "configs"


class Settings(BaseSettings):
    """One installation: a home, a configuration folder, a calendar and an engine.

    Every field is read from `ML_PLATFORM_<FIELD>` or keeps its laptop default. Days are business days of the contracts.
    """

    model_config = SettingsConfigDict(env_prefix="ML_PLATFORM_", extra="forbid", frozen=True)

    home: Path = Path(".platform")
    configs: Path = Field(
        default=PACKAGED_CONFIGS / "retail", description="folder with sources/*.yaml, forecast.yaml and gate.yaml"
    )
    first_day: date = date(2017, 1, 1)
    last_day: date | None = Field(
        default=date(2017, 12, 31), description="None: the calendar goes on; samples and replays end it"
    )
    engine: str = Field(default="sail", description="sail | jvm | sc://host:port: where Spark code runs")
    shards: int = Field(default=16, ge=1, le=64, description="hash buckets of series, the unit of parallel work")
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="local processes for shard jobs"
    )
    batch_rows: int = Field(
        default=2_000_000, ge=1, description="rows of drops that share one bronze commit, at most about"
    )
    suite_rows: int = Field(
        default=100_000, ge=1, description="rows of staged data that a Great Expectations suite looks at"
    )
    sensor_seconds: int = Field(default=10, ge=1, description="pause between two looks at the landing folder")

    @model_validator(mode="after")
    def _calendar_is_ordered(self) -> Self:
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError(
                f"last_day {self.last_day} lies before first_day {self.first_day}: set ML_PLATFORM_LAST_DAY to a later day"
            )
        if self.engine not in ("sail", "jvm") and urlparse(self.engine).scheme != "sc":
            raise ValueError(
                f"engine '{self.engine}' is unknown: set ML_PLATFORM_ENGINE to sail, jvm or sc://host:port"
            )
        return self

    @property
    def root(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def lake(self) -> str:
        return str(self.root / "lake")

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse" / "warehouse.duckdb"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"

    @property
    def dagster_home(self) -> Path:
        return self.root / "dagster"
