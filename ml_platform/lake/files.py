"""Data files of Delta tables: written by Arrow, described for delta-rs.

Belongs here: Parquet files below a table's root before a commit names them, and their statistics. Does not belong here: commits (store),
files that an engine wrote (staging).
"""

import json
import math
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

FILE_ROWS = 1 << 20
WRITERS = 2
MOST_RUNS = 100
SAMPLE = 10_000
BATCH = 1 << 16  # values that the encoder takes at once: a tenth less time than with the default of 1,024
DIGITS_DOWN, DIGITS_UP = Context(15, ROUND_FLOOR), Context(15, ROUND_CEILING)
LONGEST, LAST = 32, "\U0010ffff"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
Values = dict[str, str | None]
Files = list[AddAction | RemoveAction]


def written(data: pa.Table, root: Path, partition_by: Sequence[str]) -> Files:
    """Write rows as Parquet files below a table's root, per partition, and describe them; half the cost of delta-rs' own writer.

    Partition columns are dates: other values would have to be escaped in paths, as each reader of Delta does in its own way.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(lambda part: _written(part[0], part[1], root), _parts(data, partition_by, {})))


def _parts(data: pa.Table, partition_by: Sequence[str], values: Values) -> Iterator[tuple[pa.Table, Values]]:
    """Rows of one partition each, at most FILE_ROWS of them, without the partition columns."""
    if not partition_by:
        yield from ((data.slice(start, FILE_ROWS), values) for start in range(0, data.num_rows, FILE_ROWS))
        return
    name, column = partition_by[0], data[partition_by[0]].combine_chunks()
    rest = data.drop_columns([name])
    for value in pc.unique(column):
        text = value.cast(pa.string()).as_py() if value.is_valid else None
        yield from _parts(_where(rest, column, value), partition_by[1:], {**values, name: text})


def _where(data: pa.Table, column: pa.Array, value: pa.Scalar) -> pa.Table:
    """Rows of one value. Those of a drop follow each other: slices cost nothing, filters copy."""
    runs = pc.run_end_encode(column)
    if len(runs.values) > MOST_RUNS:
        return data.filter(pc.equal(column, value) if value.is_valid else pc.is_null(column))
    starts = [0, *runs.run_ends.to_pylist()]
    same = [data.slice(starts[n], starts[n + 1] - starts[n]) for n, one in enumerate(runs.values) if one.equals(value)]
    return pa.concat_tables(same)


def _written(rows: pa.Table, values: Values, root: Path) -> AddAction:
    folders = [f"{name}={NO_VALUE if text is None else text}" for name, text in values.items()]
    relative = "/".join([*folders, f"part-{uuid.uuid4().hex}.zstd.parquet"])
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        rows, path, compression="zstd", compression_level=1, use_dictionary=_repeating(rows), write_batch_size=BATCH
    )
    with pq.ParquetFile(path) as file:
        meta = file.metadata
    status = path.stat()
    return AddAction(relative, status.st_size, values, int(status.st_mtime * 1000), True, statistics(meta))


def _repeating(rows: pa.Table) -> list[str]:
    """Columns in whose first values one comes again: a dictionary of row numbers is built for nothing."""
    start = rows.slice(0, SAMPLE)
    return [name for name in rows.column_names if pc.count_distinct(start[name], mode="all").as_py() < start.num_rows]


def statistics(meta: pq.FileMetaData) -> str:
    """Row count, bounds and null counts of a file, as Delta wants them; readers prune files by these."""
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for column in range(meta.num_columns):
        groups = [meta.row_group(g).column(column) for g in range(meta.num_row_groups)]
        name, stats = groups[0].path_in_schema, [g.statistics for g in groups]
        if any(s is None or not s.has_null_count for s in stats):
            continue
        nulls[name] = sum(s.null_count for s in stats)
        if all(s.has_min_max for s in stats):
            lowest[name], highest[name] = _below(min(s.min for s in stats)), _above(max(s.max for s in stats))
    known = {name for name, value in lowest.items() if value is not None and highest[name] is not None}
    keep = {"minValues": lowest, "maxValues": highest}
    bounds = {kind: {n: v for n, v in values.items() if n in known} for kind, values in keep.items()}
    return json.dumps({"numRecords": meta.num_rows, **bounds, "nullCount": nulls})


def _below(value: Any) -> Any:
    """A lower bound as JSON: never above `value`, within the digits that JSON numbers keep."""
    if isinstance(value, Decimal):
        return _number(value.normalize(DIGITS_DOWN))
    return value[:LONGEST] if isinstance(value, str) else _plain(value)


def _above(value: Any) -> Any:
    """An upper bound as JSON: never below `value`."""
    if isinstance(value, Decimal):
        return _number(value.normalize(DIGITS_UP))
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[:LONGEST] + LAST
    return _plain(value)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _plain(value: Any) -> Any:
    """A bound as JSON, or None where there is none. A column without bounds is pruned by delta-rs as if it were empty."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no word for infinity
