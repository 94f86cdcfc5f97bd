"""Scrubbing: a table forgets what it held before its newest version.

Belongs here: data files, statistics and values that older versions left on disk. Does not belong here: which rows go (erasure), how long versions are
kept otherwise.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_platform.lake.store import Lake, folder

Clean = Callable[[str], str]


def scrub(lake: Lake, name: str, clean: Clean = lambda text: text) -> None:
    """Delete every file that the newest version does not name, and strip its log of values; safe to repeat, after a crash too.

    Nothing else may write to the table meanwhile: staged files go as well. History and metadata of commits stay (`clean` is applied to the metadata's
    texts); older versions can no longer be read.
    """
    if not lake.exists(name):
        return
    table = lake.table(name)
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    newest = lake.table(name)
    newest.create_checkpoint()  # readers begin here, with the statistics of the files that are left
    log = folder(lake, name) / "_delta_log"
    for path in log.iterdir():
        version = path.name.split(".")[0]
        if version.isdigit() and int(version) <= newest.version():
            _scrub_entry(path, newest.version(), clean)


def _scrub_entry(path: Path, newest: int, clean: Clean) -> None:
    if path.suffix == ".json":
        lines = path.read_text(encoding="utf-8").splitlines()
        actions = [_without_values(json.loads(line), clean) for line in lines if line]
        _rewrite(path, "\n".join(json.dumps(one, ensure_ascii=False) for one in actions))
    elif int(path.name.split(".")[0]) < newest:
        path.unlink()  # an older checkpoint: the commits themselves are all there


def _without_values(action: dict[str, Any], clean: Clean) -> dict[str, Any]:
    """An entry of the log without statistics, and without the predicate of a deletion."""
    for kind in ("add", "remove"):
        if kind in action:
            action[kind].pop("stats", None)
    if info := action.get("commitInfo"):
        info.get("operationParameters", {}).pop("predicate", None)
        info |= {name: clean(text) for name, text in info.items() if name.startswith("ml_platform.")}
    return action


def _rewrite(path: Path, text: str) -> None:
    """Whole or not at all, and with its time: readers order versions by it."""
    status, unfinished = path.stat(), path.with_name(f".{path.name}.scrubbed")
    unfinished.write_text(text, encoding="utf-8")
    os.utime(unfinished, ns=(status.st_atime_ns, status.st_mtime_ns))
    unfinished.replace(path)
