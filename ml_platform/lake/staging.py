"""Staging: Parquet files that an engine wrote below a table's root, on their way into a commit.

Belongs here: finding staged files, checking their schema and describing them for delta-rs. Does not belong here: computing them.
"""

import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from ml_platform.lake.errors import LakeError
from ml_platform.lake.files import statistics
from ml_platform.lake.store import Lake, TableSpec, folder

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
            relative, path.stat().st_size, values, int(path.stat().st_mtime * 1000), True, statistics(meta)
        )


def _nothing(spec: TableSpec) -> pa.Table:
    table = spec.schema.empty_table()
    for name in ("fate", "month"):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(0, pa.string()))
    return table
