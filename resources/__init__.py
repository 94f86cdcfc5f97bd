"""Resources: typed configuration that vends plain objects of the library; nothing in the library knows them.

Belongs here: one module per noun, and `build_resources`, the only switch between laptop and cloud. Does not belong here: work.
"""

from typing import Any

import dagster as dg

from ml_platform.settings import Settings
from resources.compute import ComputeResource
from resources.configuration import ConfigurationResource
from resources.environments import EnvironmentsResource
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.maintenance import MaintenanceResource
from resources.marts import dbt_resource
from resources.registry import RegistryResource
from resources.spark import SparkResource
from resources.warehouse import WarehouseResource

__all__ = [
    "ComputeResource",
    "ConfigurationResource",
    "LakeResource",
    "LandingResource",
    "MaintenanceResource",
    "RegistryResource",
    "SparkResource",
    "WarehouseResource",
    "build_resources",
]


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource[Any]]:
    """The resources of one installation, by the names under which assets ask for them."""
    return {
        "configuration": ConfigurationResource(folder=str(settings.configs)),
        "landing": _landing(settings),
        "lake": LakeResource(root=settings.lake),
        "maintenance": MaintenanceResource(home=str(settings.root), days=settings.retention_days),
        "spark": SparkResource(engine=settings.engine, shards=settings.shards, suite_rows=settings.suite_rows),
        "compute": ComputeResource(workers=settings.workers, where=settings.training_compute, engine=settings.engine),
        "registry": RegistryResource(
            releases=str(settings.releases),
            tracking_uri=settings.mlflow_uri,
            artifacts=str(settings.mlflow_artifacts),
            dagster_url=settings.dagster_url,
            mlflow_url=settings.mlflow_url,
            key_folder=str(settings.key_folder),
            identity=settings.identity,
            environment=settings.environment,
        ),
        "environments": EnvironmentsResource(
            home=str(settings.base),
            homes={name: str(one) for name, one in settings.homes.items()},
            configs=str(settings.configs),
            environment=settings.environment,
            identity=settings.identity,
        ),
        "warehouse": WarehouseResource(path=str(settings.warehouse)),
        "dbt": dbt_resource(),
    }


def _landing(settings: Settings) -> LandingResource:
    shared: dict[str, Any] = {
        "first_day": settings.first_day.isoformat(),
        "last_day": settings.last_day.isoformat() if settings.last_day else None,
        "batch_rows": settings.batch_rows,
        "limits": settings.limits,
    }
    address = settings.landing_address
    if address is None:
        return LandingResource(folder=str(settings.landing), **shared)
    from resources.landing_blob import BlobLandingResource  # takes Azure's packages

    return BlobLandingResource(
        folder=address.prefix, account_url=address.account_url, container=address.container, **shared
    )
