"""Dagster's home: the instance folder below the platform's home, and what a crash left in it.

Belongs here: dagster.yaml, DAGSTER_HOME and ghost runs. Does not belong here: runs that are alive.
"""

import contextlib
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
        if not _alive(run, str(instance.root_directory)):
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


def _alive(run: dg.DagsterRun, home: str) -> bool:
    """A run that names its process lives as long as that; one of the daemon's as long as any process serves this home."""
    owned_by = run.tags.get(OWNER_TAG)
    if owned_by is None:
        return _served(home)
    pid, started = owned_by.split("#")[0].split("@")
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(started)
    except psutil.NoSuchProcess:
        return False


def _served(home: str) -> bool:
    """Whether another process of Dagster works on this home: webserver, daemon, code server, or a run that they started."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["pid"] == os.getpid() or not ("dagster" in words or "multiprocessing" in words):
            continue
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DAGSTER_HOME") == home:
                return True
    return False
