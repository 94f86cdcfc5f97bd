"""`make ui` itself: webserver, daemon, sensors; a day lands and arrives without a click; a signal ends every process."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import psutil
from served_home import ask, wait

from ml_platform.lake import Lake, ledger

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2017, 3, 1)
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
RUNS = "{ runsOrError { ... on Runs { results { jobName status tags { key value } } } } }"
SENSORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  assetNodes { id } sensors { name sensorState { status ticks(limit: 5) { status } } } schedules { name scheduleState { status } } } } } }"""


def land(folder: Path, day: date) -> None:
    path = folder / f"sales_{day}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [HEADER, *(f"1,5,{10 * day.toordinal() + n},1,2,3.50,{day}T17:00:00Z" for n in range(3))]
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text("\n".join(rows) + "\n")
    unfinished.replace(path)


def test_a_day_arrives_without_a_click_and_nothing_stays_behind(settings, free_port, of_home, tmp_path):
    port = free_port()
    environment = {**os.environ, "ML_PLATFORM_HOME": str(settings.root), "ML_PLATFORM_SENSOR_SECONDS": "1"}
    command = [sys.executable, "-m", "sensors.serve", "--port", str(port)]
    land(settings.landing / "sales", DAY)
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait("GraphQL", lambda: ask(port, "{ version }")["version"], 60)
        (node,) = wait("the code location", lambda: ask(port, SENSORS)["repositoriesOrError"]["nodes"], 60)
        assert len(node["assetNodes"]) >= 16
        assert {one["name"]: one["scheduleState"]["status"] for one in node["schedules"]} == {
            "daily_retraining": "RUNNING",
            "daily_retention": "STOPPED",
            "daily_update": "STOPPED",
        }

        def settled() -> bool:
            rows = ledger.of_source(Lake(str(settings.lake)), "sales")
            return [(row.drop_day, row.state) for row in rows] == [(DAY, "loaded")]

        wait("the day in the ledger", settled, 60)
        sensors = {
            one["name"]: one["sensorState"] for one in ask(port, SENSORS)["repositoriesOrError"]["nodes"][0]["sensors"]
        }
        received = sensors.pop("approved_releases")  # dev receives no release
        assert received["status"] == "STOPPED"
        assert {state["status"] for state in sensors.values()} == {"RUNNING"}
        assert any(tick["status"] in ("SUCCESS", "SKIPPED") for tick in sensors["data_drops"]["ticks"])
        (run,) = ask(port, RUNS)["runsOrError"]["results"]
        assert run["jobName"] == "score"
        assert {one["key"] for one in run["tags"]} >= {"ml_platform/batch", "dagster/asset_partition_range_start"}
        working = of_home(str(settings.root))
        assert len(working) >= 4, "the server, the webserver, the daemon and a code server at least"
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (tmp_path / "log").read_text()[-2000:]
        psutil.wait_procs(working, timeout=5)
        left = [" ".join(one.cmdline())[:150] for one in of_home(str(settings.root))]
        assert left == []
    finally:
        for process in of_home(str(settings.root)):
            process.kill()
        server.wait()
