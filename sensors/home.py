"""Dagster's home: the instance folder below the platform's home, and what a crash left in it.

Belongs here: dagster.yaml, DAGSTER_HOME and ghost runs. Does not belong here: runs that are alive.
"""

import os
import shutil
from pathlib import Path

import dagster as dg
import psutil

from ml_platform.settings import Settings

PROJECT = Path(__file__).parent.parent
UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.NOT_STARTED,
]
OWNER_TAG = "ml_platform/process"


def prepare(settings: Settings) -> Path:
    """Make DAGSTER_HOME, put dagster.yaml there (Dagster reads it nowhere else) and set what child processes need."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    os.environ.update(
        DAGSTER_HOME=str(home),
        ML_PLATFORM_HOME=str(settings.root),
        # one planned event per asset and run instead of one per day: a year takes seconds less, and a failed day shows as missing
        DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS="true",
        DAGSTER_DISABLE_TELEMETRY="yes",
        GX_ANALYTICS_ENABLED="false",
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="1",
    )
    return home


def end_ghost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail runs whose process is gone: after the whole process tree died Dagster would call them started for ever."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if not _alive(run.run_id, run.tags.get(OWNER_TAG)):
            instance.report_run_failed(
                run,
                "The process of this run is gone (crash or power cut): it was ended at start-up. Start it again; what it committed stays.",
            )
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def owner() -> str:
    """A name of this process that no later process can have: its id and the second of its start."""
    me = psutil.Process()
    return f"{me.pid}@{int(me.create_time())}"


def _alive(run_id: str, owned_by: str | None) -> bool:
    """A run is alive while the process that it names lives, or one that has its id among its arguments (Dagster's launcher)."""
    for process in psutil.process_iter(["pid", "cmdline", "create_time"]):
        if owned_by and owned_by.split("#")[0] == f"{process.info['pid']}@{int(process.info['create_time'])}":
            return True
        if owned_by is None and any(run_id in part for part in process.info["cmdline"] or ()):
            return True
    return False
