"""Cutting: a stream of rows in the order of their watermark becomes files, none of which parts rows of one watermark.

Belongs here: where a file ends, its drop day, and whether rows have landed before. Does not belong here: reading (database), writing (unfinished).
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.contracts import SourceContract
from ml_platform.pull.typed import array_of
from ml_platform.pull.windows import Coverage

Numbers = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).min
DIGEST_BYTES = 8


@dataclass(frozen=True)
class Rows:
    """Rows with their watermarks, ascending, and their drop days (days since 1970, ascending)."""

    table: pa.Table
    marks: Numbers
    days: Numbers

    def __len__(self) -> int:
        return len(self.marks)

    def part(self, start: int, stop: int | None = None) -> "Rows":
        cut = slice(start, stop)
        return Rows(self.table.slice(start, None if stop is None else stop - start), self.marks[cut], self.days[cut])

    def parted(self, mark: int | None) -> tuple["Rows", "Rows"]:
        """Rows up to a watermark, and those after it."""
        place = 0 if mark is None else int(np.searchsorted(self.marks, mark, side="right"))
        return self.part(0, place), self.part(place)


class Tail:
    """The newest rows, as far back as the overlap goes: their digest tells whether a later look finds the same ones."""

    def __init__(self, overlap: int) -> None:
        self.overlap = overlap
        self._rows: deque[Rows] = deque()

    def add(self, rows: Rows) -> None:
        if not len(rows):
            return
        self._rows.append(rows)
        while self._rows[0].marks[-1] < rows.marks[-1] - self.overlap:
            self._rows.popleft()

    def digest(self, end: int) -> str:
        """Of the values from `end` - overlap on, whatever pieces they came in."""
        first = end - self.overlap
        tables = [rows.table.slice(int(np.searchsorted(rows.marks, first))) for rows in self._rows]
        found = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for name in tables[0].column_names if tables else ():
            found.update(repr([value for table in tables for value in table[name].to_pylist()]).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class DropDays:
    """Days of the files that rows go into; they never run backwards, for of two rows with one key that of the later day is the newer.

    Of a timestamp watermark its business day. Of a number the business day of the event, at most today's and at least that of the newest file.
    """

    contract: SourceContract
    newest: date | None
    now: datetime

    def of(self, table: pa.Table, marks: Numbers, before: int) -> Numbers:
        """A day per row, `before` or later."""
        assert self.contract.pull
        if self.contract.columns[self.contract.pull.watermark].type == "timestamp":
            return self._local_days(pa.array(marks).cast(pa.timestamp("us", tz="UTC")))
        happened = self._event_days(table)
        days = np.minimum(happened, self.today)
        days[happened == NEVER] = NEVER
        floor = max(before, _number(self.newest) if self.newest else NEVER)
        days = np.maximum.accumulate(np.maximum(days, floor))
        known = days[days != NEVER]
        days[days == NEVER] = known[0] if len(known) else self.today
        return days

    @property
    def _zone(self) -> str:
        return self.contract.time.business_timezone if self.contract.time else "UTC"

    @property
    def today(self) -> int:
        return _number(self.now.astimezone(ZoneInfo(self._zone)).date())

    def _event_days(self, table: pa.Table) -> Numbers:
        """NEVER where the time of a row cannot be read."""
        time, validity = self.contract.time, self.contract.validity
        name = time.column if time else validity.start if validity else ""
        column = self.contract.columns[name]
        values = table[name].combine_chunks()
        if values.type != column.arrow:
            read = (array_of([one], column, time.timezone if time else "UTC") for one in values.to_pylist())
            values = pa.concat_arrays([one if one.type == column.arrow else pa.nulls(1, column.arrow) for one in read])
        return self._local_days(values) if column.type == "timestamp" else _numbers(values)

    def _local_days(self, instants: pa.Array) -> Numbers:
        local = pc.local_timestamp(instants.cast(pa.timestamp("us", tz=self._zone)))
        return _numbers(local.cast(pa.date32()))


def _numbers(days: pa.Array) -> Numbers:
    return np.asarray(pc.fill_null(days.cast(pa.int32()).cast(pa.int64()), int(NEVER)).to_numpy(zero_copy_only=False))


def _number(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()


def day_of(number: int) -> date:
    """A day from days since 1970."""
    return date.fromordinal(number + date(1970, 1, 1).toordinal())


def unseen(stream: Iterable[Rows], covered: Coverage, tail: Tail) -> Iterator[Rows]:
    """Rows after what is covered. Those before it come first where they are not the ones that have landed: one was committed late.

    `tail` gets the rows that are left out: the digest of what follows reaches back to them.
    """
    looked_at: list[Rows] | None = []
    for rows in stream:
        before, after = rows.parted(covered.end)
        if looked_at is not None:
            looked_at += [before] if len(before) else []
            if not len(after):
                continue
            yield from _changed(looked_at, covered, tail)
            looked_at = None
        yield after
    if looked_at:
        yield from _changed(looked_at, covered, tail)


def _changed(rows: list[Rows], covered: Coverage, tail: Tail) -> list[Rows]:
    """None of the rows where they are known; else all of them."""
    looked_at = Tail(tail.overlap)
    for one in rows:
        looked_at.add(one)
    if covered.end is None or looked_at.digest(covered.end) not in covered.digests:
        return rows
    for one in rows:
        tail.add(one)
    return []


@dataclass
class Cut:
    """A file's share of the rows so far: how many, their last watermark, and the file's day."""

    most: int
    rows: int = 0
    last: int = 0
    day: int = 0

    def room(self, rows: Rows) -> int:
        """How many of the next rows belong to this file: those of its day, up to `most`, and on to the end of a watermark."""
        day = self.day if self.rows else int(rows.days[0])
        same_day = int(np.searchsorted(rows.days, day, side="right"))
        stop = min(same_day, max(self.most - self.rows, 0))
        if stop >= len(rows):
            return len(rows)
        last = int(rows.marks[stop - 1]) if stop else self.last
        return int(np.searchsorted(rows.marks, last, side="right"))

    def take(self, rows: Rows) -> None:
        self.day = self.day if self.rows else int(rows.days[0])
        self.rows, self.last = self.rows + len(rows), int(rows.marks[-1])


def pieces(stream: Iterable[Rows], most: int) -> Iterator[tuple[Rows, Cut]]:
    """Rows in pieces that belong to one file each, with that file's cut, which has counted them."""
    cut = Cut(most)
    for rows in stream:
        rest = rows
        while len(rest):
            if not (room := cut.room(rest)):
                cut = Cut(most)
                continue
            piece, rest = rest.part(0, room), rest.part(room)
            cut.take(piece)
            yield piece, cut
