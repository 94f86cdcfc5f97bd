"""Ingestion as it stands: files that wait, drops that are odd, tables that lag behind the one before them.

Belongs here: what needs the contracts or the landing area beside the lake. Does not belong here: sums of tables alone (read), changing
anything: what is found here is worked off by runs.
"""

from collections import Counter
from dataclasses import replace
from datetime import datetime

from ml_platform import backlog
from ml_platform.contracts import Contracts
from ml_platform.drop_warnings import DropWarning, read_history
from ml_platform.lake import Lake, ledger
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.landing import open_landing, undeclared
from ml_platform.settings import Settings
from ml_platform.status.model import Status
from ml_platform.status.waiting import waiting_files


def with_ingestion(status: Status, settings: Settings, contracts: Contracts, now: datetime | None = None) -> Status:
    """The state with what landing area and contracts add to it."""
    lake, landing = Lake(settings.lake), open_landing(settings)
    return replace(
        status,
        waiting_files=waiting_files(lake, landing, contracts),
        undeclared=tuple(undeclared(landing, {source.name for source in contracts.sources})),
        warnings=tuple(warnings(lake, settings, contracts, now)),
        lagging=lagging(lake, contracts),
        cut_off=cut_off(lake, contracts),
    )


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
