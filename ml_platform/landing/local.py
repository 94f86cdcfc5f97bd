"""A landing area that is a folder of this machine.

Belongs here: listing, guarding and copying local files. Does not belong here: what a file means (drops).
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ml_platform.durable import put_in_place
from ml_platform.landing.drops import HIDDEN, Changed, Drop, LandedFile, Vanished
from ml_platform.landing.protocol import PAGE, Page
from ml_platform.transient import retried


@dataclass(frozen=True)
class LocalLanding:
    """A folder with one subfolder per source; links are not followed."""

    root: Path

    def pages(self, folder: str, mark: str = "", size: int = PAGE) -> Iterator[Page]:
        """By path. Names are quick to list and are listed at once; what each file is costs a question to the disk, asked page by page."""
        listing = f"listing {self.root / folder}"
        paths = retried(lambda: sorted(path for path in self._paths(folder) if path > mark), listing)
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            found = retried(partial(self._described, some), listing)
            yield Page(found, some[-1] if start + size < len(paths) else "")

    def stat(self, path: str) -> LandedFile | None:
        parts = path.split("/")
        if {"", ".", ".."}.intersection(parts) or "\0" in path:
            return None
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return None if any((self.root / one).is_symlink() for one in folders) else self._describe(path)

    @contextmanager
    def fetch(self, file: LandedFile | Drop) -> Iterator[Path]:
        """The file itself; what changed while it was read may have been half a file, whatever came of it."""
        self._require(file)
        try:
            yield self.root / file.path
        except Exception:
            self._require(file)
            raise
        self._require(file)

    def top(self) -> list[str]:
        entries = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(f"{one.name}/" if one.is_dir() else one.name for one in entries if not one.is_symlink())

    def put(self, path: str, file: Path) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")  # no listing takes it for a drop
        try:
            shutil.copyfile(file, unfinished)
            put_in_place(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)

    def locate(self, path: str = "") -> str:
        return str(self.root / path)

    def _require(self, file: LandedFile | Drop) -> None:
        there = self.stat(file.path)
        if there is None:
            raise Vanished(f"{file.path} has gone since it was listed")
        if there.version != file.version:
            raise Changed(
                f"{file.path} has changed since it was listed: it is still being written, or there is a newer version"
            )

    def _paths(self, folder: str) -> Iterator[str]:
        """Paths of the files below a folder as the disk names them."""
        top = self.root / folder
        return (path[len(str(self.root)) + 1 :] for path in _files(str(top))) if top.is_dir() else iter(())

    def _described(self, paths: Sequence[str]) -> tuple[LandedFile, ...]:
        return tuple(file for path in paths if (file := self._describe(path)))

    def _describe(self, own: str) -> LandedFile | None:
        """The version that lies there now; None where it has gone, or is no plain file."""
        try:
            status = os.lstat(f"{self.root}/{own}")
        except (FileNotFoundError, NotADirectoryError, UnicodeEncodeError):
            return None
        except OSError as why:
            if why.errno != errno.ENAMETOOLONG:
                raise
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        # the time of modification alone does not do: copies keep it (rsync -t, cp -p)
        etag = f"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
        path = os.fsencode(own).decode(
            errors="backslashreplace"
        )  # a name that is no text must still fit into the ledger
        return LandedFile(
            path, etag, status.st_size, _instant(status.st_mtime), _instant(status.st_ctime), is_text=path == own
        )


def _files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path


def _instant(seconds: float) -> datetime:
    """A file can be stamped with any time; one that no calendar holds becomes the last."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)
