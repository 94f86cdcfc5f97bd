"""Windows: from where to where a landed file holds a table, said by its name alone.

Belongs here: names of files, and how far a source is covered by what landed or is in the ledger. Does not belong here: rows (cutting), SQL (database).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

from ml_platform.contracts import SourceContract
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import LedgerRow
from ml_platform.landing import LandingStore, list_drops

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGIN = "begin"
INSTANT, NUMBER, DIGEST = r"\d{8}T\d{12}Z", r"-?\d+", "[0-9a-f]{16}"
LOST = (
    "vanished:",
    "unreadable_parquet:",
)  # reasons of the ledger for files whose bytes are not those that were landed


@dataclass(frozen=True)
class Window:
    """Rows from watermark `start` (None: the first there is) to `end`, on drop day `day`.

    Watermarks are whole numbers: of an integer column as they are, of a timestamp microseconds since 1970 in UTC. `digest` stands for
    the last rows up to `end`, as far back as the overlap goes.
    """

    start: int | None
    end: int
    digest: str
    day: date


@dataclass(frozen=True)
class Coverage:
    """How far landed files follow each other without a gap (None: there are none), the digests of the rows at that end, and the newest drop day."""

    end: int | None = None
    digests: frozenset[str] = frozenset()
    day: date | None = None

    @classmethod
    def of(cls, windows: Iterable[Window]) -> "Coverage":
        """A file that is lost leaves a gap; what follows it is pulled again."""
        found = cls()
        for one in sorted(windows, key=lambda window: (window.start is not None, window.start or 0, window.end)):
            if one.start is not None and (found.end is None or one.start > found.end):
                break
            found = found.with_window(one)
        return found

    def with_window(self, one: Window) -> "Coverage":
        days = [day for day in (self.day, one.day) if day]
        if self.end is not None and one.end < self.end:
            return Coverage(self.end, self.digests, max(days))
        digests = self.digests if one.end == self.end else frozenset[str]()
        return Coverage(one.end, digests | {one.digest}, max(days))


@dataclass(frozen=True)
class Names:
    """File names of a source below landing/<source>/: its path, with the drop day and the window in it."""

    contract: SourceContract

    @cached_property
    def instants(self) -> bool:
        """Whether watermarks are instants."""
        assert self.contract.pull
        return self.contract.columns[self.contract.pull.watermark].type == "timestamp"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        one = INSTANT if self.instants else NUMBER
        known = {
            "{day}": r"(?P<day>\d{4}-\d{2}-\d{2})",
            "*": rf"(?P<start>{BEGIN}|{one})_(?P<end>{one})_(?P<digest>{DIGEST})",
        }
        parts = re.split(r"(\{day\}|\*)", self.contract.path)
        return re.compile("".join(known.get(part, re.escape(part)) for part in parts))

    def name(self, window: Window) -> str:
        start = BEGIN if window.start is None else self.text(window.start)
        what = f"{start}_{self.text(window.end)}_{window.digest}"
        return self.contract.path.replace("{day}", window.day.isoformat()).replace("*", what)

    def window(self, name: str) -> Window | None:
        """The window in a name; None where a file did not come from a pull."""
        found = self._pattern.fullmatch(name)
        try:
            return found and Window(
                None if found["start"] == BEGIN else self._value(found["start"]),
                self._value(found["end"]),
                found["digest"],
                date.fromisoformat(found["day"]),
            )
        except ValueError:  # a day or an instant that no calendar has
            return None

    def text(self, value: int) -> str:
        """A watermark as names have it, the same for the same value."""
        if not self.instants:
            return str(value)
        return re.sub("[-:.]", "", instant_of(value).replace(tzinfo=None).isoformat(timespec="microseconds")) + "Z"

    def _value(self, text: str) -> int:
        return micros_of(datetime.strptime(text, "%Y%m%dT%H%M%S%f%z")) if self.instants else int(text)

    def words(self, value: int | None) -> str:
        """A watermark as people read it."""
        if value is None:
            return "the first row"
        return f"{instant_of(value):%Y-%m-%d %H:%M:%S.%f} UTC" if self.instants else str(value)


def coverage(lake: Lake, landing: LandingStore, contract: SourceContract) -> Coverage:
    """How far a source has landed: by the files that lie there, and by those that the ledger has seen, for files may be cleared away."""
    rows = ledger.of_source(lake, contract.name)
    lost = {row.drop_id for row in rows if _is_lost(row)}
    paths = {drop.path for drop in list_drops(landing, contract) if drop.drop_id not in lost}
    paths |= {row.path for row in rows if row.drop_id not in lost}
    names = Names(contract)
    found = (names.window(path.removeprefix(f"{contract.name}/")) for path in paths)
    return Coverage.of(window for window in found if window)


def _is_lost(row: LedgerRow) -> bool:
    """A file that was gone or torn when it was read: it is pulled again."""
    return row.state == ledger.QUARANTINED and (row.reason or "").startswith(LOST)


def instant_of(micros: int) -> datetime:
    """An instant from microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


def micros_of(instant: datetime) -> int:
    """Microseconds since 1970 of an instant."""
    return (instant - EPOCH) // timedelta(microseconds=1)
