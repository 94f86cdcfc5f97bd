"""Staging: Parquet files that an engine wrote below a table's root, on their way into a commit.

Belongs here: finding staged files, checking their schema and describing them for delta-rs. Does not belong here: computing them.
"""

import json
import math
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from ml_platform.lake.store import Lake, LakeError, TableSpec, folder

DIGITS_DOWN, DIGITS_UP = Context(15, ROUND_FLOOR), Context(15, ROUND_CEILING)
LONGEST, LAST = 32, "\U0010ffff"
PARTITION = re.compile(r"([^/=]+)=([^/]+)")


@dataclass(frozen=True)
class Staging:
    """A folder below a table's root that no reader sees before its files are committed."""

    lake: Lake
    spec: TableSpec
    name: str

    @classmethod
    def open(cls, lake: Lake, spec: TableSpec) -> "Staging":
        lake.ensure(spec)
        return cls(lake, spec, f"part-{uuid.uuid4().hex[:16]}")

    @property
    def path(self) -> str:
        return f"{self.lake.uri(self.spec.name)}/{self.name}"

    def files(self, prefix: str = "") -> list[Path]:
        """Data files, in a fixed order; `prefix` keeps those below one subfolder such as `fate=kept`."""
        return sorted(path for path in (Path(self.path) / prefix).rglob("*.parquet") if pq.read_metadata(path).num_rows)

    def dataset(self, prefix: str = "") -> ds.Dataset:
        """Staged rows with their partition columns; empty where nothing was staged."""
        files = [str(path) for path in self.files(prefix)]
        parts = ds.partitioning(pa.schema([(name, pa.string()) for name in ("fate", "month")]), flavor="hive")
        return (
            ds.dataset(files, format="parquet", partitioning=parts, partition_base_dir=self.path)
            if files
            else ds.dataset(_nothing(self.spec))
        )

    def actions(self, prefix: str = "") -> list[AddAction]:
        """Add-actions of the staged files; LakeError where one has another schema than the table."""
        return [self._action(path) for path in self.files(prefix)]

    def sample(self, rows: int, prefix: str = "") -> pa.Table:
        """At most about `rows` rows, spread evenly over the staged files."""
        dataset = self.dataset(prefix)
        parts = (
            [part for one in dataset.get_fragments() for part in one.split_by_row_group()] if self.files(prefix) else []
        )
        share = -(-rows // max(len(parts), 1))
        tables = [part.scanner(schema=dataset.schema).head(share) for part in parts]
        return pa.concat_tables(tables) if tables else dataset.to_table()

    def doubled_keys(self, key: Sequence[str], prefix: str = "") -> int:
        """Keys that occur more than once, over all staged rows."""
        names = ", ".join(f'"{name}"' for name in key)
        query = "select count(*) from (select 1 from staged group by {} having count(*) > 1)"
        with duckdb.connect() as sql:
            sql.register("staged", self.dataset(prefix))
            # hashes first, at half the cost: where no hash occurs twice no key does
            alike = sql.execute(query.format(f"hash({names})")).fetchone()
            found = sql.execute(query.format(names)).fetchone() if alike and alike[0] else (0,)
        return int(found[0]) if found else 0

    def commit(self, partitions: Sequence[str], metadata: dict[str, str], prefix: str = "") -> int:
        return self.lake.adopt(self.spec, self.actions(prefix), partitions, metadata)

    def discard(self, prefix: str = "") -> None:
        """Remove staged files that no commit names."""
        shutil.rmtree(Path(self.path) / prefix, ignore_errors=True)

    def _action(self, path: Path) -> AddAction:
        with pq.ParquetFile(path) as file:
            found, meta = file.schema_arrow, file.metadata
        wanted = {f.name: f.type for f in self.spec.schema if f.name not in self.spec.partition_by}
        if {f.name: f.type for f in found} != wanted:
            apart = {f.name: str(f.type) for f in found if wanted.get(f.name) != f.type}
            apart |= dict.fromkeys(wanted.keys() - set(found.names), "missing")
            raise LakeError(f"staged file {path.name} does not have the schema of {self.spec.name}: {apart}")
        relative = path.relative_to(folder(self.lake, self.spec.name)).as_posix()
        values = {name: unquote(value) for name, value in PARTITION.findall(relative) if name in self.spec.partition_by}
        return AddAction(
            relative, path.stat().st_size, values, int(path.stat().st_mtime * 1000), True, _statistics(meta)
        )


def _nothing(spec: TableSpec) -> pa.Table:
    table = spec.schema.empty_table()
    for name in ("fate", "month"):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(0, pa.string()))
    return table


def _statistics(meta: pq.FileMetaData) -> str:
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
    known = {name for name, value in lowest.items() if value is not None}
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
    return None if isinstance(value, float) and math.isnan(value) else value
