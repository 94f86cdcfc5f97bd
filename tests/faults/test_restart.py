"""The whole process tree is killed, as by a power cut: a start alone ends every run within a minute, and the work is done (R8)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psutil
import pytest
from served_home import ask, wait

from ml_platform.lake import Lake, ledger
from ml_platform.settings import Settings

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
DAYS = [date(2017, 3, day) for day in (1, 2, 3)]
RUNS = "{ runsOrError { ... on Runs { results { runId status startTime } } } }"
OVER = {"SUCCESS", "FAILURE", "CANCELED"}
SECONDS = 60.0
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
Processes = Callable[[str], list[psutil.Process]]


def land(settings: Settings, day: date, rows: int = 300) -> None:
    folder = settings.landing / "sales"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"1,5,{1000 * day.toordinal() + n},1,2,3.50,{day}T17:00:00Z" for n in range(rows)]
    unfinished = folder / f".sales_{day}.csv"
    unfinished.write_text("\n".join([HEADER, *lines, ""]))
    unfinished.replace(folder / f"sales_{day}.csv")


def serve(settings: Settings, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "ML_PLATFORM_HOME": str(settings.root), "ML_PLATFORM_SENSOR_SECONDS": "1"}
    with (settings.root / "served.log").open("ab") as log:
        command = [sys.executable, "-m", "sensors.serve", "--port", str(port)]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def runs(port: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ask(port, RUNS)["runsOrError"]["results"]
    return found


def loaded(settings: Settings) -> list[date]:
    rows = ledger.of_source(Lake(str(settings.lake)), "sales")
    return sorted(row.drop_day for row in rows if row.state == ledger.LOADED)


@pytest.mark.parametrize("phase", ["starting", "working"])
def test_a_restart_alone_ends_every_run_and_the_work_is_done(
    settings: Settings, free_port: Callable[[], int], of_home: Processes, phase: str
) -> None:
    port = free_port()
    for day in DAYS:
        land(settings, day)
    first = serve(settings, port)
    try:
        states = {"STARTED"} if phase == "working" else {"STARTING", "STARTED", "QUEUED"}
        wait("a run at work", lambda: any(run["status"] in states for run in runs(port)), 120)
        time.sleep(1.0 if phase == "working" else 0.0)
        victims = of_home(str(settings.root))
        for process in victims:
            process.kill()
        psutil.wait_procs(victims, timeout=10)
        first.wait()
        before = time.monotonic()
        port = free_port()
        first = serve(settings, port)
        wait("the web UI", lambda: runs(port), 60)
        ghosts = {run["runId"] for run in runs(port)}
        wait(
            "the end of every run that was at work",
            lambda: all(run["status"] in OVER for run in runs(port) if run["runId"] in ghosts),
            SECONDS - (time.monotonic() - before),
        )
        wait("the drops in the ledger", lambda: loaded(settings) == DAYS, 120)
    finally:
        for process in of_home(str(settings.root)):
            process.kill()
        first.wait()
