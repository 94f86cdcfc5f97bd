"""The kernel against its peers on the same rows in one run: series per core-second, memory, errors beside the true mean.

Belongs here: the run, the gate, the table. Does not belong here: how a contender forecasts (contenders), measures (judge).

Every contender works in a process of its own with one thread per library; imports, engines and a warm-up on a few series come before the
clock. CPU seconds are those of the whole tree of processes; of short runs the median of five counts. Slow peers run on a random sample of the
series; all are judged on the series of the smallest sample that took part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from bench import own, results
from bench.contenders import CONTENDERS, Task
from bench.generator import PROFILES, Profile
from bench.judge import Incomplete, cells, judge, objection, weighted_rmsse
from bench.rows import Truth, write_rows
from bench.series_ridge import Prior
from bench.watch import Watch

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
SAME = 1e-5  # to which coefficients of one ridge must agree, whoever fits it
WARM, SECONDS = 3, 1_800
SHORT, TIMES = 20.0, 5  # seconds of wall up to which a contender runs so often: one run in a bad moment says little


def measure(name: str, folder: Path) -> None:
    """In the contender's own process: ready, work, and a line of JSON."""
    contender, start = CONTENDERS[name], time.perf_counter()
    days = json.loads((folder / "profile.json").read_text())["days"]
    task = Task(folder / f"{contender.sample}.parquet", folder / "warm.parquet", days, _priors(folder))
    work = contender.ready(task)
    begun = time.perf_counter() - start
    with Watch() as watch:
        made = work()
        made.to_parquet(folder / f"{name}.out.parquet", index=False)
    print(json.dumps({"wall": watch.wall, "cpu": watch.cpu, "peak": watch.peak, "start": begun}))


def _priors(folder: Path) -> dict[str, Prior]:
    with np.load(folder / "priors.npz", allow_pickle=False) as saved:
        parts = zip(saved["coefficients"], saved["gram"], saved["rows"].tolist(), strict=True)
        return dict(zip(saved["names"].tolist(), (Prior(*part) for part in parts), strict=True))


def prepare(folder: Path, profile: Profile, samples: dict[str, int], seed: int) -> Truth:
    """Rows, truth, priors of the whole fleet and the kernel's coefficients at them."""
    truth = write_rows(folder, profile, {**samples, "warm": WARM}, seed)
    (folder / "profile.json").write_text(json.dumps({"days": profile.days}))
    everything = folder / "all.parquet"
    setup, pools = own.frozen(everything)
    segments = sorted({name.split("/")[1] for name in truth.series.tolist()})
    found = own.priors(setup, pools, tuple(segments))
    np.savez(
        folder / "priors.npz",
        names=np.asarray(list(found)),
        coefficients=np.stack([one.coefficients for one in found.values()]),
        gram=np.stack([one.gram for one in found.values()]),
        rows=np.asarray([one.rows for one in found.values()]),
    )
    ids, betas = own.ridge(everything, setup, pools)
    np.savez(folder / "betas.npz", ids=ids["unique_id"].unique().astype(str), betas=betas)
    return truth


def run(name: str, folder: Path) -> dict[str, float]:
    """Seconds and memory of one contender; raises CalledProcessError, with what it said, where it fails."""
    command = [sys.executable, "-m", "bench.peers", "--contender", name, "--folder", str(folder)]
    path = os.pathsep.join([str(results.ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
    done = subprocess.run(
        command, env=environment, cwd=results.ROOT, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{name} ended with code {done.returncode}: {done.stderr.strip()[-600:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def usual(name: str, folder: Path) -> dict[str, float]:
    """Seconds and memory of one contender's run; of a short one the run with the median of the CPU seconds."""
    costs = [run(name, folder)]
    while costs[0]["wall"] < SHORT and len(costs) < TIMES:
        costs.append(run(name, folder))
    return sorted(costs, key=lambda one: one["cpu"])[len(costs) // 2]


def same_coefficients(made: pd.DataFrame, folder: Path) -> float:
    """Greatest difference between a peer's ridge and the kernel's. Raises AssertionError beyond SAME."""
    first = made[made["step"] == 1]
    theirs = np.stack(first["coefficients"].to_list())
    with np.load(folder / "betas.npz", allow_pickle=False) as saved:
        place = pd.Index(saved["ids"]).get_indexer(pd.Index(first["unique_id"]))
        ours = saved["betas"][place]
    off = float((np.abs(theirs - ours) / np.maximum(1.0, np.abs(ours))).max())
    assert off <= SAME, (
        f"coefficients of the same ridge differ by {off:.1e}: kernel and series_ridge are not the same model"
    )
    return off


def table(names: list[str], folder: Path, samples: dict[str, int]) -> list[dict[str, object]]:
    """Run the contenders one after the other and judge them on the series that all forecast."""
    truth = Truth.load(folder / "truth.npz")
    judged = truth.take(
        pd.read_parquet(folder / "few.parquet", columns=["unique_id"])["unique_id"].unique().astype(str)
    )
    rows = list[dict[str, object]]()
    for name in names:
        contender = CONTENDERS[name]
        cost = usual(name, folder)
        series = samples[contender.sample]
        row: dict[str, object] = {"name": name, "title": contender.title, "series": series, **cost}
        row |= _judged(pd.read_parquet(folder / f"{name}.out.parquet"), folder, truth, judged)
        row["speed"] = 0.0 if row["objection"] else series / cost["cpu"]
        rows.append(row)
        print(line(row), flush=True)
    return rows


def _judged(made: pd.DataFrame, folder: Path, truth: Truth, judged: Truth) -> dict[str, object]:
    """Errors on the judged series, and why the time does not count if it does not."""
    found: dict[str, object] = {}
    try:
        cells(made, truth.take(made["unique_id"].unique().astype(str)))
        verdict = judge(cells(made, judged), judged)
    except Incomplete as error:
        return {"objection": str(error)}
    if "coefficients" in made:
        found["same_coefficients"] = same_coefficients(made, folder)
    return {**found, **asdict(verdict), "objection": objection(verdict, judged)}


def line(row: dict[str, object]) -> str:
    """One contender for people."""
    if row["objection"]:
        return f"{row['title']:36s} does not count: {row['objection']}"
    return (
        f"{row['title']:36s} {row['series']:6,} series {row['speed']:9.1f}/core-s  wall {row['wall']:7.1f} s  CPU {row['cpu']:7.1f} s  "
        f"{float(str(row['peak'])) / 2**30:4.1f} GiB  rmsse {row['rmsse']:.4f}  wape {row['wape']:.3f}  bias {row['bias']:+.3f}  regret {row['regret']:.3f}"
    )


def main() -> None:
    """Make the rows, run everyone, write docs/benchmarks/peers.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="M")
    parser.add_argument("--series", type=int, help="another number of series than the profile has")
    parser.add_argument("--many", type=int, default=1_000, help="series for peers of medium speed")
    parser.add_argument("--few", type=int, default=100, help="series for slow peers, and for judging")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        measure(options.contender, options.folder)
        return
    about, profile = results.circumstances(), PROFILES[options.profile]
    profile = Profile(options.series or profile.series, profile.days)
    samples = {"all": profile.series, **{n: min(getattr(options, n), profile.series) for n in ("many", "few")}}
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        truth = prepare(Path(folder), profile, samples, options.seed)
        print(
            f"{profile.series:,} series x {profile.days:,} days; samples of {samples['many']:,} and {samples['few']:,} series at random; "
            f"weighted RMSSE of the true mean {weighted_rmsse(truth.mean, truth):.4f}, of the last season again {weighted_rmsse(truth.naive, truth):.4f}"
        )
        rows = table(options.only, Path(folder), samples)
    about |= {"profile": options.profile, "days": profile.days, "judged": samples["few"], "seed": options.seed}
    print(f"written: {results.write('peers', about, rows).relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
