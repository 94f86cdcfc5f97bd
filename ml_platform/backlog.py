"""The backlog: what has landed, or is complete, and has not come to its end.

Belongs here: drops without a ledger row, drops that silver has not seen, and complete days without published forecasts. Does not belong here: deciding when that is worked off (sensors).
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from datetime import date

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, ledger
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.ledger import LedgerRow
from ml_platform.landing import Drop, LandedFile, LandingStore, Readiness, Waiting, WaitingFiles, Waits, drop_of
from ml_platform.registry import champion_as_of
from ml_platform.settlement import OPEN_COLUMNS, open_again
from ml_platform.warehouse.contents import published

SECONDS, MOST = 30.0, 5000
LEAST = 100  # files that a look sees however long their listing took, so that it goes on


@dataclass(frozen=True)
class Position:
    """Where a look goes on: in which landing area, at which page of which source's files, and after which of its files."""

    area: str = ""
    source: str = ""
    mark: str = ""
    path: str = ""

    @classmethod
    def read(cls, text: str, area: str) -> "Position":
        """The beginning where the text is none, or one of another area: its marks mean nothing here."""
        try:
            found = cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()
        return found if found.area == area else cls()

    def text(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Look:
    """A bounded look at the landing area: the drops found due, how many files it saw, where the next one goes on (empty: all were seen), and files that are not due yet."""

    drops: tuple[Drop, ...]
    seen: int
    position: str = ""
    held: tuple[WaitingFiles, ...] = ()

    @property
    def due(self) -> dict[str, int]:
        """How many drops of each source are due."""
        return dict(Counter(drop.source for drop in self.drops))


def look(
    lake: Lake,
    landing: LandingStore,
    contracts: Contracts,
    position: str = "",
    seconds: float = SECONDS,
    most: int = MOST,
) -> Look:
    """Drops that are whole and not settled, source by source, from the file after `position` on, until the time is up or there are enough."""
    until, due, held, seen = time.monotonic() + seconds, list[Drop](), Waiting(), 0
    last = Position.read(position, landing.locate())
    sources = {name: SeenSource.read(lake, landing, contracts[name]) for name in _names(contracts, last)}
    for here, file in _files(landing, contracts, last):
        if len(due) == most or (seen >= LEAST and time.monotonic() > until):
            return Look(tuple(due), seen, last.text(), held.files())
        found, seen, last = sources[here.source].of(file), seen + 1, here
        if isinstance(found, Drop):
            due.append(found)
        elif found:
            held.add(found)
    return Look(tuple(due), seen, held=held.files())


@dataclass(frozen=True)
class SeenSource:
    """A source as one look sees it: its contract, its settled drops, and what its folders say."""

    contract: SourceContract
    settled: AbstractSet[str]
    readiness: Readiness

    @classmethod
    def read(cls, lake: Lake, landing: LandingStore, contract: SourceContract) -> "SeenSource":
        rows = ledger.columns_of(lake, contract.name, OPEN_COLUMNS)
        settled = set(rows["drop_id"].to_pylist()) - open_again(lake, contract, rows)
        return cls(contract, settled, Readiness(landing, contract))

    def of(self, file: LandedFile) -> Drop | Waits | None:
        """The drop that a file is, why it waits, or nothing where it is settled."""
        return self.of_drop(drop_of(file, self.contract))

    def of_drop(self, drop: Drop) -> Drop | Waits | None:
        """The same of a drop."""
        return None if drop.drop_id in self.settled else self.readiness.of(drop)


def _names(contracts: Contracts, after: Position) -> list[str]:
    """Sources in the order of a look, from the one of a position on."""
    return sorted(source.name for source in contracts.sources if source.name >= after.source)


def _files(landing: LandingStore, contracts: Contracts, after: Position) -> Iterator[tuple[Position, LandedFile]]:
    """Files of all sources with their places, from the one after a position on."""
    area = landing.locate()
    for name in _names(contracts, after):
        mark, path = (after.mark, after.path) if name == after.source else ("", "")
        for page in landing.pages(name, mark):
            for file in _rest(page.files, path):
                yield Position(area, name, mark, file.path), file
            mark, path = page.mark, ""


def _rest(files: Sequence[LandedFile], path: str) -> Sequence[LandedFile]:
    """The files of a page after one of them; all, where it is not there (any more)."""
    return files[[file.path for file in files].index(path) + 1 :] if any(file.path == path for file in files) else files


def days_of(drops: Sequence[Drop], complete: Sequence[date], contracts: Contracts, calendar: Calendar) -> list[date]:
    """Days of a run that takes up drops: their drop days inside the calendar, and the newest day that will be complete.

    Drops without a day in their name, and snapshots, come along with any day; empty where there is no other.
    """
    dated = [
        drop for drop in drops if drop.named and calendar.holds(drop.day) and contracts[drop.source].kind == "events"
    ]
    newest = [*complete[-1:], *(drop.day for drop in dated if drop.source == contracts.target.name)]
    return [*(drop.day for drop in dated), *([max(newest)] if newest else [])]


def unprepared(lake: Lake, contracts: Contracts) -> list[LedgerRow]:
    """Drops that were settled after what their silver table was made from, such as one with released rows; a source without silver has none."""
    found = list[LedgerRow]()
    for source in contracts.sources:
        if inputs := lake.last_metadata(f"silver/{source.silver}", INPUTS_KEY):
            found += ledger.of_source(lake, source.name, after_version=int(inputs["bronze"]))
    return found


def days_behind(
    rows: Sequence[LedgerRow], complete: Sequence[date], contracts: Contracts, calendar: Calendar
) -> list[date]:
    """Days of a run that makes silver anew for these drops: their own ones, and the newest complete day."""
    dated = [row.drop_day for row in rows if contracts[row.source].kind == "events" and calendar.holds(row.drop_day)]
    return [*dated, *complete[-1:]] or [calendar.first]


def complete_days(lake: Lake, target: SourceContract, calendar: Calendar) -> list[date]:
    """Complete days of the target's source that the calendar holds, oldest first."""
    return [day for day in ledger.complete_days(lake, target.name, target.drops_per_day) if calendar.holds(day)]


def unpublished(lake: Lake, complete: Iterable[date]) -> list[date]:
    """Those complete days from the newest champion's as-of day on whose forecasts were never published, oldest first.

    Empty before the first promotion: then there is nothing to forecast with.
    """
    champion = champion_as_of(lake, date.max, same_day=True)
    if champion is None:
        return []
    shown = {pointer.as_of for pointer in published(lake)}
    return sorted(day for day in complete if day >= champion.as_of and day not in shown)
