"""Settings: where things lie and how the laptop or the cloud is used.

Belongs here: every value that differs between installations, with a default that works on a laptop. This is the only reader
of the environment (`ML_PLATFORM_*`). Does not belong here: what a feed looks like (contracts) or how to forecast (forecast.yaml).
"""

import os
import re
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlparse

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSetting

from ml_platform.addresses import BlobAddress, QueueAddress
from ml_platform.calendar import Calendar

PACKAGED_CONFIGS = Path(__file__).parent / "configs"
PREFIX = "ML_PLATFORM_"
SAIL_READS = "'+&()[]{}=,;@~!$^`?*:|<>\\"  # beside letters and digits, in names of folders above a table
NO_END = ("", "none", "null")  # what a person or a template writes for "no last day"
URLS = 'a JSON object of names and URLs, such as {"shop": "postgresql+psycopg://user:password@host/database"}'


class SettingsError(ValueError):
    """Settings that cannot be used: one line per variable, with its value and what is allowed."""


class Settings(BaseSettings):
    """One installation: a home, a configuration folder, a calendar and an engine.

    Every field is read from `ML_PLATFORM_<FIELD>` or keeps its laptop default. Days are business days of the contracts.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    engine: str = Field(default="sail", description="sail | jvm | sc://host:port: where Spark code runs")
    home: Path = Path(".platform")
    configs: Path = Field(
        default=PACKAGED_CONFIGS / "retail", description="folder with sources/*.yaml, forecast.yaml and gate.yaml"
    )
    environment: Literal["dev", "qa", "prod"] = Field(
        default="dev", description="where releases are used: dev trains, qa and prod receive what is promoted"
    )
    homes: dict[str, Path] = Field(
        default_factory=dict, description="homes of environments that do not lie below this one, by their names"
    )
    identity: str = Field(default="", description="in whose name releases are sealed; empty: the user of this machine")
    first_day: date = date(2017, 1, 1)
    last_day: date | None = Field(
        default=date(2017, 12, 31), description="None: the calendar goes on; samples and replays end it"
    )
    shards: int = Field(default=16, ge=1, le=64, description="hash buckets of series, the unit of parallel work")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="shard jobs at the same time")
    training_compute: Literal["local", "spark"] = Field(
        default="local", description="where shard jobs run: processes of this machine, or tasks of the engine"
    )
    batch_rows: int = Field(
        default=2_000_000, ge=1, description="rows of drops that share one bronze commit, at most about"
    )
    suite_rows: int = Field(
        default=20_000, ge=1, description="rows of staged data that a Great Expectations suite looks at"
    )
    max_file_bytes: int = Field(default=2 << 30, ge=1, description="bytes of one landed file, as it lies there")
    max_rows: int = Field(default=50_000_000, ge=1, description="rows of one landed file")
    max_columns: int = Field(default=2_000, ge=1, description="columns of one landed file, and of a bronze table")
    max_cell_bytes: int = Field(default=1 << 20, ge=1, description="bytes of one text in a landed file")
    max_expanded_bytes: int = Field(default=4 << 30, ge=1, description="bytes of one landed file once it is unpacked")
    retention_days: int = Field(default=30, ge=7, description="days for which old versions of tables can be read")
    sensor_seconds: int = Field(default=10, ge=1, description="pause between two looks at the landing folder")
    landing_url: str = Field(
        default="", description="a container of blob storage; empty: the folder `landing` of the home"
    )
    storage_key: SecretStr | None = Field(default=None, description="key of the account, for Azurite only")
    events_queue_url: str = Field(
        default="", description="a storage queue with events of the landing area; empty: none"
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="the Dagster UI, for links to it")
    mlflow_url: str = Field(default="http://127.0.0.1:5000", description="the MLflow UI, for links to it")
    listing_seconds: int = Field(default=300, ge=1, description="pause between two full listings beside a queue")
    databases: dict[str, SecretStr] = Field(
        default_factory=dict, description="SQLAlchemy URLs of the databases that sources pull from, by their names"
    )

    @field_validator("home", "configs", mode="before")
    @classmethod
    def _folder_has_a_name(cls, value: object) -> object:
        if value == "":  # as a path it would be the current folder
            raise ValueError("it names no folder: set it to one, or leave it out")
        return value

    @field_validator("last_day", mode="before")
    @classmethod
    def _no_end_is_a_word(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() in NO_END else value

    @field_validator("last_day")
    @classmethod
    def _calendar_is_ordered(cls, value: date | None, info: ValidationInfo) -> date | None:
        first = info.data.get("first_day")  # None where it is wrong itself
        if value is not None and first is not None and value < first:
            raise ValueError(
                f"the last day lies before the first day {first}: set {PREFIX}LAST_DAY to that day or a later one, or to none"
            )
        return value

    @field_validator("engine")
    @classmethod
    def _engine_is_known(cls, value: str) -> str:
        if value not in ("sail", "jvm") and urlparse(value).scheme != "sc":
            raise ValueError(f"no such engine: set {PREFIX}ENGINE to sail, jvm or sc://host:port")
        return value

    @field_validator("home")
    @classmethod
    def _home_can_be_used(cls, value: Path, info: ValidationInfo) -> Path:
        root = value.expanduser().resolve()
        if info.data.get("engine") == "sail" and quote(str(root), safe="/" + SAIL_READS) != str(root):
            raise ValueError(
                f"the engine sail finds no Delta table below '{root}': a folder's name there has a blank or another letter than those of "
                f"English. Set {PREFIX}HOME to a folder without, or {PREFIX}ENGINE to jvm"
            )
        there = next(one for one in (root, *root.parents) if one.exists())
        if not there.is_dir():
            raise ValueError(f"'{there}' is a file: set {PREFIX}HOME to a folder")
        return value

    @field_validator("landing_url")
    @classmethod
    def _landing_url_is_an_address(cls, value: str) -> str:
        if value:
            BlobAddress.read(value)
        return value

    @field_validator("events_queue_url")
    @classmethod
    def _events_tell_of_blobs(cls, value: str, info: ValidationInfo) -> str:
        if value:
            QueueAddress.read(value)
            if info.data.get("landing_url") == "":  # not there where it is wrong itself
                raise ValueError(f"events tell of blobs: set {PREFIX}LANDING_URL to the container where they land, too")
        return value

    @property
    def base(self) -> Path:
        """The home as an absolute path: that of `dev`, and of what all environments share (landing, keys)."""
        return self.home.expanduser().resolve()

    @property
    def root(self) -> Path:
        """The home of the environment."""
        if self.environment in self.homes:
            return self.homes[self.environment].expanduser().resolve()
        return self.base if self.environment == "dev" else self.base / "environments" / self.environment

    def of(self, environment: str) -> "Settings":
        """The same installation as another environment sees it."""
        return self.model_copy(update={"environment": environment})

    @property
    def key_folder(self) -> Path:
        """The folder of the key that seals releases, and of the keys that are trusted."""
        return self.base / "keys"

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.first_day, self.last_day)

    @property
    def limits(self) -> dict[str, int]:
        """Bounds of a landed file, by the names of `formats.Limits`."""
        names = ("file_bytes", "rows", "columns", "cell_bytes", "expanded_bytes")
        return {name: getattr(self, f"max_{name}") for name in names}

    @property
    def landing(self) -> Path:
        """The folder where files arrive, unless they arrive at `landing_address`."""
        return self.base / "landing"

    @property
    def landing_address(self) -> BlobAddress | None:
        return BlobAddress.read(self.landing_url) if self.landing_url else None

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


def read_settings() -> Settings:
    """The settings of this process; SettingsError with a line per variable that cannot be used."""
    known = _names()
    if odd := [name for name in os.environ if name.upper() in known and name not in known]:
        words = "variables are written in capitals, and of two spellings nobody knows which one is meant"
        raise SettingsError(
            "\n".join(f"{name} cannot be used: {words}: name it {name.upper()}" for name in sorted(odd))
        )
    try:
        return Settings()
    except ValidationError as why:
        raise SettingsError("\n".join(_explained(problem) for problem in why.errors())) from None
    except UnreadableSetting:  # of all settings, only this one is JSON
        raise SettingsError(f"{PREFIX}DATABASES=(not shown) cannot be used: it must be {URLS}") from None


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none: misspelt ones, which nothing reads."""
    known = _names()
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def _names() -> set[str]:
    return {PREFIX + name.upper() for name in Settings.model_fields}


def without_secrets(value: object) -> str:
    """A setting as it may be shown: what follows a semicolon, a question mark or a hash in an address can be a token, what stands before an @ a password."""
    return re.sub(r"//[^/@]*@", "//", re.split("[;?#]", str(value))[0])


def _explained(problem: ErrorDetails) -> str:
    name, value = str(problem["loc"][0]), problem["input"]
    origin = "" if isinstance(value, str) else " (the default)"
    ours = problem["type"] == "value_error"
    words = problem["msg"].removeprefix("Value error, ") if ours else f"it must be {_allowed(name)}"
    shown = "(not shown)" if name == "databases" else f"{without_secrets(value)}{origin}"
    return f"{PREFIX}{name.upper()}={shown} cannot be used: {words}"


def _allowed(name: str) -> str:
    if name == "databases":
        return URLS
    shape = Settings.model_json_schema()["properties"][name]
    if "enum" in shape:
        return " or ".join(shape["enum"])
    if shape.get("type") == "integer":
        return f"a whole number from {shape['minimum']} {'to ' + str(shape['maximum']) if 'maximum' in shape else 'on'}"
    return "a day as YYYY-MM-DD" + (", or none for a calendar that goes on" if "anyOf" in shape else "")
