"""Maintenance: tables with few files, and no file or version that is older than the retention.

Belongs here: what is due for each table and for the home, doing it, and the account of it in ops/maintenance. Does not belong here:
finding and removing files of one table (lake.sweeping), when it runs (sensors).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake.exceptions import DeltaError

from ml_platform.lake import Lake, LakeError, erasures, ledger, logs, sweeping
from ml_platform.lake.compaction import compact, crowds
from ml_platform.lake.schemas import MAINTENANCE
from ml_platform.lake.store import locked
from ml_platform.leftovers import find_leftovers, remove_leftovers

HOME = "(home)"
TROUBLE = (LakeError, DeltaError, OSError)


@dataclass(frozen=True)
class Due:
    """A table (or the home) as it stands, and what the next applied run does to it.

    `small_files` will be compacted; `dead_files` and `log_files` removed, which frees `freed_bytes`; `versions` can be read now.
    """

    table: str
    files: int = 0
    bytes: int = 0
    versions: int = 0
    small_files: int = 0
    dead_files: int = 0
    log_files: int = 0
    freed_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Action:
    """What was done to a table: compacted, skipped, vacuumed, log_cut, removed (of the home), failed, or nothing_due; a row of ops/maintenance."""

    table: str
    action: str
    files: int
    bytes: int
    versions: int
    at: datetime
    run_id: str
    reason: str | None = None


@dataclass(frozen=True)
class Maintenance:
    """The tables of a lake and the home around it, kept for `retention`; `run_id` names who did it."""

    lake: Lake
    home: Path
    retention: timedelta
    run_id: str
    progress: Callable[[str], None] = field(default=lambda text: None)

    def due(self) -> list[Due]:
        """What an applied run would do, table by table, and then the home; changes nothing."""
        return [*map(self._due, tables(self.lake)), self._due_at_home()]

    def apply(self) -> list[Action]:
        """Compact, then remove, once no erasure is at work; LakeError where another run is at it. A table that fails stops no other one."""
        with locked(self.lake, erasures.LOCK, shared=True), locked(self.lake, "retention", wait=False):
            done = [action for name in tables(self.lake) for action in self._table(name)]
            done += self._account(self._removed_at_home())
            return done or self._account([self._action("(lake)", "nothing_due")])

    def _due(self, name: str) -> Due:
        try:
            table = self.lake.table(name)
            sizes = table.get_add_actions()["size_bytes"].to_pylist()
            small = sum(crowd.files for crowd in crowds(table))
            sweep = sweeping.find(self.lake, name, self.retention)
        except TROUBLE as why:
            return Due(name, reason=str(why))
        versions = sweep.last - sweep.first + 1
        dead, log = len(sweep.files), len(sweep.log)
        return Due(name, len(sizes), sum(sizes), versions, small, dead, log, sweep.bytes, sweep.reason)

    def _due_at_home(self) -> Due:
        left = find_leftovers(self.home, self.retention)
        return Due(HOME, dead_files=len(left), freed_bytes=sum(one.bytes for one in left))

    def _table(self, name: str) -> list[Action]:
        try:
            done = [*self._compacted(name), *self._swept(name)]
        except TROUBLE as why:
            done = [self._action(name, "failed", reason=str(why))]
        return self._account(done)

    def _compacted(self, name: str) -> Iterable[Action]:
        found = compact(self.lake, name)
        if found.files:
            yield self._action(name, "compacted", found.files, found.bytes_before)
        if found.reason:
            yield self._action(name, "skipped", reason=found.reason)

    def _swept(self, name: str) -> Iterable[Action]:
        swept = vacuum(self.lake, [name], self.retention)[0]
        data, log = len(swept.files), len(swept.log)
        if data:
            yield self._action(name, "vacuumed", data, swept.bytes, swept.versions, swept.reason)
        if log:
            yield self._action(name, "log_cut", log, 0 if data else swept.bytes, 0, swept.reason)

    def _removed_at_home(self) -> list[Action]:
        left = find_leftovers(self.home, self.retention)
        remove_leftovers(left)
        return [self._action(HOME, "removed", len(left), sum(one.bytes for one in left))] if left else []

    def _action(
        self, table: str, action: str, files: int = 0, size: int = 0, versions: int = 0, reason: str = ""
    ) -> Action:
        return Action(table, action, files, size, versions, datetime.now(UTC), self.run_id, reason or None)

    def _account(self, done: list[Action]) -> list[Action]:
        for one in done:
            self.progress(f"{one.table}: {one.action}, {one.files:,} files {one.reason or ''}".rstrip())
        if done:
            rows = pa.Table.from_pylist([asdict(one) for one in done], schema=MAINTENANCE.schema)
            self.lake.append(MAINTENANCE, rows)
        return done


def tables(lake: Lake) -> list[str]:
    """Names of all tables of a local lake."""
    if lake.remote:
        raise LakeError(f"{lake.root} is no local folder: retention works on local lakes only")
    root = Path(lake.root)
    return sorted(log.parent.relative_to(root).as_posix() for log in root.glob("*/*/_delta_log"))


def vacuum(lake: Lake, names: Sequence[str], retention: timedelta) -> list[sweeping.Sweep]:
    """Remove what versions within the `retention` do not need, data files and beginnings of logs; return what went, table by table.

    A retention of 0 leaves the newest version alone, and its log. Files that no commit names stay for a day all the same (an erasure, which
    knows that nobody writes, removes those as well: lake.scrubbing). What the platform still reads in a log (ledger rows that were not projected,
    inputs of silver and panel) stays, whatever the retention is.
    """
    return [_vacuumed(lake, name, retention) for name in names]


def _vacuumed(lake: Lake, name: str, retention: timedelta) -> sweeping.Sweep:
    if source := sweeping.source_of(logs.read(lake.root, name)):
        ledger.project(lake, source, name)
    found = sweeping.find(lake, name, retention)
    sweeping.remove(lake, found)
    return found
