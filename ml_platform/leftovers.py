"""Leftovers: intermediate files of a home that no table and no release needs any more.

Belongs here: the list of what counts as an intermediate, and removing it. Does not belong here: files of tables (lake.sweeping), landed
files, releases, runs of MLflow and Dagster's own records, which stay.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

INTERMEDIATES = {
    "dagster/storage/*/compute_logs": "what runs printed; their events stay",
    "dagster/logs/[0-9]*.log": "logs of `ml-platform demo` and `ml-platform run`",
    "warehouse/next/filling.duckdb*": "a warehouse that a crash left half filled",
    "releases/.building-*": "a release that a crash left half written",
}


@dataclass(frozen=True)
class Leftover:
    """A file or a folder that may go, with its bytes."""

    path: Path
    bytes: int


def find_leftovers(home: Path, age: timedelta) -> list[Leftover]:
    """Intermediates in which nothing was written for as long as `age`."""
    before = (datetime.now(UTC) - age).timestamp()
    found = [path for pattern in INTERMEDIATES for path in sorted(home.glob(pattern)) if not path.is_symlink()]
    stats = {path: list(_stats(path)) for path in found}
    return [
        Leftover(path, sum(size for _, size in own))
        for path, own in stats.items()
        if own and max(changed for changed, _ in own) < before
    ]


def remove_leftovers(left: Iterable[Leftover]) -> None:
    """Remove them; one that is gone already is no trouble."""
    for one in left:
        if one.path.is_dir():
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            one.path.unlink(missing_ok=True)


def _stats(path: Path) -> Iterator[tuple[float, int]]:
    """Time of change and bytes of a path and of all below it."""
    for one in (path, *path.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            status = one.stat(follow_symlinks=False)
            yield status.st_mtime, 0 if one.is_dir() else status.st_size
