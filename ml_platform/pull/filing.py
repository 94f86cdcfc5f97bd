"""Filing: rows in the order of their watermark become files in landing, each under the name of its window.

Belongs here: writing, naming and landing one file after the other. Does not belong here: where a file ends (cutting), which rows there are (puller).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_platform.contracts import SourceContract
from ml_platform.landing import LandingStore
from ml_platform.pull.cutting import Cut, Rows, Tail, day_of, pieces
from ml_platform.pull.unfinished import Unfinished
from ml_platform.pull.windows import Coverage, Names, Window


@dataclass(frozen=True)
class Landed:
    """A file that a pull has landed: its path below landing/, its window and its rows."""

    path: str
    window: Window
    rows: int


@dataclass(frozen=True)
class Filing:
    """Files of one pull: those after `covered`, whose look back began at watermark `start`; `tail` has seen every row before them, `place` holds what is not whole."""

    landing: LandingStore
    place: Path
    contract: SourceContract
    covered: Coverage
    start: int | None
    tail: Tail

    def file(self, rows: Iterable[Rows]) -> Iterator[Landed]:
        """Land rows, file by file; one that is not whole when an error comes is gone."""
        assert self.contract.pull
        work: Cut | None = None
        start, open_file = self.start, self._unfinished()
        try:
            for piece, cut in pieces(rows, self.contract.pull.rows_per_file):
                if work is None:
                    start = self._begin(int(piece.marks[0]))
                elif cut is not work:
                    yield self._land(open_file, work, start, work.last)
                    start, open_file = work.last, self._unfinished()
                open_file.write(piece.table)
                self.tail.add(piece)
                work = cut
            if work:
                yield self._land(open_file, work, start, max(work.last, self.covered.end or work.last))
        finally:
            open_file.discard()

    def _unfinished(self) -> Unfinished:
        return Unfinished(self.place)

    def _begin(self, first: int) -> int | None:
        """Where the first file begins: at the end of the last one, unless rows before that are landed again."""
        return self.covered.end if self.covered.end is not None and first > self.covered.end else self.start

    def _land(self, open_file: Unfinished, cut: Cut, start: int | None, end: int) -> Landed:
        open_file.close()
        window = Window(start, end, self.tail.digest(end), day_of(cut.day))
        path = f"{self.contract.name}/{Names(self.contract).name(window)}"
        self.landing.put(path, open_file.path)
        open_file.discard()
        return Landed(path, window, cut.rows)
