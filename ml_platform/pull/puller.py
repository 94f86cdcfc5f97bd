"""One pull of one source: from what has landed to the newest row, as files in landing.

Belongs here: the order of steps, repetition, and what a pull reports. Does not belong here: SQL (database), where files end (cutting), names (windows).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from pydantic import SecretStr

from ml_platform.contracts import ContractError, Contracts, SourceContract
from ml_platform.database_pull import Pull
from ml_platform.lake import Lake
from ml_platform.lake.store import locked
from ml_platform.landing import LandingStore
from ml_platform.pull.cutting import NEVER, DropDays, Rows, Tail, unseen
from ml_platform.pull.database import VARIABLE, Database, Look, PullError, origin_of
from ml_platform.pull.filing import Filing, Landed
from ml_platform.pull.typed import table_of
from ml_platform.pull.unfinished import workshop
from ml_platform.pull.windows import Coverage, Names, coverage, micros_of
from ml_platform.transient import TransientError, retried

FIRST_PAUSE = 2.0  # seconds; a server is back from a restart before the fourth attempt
SMALLEST = {"int64": -(2**63), "timestamp": micros_of(datetime(1, 1, 2, tzinfo=UTC))}
SECOND = 1_000_000


@dataclass(frozen=True)
class PullReport:
    """What a pull of a source has landed, and the newest watermark that is covered now, in words."""

    source: str
    files: tuple[Landed, ...]
    newest: str

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.files)


@dataclass(frozen=True)
class Preview:
    """What a pull would do: its window in words, the rows in it, and how many of them have landed by their watermark (`looked_at_again`)."""

    source: str
    start: str
    end: str
    rows: int
    looked_at_again: int


@dataclass(frozen=True)
class Puller:
    """One source on its way from its database into landing; `first_pause`: seconds before the second attempt, twice as many before the next."""

    lake: Lake
    landing: LandingStore
    contract: SourceContract
    databases: Mapping[str, SecretStr]
    progress: Callable[[str], None] = lambda text: None
    first_pause: float = FIRST_PAUSE

    def run(self) -> PullReport:
        """Land what is new; nothing where nothing is. Others that pull this source wait. PullError, with what has landed so far in landing."""
        with locked(self.lake, f"pull-{self.contract.name}"):
            files = list[Landed]()
            try:
                retried(
                    lambda: self._attempt(files), f"the pull of source '{self.contract.name}'", first=self.first_pause
                )
            except TransientError as why:
                raise PullError(str(why)) from None
            return PullReport(self.contract.name, tuple(files), self._names.words(self._covered().end))

    def _attempt(self, files: list[Landed]) -> None:
        """Add what is landed to `files`: an attempt begins where the one before has landed its last file."""
        with workshop(self.lake, self.contract.name) as place:
            for one in self._landed(place):
                files.append(one)
                self.progress(f"{one.path}: {one.rows:,} rows, {sum(file.rows for file in files):,} so far")

    def preview(self) -> Preview:
        """What a pull would find now; lands nothing."""
        covered = self._covered()
        with self._database().look() as look:
            end, start = self._end(look, covered), self._start(covered)
            if end is None:
                return Preview(self.contract.name, self._names.words(start), "there are no rows", 0, 0)
            rows = look.count(start, end)
            new = rows if covered.end is None else look.count(covered.end, end, after=True)
        return Preview(self.contract.name, self._names.words(start), self._names.words(end), rows, rows - new)

    @property
    def pull(self) -> Pull:
        assert self.contract.pull
        return self.contract.pull

    @property
    def _names(self) -> Names:
        return Names(self.contract)

    @property
    def _overlap(self) -> int:
        return self.pull.overlap * (SECOND if self._names.instants else 1)

    def _covered(self) -> Coverage:
        return coverage(self.lake, self.landing, self.contract)

    def _start(self, covered: Coverage) -> int | None:
        smallest = SMALLEST[self.contract.columns[self.pull.watermark].type]
        return None if covered.end is None else max(covered.end - self._overlap, smallest)

    def _end(self, look: Look, covered: Coverage) -> int | None:
        """The greatest watermark to read, None where there are no rows. What was read once is read again also where rows of its age shall wait now."""
        newest = look.newest(self._limit())
        return newest if newest is None or covered.end is None else max(newest, covered.end)

    def _limit(self) -> int | None:
        """Rows of the future are left for later, too."""
        if not self._names.instants:
            return None
        now = datetime.now(UTC) - timedelta(seconds=self.pull.lag)
        if not self.pull.whole_days:
            return micros_of(now)
        zone = ZoneInfo(self.contract.time.business_timezone if self.contract.time else "UTC")
        today = datetime.combine(now.astimezone(zone).date(), datetime.min.time(), zone)
        return micros_of(today) - 1

    def _database(self) -> Database:
        return database_of(self.contract, self.databases)

    def _landed(self, place: Path) -> Iterator[Landed]:
        covered = self._covered()
        start, tail = self._start(covered), Tail(self._overlap)
        with self._database().look() as look:
            end = self._end(look, covered)
            if end is not None:
                rows = unseen(self._stream(look, start, end, covered), covered, tail)
                yield from Filing(self.landing, place, self.contract, covered, start, tail).file(rows)

    def _stream(self, look: Look, start: int | None, end: int, covered: Coverage) -> Iterator[Rows]:
        """Rows in order; PullError where their order is not that of the watermark."""
        days, last, day = DropDays(self.contract, covered.day, datetime.now(UTC)), None, NEVER
        for batch in look.rows(start, end):
            table = table_of(batch, self.contract)
            marks = table[self.pull.watermark].combine_chunks()
            if marks.type != self.contract.columns[self.pull.watermark].arrow:
                raise PullError(f"{look.database.place}: not every value of '{self.pull.watermark}' is a watermark")
            numbers = np.asarray(marks.cast(pa.int64()).to_numpy())
            if (np.diff(numbers) < 0).any() or (last is not None and numbers[0] < last):
                raise PullError(
                    f"{look.database.place}: its order by '{self.pull.watermark}' is not that of its values"
                )
            rows = Rows(table, numbers, days.of(table, numbers, day))
            last, day = int(numbers[-1]), int(rows.days[-1])
            yield rows


def database_of(contract: SourceContract, databases: Mapping[str, SecretStr]) -> Database:
    """The database of a source; PullError where the settings have none of that name."""
    assert contract.pull
    url = databases.get(contract.pull.database)
    if url is None:
        raise PullError(
            f"source '{contract.name}' pulls from database '{contract.pull.database}', which {VARIABLE} does not name: "
            f"add it there as JSON, a name and a URL; named are {', '.join(databases) or 'none'}"
        )
    return Database(contract.pull.database, url, contract)


def examine(contract: SourceContract, databases: Mapping[str, SecretStr]) -> str:
    """Where the rows come from, once the database has answered and has every column; PullError otherwise."""
    database = database_of(contract, databases)
    with database.look() as look:
        newest = look.newest(None)
    rows = "no row yet" if newest is None else f"newest {database.pull.watermark} {Names(contract).words(newest)}"
    return f"{origin_of(database.pull)} of database '{database.name}', {rows}"


def pulled(contracts: Contracts, names: Sequence[str] = ()) -> list[SourceContract]:
    """Sources that are pulled, or those of them that are named; ContractError where one of these is not."""
    for name in names:
        if contracts[name].pull is None:
            raise ContractError(
                f"source '{name}' declares no `pull`: its files are landed, by `ml-platform land` or by others"
            )
    return [source for source in contracts.sources if source.pull and (not names or source.name in names)]
