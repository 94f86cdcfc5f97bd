"""The fleet that an update begins with: the champion's, or what was made of it since.

Belongs here: finding it, and why a day has none. Does not belong here: the update itself (updating).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.fleet import META
from ml_platform.lake import Lake
from ml_platform.registry import Champion, Registry, champion_as_of, fleet_tables
from ml_platform.training_tables import CANDIDATE_FLEET, FAILED, FLEET_POOLS, FOLD_METRICS


class UpdateError(ValueError):
    """A day whose fleet cannot come from an earlier one; names the day and the way out."""


class TrainedError(UpdateError):
    """A day that has a trained fleet: there is nothing to update."""


@dataclass(frozen=True)
class Start:
    """A fleet of an earlier day: its rows as they were written, its pools, and the release that was judged when it was made."""

    as_of: date
    release_id: str
    fleet: Fleet
    rows: pa.Table
    fingerprint: str

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """Why series failed in the training that the fleet comes from."""
        found = self.rows.filter(pc.equal(self.rows["reason"], FAILED)).to_pylist()
        return {row["series_id"]: row["detail"] for row in found if row["state"] == "quarantined"}


def find_start(lake: Lake, registry: Registry, config: ForecastConfig, as_of: date) -> Start:
    """The champion as of the days before `as_of`, or the newest fleet that an update made of it and that was not released yet.

    Raises TrainedError where the day has a trained fleet, UpdateError where nothing was promoted before or the configuration is another one,
    ReleaseError for changed bytes.
    """
    if lake.count(FOLD_METRICS.name, pc.field("as_of") == pa.scalar(as_of)):
        raise TrainedError(f"the fleet of {as_of} was trained, which an update would undo: score with it as it is")
    champion = champion_as_of(lake, as_of, same_day=False)
    if champion is None:
        raise UpdateError(
            f"no release older than {as_of} is promoted: train that day, `ml-platform run retrain --to {as_of}`"
        )
    start = _unreleased(lake, config, champion, as_of) or _released(registry, champion)
    steps = start.fleet.pools["steps"]["item"].unique() if "steps" in start.fleet.pools else ()
    known = set(start.fleet.pools["meta"]["item"].to_pylist())
    if start.fleet.config != config or len(steps) != config.horizon or not set(META) <= known:
        raise UpdateError(
            f"release {start.release_id} was trained with another configuration or version: "
            f"train {as_of}, `ml-platform run retrain --to {as_of}`"
        )
    return start


def _released(registry: Registry, champion: Champion) -> Start:
    sealed = registry.open(champion.release_id)
    fingerprint = str(sealed.evidence.get("fingerprint"))
    return Start(champion.as_of, champion.release_id, sealed.fleet, sealed.parameters, fingerprint)


def _unreleased(lake: Lake, config: ForecastConfig, champion: Champion, as_of: date) -> Start | None:
    """A run over days updates all of them before it releases the first."""
    if not lake.exists(CANDIDATE_FLEET.name):
        return None
    lake.migrate(CANDIDATE_FLEET)
    between = (pc.field("as_of") > pa.scalar(champion.as_of)) & (pc.field("as_of") < pa.scalar(as_of))
    own = between & (pc.field("updated_from") == champion.release_id)
    days = lake.read(CANDIDATE_FLEET.name, ["as_of"], own)["as_of"].unique().to_pylist()
    if not days:
        return None
    newest = pc.field("as_of") == pa.scalar(max(days))
    rows, pools = lake.read(CANDIDATE_FLEET.name, where=newest), lake.read(FLEET_POOLS.name, where=newest)
    fleet = fleet_tables(rows, pools, config)
    return Start(max(days), champion.release_id, fleet, rows, rows["fingerprint"][0].as_py())
