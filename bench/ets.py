"""Batched exponential smoothing alone against AutoETS of statsforecast: series per core-second, mean RMSSE of unseen days.

Belongs here: this pair, by length and kind of series. Does not belong here: the platform's fleets (peers), what the kinds are (kinds).

CPU seconds of one process with one thread; AutoETS runs on the first series of each kind and seed, and both are judged on those.
Each is called once before the clock. The aims: 200 times as many series per core-second, mean RMSSE at most 1 % above.
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np

from bench import results
from bench.kinds import KINDS, LOGS, Floats, draw
from ml_platform.forecasting import ets

LENGTHS = {
    "60 months": (60, 12, 12),
    "120 weeks": (120, 52, 8),
    "365 days": (365, 7, 14),
    "1,000 days": (1_000, 7, 28),
}  # steps, season, horizon


@dataclass(frozen=True)
class Pair:
    """CPU seconds per series of both, and RMSSE (N,) of both on the same series."""

    own: float
    peer: float
    own_errors: Floats
    peer_errors: Floats


def rmsse(said: Floats, later: Floats, past: Floats) -> Floats:
    """Root mean square error of each series (N,), in units of its day-to-day changes."""
    scale = (np.diff(past, axis=1) ** 2).mean(axis=1)
    return np.asarray(np.sqrt(((said - later) ** 2).mean(axis=1) / scale))


def measure(kind: str, length: str, seed: int, size: int, peers: int) -> Pair:
    """Both on series of a kind and a seed."""
    from statsforecast.models import AutoETS

    steps, season, horizon = LENGTHS[length]
    y = draw(kind, size, steps + horizon, season, seed)
    past, later = y[:, :steps], y[:, steps:]
    logs = kind in LOGS
    ets.fit(past[:1], [steps], horizon, season)
    start = time.process_time()
    said, _ = ets.fit(np.log(past) if logs else past, [steps], horizon, season, logs=logs)
    said = np.exp(said) if logs else said
    own = (time.process_time() - start) / size
    model = AutoETS(season_length=season)
    model.forecast(past[0], horizon)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.stack([model.forecast(row, horizon)["mean"] for row in past[:peers]])
    peer = (time.process_time() - start) / peers
    judged = later[:peers], past[:peers]
    return Pair(own, peer, rmsse(said[:peers, 0], *judged), rmsse(theirs, *judged))


def row(length: str, kind: str, pairs: list[Pair]) -> dict[str, object]:
    """One line of the table from the pairs of several seeds."""
    own, peer = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("own", "peer"))
    errors = [np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("own_errors", "peer_errors")]
    mean, other = (float(each.mean()) for each in errors)
    spread = float((errors[0] - errors[1]).std() / np.sqrt(len(errors[0])) / other)
    return {
        "length": length,
        "kind": kind,
        "judged": len(errors[0]),
        "speed": 1 / own,
        "peer_speed": 1 / peer,
        "ratio": peer / own,
        "rmsse": mean,
        "peer_rmsse": other,
        "above": mean / other - 1,
        "chance": spread,
    }


def main() -> None:
    """Print and write docs/benchmarks/ets.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000, help="series of each kind and seed for the kernel")
    parser.add_argument("--peer-series", type=int, default=30, help="of which AutoETS gets so many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    about, rows = results.circumstances(), list[dict[str, object]]()
    for length in LENGTHS:
        found = {
            kind: [measure(kind, length, seed, options.series, options.peer_series) for seed in options.seeds]
            for kind in KINDS
        }
        rows += [row(length, kind, pairs) for kind, pairs in found.items()]
        rows.append(row(length, "all", [pair for pairs in found.values() for pair in pairs]))
        for one in rows[-len(KINDS) - 1 :]:
            print(
                f"{one['length']:10s} {one['kind']:8s} kernel {one['speed']:8.0f}/core-s  AutoETS {one['peer_speed']:7.2f}/core-s  "
                f"{one['ratio']:6.0f} times  rmsse {one['rmsse']:.4f} against {one['peer_rmsse']:.4f}, "
                f"{one['above']:+.2%} (by chance {one['chance']:.2%})",
                flush=True,
            )
    about |= {"series": options.series, "peer_series": options.peer_series, "seeds": options.seeds}
    print(f"written: {results.write('ets', about, rows).relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
