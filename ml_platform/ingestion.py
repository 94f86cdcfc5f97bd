"""Ingestion: drops become bronze rows and ledger rows in one commit.

Belongs here: which drops are due, their checks, and the commit that says what became of them. Does not belong here: listing
(landing), opening (formats), judging values (rules), settling (settlement).
"""

import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform import expectations
from ml_platform.bronze import Bronze
from ml_platform.calendar import Calendar
from ml_platform.checks import READER_VERSION, CheckResult, merged, reader_version, require
from ml_platform.contracts import SourceContract
from ml_platform.erasure.door import silenced, without
from ml_platform.erasure.persons import Persons
from ml_platform.failpoints import reach
from ml_platform.formats import Limits, UnreadableError, open_drop
from ml_platform.lake import AlreadyCommittedError, Lake, LakeError, TableSpec, announcements, erasures, ledger
from ml_platform.lake.compaction import compact
from ml_platform.lake.files import Files
from ml_platform.lake.ledger import LedgerRow
from ml_platform.lake.store import in_predicate, locked, source_turn
from ml_platform.landing import (
    Changed,
    Drop,
    LandingStore,
    Readiness,
    StorageError,
    Vanished,
    in_words,
    list_drops,
    why_misnamed,
)
from ml_platform.rules import Screened, screen
from ml_platform.settlement import CHANGED, UNREACHABLE, Batch, InForce, Left, Read, first_seen, settle
from ml_platform.succession import Succession
from ml_platform.transient import TransientError, is_own, retried

READERS = 2
AHEAD_BYTES = 256 << 20
GIVE_UP = 10  # files in a row that cannot be reached
# what Arrow and Python say of odd content: whatever a file holds, it stops no other
NO_ROWS = (pa.ArrowException, ValueError, TypeError, OverflowError)
CHECKS = ("row_balance", READER_VERSION, expectations.NAME)


@dataclass(frozen=True)
class Ingestion:
    """One source on its way into bronze: where from, where to, under which contract and in which run.

    `batch_rows`: rows that share a commit, about; `suite_rows`: rows that a suite looks at.
    """

    lake: Lake
    landing: LandingStore
    contract: SourceContract
    run_id: str
    calendar: Calendar
    batch_rows: int = 2_000_000
    suite_rows: int = 20_000
    progress: Callable[[str], None] = lambda text: None
    limits: Limits = field(default_factory=Limits)

    def due(self, first: date, last: date) -> list[Drop]:
        """Drops of the days `first` to `last` that are whole and not settled, and every one whose day the calendar does not hold."""
        known = InForce.read(self.lake, self.contract)
        open_ones = (drop for drop in list_drops(self.landing, self.contract) if not known.settled(drop))
        drops, held = Readiness(self.landing, self.contract).split(open_ones)
        if held:
            self.progress(f"files that wait, not due yet: {in_words(held)}")
        if self.contract.kind == "snapshot":
            return drops
        return [
            drop for drop in drops if first <= drop.day <= last or not self.calendar.holds(drop.day) or not drop.named
        ]

    def run(self, drops: Iterable[Drop]) -> "IngestionReport":
        """Bring drops into bronze, batch by batch; checks.Blocked before the commit of a batch that fails a check."""
        with self.turn():
            bronze, report = self.bronze(), IngestionReport()
            bronze.store(self.lake)
            self.recover()
            in_force = InForce.read(self.lake, self.contract)
            in_force.announced = announcements.sequencers(self.lake, self.contract.name)
            reach("ingestion.listed")
            # the drops were listed before the turn began
            for batch in self._batches([drop for drop in drops if not in_force.settled(drop)], in_force, bronze):
                report = report.with_batch(batch, self.bring(batch, bronze) if batch.settled else ())
                self.progress(f"{self.contract.name}: {report.words()}")
            if report.rows and (reason := compact(self.lake, bronze.spec.name).reason):
                self.progress(f"{bronze.spec.name} keeps its small files: {reason}")
        return report

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process of this machine at a time settles drops of a source, and none beside an erasure: what is in force, or erased, must not change meanwhile."""
        with locked(self.lake, erasures.LOCK, shared=True), locked(self.lake, source_turn(self.contract.name)):
            yield

    def bronze(self) -> Bronze:
        """The source's table as it stands."""
        return Bronze.read(self.lake, self.contract, self.limits)

    def bring(self, batch: Batch, bronze: Bronze, metadata: Mapping[str, str] | None = None) -> tuple[CheckResult, ...]:
        """Check a batch while its files are written, then commit them; checks.Blocked, and no file stays, where a check fails."""
        data = batch.data(bronze.spec)
        with ThreadPoolExecutor(1) as writer:
            writing = None if batch.replaced_rows() else writer.submit(self.lake.write, bronze.spec, data)
            try:
                checks = require(f"source {self.contract.name}", self._checks(batch, data))
            except BaseException:
                self.lake.discard(bronze.spec, writing.result() if writing else None)
                raise
        bronze.store(self.lake)
        self._commit(batch, bronze.spec, data, writing.result() if writing else None, metadata or {})
        return checks

    def recover(self) -> int:
        """Complete the projections from commits that a crash cut off from them."""
        return ledger.project(self.lake, self.contract.name, self.contract.bronze_spec.name)

    def _batches(self, drops: Iterable[Drop], in_force: InForce, bronze: Bronze) -> Iterator[Batch]:
        """Drops are read ahead in threads (Arrow works outside the interpreter's lock) and settled in order.

        StorageError, after the last batch, where one drop after the other cannot be reached: then it is the landing area.
        """
        batch, lost, succession = Batch(), list[Left](), Succession(self.lake, bronze, self.run_id)
        with ThreadPoolExecutor(READERS) as readers:
            for read in _ahead(readers, partial(self._read, Persons.erased(self.lake, self.contract)), drops):
                if isinstance(read, Left):
                    batch.left.append(read)
                    lost = [*lost, read] if read.reason == UNREACHABLE else []
                    if len(lost) == GIVE_UP:
                        break
                    continue
                lost = []
                batch.add(settle(read, in_force, self.contract, bronze))
                reach("ingestion.read")
                if batch.row_count >= self.batch_rows:
                    yield succession.complete(batch, in_force)
                    batch = Batch()
        if batch.settled or batch.left:
            yield succession.complete(batch, in_force)
        if len(lost) == GIVE_UP:
            raise StorageError(f"{GIVE_UP} files in a row could not be read, they stay due: {lost[-1].words}")

    def _read(self, persons: Persons, drop: Drop) -> Read | Left:
        """A drop without the rows of erased persons."""
        read = self._fetched(drop)
        if isinstance(read, Left):
            return read
        found = without(persons, read.found) if isinstance(read.found, Screened) else silenced(persons, read.found)
        return replace(read, found=found)

    def _fetched(self, drop: Drop) -> Read | Left:
        """Open and screen a drop; a file that vanished or cannot become rows is refused as a whole, one that may be whole later is left."""
        row = first_seen(drop, self.run_id)
        if misnamed := self._misnamed(drop):
            return Read(row, misnamed)
        try:
            self.limits.require_bytes(drop.length)
            return retried(lambda: self._opened(drop, row), f"reading {drop.path}")
        except (Changed, TransientError) as why:
            return Left(drop.path, CHANGED if isinstance(why, Changed) else UNREACHABLE, str(why))
        except (Vanished, FileNotFoundError):
            return Read(row, UnreadableError("vanished", "the file was gone when it was read"))
        except OSError as why:
            if is_own(why):
                raise
            return Read(row, UnreadableError("unreadable", f"the file cannot be read: {why.strerror or why}"))
        except UnreadableError as why:
            return Read(row, why)

    def _opened(self, drop: Drop, row: LedgerRow) -> Read:
        """What the listed version holds, or why it holds no rows; the store's word that it was this version comes last."""
        with self.landing.fetch(drop) as path:
            row = replace(row, content_sha256=_sha256(path))
            if drop.promised_sha256 not in (None, row.content_sha256):
                return Read(row, _not_as_promised(drop, row))
            try:
                return Read(row, screen(open_drop(path, self.contract, self.limits), self.contract, drop.day))
            except UnreadableError as why:
                return Read(row, why)
            except NO_ROWS as why:
                return Read(row, UnreadableError("unreadable", f"the file cannot become rows: {why}"))

    def _misnamed(self, drop: Drop) -> UnreadableError | None:
        """Why a file's name alone refuses it. A plan may lie ahead of the calendar; what happened cannot."""
        if not drop.named:
            return UnreadableError("unknown_format", why_misnamed(drop.path, self.contract))
        if self.contract.time and drop.day > self.calendar.last:
            way_out = "set ML_PLATFORM_LAST_DAY" if self.calendar.end else "wait for that day"
            return UnreadableError(
                "outside_calendar",
                f"day {drop.day} lies after the calendar ({self.calendar}): {way_out} and land the file again, or correct its name",
            )
        return None

    def _checks(self, batch: Batch, data: pa.Table) -> list[CheckResult]:
        rows = [one.row for one in batch.settled]
        uneven = [row.path for row in rows if not row.balanced]
        return [
            CheckResult(
                "row_balance",
                not uneven,
                f"rows in differ from loaded + quarantined + duplicate in {uneven[:3]}"
                if uneven
                else "every drop's rows are accounted for",
                {"drops": len(rows), "rows_in": sum(row.rows_in for row in rows)},
            ),
            reader_version(self.lake.reader_version(self.contract.bronze_spec.name), data.schema),
            expectations.validate(data, expected(self.contract, data.column_names), self.suite_rows),
        ]

    def _commit(
        self, batch: Batch, spec: TableSpec, data: pa.Table, files: Files | None, more: Mapping[str, str]
    ) -> None:
        """One Delta commit with the rows, the drops' transaction ids and their ledger rows; then the projections."""
        ids = [one.row.drop_id for one in batch.settled]
        transactions = [one.row.transaction for one in batch.settled]
        rows = list(
            {row.drop_id: row for row in [*(one.row for one in batch.settled), *batch.replaced_rows()]}.values()
        )
        metadata = {**more, ledger.LEDGER_KEY: ledger.to_metadata(rows), ledger.REFUSED_KEY: self._stage(batch)}
        reach("ingestion.before_commit")
        gone = [row.drop_id for row in batch.replaced_rows()]
        try:
            if gone:
                self.lake.replace(spec, data, in_predicate("drop_id", [*ids, *gone]), transactions, metadata)
            else:
                self.lake.append(spec, data, transactions, metadata, files)
        except AlreadyCommittedError as why:
            raise LakeError(
                f"{spec.name}: another run has just ingested some of these drops: start this run again, it will find them settled"
            ) from why
        reach("ingestion.after_commit")
        self.recover()

    def _stage(self, batch: Batch) -> str:
        """Write refused rows beside the table before the commit names them, so that no crash can lose them."""
        refused = batch.refused()
        if not refused.num_rows:
            return ""
        name = f"_refused/{uuid.uuid4().hex}.parquet"
        files = self.lake.filesystem(self.contract.bronze_spec.name)
        files.create_dir("_refused")
        pq.write_table(refused, name, filesystem=files)
        reach("ingestion.refusals_staged")
        return name


@dataclass(frozen=True)
class IngestionReport:
    """What a run brought in: a ledger row per drop, the checks over all batches, and the drops that are as due as before."""

    rows: tuple[LedgerRow, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    left: tuple[Left, ...] = ()

    def with_batch(self, batch: Batch, checks: Iterable[CheckResult]) -> "IngestionReport":
        rows = (*self.rows, *(one.row for one in batch.settled))
        return IngestionReport(rows, merged((*self.checks, *checks)), (*self.left, *batch.left))

    def words(self) -> str:
        settled = f"{len(self.rows)} drops, {self.total('rows_loaded'):,} rows loaded"
        names = ", ".join(f"{one.path} ({one.reason})" for one in self.left[:3])
        return f"{settled}; {len(self.left)} left for the next look: {names}" if self.left else settled

    def total(self, column: str) -> int:
        return sum(getattr(row, column) for row in self.rows)


def expected(contract: SourceContract, names: Iterable[str]) -> expectations.Expected:
    """The suite of a bronze table with the columns `names`, from its contract."""
    return expectations.Expected.of(contract.columns, names, ("drop_id", "row_number"))


def _ahead(pool: Executor, work: Callable[[Drop], Read | Left], drops: Iterable[Drop]) -> Iterator[Read | Left]:
    """Results in the order of the drops, with a few of them under way, fewer where they are large: memory stays bounded."""
    waiting: deque[tuple[int, Future[Read | Left]]] = deque()
    for drop in drops:
        while waiting and sum(length for length, _ in waiting) + drop.length > AHEAD_BYTES:
            yield waiting.popleft()[1].result()
        waiting.append((drop.length, pool.submit(work, drop)))
        if len(waiting) > 2 * READERS:
            yield waiting.popleft()[1].result()
    while waiting:
        yield waiting.popleft()[1].result()


def _not_as_promised(drop: Drop, row: LedgerRow) -> UnreadableError:
    return UnreadableError(
        "manifest_mismatch",
        f"its SHA-256 is {row.content_sha256}, the manifest of its folder says {drop.promised_sha256}: "
        "send the file again, or correct the manifest and release the file",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
