"""Train some shards: `python -m ml_platform.jobs.train --step pools|fit --work DIR --shards 0-7,12`.

Belongs here: one pass over shards whose arrays lie in the work folder. Does not belong here: reading the lake, choosing, writing tables.
"""

import argparse
import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ml_platform.forecasting.pipeline import fit_part
from ml_platform.forecasting.pools import Pools, derive_pools, lessons, pool_sums
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.progress import show_progress
from ml_platform.memory import keep_memory

DONE, WRONG, SOME_FAILED = 0, 2, 3
EPILOG = """Says on standard error how far it is, and on standard output, as its last line, a report as JSON. Exit codes: 0 every shard is
done; 2 the arguments are wrong; 3 some shards failed, which the report names under `failed`: the others are done."""


class TaskError(ValueError):
    """A task that cannot be run; names the folder and what it lacks."""


@dataclass(frozen=True)
class Task:
    """One step over some shards of a work folder."""

    step: str
    work: WorkFolder
    shards: tuple[int, ...]


def run_step(
    step: str, work: WorkFolder, shards: Sequence[int], progress: Callable[[str], None] = lambda text: None
) -> dict[str, object]:
    """Run pass one (`pools`) or pass two (`fit`) over shards and report; a shard that fails is named with its fault, the others are done."""
    start, series, failed = time.perf_counter(), 0, dict[str, str]()
    run = _runner(step, work)
    for place, number in enumerate(shards, 1):
        begun, said = time.perf_counter(), ""
        try:
            size = run(number)
            series, said = series + size, f"{size} series"
        except Exception as error:  # noqa: BLE001  one bad shard never stops another
            failed[str(number)] = fault(error)
            said = f"failed: {failed[str(number)]}"
        progress(f"{step}: shard {number} ({place} of {len(shards)}), {said}, {time.perf_counter() - begun:.1f} s")
    seconds = round(time.perf_counter() - start, 3)
    return {"step": step, "shards": list(shards), "series": series, "seconds": seconds, "failed": failed}


def _runner(step: str, work: WorkFolder) -> Callable[[int], int]:
    """What a step does with a shard; returns its number of series."""
    cohorts = cache(work.read_cohorts)

    @cache
    def pools(cohort: int) -> Pools:
        shared = derive_pools(work.read_pools(f"all_{cohort}"), cohorts()[cohort].setup)
        return replace(shared, models=work.read_models(cohort))

    def run(number: int) -> int:
        cohort, shard = work.cohort(number), work.read_shard(number)
        setup = cohorts()[cohort].setup
        if step == "fit":
            work.write_part(number, fit_part(shard, pools(cohort), setup))
            return len(shard)
        if setup.with_trees:
            work.write_lessons(number, lessons(shard, setup))
        work.write_pools(str(number), pool_sums(shard, setup))  # last: WorkFolder.made
        return len(shard)

    return run


def fault(error: Exception) -> str:
    """Kind and place of an error, without its message: that may hold values, and values may be secret."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    system = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{system} in {Path(frame.filename).name}, line {frame.lineno} ({frame.name})"


def numbers(text: str) -> tuple[int, ...]:
    """Shards of a list such as `0-7,12`, each once, in their order."""
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise argparse.ArgumentTypeError(f"'{part}' is no shard and no range: write numbers such as 0-7,12")
        found |= set(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return tuple(sorted(found))


def read_task(arguments: Sequence[str] | None) -> Task:
    """The task that arguments ask for. Raises TaskError for a folder that lacks what it needs, SystemExit with code 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.jobs.train", description=__doc__, epilog=EPILOG)
    parser.add_argument("--step", choices=["pools", "fit"], required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder that the driver filled")
    parser.add_argument("--shards", type=numbers, required=True, help="numbers and ranges, separated by commas")
    options = parser.parse_args(arguments)
    work = WorkFolder(options.work)
    if not work.path.is_dir():
        raise TaskError(f"there is no folder {work.path}: give the one that the driver of a training filled")
    lost = {name: None for number in options.shards for name in work.lacks(work.needs(options.step, number))}
    if lost:
        there = ", ".join(map(str, work.shards())) or "none"
        raise TaskError(f"the folder {work.path} has no {', '.join(lost)}; shards there: {there}")
    return Task(options.step, work, options.shards)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the step, print the report as the last line."""
    try:
        task = read_task(arguments)
    except TaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    keep_memory()
    show_progress()
    report = run_step(task.step, task.work, task.shards, lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(report))
    return SOME_FAILED if report["failed"] else DONE


if __name__ == "__main__":
    sys.exit(main())
