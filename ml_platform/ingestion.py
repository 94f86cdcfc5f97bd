"""Ingestion: drops become bronze rows and ledger rows in one commit.

Belongs here: which drops are due, what becomes of each, and the commit that says so. Does not belong here: listing (landing),
opening (formats), judging values (rules).
"""

import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform import expectations, landing
from ml_platform.checks import CheckResult, merged, require
from ml_platform.contracts import SourceContract
from ml_platform.formats import UnreadableError, open_drop
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, LedgerRow
from ml_platform.lake.schemas import QUARANTINE
from ml_platform.lake.store import folder
from ml_platform.landing import Drop
from ml_platform.rules import Screened, screen

READERS = 2
CHECKS = ("row_balance", "quarantined_share", expectations.NAME)


@dataclass(frozen=True)
class Ingestion:
    """One source on its way into bronze: where from, where to, under which contract and in which run.

    `batch_rows`: rows that share a commit, about; `suite_rows`: rows that a suite looks at.
    """

    lake: Lake
    landing: Path
    contract: SourceContract
    run_id: str
    batch_rows: int = 2_000_000
    suite_rows: int = 100_000
    progress: Callable[[str], None] = lambda text: None

    def due(self, first: date, last: date, calendar: tuple[date, date]) -> list[Drop]:
        """Drops of the days `first` to `last` that are not in the ledger, and every one whose day the calendar does not hold."""
        settled = self._settled()
        drops = [drop for drop in landing.list_drops(self.landing, self.contract) if drop.drop_id not in settled]
        if self.contract.kind == "snapshot":
            return drops
        return [
            drop
            for drop in drops
            if first <= drop.day <= last or not calendar[0] <= drop.day <= calendar[1] or not drop.named
        ]

    def _settled(self) -> set[str]:
        return {row.drop_id for row in ledger.of_source(self.lake, self.contract.name)}

    def run(self, drops: Iterable[Drop]) -> "IngestionReport":
        """Bring drops into bronze, batch by batch; checks.Blocked before the commit of a batch that fails a check."""
        self.lake.ensure(self.contract.bronze_spec)
        self.recover()
        settled = self._settled()  # with what `recover` found: the drops were listed before it
        state, report = _State.read(self.lake, self.contract), IngestionReport()
        for batch in self._batches([drop for drop in drops if drop.drop_id not in settled], state):
            checks = require(f"source {self.contract.name}", self._checks(batch))
            self._commit(batch)
            report = report.with_batch(batch, checks)
            self.progress(
                f"{self.contract.name}: {len(report.rows)} drops, {report.total('rows_loaded'):,} rows loaded"
            )
        return report

    def recover(self) -> int:
        """Complete the projections from commits that a crash cut off from them."""
        return ledger.project(self.lake, self.contract.name, self.contract.bronze_spec.name)

    def _batches(self, drops: Iterable[Drop], state: "_State") -> Iterator["_Batch"]:
        """Drops are read ahead in threads (Arrow works outside the interpreter's lock) and settled in order."""
        batch = _Batch()
        with ThreadPoolExecutor(READERS) as readers:
            for read in _ahead(readers, self._read, drops):
                batch.add(self._settle(read, state))
                if batch.row_count >= self.batch_rows:
                    yield batch
                    batch = _Batch()
        if batch.settled:
            yield batch

    def _read(self, drop: Drop) -> "_Read":
        """Open and screen a drop; a file that vanished or cannot become rows is refused as a whole."""
        row, path = _seen(drop, self.run_id), self.landing / drop.path
        if not drop.named:
            return _Read(row, None, _unknown_format(self.contract))
        try:
            row = replace(row, content_sha256=_sha256(path))
            return _Read(row, screen(open_drop(path, self.contract), self.contract))
        except FileNotFoundError:
            return _Read(row, None, UnreadableError("vanished", "the file was gone when it was read"))
        except OSError as why:
            return _Read(row, None, UnreadableError("unreadable", f"the file cannot be read: {why.strerror or why}"))
        except UnreadableError as why:
            return _Read(row, None, why)

    def _settle(self, read: "_Read", state: "_State") -> "_Settled":
        """Decide a drop's fate in view of those before it."""
        row, found, why = read.row, read.screened, read.refused
        if found is None or why is not None:
            rule, rows = (why.rule, why.rows) if why else ("unreadable", 0)
            refused = _refusals(row, [{"rule": rule, "value": str(why), "raw": row.path}])
            return _Settled(
                replace(row, state=QUARANTINED, reason=f"{rule}: {why}", rows_in=rows, rows_quarantined=rows),
                refused=refused,
            )
        rows = found.accepted.num_rows + found.refused.num_rows
        if twin := state.same_bytes(row, self.contract):
            return _Settled(
                replace(row, state=DUPLICATE, reason=f"same bytes as {twin}", rows_in=rows, rows_duplicate=rows)
            )
        row = replace(row, rows_in=rows, rows_loaded=found.accepted.num_rows, rows_quarantined=found.refused.num_rows)
        replaced = state.replace_with(row, self.contract)
        return _Settled(
            row,
            _with_provenance(found.accepted, row, self.contract),
            _refusals(row, found.refused.to_pylist()),
            replaced,
        )

    def _checks(self, batch: "_Batch") -> list[CheckResult]:
        rows = [one.row for one in batch.settled]
        uneven = [row.path for row in rows if not row.balanced]
        total, refused = (
            sum(row.rows_in for row in rows),
            sum(row.rows_quarantined for row in rows if row.state == LOADED),
        )
        share, limit = refused / max(total, 1), self.contract.max_quarantined
        return [
            CheckResult(
                "row_balance",
                not uneven,
                f"rows in differ from loaded + quarantined + duplicate in {uneven[:3]}"
                if uneven
                else "every drop's rows are accounted for",
                {"drops": len(rows), "rows_in": total},
            ),
            CheckResult(
                "quarantined_share",
                share <= limit,
                f"{share:.2%} of the rows were refused, the contract's max_quarantined is {limit:.2%}",
                {"rows_quarantined": refused, "share": share},
            ),
            expectations.validate(batch.data(self.contract), expected(self.contract), self.suite_rows),
        ]

    def _commit(self, batch: "_Batch") -> None:
        """One Delta commit with the rows, the drops' transaction ids and their ledger rows; then the projections."""
        spec, ids = self.contract.bronze_spec, [one.row.drop_id for one in batch.settled]
        if self.lake.committed(spec.name, ids):
            raise RuntimeError(
                f"{spec.name}: another run has just ingested some of these drops: start this run again, it will find them settled"
            )
        rows = list(
            {row.drop_id: row for row in [*(one.row for one in batch.settled), *batch.replaced_rows()]}.values()
        )
        metadata = {ledger.LEDGER_KEY: ledger.to_metadata(rows), ledger.REFUSED_KEY: self._stage(batch)}
        if gone := [row.drop_id for row in batch.replaced_rows()]:
            self.lake.replace(
                spec, batch.data(self.contract), ledger.in_predicate("drop_id", [*ids, *gone]), ids, metadata
            )
        else:
            self.lake.append(spec, batch.data(self.contract), ids, metadata)
        self.recover()

    def _stage(self, batch: "_Batch") -> str:
        """Write refused rows beside the table before the commit names them, so that no crash can lose them."""
        refused = batch.refused()
        if not refused.num_rows:
            return ""
        name = f"_refused/{uuid.uuid4().hex}.parquet"
        path = folder(self.lake, self.contract.bronze_spec.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(refused, path)
        return name


@dataclass(frozen=True)
class IngestionReport:
    """What a run brought in: a ledger row per drop, and the checks over all batches."""

    rows: tuple[LedgerRow, ...] = ()
    checks: tuple[CheckResult, ...] = ()

    def with_batch(self, batch: "_Batch", checks: Iterable[CheckResult]) -> "IngestionReport":
        return IngestionReport((*self.rows, *(one.row for one in batch.settled)), merged((*self.checks, *checks)))

    def total(self, column: str) -> int:
        return sum(getattr(row, column) for row in self.rows)


@dataclass(frozen=True)
class _Read:
    """A drop that was opened: its rows parted by the contract, or why it has none."""

    row: LedgerRow
    screened: Screened | None
    refused: UnreadableError | None = None


@dataclass(frozen=True)
class _Settled:
    row: LedgerRow
    rows: pa.Table | None = None
    refused: pa.Table | None = None
    replaced: tuple[LedgerRow, ...] = ()


@dataclass
class _Batch:
    """Drops that share one commit."""

    settled: list[_Settled] = field(default_factory=list)
    row_count: int = 0

    def add(self, one: _Settled) -> None:
        self.settled.append(one)
        self.row_count += one.row.rows_in

    def data(self, contract: SourceContract) -> pa.Table:
        """Rows of the drops that stay: one that a later drop of this batch replaced adds none."""
        gone = {row.drop_id for row in self.replaced_rows()}
        tables = [one.rows for one in self.settled if one.rows is not None and one.row.drop_id not in gone]
        return pa.concat_tables([contract.bronze_spec.schema.empty_table(), *tables])

    def refused(self) -> pa.Table:
        return pa.concat_tables(
            [QUARANTINE.schema.empty_table(), *(one.refused for one in self.settled if one.refused is not None)]
        )

    def replaced_rows(self) -> list[LedgerRow]:
        return [row for one in self.settled for row in one.replaced]


@dataclass
class _State:
    """What is in force: the loaded drop of each path, and the bytes known per drop day."""

    current: dict[str, LedgerRow]
    first_path: dict[tuple[date, str], str]

    @classmethod
    def read(cls, lake: Lake, contract: SourceContract) -> "_State":
        rows = [row for row in ledger.of_source(lake, contract.name) if row.state == LOADED]
        return cls({row.path: row for row in rows}, {(row.drop_day, row.content_sha256): row.path for row in rows})

    def same_bytes(self, row: LedgerRow, contract: SourceContract) -> str | None:
        """The path that already holds these bytes: the same path, or (for events) another one of the same drop day."""
        if contract.kind == "snapshot":
            return next(
                (path for path, in_force in self.current.items() if in_force.content_sha256 == row.content_sha256), None
            )
        if row.path in self.current:
            return row.path if self.current[row.path].content_sha256 == row.content_sha256 else None
        return self.first_path.get((row.drop_day, row.content_sha256))

    def replace_with(self, row: LedgerRow, contract: SourceContract) -> tuple[LedgerRow, ...]:
        """Put a drop in force; return the ledger rows of those that it replaces."""
        gone = list(self.current) if contract.kind == "snapshot" else [row.path] if row.path in self.current else []
        replaced = [self.current.pop(path) for path in gone]
        for old in replaced:
            self.first_path.pop((old.drop_day, old.content_sha256), None)
        self.current[row.path] = row
        self.first_path[row.drop_day, row.content_sha256] = row.path
        return tuple(old.superseded_by(row.drop_id) for old in replaced)


def expected(contract: SourceContract) -> expectations.Expected:
    """The suite of a bronze table, from its contract."""
    columns = contract.columns.items()
    return expectations.Expected(
        columns=tuple(contract.bronze_spec.schema.names),
        not_null=tuple(name for name, column in columns if not column.nullable),
        unique=("drop_id", "row_number"),
        minimum={name: column.min for name, column in columns if column.min is not None},
        maximum={name: column.max for name, column in columns if column.max is not None},
        allowed={name: column.allowed for name, column in columns if column.allowed},
    )


def _ahead(pool: Executor, work: Callable[[Drop], _Read], drops: Iterable[Drop]) -> Iterator[_Read]:
    """Results in the order of the drops, with a few of them under way: memory stays bounded."""
    waiting: deque[Future[_Read]] = deque()
    for drop in drops:
        waiting.append(pool.submit(work, drop))
        if len(waiting) > 2 * READERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _unknown_format(contract: SourceContract) -> UnreadableError:
    return UnreadableError("unknown_format", f"no file name of source '{contract.name}' matches '{contract.path}'")


def _seen(drop: Drop, run_id: str) -> LedgerRow:
    now = datetime.now(UTC)
    return LedgerRow(
        drop_id=drop.drop_id,
        source=drop.source,
        path=drop.path,
        etag=drop.etag,
        length=drop.length,
        content_sha256="",
        drop_day=drop.day,
        state=LOADED,
        reason=None,
        rows_in=0,
        rows_loaded=0,
        rows_quarantined=0,
        rows_duplicate=0,
        rows_erased=0,
        table_version=-1,
        run_id=run_id,
        first_seen_at=now,
        settled_at=now,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refusals(row: LedgerRow, rows: list[dict[str, object]]) -> pa.Table:
    place = {
        "source": row.source,
        "drop_id": row.drop_id,
        "path": row.path,
        "stage": "bronze",
        "state": "open",
        "quarantined_at": row.settled_at,
    }
    return pa.Table.from_pylist([{**place, **one} for one in rows], schema=QUARANTINE.schema)


def _with_provenance(accepted: pa.Table, row: LedgerRow, contract: SourceContract) -> pa.Table:
    count = accepted.num_rows
    stamped = {
        "drop_id": pa.repeat(row.drop_id, count),
        "drop_day": pa.repeat(pa.scalar(row.drop_day, pa.date32()), count),
        "ingested_at": pa.repeat(pa.scalar(row.settled_at, pa.timestamp("us", tz="UTC")), count),
    }
    for name, values in stamped.items():
        accepted = accepted.append_column(name, values)
    return accepted.select(contract.bronze_spec.schema.names).cast(contract.bronze_spec.schema)
