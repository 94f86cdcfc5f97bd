"""The registry of releases.

Belongs here: where releases and their MLflow versions lie. Does not belong here: promoting (promotion).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.registry import Registry


class RegistryResource(dg.ConfigurableResource[Any]):
    """Release folders, and the MLflow store at `tracking_uri` with its artifacts."""

    releases: str
    tracking_uri: str
    artifacts: str
    key_folder: str  # `keys` would make it look like a mapping
    identity: str = ""
    environment: str = "dev"

    def vend(self, model: str, run: Mapping[str, str] | None = None) -> Registry:
        """The registry of the fleet that is called `model` there; run: what its runs in MLflow say of the work they are of."""
        return Registry(
            Path(self.releases),
            self.tracking_uri,
            Path(self.artifacts),
            model,
            keys=Path(self.key_folder),
            identity=self.identity,
            environment=self.environment,
            run=run or {},
        )
