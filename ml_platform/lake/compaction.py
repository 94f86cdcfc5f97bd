"""Compaction: many small files of a table become few, and nothing that a reader sees changes.

Belongs here: which partitions have many small files, and rewriting them. Does not belong here: when (ingestion, ledger, maintenance).
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from ml_platform.lake.store import COMPRESSION, HOOKS, Lake, writing

MANY = 16  # small files of one partition: a reader pays milliseconds for each
TARGET_BYTES = 64 << 20
ATTEMPTS = 3
MAINTENANCE_KEY = "ml_platform.maintenance"


@dataclass(frozen=True)
class Crowd:
    """A partition (its filters; none for a table without) with many small files: how many, and their bytes."""

    filters: tuple[tuple[str, str, str], ...]
    files: int
    bytes: int


@dataclass(frozen=True)
class Compaction:
    """What compacting a table did: files that were read, files that hold their rows now, bytes of both, and why some stayed."""

    files: int = 0
    written: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    reason: str = ""


def crowds(table: DeltaTable, many: int = MANY, target: int = TARGET_BYTES) -> list[Crowd]:
    """Partitions with at least `many` files below half of the target size."""
    files = pa.table(table.get_add_actions(flatten=True))
    columns = table.metadata().partition_columns
    found: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(list)
    values = [files[f"partition.{name}"].cast(pa.string()).to_pylist() for name in columns]
    for number, size in enumerate(files["size_bytes"].to_pylist()):
        if size < target // 2:
            found[tuple(own[number] for own in values)].append(size)
    return [
        Crowd(tuple((name, "=", str(value)) for name, value in zip(columns, own, strict=True)), len(sizes), sum(sizes))
        for own, sizes in sorted(found.items(), key=lambda one: str(one[0]))
        if len(sizes) >= many and None not in own
    ]


def compact(lake: Lake, name: str, many: int = MANY, target: int = TARGET_BYTES) -> Compaction:
    """Rewrite crowded partitions, each in a commit of its own, so that a writer waits for one of them at most.

    Where another machine commits in between, Delta refuses the compaction: it is tried again, then left with the reason.
    """
    found = crowds(lake.table(name), many, target) if lake.exists(name) else []
    return reduce(_plus, (_compact(lake, name, crowd, target) for crowd in found), Compaction())


def _compact(lake: Lake, name: str, crowd: Crowd, target: int) -> Compaction:
    why = ""
    for _ in range(ATTEMPTS):
        with writing(lake, name):
            try:
                done = lake.table(name).optimize.compact(
                    partition_filters=list(crowd.filters) or None,
                    target_size=target,
                    writer_properties=COMPRESSION,
                    commit_properties=CommitProperties(custom_metadata={MAINTENANCE_KEY: "compaction"}),
                    post_commithook_properties=HOOKS,
                )
            except CommitFailedError as conflict:
                why = f"another writer was faster {ATTEMPTS} times, the next run tries again: {conflict}"
                continue
            except DeltaError as unfit:  # many files are slow, and no reason to stop a batch that is in
                return Compaction(reason=str(unfit).splitlines()[0])
        before, after = done["filesRemoved"], done["filesAdded"]
        return Compaction(done["numFilesRemoved"], done["numFilesAdded"], _bytes(before), _bytes(after))
    return Compaction(reason=why)


def _bytes(files: object) -> int:
    """Total size in the metrics of delta-rs, which come as JSON inside JSON."""
    found = json.loads(files) if isinstance(files, str) else files
    return int(found["totalSize"]) if isinstance(found, dict) else 0


def _plus(one: Compaction, other: Compaction) -> Compaction:
    return Compaction(
        one.files + other.files,
        one.written + other.written,
        one.bytes_before + other.bytes_before,
        one.bytes_after + other.bytes_after,
        one.reason or other.reason,
    )
