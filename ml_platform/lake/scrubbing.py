"""Scrubbing: a table forgets what it held before its newest version.

Belongs here: statistics and values that older versions left in its log. Does not belong here: which rows go (erasure), finding dead data files
(sweeping), how long versions are kept otherwise (maintenance).
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ml_platform.lake import sweeping
from ml_platform.lake.store import Lake, folder, writing

AT_ONCE = timedelta(0)

Clean = Callable[[str], str]


def scrub(lake: Lake, name: str, clean: Clean = lambda text: text) -> None:
    """Delete every file that the newest version does not name, and strip its log of values; safe to repeat, after a crash too.

    Staged files go as well, so nobody may be about to commit some: whoever stages files shares the lock of erasures. History and metadata of
    commits stay (`clean` is applied to the metadata's texts); older versions can no longer be read.
    """
    if not lake.exists(name):
        return
    with writing(lake, name):
        sweeping.remove(lake, replace(sweeping.find(lake, name, AT_ONCE, AT_ONCE), log=()))
        newest = lake.table(name)
        newest.create_checkpoint()  # readers begin here, with the statistics of the files that are left
        for path in (folder(lake, name) / "_delta_log").iterdir():
            version = path.name.split(".")[0]
            if version.isdigit() and int(version) <= newest.version():
                _scrub_entry(path, newest.version(), clean)


def _scrub_entry(path: Path, newest: int, clean: Clean) -> None:
    if path.suffix == ".json":
        lines = path.read_text(encoding="utf-8").splitlines()
        actions = [_without_values(json.loads(line), clean) for line in lines if line]
        _rewrite(path, "\n".join(json.dumps(one, ensure_ascii=False) for one in actions))
    elif int(path.name.split(".")[0]) < newest:
        path.unlink()  # an older checkpoint: readers begin at the newest one, and commits say by themselves what they were


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
