"""Sweeping: files that no version of a table within its retention needs, found and removed.

Belongs here: data files, staged refusals and beginnings of logs that may go, for a local lake. Does not belong here: which tables and
when (maintenance).
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml_platform.lake import ledger, logs
from ml_platform.lake.compaction import MAINTENANCE_KEY
from ml_platform.lake.errors import LakeError
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.logs import Log
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.lake.store import Lake

IN_FLIGHT = timedelta(days=1)  # a file that no commit names may be on its way into one for as long as that
WORTH = 20  # commits that go with one checkpoint, at least
STAGED = "part-"  # folders of `staging`, each used once


@dataclass(frozen=True)
class Sweep:
    """What may go from a table: data files, log files, their bytes, and how many versions cannot be read afterwards.

    `first`, `last`: versions that can be read now; `begin`: where the log begins afterwards. `reason`: why it stays longer than the
    retention, if it does.
    """

    table: str
    first: int
    last: int
    begin: int
    files: tuple[Path, ...] = ()
    log: tuple[Path, ...] = ()
    bytes: int = 0
    versions: int = 0
    reason: str = ""


def find(lake: Lake, name: str, retention: timedelta, in_flight: timedelta = IN_FLIGHT) -> Sweep:
    """Files of a table that are older than what its versions within the retention need; LakeError where the lake is not local.

    A file that a commit has removed goes as soon as no kept version names it. One that no commit of the log names may still be on its way
    into one: it stays for the retention, and for `in_flight` at least.
    """
    if lake.remote:
        raise LakeError(f"{lake.root} is no local folder: retention works on local lakes only")
    log, now = logs.read(lake.root, name), datetime.now(UTC)
    keep, needed = log.in_force(now - retention), _needed(lake, name, log)
    # at the version that was looked at: what a writer replaces meanwhile is still in force there
    live = set(lake.table(name, log.newest).get_add_actions()["path"].to_pylist())
    named, ever = log.named_since(live, keep), log.ever_named()
    aged = now - max(retention, in_flight)
    dead = [
        path
        for path, relative in _data_files(log.folder)
        if relative not in named and (relative in ever or _written(path) < aged)
    ]
    dead += [path for path in _refused(lake, log) if _written(path) < aged]
    begin = log.begin(min(keep, needed), WORTH if retention else 1)
    cut = log.before(begin)
    first, last = log.readable()
    held = "" if needed >= keep else f"the log is kept from version {needed} on: somebody still reads what it says"
    gone = max(0, keep - first) if dead or cut else 0
    return Sweep(name, first, last, begin, tuple(dead), tuple(cut), sum(map(_size, [*dead, *cut])), gone, held)


def remove(lake: Lake, sweep: Sweep) -> None:
    """Remove what `find` found, the log last: a kill leaves the rest for the next time and every kept version as it was."""
    if sweep.log and sweep.begin not in logs.read(lake.root, sweep.table).checkpoints:
        lake.table(sweep.table, sweep.begin).create_checkpoint()
    for path in (*sweep.files, *sweep.log):
        path.unlink(missing_ok=True)
    for folder in {one for path in sweep.files for one in path.parents if one.name.startswith(STAGED)}:
        _remove_empty(folder)


def source_of(log: Log) -> str | None:
    """The source whose ledger rows a bronze table's commits carry; None for any other table."""
    found = next((one.metadata[ledger.LEDGER_KEY] for one in log.commits if ledger.LEDGER_KEY in one.metadata), None)
    return str(json.loads(found)[0]["source"]) if found else None


def _needed(lake: Lake, name: str, log: Log) -> int:
    """The oldest version whose commit is still read: for ledger rows that were not projected, for inputs, months and content."""
    newest = {key: entry.version for entry in log.commits for key in entry.metadata if key != MAINTENANCE_KEY}
    found = [lake.content_version(name) or 0, *newest.values()]
    if source := source_of(log):
        found.append(ledger.known_version(lake, source))
    if name.startswith("silver/") and lake.exists(SERIES_PANEL):
        tables = lake.last_metadata(SERIES_PANEL, INPUTS_KEY).get("tables", {})
        found.append(tables.get(name.removeprefix("silver/"), log.newest))
    return min(found)


def _refused(lake: Lake, log: Log) -> Iterator[Path]:
    """Staged refusals that no commit names, or one that was projected."""
    source = source_of(log)
    known = ledger.known_version(lake, source) if source else -1
    waiting = {entry.metadata.get(ledger.REFUSED_KEY) for entry in log.commits if entry.version > known}
    for path in (log.folder / "_refused").glob("*.parquet"):
        if path.relative_to(log.folder).as_posix() not in waiting:
            yield path


def _data_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file of a table's folder with its name there, without the log and other hidden folders."""
    for top, folders, names in os.walk(folder):
        if Path(top) == folder:
            folders[:] = [one for one in folders if not one.startswith(("_", "."))]
        for name in names:
            path = Path(top) / name
            yield path, path.relative_to(folder).as_posix()


def _written(path: Path) -> datetime:
    """When a file was written last; the time to come where it is gone: then there is nothing to remove."""
    with contextlib.suppress(FileNotFoundError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return datetime.max.replace(tzinfo=UTC)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _remove_empty(folder: Path) -> None:
    for top, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty: something of it is still needed
            Path(top).rmdir()
