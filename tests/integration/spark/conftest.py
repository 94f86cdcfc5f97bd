"""A small town of meters: three sources in their own YAML, landed, ingested and prepared on a real engine.

Belongs here: the example that the tests of silver and panel share. Does not belong here: what they ask of it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.calendar import Calendar
from ml_platform.catalogue import write_catalogue
from ml_platform.contract_files import load_contracts
from ml_platform.contracts import Contracts
from ml_platform.features import PanelReport, write_panel
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.landing import LocalLanding
from ml_platform.panel_inputs import PanelInputs
from ml_platform.preparation import Preparation, PreparationReport

YEARS = Calendar(date(2023, 1, 1), date(2025, 12, 31))
READINGS = """
name: readings
kind: events
description: Readings of meters.
owner: team:grid
path: readings_{day}*.csv
format: {type: csv}
columns:
  reading_id: {type: int64}
  district: {type: int64}
  meter_id: {type: int64}
  read_at: {type: timestamp}
  units: {type: int64, min: 0}
  amount: {type: "decimal(12,2)"}
key: [reading_id]
time: {column: read_at, timezone: UTC, business_timezone: America/New_York}
lookups:
  - {source: meters, match: [meter_id], take: [street, kind], missing: unknown_meter}
exclude:
  - {rule: no_street, column: street, "null": true}
  - {rule: not_for_sale, column: kind, values: [TEST, "O'Neil"]}
notice:
  - {rule: zero_units, column: units, values: [0]}
max_quarantined: 0.9
panel: {target: true}
"""
METERS = """
name: meters
kind: snapshot
description: Meters.
owner: team:grid
path: meters.csv
format: {type: csv}
columns:
  meter_id: {type: int64}
  street: {type: string, nullable: true}
  kind: {type: string}
key: [meter_id]
"""
PLANS = """
name: plans
kind: events
description: Planned works.
owner: team:grid
path: plans_{day}*.csv
format: {type: csv}
columns:
  meter_id: {type: int64}
  district: {type: int64}
  starts: {type: date}
  ends: {type: date}
  level: {type: string}
  crew: {type: string}
  tariff: {type: "decimal(8,3)"}
key: [meter_id, district, starts]
validity: {start: starts, end: ends}
lookups:
  - {source: meters, match: [meter_id], take: [street], missing: unknown_meter}
exclude:
  - {rule: no_street, column: street, "null": true}
duplicates: {greatest: [level]}
panel:
  scope: [district]
  covariates:
    - {name: share_planned, kind: share, column: level, unless: ["0"]}
    - {name: mean_tariff, kind: mean, column: tariff}
"""
HEADERS = {
    "readings": "reading_id,district,meter_id,read_at,units,amount",
    "meters": "meter_id,street,kind",
    "plans": "meter_id,district,starts,ends,level,crew,tariff",
}
SECONDS = count(1)
CONFIG = ForecastConfig(
    series=["district", "street"],
    time="date",
    target="units",
    frequency="D",
    horizon=3,
    weight="amount",
    known_future=["share_planned", "mean_tariff"],
    static=["kind"],
    min_active_days=2,
)


@dataclass(frozen=True)
class Town:
    """Landing, lake and contracts of the example on one engine."""

    root: Path
    contracts: Contracts
    engine: str = "sail"
    config: ForecastConfig = CONFIG
    said: list[str] = field(default_factory=list)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    def land(self, source: str, name: str, *lines: str, more: str = "") -> None:
        """Put a file there, with `more` columns in its header; each is a second newer than the one before."""
        path = self.root / "landing" / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEADERS[source] + more, *lines]) + "\n")
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(SECONDS)
        os.utime(path, (at, at))

    def ingest(self, source: str) -> None:
        one = Ingestion(self.lake, LocalLanding(self.root / "landing"), self.contracts[source], "run", YEARS)
        one.run(one.due(YEARS.first, YEARS.last))

    def preparation(self, source: str) -> Preparation:
        contract, series = self.contracts[source], self.config.series
        return Preparation(self.lake, self.contracts, contract, self.engine, progress=self.said.append, series=series)

    def prepare(self, *sources: str) -> list[PreparationReport]:
        """Ingest all, then prepare in this order; balance is checked after each."""
        reports = []
        for source in sources:
            self.ingest(source)
            reports.append(self.preparation(source).run())
            self.balance(source)
        return reports

    def balance(self, source: str) -> None:
        """R5: per drop, the fates of its rows add up to what the ledger says was loaded and erased, also where it was replaced."""
        own = (pc.field("source") == source) & (pc.field("stage") == "silver")
        fates = self.lake.read("ops/row_fates", where=own).to_pylist()
        for row in ledger.of_source(self.lake, source):
            assert sum(f["rows"] for f in fates if f["drop_id"] == row.drop_id) == row.rows_loaded + row.rows_erased, (
                row,
                fates,
            )
        contract = self.contracts[source]
        kept = self.lake.count(f"silver/{contract.silver}")
        assert sum(f["rows"] for f in fates if f["fate"] == "kept") == kept

    def silver(self, source: str) -> list[dict[str, Any]]:
        contract = self.contracts[source]
        table = self.lake.read(f"silver/{contract.silver}")
        return table.sort_by([(name, "ascending") for name in contract.key]).to_pylist()

    def fates(self, source: str) -> dict[str, int]:
        """Rows by fate(rule) over all drops."""
        found: dict[str, int] = {}
        for row in self.lake.read("ops/row_fates", where=pc.field("source") == source).to_pylist():
            name = f"{row['fate']}({row['rule']})" if row["rule"] else row["fate"]
            found[name] = found.get(name, 0) + row["rows"]
        return dict(sorted(found.items()))

    def inputs(self, **config: Any) -> PanelInputs:
        return PanelInputs(self.lake, self.contracts, self.config.model_copy(update=config), self.engine)

    def make_panel(self, as_of: date, **config: Any) -> PanelReport:
        inputs = self.inputs(**config)
        write_catalogue(inputs, as_of)
        return write_panel(inputs, as_of)

    def panel(self) -> pa.Table:
        table = self.lake.read(SERIES_PANEL)
        return table.sort_by([("series_id", "ascending"), ("date", "ascending")])

    def files(self, name: str) -> dict[str, list[str]]:
        """Data files of a table's newest version, by month."""
        found: dict[str, list[str]] = {}
        for uri in self.lake.table(name).file_uris():
            month = uri.split("month=")[1].split("/")[0]
            found.setdefault(month, []).append(uri)
        return {month: sorted(files) for month, files in found.items()}

    def on(self, engine: str) -> "Town":
        return replace(self, engine=engine)


def write_contracts(folder: Path, *texts: str) -> Contracts:
    (folder / "sources").mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / "sources" / f"{number}.yaml").write_text(text)
    return load_contracts(folder)


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path, write_contracts(tmp_path / "configs", READINGS, METERS, PLANS))


@pytest.fixture(scope="session")
def build_town() -> Any:
    """Towns with other contracts: a function of a folder, a name in it and the changes to the texts of the contracts."""

    def build(folder: Path, name: str, *changes: tuple[str, str]) -> Town:
        texts: Sequence[str] = [READINGS, METERS, PLANS]
        for old, new in changes:
            assert any(old in text for text in texts), old
            texts = [text.replace(old, new) for text in texts]
        return Town(folder / name, write_contracts(folder / name / "configs", *texts))

    return build


@pytest.fixture
def make_town(build_town: Any, tmp_path: Path) -> Any:
    """The same in a folder of the test's own."""
    return partial(build_town, tmp_path)
