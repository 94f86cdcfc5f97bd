"""Series: the identity of one forecast key, and the shard that it belongs to.

Belongs here: how a key becomes a `series_id` and a shard, the same everywhere and for ever. Does not belong here: what a series holds.
"""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

SEPARATOR = "\x1f"


def series_id(key: Sequence[object]) -> str:
    """16 hexadecimal digits of SHA-256 over the key's values as text, in the order of the key columns."""
    return hashlib.sha256(SEPARATOR.join(str(value) for value in key).encode()).hexdigest()[:16]


def shard_of(identity: str, shards: int) -> int:
    """The hash bucket of a series: 0 to shards - 1."""
    return int(identity[:8], 16) % shards


def with_identity(table: pa.Table, key: Sequence[str], shards: int) -> pa.Table:
    """`table` with `series_id` in front and `shard` after the key columns."""
    ids = [series_id(values) for values in zip(*(table[name].to_pylist() for name in key), strict=True)]
    numbers = pa.array([shard_of(one, shards) for one in ids], pa.int32())
    return table.add_column(len(key), "shard", numbers).add_column(0, "series_id", pa.array(ids, pa.string()))
