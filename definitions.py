"""The code location: one assembly of assets, resources and triggers.

Belongs here: putting together. Does not belong here: anything that is put together.
"""

from typing import Any

import dagster as dg

from assets import build_assets
from ml_platform.configuration import load_configuration
from ml_platform.settings import Settings, read_settings
from resources import build_resources
from sensors import build_triggers


def build_defs(settings: Settings, **overrides: dg.ConfigurableResource[Any]) -> dg.Definitions:
    """Fresh definitions for one installation; `overrides` take the place of resources of that name."""
    contracts, config = load_configuration(settings.configs)
    triggers = build_triggers(settings, contracts, config)
    return dg.Definitions(
        assets=build_assets(settings, contracts, config),
        resources={**build_resources(settings), **overrides},
        jobs=triggers.jobs,
        schedules=triggers.schedules,
        sensors=triggers.sensors,
    )


defs = build_defs(read_settings())
