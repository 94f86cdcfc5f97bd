"""A plan on paper for a fleet that this machine cannot hold, computed from what growth measured on fleets that it can.

Belongs here: arithmetic from measured points. Does not belong here: measuring (growth), the page (report).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARDS = 16  # of the measured fleets
ARRAYS = 3.5  # bytes that a job works with per byte of a shard: running sums, counts and season sums beside it
GB = 1e9


@dataclass(frozen=True)
class Fleet:
    """What is planned: series of so many days, in shards of so many series, on so many cores."""

    series: int = 1_000_000
    days: int = 4_000
    per_shard: int = 2_048
    cores: int = 64


def plan(points: Sequence[Mapping[str, object]], fleet: Fleet) -> dict[str, str]:
    """What to provide and what flows, in words, from the point with one worker that has the most days."""
    base = max((row for row in points if row["workers"] == 1), key=lambda row: float(str(row["days"])))
    series, days, handed = float(str(base["series"])), float(str(base["days"])), base["handed"]
    assert isinstance(handed, dict)
    shard = handed["shard"] / series / days * fleet.per_shard * fleet.days
    pools = handed["pools"] / SHARDS * fleet.days / days
    part, count = handed["part"] / series * fleet.series, -(-fleet.series // fleet.per_shard)
    core_seconds = float(str(base["cpu"])) / float(str(base["rows"])) * fleet.series * fleet.days
    return {
        "shards": f"{count:,} of {fleet.per_shard:,} series, {shard / GB:.2f} GB of arrays each, {shard * count / GB:,.0f} GB in all",
        "memory of a task": f"{ARRAYS * shard / GB:.1f} GB: the shard and what is worked on beside it ({ARRAYS:g} times its bytes)",
        "CPU": f"{core_seconds:,.0f} core-seconds, {core_seconds / fleet.cores / 60:,.0f} minutes on {fleet.cores} cores",
        "pools pass": f"{pools / 1e6:.1f} MB of sums per shard for 50 segments, {pools * count / GB:.1f} GB in all if every shard sends its own",
        "back to the driver": f"{part / GB:.1f} GB of past forecasts, {part / fleet.series / 1e3:.1f} kB per series",
    }
