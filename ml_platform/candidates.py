"""The candidate of a day: a fleet that was trained or updated, and what judging, sealing and promoting it read.

Belongs here: reading it from the lake, once, when something first asks. Does not belong here: figures (evaluation), rules (gate), acting on them (promotion).
"""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.drift import INPUT_PROFILE
from ml_platform.evaluation import Cells, arrange, segment_labels
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent, differing
from ml_platform.gate.rules import FIRST, NEW, REFRESH
from ml_platform.incumbents import released
from ml_platform.lake import Lake, LakeError, names
from ml_platform.registry import Champion, Registry, champion_as_of, fleet_tables


@dataclass(frozen=True)
class Candidate:
    """The fleet of an as-of day. catalogue: the series that a fleet of this day has to have. All of one moment: another look takes another candidate."""

    lake: Lake
    registry: Registry
    catalogue: pa.Table
    config: ForecastConfig
    as_of: date

    def table(self, name: str) -> pa.Table:
        """Rows of the day."""
        return self.lake.read(name, where=pc.field("as_of") == pa.scalar(self.as_of)).combine_chunks()

    def filled(self, name: str) -> pa.Table:
        """The same; LakeError where there are none."""
        rows = self.table(name)
        if not rows.num_rows:
            raise LakeError(
                f"table {name} has no rows of {self.as_of}: materialize candidate_fleet and fleet_evaluation of that day first"
            )
        return rows

    @cached_property
    def rows(self) -> pa.Table:
        """One per series, of gold/candidate_fleet."""
        return self.filled(names.CANDIDATE_FLEET)

    def require(self) -> None:
        """LakeError where the day has no fleet."""
        _ = self.rows

    @cached_property
    def pools(self) -> pa.Table:
        """What its series share, of gold/fleet_pools."""
        return self.filled(names.FLEET_POOLS)

    @cached_property
    def profile(self) -> pa.Table | None:
        """What its inputs were like, of gold/input_profile; None where no fleet has written that yet."""
        return self.table(INPUT_PROFILE.name) if self.lake.exists(INPUT_PROFILE.name) else None

    @cached_property
    def cells(self) -> Cells:
        """The fold that chose nothing."""
        return arrange(self.table(names.JUDGED_FOLD), segment_labels(self.catalogue, self.config))

    @cached_property
    def own(self) -> Incumbent:
        """Its choice, and the settings that it was made with."""
        return Incumbent(fleet_tables(self.rows, self.pools, self.config), self.said("settings") or "")

    def said(self, column: str) -> str | None:
        """What all its rows say in a column; None where they say nothing."""
        found = self.rows[column].drop_null().unique().to_pylist() if column in self.rows.column_names else []
        return str(found[0]) if found else None

    @cached_property
    def champion(self) -> Champion | None:
        """The release that the days before use."""
        return champion_as_of(self.lake, self.as_of, same_day=False)

    @cached_property
    def opponent(self) -> Incumbent | None:
        """The choice of that release."""
        return released(self.registry, self.champion) if self.champion else None

    @cached_property
    def differing(self) -> int:
        """Series, with their segments, that choose otherwise than in the champion."""
        labels = segment_labels(self.catalogue, self.config)
        return differing(self.own, self.opponent, labels) if self.opponent else 0

    @property
    def kind(self) -> str:
        """The first of its platform, a refresh of the champion, or a new recipe."""
        if self.opponent is None:
            return FIRST
        alike = bool(self.own.settings) and self.own.settings == self.opponent.settings
        return REFRESH if alike and not self.differing else NEW
