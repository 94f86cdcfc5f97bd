"""A home with files and a ledger, without a run: what triggers look at.

Belongs here: landing small files, settling them by hand, definitions. Does not belong here: running assets (tests/integration).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import definitions
from ml_platform import landing
from ml_platform.contract_files import load_contracts
from ml_platform.contracts import Contracts
from ml_platform.forecasting import load_config
from ml_platform.lake import Lake, ledger
from ml_platform.settings import Settings
from ml_platform.settlement import first_seen
from sensors import build_triggers


@dataclass(frozen=True)
class Home:
    """Settings, contracts and triggers of one home, with an instance in memory."""

    settings: Settings
    contracts: Contracts
    instance: dg.DagsterInstance

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    def land(self, *names: str) -> list[Path]:
        """Files with no content that matters, named `<source>/<file>`."""
        paths = [self.settings.landing / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        return paths

    def land_days(self, *days: str) -> list[Path]:
        return self.land(*(f"sales/sales_{day}.csv" for day in days))

    def settle(self, state: str = ledger.LOADED) -> None:
        """Every file that lies there gets its ledger row, as a run would give it."""
        for source in self.contracts.sources:
            known = {row.drop_id for row in ledger.of_source(self.lake, source.name)}
            listed = landing.list_drops(landing.open_landing(self.settings), source)
            drops = [drop for drop in listed if drop.drop_id not in known]
            if drops:
                ledger.upsert(self.lake, [replace(first_seen(drop, "by hand"), state=state) for drop in drops])

    def trigger(self, name: str) -> Any:
        triggers = build_triggers(self.settings, self.contracts, load_config(self.settings.configs / "forecast.yaml"))
        return next(one for one in [*triggers.sensors, *triggers.schedules] if one.name == name)

    def tick(self, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
        """One look of the sensor on drops."""
        return self.trigger("data_drops")(dg.build_sensor_context(instance=self.instance, cursor=cursor))


@pytest.fixture
def home(settings: Settings) -> Iterator[Home]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Home(settings, load_contracts(settings.configs), instance)


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The code location as it is delivered, in an empty home."""
    return definitions.build_defs(Settings(home=tmp_path_factory.mktemp("defs")))


@pytest.fixture
def environment() -> Iterator[None]:
    """What a test does to the environment is undone."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
