"""How a fleet's cost grows: ten times the days, ten times the series, one worker and two.

Belongs here: the points and their table. Does not belong here: one fleet's run (fleet). Each point is a process of its own, so that
the memory of one says nothing about the next.
"""

import argparse
import json
import subprocess
import sys

from bench import results
from bench.fleet import configuration, measure
from bench.generator import Profile

FAMILIES = ["mean_56", "ses_05", "ridge"]


def point(series: int, days: int, workers: int) -> dict[str, object]:
    """One fleet, measured in a new process."""
    command = [sys.executable, "-m", "bench.growth", "--point", str(series), str(days), str(workers)]
    done = subprocess.run(command, cwd=results.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{series} series x {days} days ended with code {done.returncode}: {done.stderr[-600:]}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print and write docs/benchmarks/growth.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--point", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        series, days, workers = options.point
        print(json.dumps(measure(Profile(series, days), configuration(FAMILIES), workers)))
        return
    about, rows = results.circumstances(), list[dict[str, object]]()
    for series, days in ((1, 1), (1, 10), (10, 1)):
        for workers in options.workers:
            rows.append(point(series * options.series, days * options.days, workers))
            one = rows[-1]
            print(
                f"{one['series']:7,} series x {one['days']:6,} days, {one['rows']:11,} rows, {workers} workers: wall {one['wall']:6.1f} s  "
                f"CPU {one['cpu']:6.1f} s  {float(str(one['peak'])) / 2**30:5.2f} GiB  handed over {one['handed']}",
                flush=True,
            )
    print(f"written: {results.write('growth', about, rows).relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
