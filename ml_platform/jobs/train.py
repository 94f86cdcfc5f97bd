"""Train some shards: `python -m ml_platform.jobs.train --step pools|fit --work DIR --shards 0,1,2`.

Belongs here: one pass over shards whose arrays lie in the work folder. Does not belong here: reading the lake, choosing, writing tables.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ml_platform.forecasting.pipeline import fit_part
from ml_platform.forecasting.pools import derive_pools, lessons, pool_sums
from ml_platform.jobs.exchange import WorkFolder


def run_step(step: str, work: WorkFolder, shards: Sequence[int]) -> dict[str, object]:
    """Run pass one (`pools`) or pass two (`fit`) over shards; returns the report."""
    start, setup, series = time.perf_counter(), work.read_setup(), 0
    pools = replace(derive_pools(work.read_pools("all"), setup), models=work.read_models()) if step == "fit" else None
    for number in shards:
        shard = work.read_shard(number)
        series += len(shard)
        if pools is None:
            work.write_pools(str(number), pool_sums(shard, setup))
            if setup.with_trees:
                work.write_lessons(number, lessons(shard, setup))
        else:
            work.write_part(number, fit_part(shard, pools, setup))
    return {"step": step, "shards": list(shards), "series": series, "seconds": round(time.perf_counter() - start, 3)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the step, print the report as the last line."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.jobs.train", description=__doc__)
    parser.add_argument("--step", choices=["pools", "fit"], required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder that the driver filled")
    parser.add_argument("--shards", required=True, help="numbers, separated by commas")
    options = parser.parse_args(arguments)
    report = run_step(options.step, WorkFolder(options.work), [int(one) for one in options.shards.split(",")])
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
