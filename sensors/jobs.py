"""Jobs: the six ways through the graph.

Belongs here: selections. Does not belong here: when they run (schedules, data_drops), what they make (assets).
"""

from typing import Any

import dagster as dg

from ml_platform.contracts import Contracts

TRAINING, UPDATE, RELEASE = ("candidate_fleet", "fleet_evaluation"), ("updated_fleet",), ("promoted_release",)
PANEL = ("series_catalogue", "series_panel")


def build_jobs(contracts: Contracts) -> dict[str, Any]:
    """ingest, retrain, update, score, publish and everything, each in one process per run: what one step imports, the next one has."""
    landed = dg.AssetSelection.assets(
        *(name for source in contracts.sources for name in (source.bronze, source.silver))
    )
    training, update, release, panel = (
        dg.AssetSelection.assets(*names) for names in (TRAINING, UPDATE, RELEASE, PANEL)
    )
    whole = dg.AssetSelection.all()
    everything = whole - update  # a day that is trained needs no update
    selections = {
        "ingest": (landed, "Drops of the days into bronze and silver."),
        "retrain": (
            everything - landed,
            "Panel, candidate fleet, evaluation, release, forecasts and marts as of the days.",
        ),
        "update": (
            whole - landed - training,
            "Panel, the champion's fleet with the days taken in, its release, forecasts and marts as of the days; nothing is trained.",
        ),
        "score": (
            everything - training - release,
            "Drops of the days, then forecasts and marts with the champion; nothing is trained.",
        ),
        "publish": (
            everything - landed - panel - training - release,
            "Forecasts and marts of the days with the champion as it is now, from the panel as it is: what a rollback publishes anew.",
        ),
        "everything": (everything, "All stages for the days."),
    }
    return {
        name: dg.define_asset_job(name, selection=selection, description=text, executor_def=dg.in_process_executor)
        for name, (selection, text) in selections.items()
    }


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags that make one run of a job cover the days from `first` to `last`."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
