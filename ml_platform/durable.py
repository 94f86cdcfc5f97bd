"""Durable: files that a power cut cannot take back once they are called done.

Belongs here: forcing files and their names to the disk. Does not belong here: what is written, when it is called done.
"""

import os
from collections.abc import Iterable
from pathlib import Path

LEVELS = 4  # a new table makes folders for itself, its log and its layer


def sync(files: Iterable[Path]) -> None:
    """Files, and the folders that name them and each other, are on the disk when this returns."""
    folders = dict.fromkeys(folder for one in files for folder in _synced(one).parents[:LEVELS])
    for one in folders:
        _synced(one)


def put_in_place(unfinished: Path, target: Path) -> None:
    """Give a finished file, or folder whose files are on the disk, its name: a crash or a power cut leaves the old content or the new one, whole."""
    _synced(unfinished)
    unfinished.replace(target)
    _synced(target.parent)


def _synced(path: Path) -> Path:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path
