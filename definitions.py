"""The code location: one assembly of assets, resources and triggers.

Belongs here: putting together. Does not belong here: anything that is put together.
"""

from typing import Any

import dagster as dg

from assets import build_assets
from ml_platform.contract_files import load_contracts
from ml_platform.forecasting import load_config
from ml_platform.settings import Settings
from resources import build_resources
from sensors import build_triggers


def build_defs(settings: Settings, **overrides: dg.ConfigurableResource[Any]) -> dg.Definitions:
    """Fresh definitions for one installation; `overrides` take the place of resources of that name."""
    contracts, config = load_contracts(settings.configs), load_config(settings.configs / "forecast.yaml")
    triggers = build_triggers(settings, contracts)
    return dg.Definitions(
        assets=build_assets(settings, contracts, config),
        resources={**build_resources(settings), **overrides},
        jobs=triggers.jobs,
        schedules=triggers.schedules,
        sensors=triggers.sensors,
    )


defs = build_defs(Settings())
