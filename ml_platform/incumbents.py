"""The incumbent of a day: the champion that a training is made beside, or the fleet that will be it.

Belongs here: finding it. Does not belong here: staying with its choice (forecasting.selection), judging it (evaluation).
"""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.lake import Lake, names
from ml_platform.registry import Champion, Registry, champion_as_of, fleet_tables
from ml_platform.training_tables import CANDIDATE_FLEET, FLEET_POOLS


def find_incumbent(lake: Lake, registry: Registry, config: ForecastConfig, as_of: date) -> Incumbent | None:
    """What a fleet of `as_of` is trained beside: the champion of the days before, or a younger fleet that nobody has judged yet.

    A run over days trains all of them before it judges the first: the fleet of the day before will most likely be champion. Where it is not,
    promotion sees that and has the day trained again. None where there is neither.
    """
    champion = champion_as_of(lake, as_of, same_day=False)
    return _unjudged(lake, config, champion, as_of) or (released(registry, champion) if champion else None)


def released(registry: Registry, champion: Champion) -> Incumbent:
    """The choice of a release, from exactly the bytes that were verified."""
    sealed = registry.open(champion.release_id)
    lineage = sealed.evidence.get("lineage") or sealed.evidence.get("fingerprint")
    return Incumbent(sealed.fleet, str(sealed.evidence.get("settings")), str(lineage or champion.release_id))


def _unjudged(lake: Lake, config: ForecastConfig, champion: Champion | None, as_of: date) -> Incumbent | None:
    """The newest fleet between the champion's day and this one that was trained and has no verdict."""
    if not lake.exists(CANDIDATE_FLEET.name):
        return None
    lake.migrate(CANDIDATE_FLEET)
    between = pc.field("as_of") < pa.scalar(as_of)
    if champion is not None:
        between &= pc.field("as_of") > pa.scalar(champion.as_of)
    days = lake.read(CANDIDATE_FLEET.name, ["as_of"], between & pc.field("settings").is_valid())["as_of"].unique()
    newest = pc.max(days).as_py()
    if newest is None or lake.count(names.PROMOTED_RELEASE, pc.field("as_of") == pa.scalar(newest)):
        return None
    of_day = pc.field("as_of") == pa.scalar(newest)
    rows, pools = lake.read(CANDIDATE_FLEET.name, where=of_day), lake.read(FLEET_POOLS.name, where=of_day)
    return Incumbent(fleet_tables(rows, pools, config), rows["settings"][0].as_py())
