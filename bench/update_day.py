"""The product's own way through a day between trainings: the champion's fleet in the lake takes a day in, is sealed, judged and forecasts.

Belongs here: wall and CPU seconds of each stage, and how many rows of the panel a day reads. Does not belong here: figures that a test relies on, the
kernel alone (increment_day). The newest month of the panel is written anew before every day, as the stage before writes it. Packages
are imported and the first release is there before the clock starts.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench.fleet import PANEL, configuration, write_world
from bench.generator import FIRST, Profile
from ml_platform.candidates import Candidate
from ml_platform.compute import LocalCompute
from ml_platform.forecasting import ForecastConfig
from ml_platform.gate import GateConfig
from ml_platform.lake import Lake, schemas
from ml_platform.lake.names import CANDIDATE_FLEET, FLEET_POOLS, FOLD_METRICS, SERIES_PANEL
from ml_platform.panel_rows import PanelRows
from ml_platform.promotion import release_candidate
from ml_platform.registry import Origin, Registry, ReleaseContents, Training
from ml_platform.scoring import score
from ml_platform.training import train_fleet
from ml_platform.updating import update_fleet


def champion(lake: Lake, registry: Registry, config: ForecastConfig, as_of: date) -> None:
    """Seal the trained fleet and let it be champion, whatever a gate would say."""
    day = pc.field("as_of") == pa.scalar(as_of)
    rows, pools, folds = (lake.read(name, where=day) for name in (CANDIDATE_FLEET, FLEET_POOLS, FOLD_METRICS))
    contents = ReleaseContents(
        as_of,
        rows.drop_columns(["as_of", "fingerprint", "updated_from"]),
        pools.drop_columns(["as_of"]),
        folds.drop_columns(["as_of"]),
        schemas.fleet_evaluation(config.intervals).schema.empty_table(),
        config,
        {"fingerprint": rows["fingerprint"][0].as_py()},
        Origin(created_by="bench", created_at=datetime.now(UTC)),
    )
    release = registry.build(contents)
    registry.versions.register(
        release.release_id,
        release.folder,
        Training(release.release_id, release.release_id, {}, {}, {}),
        {"as_of": as_of.isoformat()},
    )
    row = {"as_of": as_of, "release_id": release.release_id, "promoted": True, "decided_at": datetime.now(UTC)}
    lake.append(schemas.PROMOTED_RELEASE, pa.Table.from_pylist([row], schemas.PROMOTED_RELEASE.schema))


class Clock:
    """Wall and CPU seconds of named stages, and rows of the panel that they read."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start, cpu, counted = time.perf_counter(), time.process_time(), list[int]()
        scan = PanelRows.add

        def add(rows: PanelRows, batch: pa.RecordBatch, as_of: date) -> None:
            counted.append(batch.num_rows)
            scan(rows, batch, as_of)

        PanelRows.add = add  # type: ignore[method-assign]
        done = work()
        PanelRows.add = scan  # type: ignore[method-assign]
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        self.stages[name] = {"wall": round(wall, 2), "cpu": round(cpu, 2), "rows_read": sum(counted)}
        return done


def next_day(lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> None:
    """One day through every stage, as a line of JSON."""
    month, clock = f"{as_of:%Y-%m}", Clock()
    lake.replace(PANEL, lake.read(SERIES_PANEL, where=pc.field("month") == month), f"month = '{month}'")
    made = clock("update", lambda: update_fleet(lake, registry, catalogue, config, as_of))
    gate = GateConfig()
    verdict = clock(
        "release", lambda: release_candidate(Candidate(lake, registry, catalogue, config, as_of), gate)
    ).decision
    clock("forecast", lambda: score(lake, registry, catalogue, config, as_of))
    counted = {"advanced": made.advanced, "made_anew": made.made_anew, "promoted": verdict.promoted}
    print(json.dumps({"as_of": as_of.isoformat(), **counted, **clock.stages}), flush=True)


def main() -> None:
    """Write a world, train, seal, then day after day."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=4_000)
    parser.add_argument("--turns", type=int, default=4, help="days that are taken in")
    parser.add_argument("--families", default="mean_56,ses_05,ridge", help="comma-separated, or default")
    options = parser.parse_args()
    config = configuration("default" if options.families == "default" else options.families.split(","))
    with tempfile.TemporaryDirectory(prefix="bench-update-") as folder:
        home, trained = Path(folder), FIRST + timedelta(days=options.days - 1)
        lake = Lake(str(home / "lake"))
        registry = Registry(home / "releases", f"sqlite:///{home}/mlflow.db", home / "mlflow")
        catalogue = write_world(lake, Profile(options.series, options.days + options.turns))[0]
        start = time.perf_counter()
        train_fleet(lake, catalogue, config, trained, LocalCompute(2))
        print(
            f"{options.series:,} series x {options.days:,} days: trained in {time.perf_counter() - start:.1f} s",
            flush=True,
        )
        champion(lake, registry, config, trained)
        for turn in range(1, options.turns + 1):
            next_day(lake, registry, catalogue, config, trained + timedelta(days=turn))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"greatest resident memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
