"""One look at a crowded landing area: 100,000 files of a folder through the drop sensor, 20,000 blobs of Azurite page by page.

Belongs here: seconds and peak memory, each measured in a process of its own, printed. Does not belong here: figures that a test relies on.
Packages are imported before the clock starts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pyarrow as pa

from ml_platform.backlog import look
from ml_platform.contract_files import load_contracts
from ml_platform.emulation.azurite import Azurite, azurite
from ml_platform.lake import Lake
from ml_platform.lake.schemas import LEDGER
from ml_platform.landing import LocalLanding, list_drops, open_landing
from ml_platform.settings import Settings, read_settings
from sensors import build_triggers

SOURCE = "promotions"
UPLOADS = 8


def name(number: int) -> str:
    """A path as the contract wants it."""
    return f"{SOURCE}/promotions_2017-{1 + number % 12:02d}-{1 + number % 28:02d}_{number:06d}.parquet"


def crowd(landing: Path, files: int) -> None:
    """Files without a byte: a look opens none."""
    (landing / SOURCE).mkdir(parents=True)
    for number in range(files):
        (landing / name(number)).touch()


def settle(settings: Settings) -> None:
    """A ledger row for every file, with texts as long as real ones."""
    contract = load_contracts(settings.configs)[SOURCE]
    drops = list_drops(LocalLanding(settings.landing), contract)
    columns = {field.name: pa.nulls(len(drops), field.type) for field in LEDGER.schema}
    columns |= {
        column: pa.repeat(pa.scalar(0, pa.int64()), len(drops))
        for column in ("rows_in", "rows_loaded", "table_version")
    }
    columns |= {
        "drop_id": pa.array([drop.drop_id for drop in drops]),
        "path": pa.array([drop.path for drop in drops]),
        "etag": pa.array([drop.etag for drop in drops]),
        "content_sha256": pa.array([drop.drop_id.ljust(64, "0") for drop in drops]),
        "drop_day": pa.array([drop.day for drop in drops], pa.date32()),
        "source": pa.repeat(SOURCE, len(drops)),
        "state": pa.repeat("loaded", len(drops)),
        "run_id": pa.repeat("bench", len(drops)),
    }
    Lake(settings.lake).append(LEDGER, pa.table(columns, schema=LEDGER.schema))


def tick(settings: Settings) -> str:
    """One tick of the drop sensor, as the daemon asks for it."""
    contracts = load_contracts(settings.configs)
    sensor = next(one for one in build_triggers(settings, contracts).sensors if one.name == "data_drops")
    with dg.DagsterInstance.ephemeral() as instance:
        found = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    asked = [request.tags["ml_platform/work"] for request in found.run_requests or ()]
    return asked[0] if asked else "nothing due"


def whole(settings: Settings) -> str:
    """A look without bounds, as `ml-platform run score` takes it."""
    contracts = load_contracts(settings.configs)
    found = look(Lake(settings.lake), open_landing(settings), contracts, seconds=float("inf"), most=sys.maxsize)
    return f"{len(found.drops)} drops of {found.seen} files"


WORKS: dict[str, Callable[[Settings], str]] = {"tick": tick, "whole": whole}


def measured(words: str, work: str, **settings: str) -> None:
    """Print seconds and peak memory of one work in a new process."""
    environment = os.environ | {f"ML_PLATFORM_{key.upper()}": value for key, value in settings.items()}
    done = subprocess.run(
        [sys.executable, __file__, "--work", work], env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{words}: {found['seconds']:.2f} s, peak {found['peak']:.0f} MB of which {found['imports']:.0f} MB imports: {found['said']}",
        flush=True,
    )


def measure(work: str) -> None:
    """In the new process: seconds, and MB of resident memory before and at the peak."""
    settings, imports = read_settings(), peak()
    started = time.perf_counter()
    said = WORKS[work](settings)
    print(json.dumps({"seconds": time.perf_counter() - started, "peak": peak(), "imports": imports, "said": said}))


def peak() -> float:
    """MB of resident memory that this process ever had; what getrusage says counts that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def upload(server: Azurite, blobs: int) -> str:
    """A container with so many blobs, as a landing URL."""
    from azure.storage.blob import ContainerClient

    with (
        ContainerClient(server.blob_url, "landing", credential=server.key) as container,
        ThreadPoolExecutor(UPLOADS) as pool,
    ):
        container.create_container()
        list(pool.map(lambda number: container.upload_blob(name(number), b"x"), range(blobs)))
    return f"{server.blob_url}/landing"


def main() -> None:
    """A folder of new files, the same one settled, and blobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--blobs", type=int, default=20_000)
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        measure(options.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        crowd(settings.landing, options.files)
        measured(f"{options.files:,} new files, one tick", "tick", home=folder)
        measured(f"{options.files:,} new files, a look at all", "whole", home=folder)
        settle(settings)
        measured(f"{options.files:,} settled files, one tick", "tick", home=folder)
    with tempfile.TemporaryDirectory() as folder, azurite(Path(folder) / "azurite") as server:
        cloud = {"home": folder, "landing_url": upload(server, options.blobs), "storage_key": server.key}
        measured(f"{options.blobs:,} new blobs, one tick", "tick", **cloud)
        measured(f"{options.blobs:,} new blobs, a look at all", "whole", **cloud)


if __name__ == "__main__":
    main()
