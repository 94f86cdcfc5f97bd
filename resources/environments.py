"""The environments that releases pass through.

Belongs here: where they lie. Does not belong here: moving releases (ml_platform.environments, approvals, takeback).
"""

from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.environments import Environment
from ml_platform.settings import Settings


class EnvironmentsResource(dg.ConfigurableResource[Any]):
    """dev, qa and prod: the home they share, homes of their own by name, and which of them this installation is."""

    home: str
    homes: dict[str, str]
    configs: str
    environment: str = "dev"
    identity: str = ""

    def vend(self, model: str, name: str | None = None) -> Environment:
        """The environment of this installation, or another one by its name."""
        settings = Settings(
            home=Path(self.home),
            homes={one: Path(path) for one, path in self.homes.items()},
            configs=Path(self.configs),
            identity=self.identity,
        )
        return Environment.open(settings, name or self.environment, model)
