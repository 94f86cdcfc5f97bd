"""Erasures, from the resources that a run has.

Belongs here: putting an eraser together. Does not belong here: when it works (bronze assets, the job `erase`).
"""

from collections.abc import Callable

from ml_platform.contracts import SourceContract
from ml_platform.erasure.eraser import Eraser
from ml_platform.erasure.landed import LandingEraser
from ml_platform.formats import Limits
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.preparation import Preparation
from resources.configuration import ConfigurationResource
from resources.landing import LandingResource
from resources.spark import SparkResource


def eraser_of(
    lake: Lake,
    configuration: ConfigurationResource,
    landing: LandingResource,
    spark: SparkResource,
    run_id: str,
    progress: Callable[[str], None],
) -> Eraser:
    """The eraser of a run's lake."""
    contracts, series = configuration.contracts(), configuration.forecast().series

    def door(contract: SourceContract) -> Ingestion:
        return landing.ingestion(lake, contract, run_id, spark.suite_rows, progress)

    def prepare(contract: SourceContract) -> Preparation:
        return spark.preparation(lake, contracts, contract, progress, series)

    return Eraser(lake, contracts, door, prepare)


def landing_eraser_of(lake: Lake, configuration: ConfigurationResource, landing: LandingResource) -> LandingEraser:
    """The eraser of a run's landing area."""
    return LandingEraser(lake, landing.vend(), configuration.contracts(), Limits(**landing.limits))
