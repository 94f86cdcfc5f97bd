"""Ingestion as it stands: files that wait, drops that are odd, tables that lag behind the one before them.

Belongs here: what needs the contracts or the landing folder beside the lake. Does not belong here: sums of tables alone (read), changing
anything: what is found here is worked off by runs.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from ml_platform import backlog
from ml_platform.contracts import Contracts
from ml_platform.drop_warnings import DropWarning, read_history
from ml_platform.lake import Lake, ledger
from ml_platform.landing import Drop, undeclared
from ml_platform.preparation import INPUTS_KEY
from ml_platform.settings import Settings
from ml_platform.status.model import Due, Status

WHY = {ledger.QUARANTINED: "released from quarantine", ledger.DUPLICATE: "what they doubled was replaced"}
NEW, CHANGED = "not read yet", "changed since they were read"


def with_ingestion(status: Status, settings: Settings, contracts: Contracts, now: datetime | None = None) -> Status:
    """The state with what landing folder and contracts add to it."""
    lake = Lake(settings.lake)
    found = tuple(due(lake, settings, contracts))
    return replace(
        status,
        waiting={name: sum(one.files for one in found if one.source == name) for name in {one.source for one in found}},
        due=found,
        undeclared=tuple(undeclared(settings.landing, {source.name for source in contracts.sources})),
        warnings=tuple(warnings(lake, settings, contracts, now)),
        lagging=lagging(lake, contracts),
        cut_off=cut_off(lake, contracts),
    )


def due(lake: Lake, settings: Settings, contracts: Contracts) -> Iterator[Due]:
    """Files that lie there and are not settled, by source and reason, and since when the oldest of them does."""
    found: dict[tuple[str, str], list[Drop]] = {}
    settled = [row for source in contracts.sources for row in ledger.of_source(lake, source.name)]
    known = dict.fromkeys((row.path for row in settled), CHANGED)  # by path, and by version where it is that one
    known |= {row.drop_id: WHY[row.state] for row in settled if row.state in WHY}
    for drop in backlog.look(lake, settings.landing, contracts).drops:
        why = known.get(drop.drop_id) or known.get(drop.path) or NEW
        found.setdefault((drop.source, why), []).append(drop)
    for (source, why), drops in sorted(found.items()):
        yield Due(source, why, len(drops), min(drop.arrived_at for drop in drops))


def warnings(lake: Lake, settings: Settings, contracts: Contracts, now: datetime | None = None) -> list[DropWarning]:
    """Odd drops of the newest days of every source, and days that are missing, the newest first."""
    histories = [read_history(lake, source, settings.calendar, now) for source in contracts.sources]
    return sorted((one for history in histories for one in history.recent()), key=lambda one: one.day, reverse=True)


def lagging(lake: Lake, contracts: Contracts) -> dict[str, int]:
    """Drops per source that bronze has settled and silver has not seen."""
    behind = Counter(row.source for row in backlog.unprepared(lake, contracts))
    for source in contracts.sources:
        if not lake.last_metadata(f"silver/{source.silver}", INPUTS_KEY):
            behind[source.name] = sum(row.state == ledger.LOADED for row in ledger.of_source(lake, source.name))
    return {source: drops for source, drops in behind.items() if drops}


def cut_off(lake: Lake, contracts: Contracts) -> dict[str, int]:
    """Bronze commits per source that a crash cut off from ledger and quarantine: their rows are there, and no reader sees them."""
    found = {one.name: len(ledger.unprojected(lake, one.name, one.bronze_spec.name)) for one in contracts.sources}
    return {source: commits for source, commits in found.items() if commits}
