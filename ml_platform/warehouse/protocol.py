"""What the platform asks of a warehouse.

Belongs here: the protocol, its results and its error. Does not belong here: a database's own code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake

NOTHING_DUE: Mapping[date, str] = {}


class WarehouseError(RuntimeError):
    """The warehouse cannot be staged or published; names the table or file and the way out."""


@dataclass(frozen=True)
class Staged:
    """A filled warehouse that nobody reads yet: its place and its rows by table."""

    path: Path
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Pointer:
    """The release whose forecasts are shown for an as-of day."""

    as_of: date
    release_id: str
    published_at: datetime


class Warehouse(Protocol):
    """stage, then dbt builds the marts in what was staged, then publish."""

    @property
    def build_folder(self) -> Path:
        """Where dbt puts what it writes beside the marts: its log and compiled SQL of the last build."""

    def stage(self, lake: Lake, config: ForecastConfig, due: Mapping[date, str] = NOTHING_DUE) -> Staged:
        """Fill a new warehouse as it will look once the releases of the `due` as-of days are published."""

    def is_staged(self) -> bool:
        """Whether a warehouse waits to be published."""

    def mart_rows(self) -> Mapping[str, int]:
        """Rows of every mart that dbt has built in the staged warehouse."""

    def publish(self, lake: Lake) -> list[Pointer]:
        """Check the staged warehouse against the lake, record its new pointers and switch; the pointers that are new."""

    def environment(self) -> dict[str, str]:
        """Environment variables under which dbt builds in the staged warehouse."""
