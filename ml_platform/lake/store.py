"""The only code that touches Delta: exact schemas, idempotent commits, one transaction per change.

Belongs here: reading, appending, replacing and adding files. Does not belong here: which tables exist (schemas) or why.
"""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction

from ml_platform.lake.files import Files, written

SCHEMA_VERSION = "1"
SCHEMA_VERSION_PROPERTY = "ml_platform.schema_version"
COMPRESSION = WriterProperties(compression="ZSTD", compression_level=1)


class LakeError(RuntimeError):
    """A table is missing, or data does not have its table's schema."""


@dataclass(frozen=True)
class TableSpec:
    """Name below the lake's root (`gold/forecasts`), exact Arrow schema and Delta partition columns of a table."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Commit:
    """What a commit wrote: the table's version after it, and the metadata that it carries."""

    version: int
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Lake:
    """Delta tables below `root` (a folder or an abfss:// URL); `storage_options` as delta-rs takes them, never a connection string."""

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _options(self) -> dict[str, str] | None:
        return dict(self.storage_options) or None

    def uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table; LakeError where it does not exist."""
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self._options)
        except TableNotFoundError:
            raise LakeError(
                f"table {name} does not exist at {self.uri(name)}: materialize the asset that writes it first"
            ) from None

    def exists(self, name: str) -> bool:
        return DeltaTable.is_deltatable(self.uri(name), storage_options=self._options)

    def version(self, name: str) -> int | None:
        return self.table(name).version() if self.exists(name) else None

    def dataset(self, name: str, version: int | None = None) -> ds.Dataset:
        return self.table(name, version).to_pyarrow_dataset()

    def read(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table; `where` prunes by partitions and statistics. LakeError where the table does not exist."""
        return self.dataset(name, version).to_table(columns=list(columns) if columns else None, filter=where)

    def count(self, name: str, where: pc.Expression | None = None) -> int:
        return self.dataset(name).count_rows(filter=where) if self.exists(name) else 0

    def reader_version(self, name: str) -> int:
        """The Delta protocol version that a reader needs: 1 is read by everything, Synapse serverless included."""
        return int(self.table(name).protocol().min_reader_version)

    def ensure(self, spec: TableSpec) -> DeltaTable:
        """The table, created empty where it does not exist; LakeError where it has another schema."""
        if not self.exists(spec.name):
            DeltaTable.create(
                self.uri(spec.name),
                schema=spec.schema,
                mode="ignore",
                partition_by=list(spec.partition_by) or None,
                name=spec.name.replace("/", "_"),
                description=spec.description or None,
                configuration={SCHEMA_VERSION_PROPERTY: SCHEMA_VERSION},
                storage_options=self._options,
                raise_if_key_not_exists=False,
            )
        table = self.table(spec.name)
        _require_schema(spec, pa.schema(table.schema().to_arrow()), "the table on disk")
        return table

    def migrate(self, spec: TableSpec) -> bool:
        """Add the columns that a newer version of the platform has put at the end of a table; False where there are none, or no table."""
        if not self.exists(spec.name):
            return False
        table = self.table(spec.name)
        known = pa.schema(table.schema().to_arrow()).names
        new = [field for field in spec.schema if field.name not in known]
        if new:
            table.alter.add_columns(list(Schema.from_arrow(pa.schema(new)).fields))
        return bool(new)

    def write(self, spec: TableSpec, data: pa.Table) -> Files | None:
        """Rows as files below a table's root, which no reader sees before `append` commits them; None where delta-rs has to write."""
        _require_schema(spec, data.schema, "the data to write")
        dated = all(spec.schema.field(name).type == pa.date32() for name in spec.partition_by)
        return written(data, folder(self, spec.name), spec.partition_by) if dated and "://" not in self.root else None

    def discard(self, spec: TableSpec, files: Files | None) -> None:
        """Remove files that no commit will name."""
        for one in files or ():
            (folder(self, spec.name) / one.path).unlink()

    def append(
        self,
        spec: TableSpec,
        data: pa.Table,
        transactions: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        files: Files | None = None,
    ) -> int:
        """Add rows in one commit and return its version; `files` of them that `write` has written already are not written again.

        `transactions` are application ids that the commit carries; the caller reads `committed` first, because Delta records
        a repeated id without refusing it. Without rows the commit still carries ids and metadata.
        """
        _require_schema(spec, data.schema, "the data to append")
        table, properties = self.ensure(spec), _properties(transactions, metadata)
        found = self.write(spec, data) if files is None else files
        if found is None and data.num_rows:
            write_deltalake(table, data, mode="append", commit_properties=properties, writer_properties=COMPRESSION)
        else:
            table.create_write_transaction(
                found or [], "append", table.schema(), list(spec.partition_by) or None, commit_properties=properties
            )
        return self.table(spec.name).version()

    def replace(
        self,
        spec: TableSpec,
        data: pa.Table,
        where: str,
        transactions: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Put `data` in the place of the rows that match the SQL predicate `where`, in one commit; return its version.

        Every row of `data` must match the predicate, else DeltaError and nothing is written.
        """
        _require_schema(spec, data.schema, "the data to replace with")
        write_deltalake(
            self.ensure(spec),
            data,
            mode="overwrite",
            predicate=where,
            commit_properties=_properties(transactions, metadata),
            writer_properties=COMPRESSION,
        )
        return self.table(spec.name).version()

    def remove(
        self, spec: TableSpec, where: str, transactions: Iterable[str] = (), metadata: Mapping[str, str] | None = None
    ) -> int:
        """Take the rows that match the SQL predicate `where` out, in one commit; return the version."""
        properties = _properties(transactions, metadata)
        self.ensure(spec).delete(where, commit_properties=properties, writer_properties=COMPRESSION)
        return self.table(spec.name).version()

    def adopt(
        self,
        spec: TableSpec,
        files: Sequence[AddAction],
        partitions: Sequence[str],
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Commit Parquet files that already lie below the table's root in the place of whole `partitions`; return the version.

        `partitions` are values of the table's only partition column. The files' schema has been checked (see `staging`).
        """
        table = self.ensure(spec)
        filters = [(spec.partition_by[0], "in", list(partitions))]
        table.create_write_transaction(
            list(files),
            "overwrite",
            table.schema(),
            list(spec.partition_by),
            filters if table.count() else None,
            commit_properties=_properties((), metadata),
        )
        return self.table(spec.name).version()

    def committed(self, name: str, transactions: Iterable[str]) -> set[str]:
        """Those application ids that the table already carries."""
        if not self.exists(name):
            return set()
        table = self.table(name)
        return {one for one in transactions if table.transaction_version(one) is not None}

    def commits_after(self, name: str, version: int) -> list[Commit]:
        """Commits newer than `version`, oldest first, with their metadata."""
        if not self.exists(name):
            return []
        table = self.table(name)
        newer = table.history(table.version() - version) if table.version() > version else []
        found = [
            Commit(int(one["version"]), {k: v for k, v in one.items() if k.startswith("ml_platform.")}) for one in newer
        ]
        return sorted(found, key=lambda commit: commit.version)

    def last_commit(self, name: str, key: str) -> Commit | None:
        """The newest commit whose metadata has `key`."""
        newest = self.version(name)
        for since in () if newest is None else (newest - 1, -1):  # the newest commit mostly has it, the log is long
            for commit in reversed(self.commits_after(name, since)):
                if key in commit.metadata:
                    return commit
        return None

    def last_metadata(self, name: str, key: str) -> dict[str, Any]:
        """The JSON value of `key` in the newest commit that carries it; empty where none does."""
        found = self.last_commit(name, key)
        value: dict[str, Any] = json.loads(found.metadata[key]) if found else {}
        return value


def _properties(transactions: Iterable[str], metadata: Mapping[str, str] | None) -> CommitProperties:
    return CommitProperties(
        custom_metadata=dict(metadata or {}), app_transactions=[Transaction(one, 1) for one in sorted(transactions)]
    )


def _require_schema(spec: TableSpec, found: pa.Schema, what: str) -> None:
    """Exact equality of names, order and types: delta-rs would store 1.9 as 1 in an int column."""
    wanted = {f.name: f.type for f in spec.schema}
    actual = {f.name: f.type for f in found}
    if list(wanted.items()) != list(actual.items()):
        apart = {
            n: (str(wanted.get(n)), str(actual.get(n))) for n in [*wanted, *actual] if wanted.get(n) != actual.get(n)
        }
        raise LakeError(
            f"{what} does not have the schema of {spec.name}: column (wanted, found) {apart or 'in another order'}"
        )


def folder(lake: Lake, name: str) -> Path:
    """The table's folder on a local lake."""
    return Path(lake.uri(name))


def in_predicate(column: str, values: Iterable[str]) -> str:
    """A SQL predicate; values are our own hexadecimal ids and months, so nothing has to be quoted away."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


@contextmanager
def locked(lake: Lake, name: str, *, shared: bool = False) -> Iterator[None]:
    """One process of this machine at a time does `name` (`shared`: several, but none beside one that does it alone).

    The system lets go where a process dies. Storage elsewhere has no such lock.
    """
    if "://" in lake.root:
        yield
        return
    place = folder(lake, f"ops/.{name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
