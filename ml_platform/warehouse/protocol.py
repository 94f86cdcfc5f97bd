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

    def stage(
        self, lake: Lake, config: ForecastConfig, as_of: date | None = None, release_id: str | None = None
    ) -> Staged:
        """Fill a new warehouse as it will look once (as_of, release_id) is published; without them, as published so far."""

    def pending(self, lake: Lake) -> Pointer | None:
        """What `publish` would switch to; None where nothing is staged."""

    def publish(self, lake: Lake, as_of: date, release_id: str) -> bool:
        """Check the staged warehouse against the lake, record the pointer and switch; False where it is live already."""

    def environment(self) -> dict[str, str]:
        """Environment variables under which dbt builds in the staged warehouse."""
