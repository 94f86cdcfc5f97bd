"""The registry of releases.

Belongs here: where releases and their MLflow versions lie. Does not belong here: promoting (promotion).
"""

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
    dagster_url: str = ""
    mlflow_url: str = ""

    def vend(self, model: str, run: dg.DagsterRun | None = None) -> Registry:
        """The registry of the fleet that is called `model` there; its runs in MLflow lead back to the run that they are made in."""
        told = (
            {"run_id": run.run_id, "job": run.job_name, "url": f"{self.dagster_url}/runs/{run.run_id}"} if run else {}
        )
        return Registry(
            Path(self.releases),
            self.tracking_uri,
            Path(self.artifacts),
            model,
            keys=Path(self.key_folder),
            identity=self.identity,
            environment=self.environment,
            run=told,
        )

    def link(self, registry: Registry, release_id: str) -> dg.MetadataValue[Any]:
        """Where MLflow's UI shows the run of a release's training."""
        place = registry.versions.place_of(release_id)
        return dg.MetadataValue.url(f"{self.mlflow_url}/#/{place}") if place else dg.MetadataValue.text("none")
