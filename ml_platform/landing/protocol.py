"""The protocol of a landing area: what the platform asks of the place where files arrive.

Belongs here: its few questions. Does not belong here: answers (local, blob), what follows from them (work, readiness).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ml_platform.landing.drops import Drop, LandedFile

PAGE = 1000


@dataclass(frozen=True)
class Page:
    """Some files of a folder, and the mark from which a listing goes on after them (empty: there are no more)."""

    files: tuple[LandedFile, ...]
    mark: str = ""


class LandingStore(Protocol):
    """A landing area; every path is relative to it, with `/` between its parts.

    Files whose path has a part that begins with . or _ are not listed, but `stat` and `fetch` reach them.
    StorageError where the area cannot be used, transient.TransientError where it does not answer after several tries.
    """

    def pages(self, folder: str, mark: str = "", size: int = PAGE) -> Iterator[Page]:
        """Files at any depth below a folder, about `size` at a time, always in the same order; from the mark of an earlier page on."""
        ...

    def stat(self, path: str) -> LandedFile | None:
        """The version of one file that lies there now; None where there is none, or the path leads out of the area."""
        ...

    def fetch(self, file: LandedFile | Drop) -> AbstractContextManager[Path]:
        """The listed version, whole, as a readable local file until the block ends; Changed or Vanished where that is not what was read."""
        ...

    def top(self) -> list[str]:
        """Names at the top: of folders with a slash behind them, and of files."""
        ...

    def put(self, path: str, file: Path) -> None:
        """Copy a local file there, whole: nobody ever sees half of it."""
        ...

    def locate(self, path: str = "") -> str:
        """Where a path lies, in words for people: without secrets."""
        ...
