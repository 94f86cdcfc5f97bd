"""The backlog: what has landed, or is complete, and has not come to its end.

Belongs here: drops without a ledger row, drops that silver has not seen, and complete days without published forecasts. Does not belong here: deciding when that is worked off (sensors).
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import LedgerRow
from ml_platform.landing import Drop, drop_of, files
from ml_platform.preparation import INPUTS_KEY
from ml_platform.registry import champion_as_of
from ml_platform.settlement import InForce
from ml_platform.warehouse.contents import published

SECONDS, MOST = 30.0, 5000
LEAST = 100  # files that a look sees however long their listing took, so that it goes on


@dataclass(frozen=True)
class Look:
    """A bounded look at the landing folder: the drops found due, how many files it saw, and where the next one goes on (empty: all were seen)."""

    drops: tuple[Drop, ...]
    seen: int
    position: str = ""


def look(
    lake: Lake, landing: Path, contracts: Contracts, position: str = "", seconds: float = SECONDS, most: int = MOST
) -> Look:
    """Drops that are not settled, by path, from the file after `position` on, until the time is up or there are enough."""
    until, due, seen = time.monotonic() + seconds, list[Drop](), 0
    known = {source.name: InForce.read(lake, source) for source in contracts.sources}
    listed = {entry.path: (entry, source) for source in contracts.sources for entry in files(landing, source)}
    for path in sorted(path for path in listed if path > position):
        if len(due) == most or (seen >= LEAST and time.monotonic() > until):
            return Look(tuple(due), seen, position)
        drop, seen, position = drop_of(listed[path][0], landing, listed[path][1]), seen + 1, path
        if drop and not known[drop.source].settled(drop):
            due.append(drop)
    return Look(tuple(due), seen)


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
            found += [row for row in ledger.of_source(lake, source.name) if row.table_version > int(inputs["bronze"])]
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
