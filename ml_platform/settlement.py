"""Settlement: what becomes of a drop that was read, in view of those before it.

Belongs here: the drop in force per path, duplicates and replacements, rows with their provenance. Does not belong here: reading
files (formats, rules), committing (ingestion).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.bronze import Bronze, conformed
from ml_platform.contracts import SourceContract
from ml_platform.formats import UnreadableError
from ml_platform.lake import Lake, TableSpec, decisions, ledger
from ml_platform.lake.clock import Clock
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, LedgerRow
from ml_platform.lake.schemas import INSTANT, QUARANTINE
from ml_platform.landing import Drop
from ml_platform.rules import Screened

OPEN_COLUMNS = ("drop_id", "path", "drop_day", "content_sha256", "state", "attempt")
CHANGED, UNREACHABLE = "changed", "unreachable"


@dataclass(frozen=True)
class Read:
    """A drop that was opened: its rows parted by the contract, or why it has none."""

    row: LedgerRow
    found: Screened | UnreadableError


@dataclass(frozen=True)
class Left:
    """A drop that a run left as due as it was: in one word why, and in many. It has no ledger row, so that the next look finds it."""

    path: str
    reason: str
    words: str


@dataclass(frozen=True)
class Settled:
    """A drop with its final ledger row, its bronze rows, its refused rows, and the ledger rows of those that it replaces."""

    row: LedgerRow
    rows: pa.Table | None = None
    refused: pa.Table | None = None
    replaced: tuple[LedgerRow, ...] = ()


@dataclass
class Batch:
    """Drops that share one commit, and those that were left meanwhile."""

    settled: list[Settled] = field(default_factory=list)
    row_count: int = 0
    left: list[Left] = field(default_factory=list)

    def add(self, one: Settled) -> None:
        self.settled.append(one)
        self.row_count += one.row.rows_in

    def data(self, spec: TableSpec) -> pa.Table:
        """Rows of the drops that stay: one that a later drop of this batch replaced adds none."""
        gone = {row.drop_id for row in self.replaced_rows()}
        tables = [one.rows for one in self.settled if one.rows is not None and one.row.drop_id not in gone]
        return pa.concat_tables([spec.schema.empty_table(), *(conformed(one, spec) for one in tables)])

    def refused(self) -> pa.Table:
        return pa.concat_tables(
            [QUARANTINE.schema.empty_table(), *(one.refused for one in self.settled if one.refused is not None)]
        )

    def replaced_rows(self) -> list[LedgerRow]:
        return [row for one in self.settled for row in one.replaced]


@dataclass
class InForce:
    """What is in force: the loaded drop of each path, the bytes known per drop day; and every drop's newest row, `open` where it is not final.

    `announced`: sequencers that storage events told, by path and etag. Of events also the `duplicates` by bytes and day, oldest first, and the
    drop for which each path stands: the newest one that was not refused.
    """

    current: dict[str, LedgerRow]
    first_path: dict[tuple[date, str], str]
    known: dict[str, LedgerRow]
    open: set[str]
    clock: Clock
    announced: Mapping[tuple[str, str], str] = field(default_factory=dict)
    duplicates: dict[tuple[date, str], dict[str, LedgerRow]] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, lake: Lake, contract: SourceContract) -> "InForce":
        """From the ledger."""
        known = {row.drop_id: row for row in ledger.of_source(lake, contract.name)}
        current = {row.path: row for row in known.values() if row.state == LOADED}
        there = {(row.drop_day, row.content_sha256): row.path for row in current.values()}
        found = cls(current, there, known, open_again(lake, contract), Clock.after(known.values()))
        for row in sorted(known.values(), key=lambda one: one.settled_at) if contract.kind == "events" else ():
            found.stand(row)
        return found

    def settled(self, drop: Drop) -> bool:
        """Whether nothing is left to do for a drop."""
        return drop.drop_id in self.known and drop.drop_id not in self.open

    def again(self, row: LedgerRow) -> LedgerRow:
        """The row of a drop that is settled now, after all others, with the sequencer that was announced; once more: another attempt, first seen when it was."""
        before, moment = self.known.get(row.drop_id), self.clock.next(row.settled_at)
        row = replace(row, settled_at=moment, sequencer=self.announced.get((row.path, row.etag)))
        return replace(row, attempt=before.attempt + 1, first_seen_at=before.first_seen_at) if before else row

    def same_bytes(self, row: LedgerRow, contract: SourceContract) -> str | None:
        """The path that already holds these bytes: the same path, or (for events) another one of the same drop day."""
        if contract.kind == "snapshot":
            return next(
                (path for path, in_force in self.current.items() if in_force.content_sha256 == row.content_sha256), None
            )
        if row.path in self.current and self.current[row.path].content_sha256 == row.content_sha256:
            return row.path
        return self.first_path.get((row.drop_day, row.content_sha256))

    def replace_with(self, row: LedgerRow, contract: SourceContract) -> tuple[LedgerRow, ...]:
        """Put a drop in force; return the ledger rows of those that it replaces."""
        replaced = self.retire(list(self.current) if contract.kind == "snapshot" else [row.path], row)
        self.put(row)
        return replaced

    def put(self, row: LedgerRow) -> None:
        """A row that was settled: its drop in force, where it is loaded."""
        if row.state == LOADED:
            self.current[row.path] = row
            self.first_path[row.drop_day, row.content_sha256] = row.path
        self.stand(row)

    def stand(self, row: LedgerRow) -> None:
        """What a path stands for from now on."""
        if row.state in (LOADED, DUPLICATE):
            self.standing[row.path] = row.drop_id
        if row.state == DUPLICATE:
            self.duplicates.setdefault((row.drop_day, row.content_sha256), {})[row.drop_id] = row

    def duplicates_of(self, old: LedgerRow) -> list[LedgerRow]:
        """Duplicates of a drop, oldest first, for which their paths still stand; none where its bytes are in force elsewhere."""
        bytes_of_day = (old.drop_day, old.content_sha256)
        doubled = self.duplicates.get(bytes_of_day, {}) if bytes_of_day not in self.first_path else {}
        return [
            one for one in doubled.values() if self.standing[one.path] == one.drop_id and one.path not in self.current
        ]

    def retire(self, paths: Iterable[str], by: LedgerRow) -> tuple[LedgerRow, ...]:
        """Take what is in force at some paths out of force; return its ledger rows, replaced."""
        gone = [self.current.pop(path) for path in paths if path in self.current]
        for old in gone:
            if self.first_path.get((old.drop_day, old.content_sha256)) == old.path:
                del self.first_path[old.drop_day, old.content_sha256]
        return tuple(old.superseded_by(by.drop_id) for old in gone)


def open_again(lake: Lake, contract: SourceContract, rows: pa.Table | None = None) -> set[str]:
    """Drops whose row is not final: refused files that a person released, and duplicates of events whose bytes are in force nowhere, as earlier versions left them.

    `rows`: the source's ledger, where it was read before; columns path, drop_day, content_sha256, state, drop_id and attempt.
    """
    rows = ledger.columns_of(lake, contract.name, OPEN_COLUMNS) if rows is None else rows
    released = decisions.released_files(lake, contract.name)
    refused = rows.filter(pc.field("state") == QUARANTINED) if released else rows.slice(0, 0)
    found = {row["drop_id"] for row in refused.to_pylist() if (row["drop_id"], row["attempt"] or 1) in released}
    doubled = rows.filter(pc.field("state") == DUPLICATE)
    if contract.kind == "events" and doubled.num_rows:
        loaded = rows.filter(pc.field("state") == LOADED)
        held = pc.or_(
            pc.is_in(doubled["path"], loaded["path"]), pc.is_in(_bytes_of_day(doubled), _bytes_of_day(loaded))
        )
        found |= set(doubled["drop_id"].filter(pc.invert(held)).to_pylist())
    return found


def _bytes_of_day(rows: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(rows["drop_day"].cast(pa.string()), rows["content_sha256"], " ")


def settle(read: Read, in_force: InForce, contract: SourceContract, bronze: Bronze) -> Settled:
    """Decide a drop's fate in view of those before it, and of the columns that bronze has by then."""
    row, found = in_force.again(read.row), read.found
    if isinstance(found, UnreadableError):
        return _refused_unread(row, found)
    rows, bad = found.rows, found.refused.num_rows + found.erased[1]
    if twin := in_force.same_bytes(row, contract):
        row = replace(row, state=DUPLICATE, reason=f"same bytes as {twin}", rows_in=rows, rows_duplicate=rows)
        replaced = in_force.retire([row.path], row) if twin != row.path else ()
        if contract.kind == "events":
            in_force.stand(row)
        return Settled(row, replaced=replaced)
    if not rows and not contract.may_be_empty:
        why = UnreadableError("empty_file", "the file has no row: land the right one, or allow it with may_be_empty")
        return _refused_unread(row, why)
    if bad > contract.max_quarantined * rows:  # as if nobody were erased: that makes no file a worse one
        return _refused_as_a_whole(row, found, contract)
    try:
        bronze.admit(found.new, rows)
    except UnreadableError as unfit:
        return _refused_unread(row, unfit)
    row = replace(
        row,
        rows_in=rows,
        rows_loaded=found.accepted.num_rows,
        rows_quarantined=found.refused.num_rows,
        rows_erased=sum(found.erased),
    )
    replaced = in_force.replace_with(row, contract)
    return Settled(
        row,
        with_provenance(found.accepted, row, bronze.spec),
        refusals(row, found.refused.to_pylist()),
        replaced,
    )


def _refused_unread(row: LedgerRow, why: UnreadableError) -> Settled:
    refused = refusals(row, [{"rule": why.rule, "value": str(why), "raw": row.path}])
    row = replace(row, state=QUARANTINED, reason=f"{why.rule}: {why}", rows_in=why.rows, rows_quarantined=why.rows)
    return Settled(row, refused=refused)


def _refused_as_a_whole(row: LedgerRow, found: Screened, contract: SourceContract) -> Settled:
    """A drop that is mostly bad is more likely the wrong file than a good one with errors: none of its rows is loaded."""
    bad, rows, erased = found.refused.num_rows + found.erased[1], found.rows, sum(found.erased)
    why = f"{bad} of {rows} rows were refused, more than max_quarantined ({contract.max_quarantined:.0%}) allows"
    whole: dict[str, object] = {"rule": "too_many_refused", "value": why, "raw": row.path}
    row = replace(row, state=QUARANTINED, reason=f"too_many_refused: {why}", rows_in=rows)
    row = replace(row, rows_quarantined=rows - erased, rows_erased=erased)
    return Settled(row, refused=refusals(row, [whole, *found.refused.to_pylist()]))


def first_seen(drop: Drop, run_id: str) -> LedgerRow:
    """The ledger row of a drop before anything is known of its content."""
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


def refusals(row: LedgerRow, rows: list[dict[str, object]]) -> pa.Table:
    """Refused rows of a drop as ops/quarantine keeps them, open and named by its transaction."""
    place = {
        "source": row.source,
        "drop_id": row.drop_id,
        "path": row.path,
        "stage": "bronze",
        "state": decisions.OPEN,
        "quarantined_at": row.settled_at,
    }
    named = [{**place, **one, "quarantine_id": _name(row, one)} for one in rows]
    return pa.Table.from_pylist(named, schema=QUARANTINE.schema)


def _name(row: LedgerRow, refused: Mapping[str, Any]) -> str:
    """By the transaction: what was decided on a row holds for the time it was refused, not for a later one."""
    return decisions.quarantine_id(row.transaction, "bronze", refused.get("row_number"), refused["rule"])


def with_provenance(accepted: pa.Table, row: LedgerRow, spec: TableSpec) -> pa.Table:
    """Accepted rows of a drop as bronze keeps them."""
    count = accepted.num_rows
    stamped = {
        "drop_id": pa.repeat(row.drop_id, count),
        "drop_day": pa.repeat(pa.scalar(row.drop_day, pa.date32()), count),
        "ingested_at": pa.repeat(pa.scalar(row.settled_at, INSTANT), count),
    }
    for name, values in stamped.items():
        accepted = accepted.append_column(name, values)
    return conformed(accepted, spec).cast(spec.schema)
