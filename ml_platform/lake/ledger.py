"""The ledger: one row per drop and its final state, a projection of what the bronze commits carry.

Belongs here: ledger rows, their way into and out of commit metadata, and the questions the platform asks of them. Does not
belong here: deciding a drop's state (ingestion).
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError
from pyarrow.fs import FileSystem

from ml_platform.failpoints import reach
from ml_platform.lake import decisions
from ml_platform.lake.compaction import compact
from ml_platform.lake.errors import AlreadyCommittedError
from ml_platform.lake.history import Commit
from ml_platform.lake.schemas import DECISIONS, LEDGER, QUARANTINE
from ml_platform.lake.store import Lake, in_predicate, locked

LEDGER_KEY = "ml_platform.ledger"
REFUSED_KEY = "ml_platform.refused"
LOADED, DUPLICATE, REPLACED, QUARANTINED = "loaded", "duplicate", "replaced", "quarantined"
NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A drop and what became of it at bronze; rows_in = rows_loaded + rows_quarantined + rows_duplicate + rows_erased."""

    drop_id: str
    source: str
    path: str
    etag: str
    length: int
    content_sha256: str
    drop_day: date
    state: str
    reason: str | None
    rows_in: int
    rows_loaded: int
    rows_quarantined: int
    rows_duplicate: int
    rows_erased: int
    table_version: int
    run_id: str
    first_seen_at: datetime
    settled_at: datetime
    attempt: int = 1
    sequencer: str | None = None

    @property
    def transaction(self) -> str:
        """The id under which its bronze commit is known: another one for every time that the drop is settled."""
        return self.drop_id if self.attempt == 1 else f"{self.drop_id}#{self.attempt}"

    @property
    def balanced(self) -> bool:
        return self.rows_in == self.rows_loaded + self.rows_quarantined + self.rows_duplicate + self.rows_erased

    def superseded_by(self, drop_id: str) -> "LedgerRow":
        return replace(self, state=REPLACED, reason=f"replaced by drop {drop_id}")


def rows_of(table: pa.Table) -> list[LedgerRow]:
    """Rows of a table with the ledger's schema."""
    return [LedgerRow(**{**row, "attempt": row.get("attempt") or 1}) for row in table.to_pylist()]


def to_metadata(rows: Sequence[LedgerRow]) -> str:
    """Rows as JSON, for the metadata of the commit that makes them true."""
    return json.dumps([asdict(row) for row in rows], default=lambda value: value.isoformat())


def _from_metadata(text: str, version: int) -> list[LedgerRow]:
    return [LedgerRow(**{**_dated(row), "table_version": version}) for row in json.loads(text)]


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    instants = {name: datetime.fromisoformat(row[name]) for name in ("first_seen_at", "settled_at")}
    return {**row, **instants, "drop_day": date.fromisoformat(row["drop_day"])}


def of_source(lake: Lake, source: str, after_version: int | None = None) -> list[LedgerRow]:
    """All settled drops of a source; where a bronze version is given, those that were settled after it."""
    if not lake.exists(LEDGER.name):
        return []
    later = pc.field("table_version") > after_version if after_version is not None else pc.scalar(True)
    return rows_of(lake.read(LEDGER.name, where=(pc.field("source") == source) & later))


def columns_of(lake: Lake, source: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of a source's ledger: what is asked of a hundred thousand drops needs no row of each. One that an older ledger lacks is empty."""
    if not lake.exists(LEDGER.name):
        return LEDGER.schema.empty_table().select(columns)
    there = lake.dataset(LEDGER.name).schema.names
    found = lake.read(LEDGER.name, [name for name in columns if name in there], pc.field("source") == source)
    for name in columns:
        if name not in there:
            found = found.append_column(name, pa.nulls(found.num_rows, LEDGER.schema.field(name).type))
    return found


def complete_days(lake: Lake, source: str, drops_per_day: int) -> list[date]:
    """Days with at least `drops_per_day` loaded drops, oldest first."""
    if not lake.exists(LEDGER.name):
        return []
    loaded = (pc.field("source") == source) & (pc.field("state") == LOADED)
    days = Counter(lake.read(LEDGER.name, ["drop_day"], loaded)["drop_day"].to_pylist())
    return sorted(day for day, drops in days.items() if drops >= drops_per_day)


def unprojected(lake: Lake, source: str, bronze: str) -> list[Commit]:
    """Bronze commits with ledger rows that the ledger does not know yet, oldest first."""
    newer = lake.commits_after(bronze, known_version(lake, source))
    return [commit for commit in newer if LEDGER_KEY in commit.metadata]


def project(lake: Lake, source: str, bronze: str) -> int:
    """Complete ledger, quarantine and decisions from the bronze commits they do not know yet; return how many commits that were.

    Safe to repeat: rows of a drop take the place of older ones.
    """
    with locked(lake, "project"):  # two that complete the same commit at once would both add its rows
        lake.migrate(LEDGER)
        lake.migrate(QUARANTINE)
        commits = unprojected(lake, source, bronze)
        for commit in commits:
            try:
                _project_one(lake, bronze, commit)
            except (AlreadyCommittedError, DeltaError):  # where storage knows no turns, another process may be quicker
                if lake.reached(LEDGER.name, bronze) < commit.version:
                    raise
        decisions.apply(lake, source)
        for spec in (LEDGER, QUARANTINE, DECISIONS) if commits else ():
            if compact(lake, spec.name).written:  # one more file per batch: every reader would pay for all of them
                lake.table(spec.name).create_checkpoint()  # and for every commit since the last checkpoint
    return len(commits)


def known_version(lake: Lake, source: str) -> int:
    """The newest version of a source's bronze table that the ledger knows; -1 where it knows none."""
    versions = columns_of(lake, source, ["table_version"])["table_version"]
    return int(pc.max(versions).as_py()) if len(versions) else -1


def _project_one(lake: Lake, bronze: str, commit: Commit) -> None:
    """The ledger comes last: what it knows is not looked at again."""
    if staged := commit.metadata.get(REFUSED_KEY):
        _project_refused(lake, bronze, staged)
    decisions.record(lake, decisions.from_metadata(commit.metadata.get(decisions.DECISIONS_KEY, "[]")))
    reach("ledger.refusals_projected")
    upsert(lake, _from_metadata(commit.metadata[LEDGER_KEY], commit.version), {bronze: commit.version})
    reach("ledger.projected")


def upsert(lake: Lake, rows: Iterable[LedgerRow], source: Mapping[str, int] = NOTHING) -> None:
    """Add rows; one with a known drop_id takes the place of the older one. `source`: the commit that they come from, which is added once."""
    found = list(rows)
    data = pa.Table.from_pylist([asdict(row) for row in found], schema=LEDGER.schema)
    old = pc.field("drop_id").isin([row.drop_id for row in found])
    if lake.count(LEDGER.name, old):
        lake.replace(LEDGER, data, in_predicate("drop_id", [row.drop_id for row in found]), source)
    else:
        lake.append(LEDGER, data, source)


def _project_refused(lake: Lake, bronze: str, staged: str) -> None:
    """Move staged refusals into the quarantine table, once."""
    files = lake.filesystem(bronze)
    if files.get_file_info(staged).is_file:
        refused = decisions.identified(pq.read_table(staged, schema=QUARANTINE.schema, filesystem=files))
        known = decisions.refusals(lake, pc.field("drop_id").isin(refused["drop_id"].unique().to_pylist()))
        # by row and not by drop: a drop that is settled again is refused anew
        new = pc.invert(pc.is_in(refused["quarantine_id"], value_set=known["quarantine_id"].combine_chunks()))
        if pc.any(new).as_py():
            lake.append(QUARANTINE, refused.filter(new))
        _unstage(files, staged)


def _unstage(files: FileSystem, staged: str) -> None:
    files.delete_file(staged)


def table_of(lake: Lake, source: str) -> pa.Table:
    """The ledger of one source as a table."""
    return lake.read(LEDGER.name, where=pc.field("source") == source)
