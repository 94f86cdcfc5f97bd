"""The configuration folder: contracts, forecast.yaml and gate.yaml.

Belongs here: reading it when a run needs it. Does not belong here: where things lie (other resources).
"""

from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.contract_files import load_contracts
from ml_platform.contracts import Contracts
from ml_platform.forecasting import ForecastConfig, load_config
from ml_platform.gate import GateConfig, load_gate


class ConfigurationResource(dg.ConfigurableResource[Any]):
    """A folder with sources/*.yaml, forecast.yaml and gate.yaml."""

    folder: str

    def contracts(self) -> Contracts:
        return load_contracts(Path(self.folder))

    def forecast(self) -> ForecastConfig:
        return load_config(Path(self.folder) / "forecast.yaml")

    def gate(self) -> GateConfig:
        return load_gate(Path(self.folder) / "gate.yaml")
