"""The landing area.

Belongs here: which store files arrive in, how large they may be, and how many rows share a commit. Does not belong here: what a file means (contracts).
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.formats import Limits
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LandingStore, LocalLanding


class LandingResource(dg.ConfigurableResource[Any]):
    """A folder with one subfolder per source (on Azure `landing_blob`); days of the calendar as YYYY-MM-DD; `batch_rows`: rows that share a bronze commit, about.

    `limits`: bounds of a file, by the names of `formats.Limits`; its defaults where they are left out.
    """

    folder: str
    first_day: str
    last_day: str | None = None
    batch_rows: int = 2_000_000
    limits: dict[str, int] = {}  # noqa: RUF012  a field of a pydantic model, copied per instance

    def vend(self) -> LandingStore:
        return LocalLanding(Path(self.folder))

    def ingestion(
        self, lake: Lake, contract: SourceContract, run_id: str, suite_rows: int, progress: Callable[[str], None]
    ) -> Ingestion:
        calendar = Calendar(
            date.fromisoformat(self.first_day), date.fromisoformat(self.last_day) if self.last_day else None
        )
        limits = Limits(**self.limits)
        return Ingestion(lake, self.vend(), contract, run_id, calendar, self.batch_rows, suite_rows, progress, limits)
