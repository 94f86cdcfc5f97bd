"""The only code that touches Delta: exact schemas, idempotent commits, one transaction per change.

Belongs here: reading, appending, replacing and adding files. Does not belong here: which tables exist (schemas) or why.
"""

import json
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from pyarrow import fs

from ml_platform.durable import sync
from ml_platform.lake import history, logs
from ml_platform.lake.errors import AlreadyCommittedError, LakeError
from ml_platform.lake.files import Files, written
from ml_platform.lake.history import Commit
from ml_platform.lake.leases import leased

SCHEMA_VERSION = "1"
SCHEMA_VERSION_PROPERTY = "ml_platform.schema_version"
MARK_KEY = "ml_platform.mark"  # names a commit, so that its writer finds it where the answer was lost
COMPRESSION = WriterProperties(compression="ZSTD", compression_level=1)
# left to itself delta-rs cuts logs after 30 days, whether or not the platform still has to read them: retention alone does
HOOKS = PostCommitHookProperties(cleanup_expired_logs=False)
# storage that is away for a minute is waited for; for longer, a run fails with its words, where delta-rs alone would try for three minutes
PATIENCE = {"max_retries": "1000", "retry_timeout": "75s", "backoff_config.max_backoff": "5s"}
Transactions = Iterable[str] | Mapping[str, int]
Result = TypeVar("Result")
_WRITES = count(1)


@dataclass(frozen=True)
class TableSpec:
    """Name below the lake's root (`gold/forecasts`), exact Arrow schema and Delta partition columns of a table."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Lake:
    """Delta tables below `root` (a folder or an abfss:// URL); `storage_options` as delta-rs takes them, never a connection string."""

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _options(self) -> dict[str, str] | None:
        return {**(PATIENCE if self.remote else {}), **self.storage_options} or None

    @property
    def remote(self) -> bool:
        """Whether the lake lies on storage that is no local disk."""
        return "://" in self.root

    def uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table; LakeError where it does not exist, GoneError where it does not have that version (any more)."""
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self._options)
        except DeltaError as why:
            if version is not None and self.exists(name):
                raise logs.gone(self.root, name, version) from None
            if not isinstance(why, TableNotFoundError):
                raise
            raise LakeError(
                f"table {name} does not exist at {self.uri(name)}: materialize the asset that writes it first"
            ) from None

    def exists(self, name: str) -> bool:
        return DeltaTable.is_deltatable(self.uri(name), storage_options=self._options)

    def version(self, name: str) -> int | None:
        return self.table(name).version() if self.exists(name) else None

    def content_version(self, name: str) -> int | None:
        """The version to compare inputs by: maintenance makes newer ones of the same content."""
        return history.content_version(self.table(name)) if self.exists(name) else None

    def version_at(self, name: str, moment: datetime) -> int:
        """The version that was the newest one at `moment`, on a local lake; GoneError where the log does not go back that far."""
        return logs.read(self.root, name).at(moment)

    def dataset(self, name: str, version: int | None = None, coded: Collection[str] = ()) -> ds.Dataset:
        """A table to scan; columns in `coded` come as codes of a dictionary, batch by batch."""
        options = ds.ParquetReadOptions(dictionary_columns=set(coded)) if coded else None
        return self.table(name, version).to_pyarrow_dataset(
            filesystem=self._files_of(name), parquet_read_options=options
        )

    def _files_of(self, name: str) -> fs.FileSystem | None:
        """Arrow's own file system where it reads the lake itself; None: through delta-rs.

        That one is an object of Python: a scan whose last thread lets go of it while the interpreter ends aborts the process.
        """
        return None if self.remote else fs.SubTreeFileSystem(self.uri(name), fs.LocalFileSystem())

    def read(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table; `where` prunes by partitions and statistics. LakeError where there is no such table, GoneError for a version whose files retention has removed."""
        try:
            return _scanned(self.dataset(name, version), ds.Scanner.to_table, list(columns) if columns else None, where)
        except FileNotFoundError:
            if version is None:
                raise
            raise logs.gone(self.root, name, version) from None

    def count(self, name: str, where: pc.Expression | None = None) -> int:
        return _scanned(self.dataset(name), ds.Scanner.count_rows, None, where) if self.exists(name) else 0

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
                post_commithook_properties=HOOKS,
                raise_if_key_not_exists=False,
            )
        table = self.table(spec.name)
        _require_schema(spec, pa.schema(table.schema().to_arrow()), "the table on disk")
        return table

    def migrate(self, spec: TableSpec) -> bool:
        """Add the columns that a newer version of the platform has put at the end of a table; False where there are none, or no table."""
        if not self.exists(spec.name):
            return False
        with writing(self, spec.name):
            table = self.table(spec.name)
            known = pa.schema(table.schema().to_arrow()).names
            new = [field for field in spec.schema if field.name not in known]
            if new:
                fields = list(Schema.from_arrow(pa.schema(new)).fields)
                table.alter.add_columns(fields, post_commithook_properties=HOOKS)
        return bool(new)

    def write(self, spec: TableSpec, data: pa.Table) -> Files | None:
        """Rows as files below a table's root, which no reader sees before `append` commits them; None where delta-rs has to write."""
        _require_schema(spec, data.schema, "the data to write")
        dated = all(spec.schema.field(name).type == pa.date32() for name in spec.partition_by)
        if not dated or self.remote:
            return None
        files = written(data, folder(self, spec.name), spec.partition_by)
        sync(folder(self, spec.name) / one.path for one in files)
        return files

    def discard(self, spec: TableSpec, files: Files | None) -> None:
        """Remove files that no commit will name."""
        for one in files or ():
            (folder(self, spec.name) / one.path).unlink()

    def append(
        self,
        spec: TableSpec,
        data: pa.Table,
        transactions: Transactions = (),
        metadata: Mapping[str, str] | None = None,
        files: Files | None = None,
    ) -> int:
        """Add rows in one commit and return its version; `files` of them that `write` has written already are not written again.

        `transactions` are application ids that the commit carries, with a version each or 1. AlreadyCommittedError where the table
        has one of them: Delta would record it without refusing it. Without rows the commit still carries ids and metadata.
        """
        _require_schema(spec, data.schema, "the data to append")
        with self._commit(spec, transactions, metadata) as (table, options):
            found = self.write(spec, data) if files is None else files
            if found is None and data.num_rows:
                write_deltalake(table, data, mode="append", **options, writer_properties=COMPRESSION)
            else:
                partitions = list(spec.partition_by) or None
                table.create_write_transaction(found or [], "append", table.schema(), partitions, **options)
        return self.table(spec.name).version()

    def replace(
        self,
        spec: TableSpec,
        data: pa.Table,
        where: str,
        transactions: Transactions = (),
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Put `data` in the place of the rows that match the SQL predicate `where`, in one commit; return its version.

        Every row of `data` must match the predicate, else DeltaError and nothing is written.
        """
        _require_schema(spec, data.schema, "the data to replace with")
        with self._commit(spec, transactions, metadata) as (table, options):
            write_deltalake(table, data, mode="overwrite", predicate=where, **options, writer_properties=COMPRESSION)
        return self.table(spec.name).version()

    def remove(
        self,
        spec: TableSpec,
        where: str,
        transactions: Transactions = (),
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Take the rows that match the SQL predicate `where` out, in one commit; return the version."""
        # not by delta-rs' own `delete`: its files say string_view, with which Arrow compares no statistics (see `_scanned`)
        return self.replace(spec, spec.schema.empty_table(), where, transactions, metadata)

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
        if not self.remote:
            sync(folder(self, spec.name) / unquote(one.path) for one in files)
        with self._commit(spec, (), metadata) as (table, options):
            filters = [(spec.partition_by[0], "in", list(partitions))] if table.count() else None
            by = list(spec.partition_by)
            table.create_write_transaction(list(files), "overwrite", table.schema(), by, filters, **options)
        return self.table(spec.name).version()

    @contextmanager
    def _commit(
        self, spec: TableSpec, transactions: Transactions, metadata: Mapping[str, str] | None
    ) -> Iterator[tuple[DeltaTable, dict[str, Any]]]:
        """One commit by one writer at a time. Where it seems to fail, the table says whether it did: it is never written again."""
        mark, versions = uuid.uuid4().hex, _versions(transactions)
        with writing(self, spec.name):
            table = self.ensure(spec)
            if known := [one for one in versions if (table.transaction_version(one) or 0) >= versions[one]]:
                raise AlreadyCommittedError(f"table {spec.name} has transactions {known[:3]} already")
            before = table.version()
            try:
                yield table, _options(versions, {**(metadata or {}), MARK_KEY: mark})
            except (DeltaError, OSError):
                newer = self.commits_after(spec.name, before)
                if mark not in (commit.metadata.get(MARK_KEY) for commit in newer):
                    raise
            if not self.remote:
                sync(logs.committed(self.root, spec.name, before or -1))  # the table itself with its first commit

    def reached(self, name: str, application: str) -> int:
        """The version of an application id that the table carries; -1 for none."""
        found = self.table(name).transaction_version(application) if self.exists(name) else None
        return -1 if found is None else found

    def filesystem(self, name: str) -> fs.FileSystem:
        """Files below a table's root, for what lies beside its data."""
        if self.remote:
            return fs.PyFileSystem(DeltaStorageHandler(self.uri(name), self._options))
        return fs.SubTreeFileSystem(self.uri(name), fs.LocalFileSystem())

    def commits_after(self, name: str, version: int) -> list[Commit]:
        """Commits newer than `version`, oldest first, with their metadata; GoneError where the log has lost some of them."""
        return history.after(self.table(name), name, version) if self.exists(name) else []

    def last_commit(self, name: str, key: str) -> Commit | None:
        """The newest commit whose metadata has `key`."""
        commits = history.newest_first(self.table(name)) if self.exists(name) else ()
        return next((commit for commit in commits if key in commit.metadata), None)

    def last_metadata(self, name: str, key: str) -> dict[str, Any]:
        """The JSON value of `key` in the newest commit that carries it; empty where none does."""
        found = self.last_commit(name, key)
        value: dict[str, Any] = json.loads(found.metadata[key]) if found else {}
        return value


def _scanned(
    dataset: ds.Dataset, result: Callable[[ds.Scanner], Result], columns: list[str] | None, where: pc.Expression | None
) -> Result:
    """What a scan gives; where files say string_view, as an earlier version's erasures left them, their rows are filtered and nothing is pruned."""
    try:
        return result(dataset.scanner(columns=columns, filter=where))
    except pa.ArrowNotImplementedError:
        rows = dataset.scanner().to_reader()  # in the table's own types
        return result(ds.Scanner.from_batches(rows, columns=columns, filter=where))


def _versions(transactions: Transactions) -> dict[str, int]:
    return dict(transactions) if isinstance(transactions, Mapping) else dict.fromkeys(transactions, 1)


def _options(transactions: Mapping[str, int], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What every commit is made with: ids and metadata, and that it leaves the log alone.

    One id is of this process: a commit whose answer was lost and that delta-rs tries again is refused by its own first try.
    """
    versions = {**transactions, f"writer-{_writer(os.getpid())}": next(_WRITES)}
    own = [Transaction(*one) for one in sorted(versions.items())]
    properties = CommitProperties(custom_metadata=dict(metadata), app_transactions=own)
    return {"commit_properties": properties, "post_commithook_properties": HOOKS}


@cache
def _writer(process: int) -> str:
    """Another name for every process, also one that was forked."""
    return f"{process}-{uuid.uuid4().hex[:12]}"


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


def locked(lake: Lake, name: str, wait: bool = True, *, shared: bool = False) -> AbstractContextManager[None]:
    """One process of this machine at a time does `name` (`shared`: several, but none beside one that does it alone); without `wait` LakeError where another does."""
    return leased(lake.root, name, wait, shared=shared)


def source_turn(source: str) -> str:
    """The name of the lease under which drops of a source are settled, and its silver is made (shared)."""
    return f"source-{source}"


def writing(lake: Lake, name: str) -> AbstractContextManager[None]:
    """Hold a table for a commit: Delta would refuse one that was prepared while compaction replaced files."""
    return leased(lake.root, f"writing.{name.replace('/', '.')}")
