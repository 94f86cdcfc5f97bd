"""Dagster's home: the instance folder below the platform's home, and what a crash left in it.

Belongs here: dagster.yaml, DAGSTER_HOME, who serves it, and ghost runs. Does not belong here: runs that are alive.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil

from ml_platform.settings import Settings, SettingsError, read_settings

PROJECT = Path(__file__).parent.parent
UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.NOT_STARTED,
]
OWNER_TAG = "ml_platform/process"


class HomeError(RuntimeError):
    """A home that cannot be served now; names who serves it and the way out."""


def settings_or_exit() -> Settings:
    """The settings of this process; where one cannot be used, a line per variable on stderr and exit code 2."""
    try:
        return read_settings()
    except SettingsError as why:
        print(why, file=sys.stderr)
        sys.exit(2)


def prepare(settings: Settings) -> Path:
    """Make DAGSTER_HOME, put dagster.yaml there (Dagster reads it nowhere else) and set what child processes need."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")
    os.environ.update(
        DAGSTER_HOME=str(home),
        ML_PLATFORM_HOME=str(settings.base),
        ML_PLATFORM_ENVIRONMENT=settings.environment,
        ML_PLATFORM_HOMES=json.dumps({name: str(one.absolute()) for name, one in settings.homes.items()}),
        ML_PLATFORM_CONFIGS=str(settings.configs.absolute()),  # child processes work in other folders
        # one planned event per asset and run instead of one per day: a year takes seconds less, and a failed day shows as missing
        DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS="true",
        DAGSTER_DISABLE_TELEMETRY="yes",
        GX_ANALYTICS_ENABLED="false",
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="1",
    )
    return home


@contextlib.contextmanager
def claimed(settings: Settings, address: str) -> Iterator[None]:
    """Hold the home for one UI; HomeError where another one holds it. The system lets go when this process ends, however it does."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    # Python opens files close-on-exec: orphans of a UI that was killed do not hold what nobody serves
    with (settings.dagster_home / "ui.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise HomeError(
                f"home {settings.root} has a UI already ({lock.read() or 'it is starting'}): use that one, end it with Ctrl-C "
                "where it was started, or set ML_PLATFORM_HOME to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{address}, process {os.getpid()}")
        lock.flush()
        yield


def left_over(home: Path) -> list[int]:
    """Webservers and daemons that work on a home, by process id: before a UI starts its own they are those of one that was killed."""
    return [process.pid for process in _serving(str(home), ("dagster_webserver", "dagster._daemon"))]


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
    return next(_serving(home, ("dagster", "multiprocessing")), None) is not None


def _serving(home: str, names: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Other processes of a home that have one of the names in their command."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if process.info["pid"] == os.getpid() or not any(name in words for name in names):
            continue
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DAGSTER_HOME") == home:
                yield process
