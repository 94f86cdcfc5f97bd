"""Judging a day: the candidate fleet and the champion before that day, measured on the fold that chose nothing, and the facts beside.

Belongs here: reading what a judgement needs and storing what it finds. Does not belong here: figures (evaluation), the verdict (gate).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.drift import INPUT_PROFILE, drifts
from ml_platform.evaluation import (
    FLEET,
    arrange,
    contenders,
    evaluate,
    recipe_forecast,
    segment_labels,
    store_evaluation,
)
from ml_platform.evaluation.cells import Cells
from ml_platform.evaluation.live import live_forecasts
from ml_platform.evaluation.losses import losses
from ml_platform.evaluation.noise import Blocks, blocks
from ml_platform.evaluation.origins import Meeting, earlier_blocks, store_blocks
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent, differing
from ml_platform.gate.rules import FIRST, NEW, REFRESH, Facts
from ml_platform.incumbents import released
from ml_platform.lake import Lake, LakeError, names
from ml_platform.registry import Champion, Registry, champion_as_of, fleet_tables

OF_THE_FLEET = (
    "coverage",
    "minimum_actuals",
    "freshness",
    "input_drift",
)  # rules that no other choice of families changes


@dataclass(frozen=True)
class Evaluation:
    """Rows of gold/fleet_evaluation of one day, the champion they were measured against, and whether they were written now."""

    table: pa.Table
    champion: Champion | None
    written: bool

    def fleet(self, contender: str) -> dict[str, object]:
        """The fleet row of a contender; empty where it was not judged."""
        return next(
            (row for row in self.table.to_pylist() if row["level"] == FLEET and row["contender"] == contender), {}
        )


def day_rows(lake: Lake, name: str, as_of: date) -> pa.Table:
    """Rows of an as-of day."""
    return lake.read(name, where=pc.field("as_of") == pa.scalar(as_of)).combine_chunks()


def whole_day(lake: Lake, name: str, as_of: date) -> pa.Table:
    """The same; LakeError where there are none."""
    rows = day_rows(lake, name, as_of)
    if not rows.num_rows:
        raise LakeError(
            f"table {name} has no rows of {as_of}: materialize candidate_fleet and fleet_evaluation of that day first"
        )
    return rows


def judge_candidate(
    lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date
) -> Evaluation:
    """Measure the candidate fleet of a day and the champion before that day on the fold that chose nothing; store the rows."""
    whole_day(lake, names.CANDIDATE_FLEET, as_of)
    champion = champion_as_of(lake, as_of, same_day=False)
    incumbent = released(registry, champion) if champion else None
    fold, earlier = day_rows(lake, names.JUDGED_FOLD, as_of), list[Blocks]()
    labels = segment_labels(catalogue, config)
    if incumbent is not None and fold.num_rows and _kind(_candidate(lake, config, as_of), incumbent, labels)[0] == NEW:
        cells = arrange(fold, labels)
        own, theirs = (losses(cells, one, config) for one in contenders(cells, config, incumbent)[:2])
        met, meeting = blocks(cells, own, theirs), Meeting(_candidate(lake, config, as_of).settings, incumbent.lineage)
        store_blocks(lake, as_of, meeting, cells, met)
        earlier = earlier_blocks(lake, as_of, meeting, _first_date(cells), met.root)
    release_id = champion.release_id if champion else None
    live = live_forecasts(lake, fold)
    table = evaluate(fold, catalogue, config, as_of, incumbent, release_id, live, earlier)
    return Evaluation(table, champion, store_evaluation(lake, table, config, as_of))


def the_facts(lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> Facts:
    """What the gate has to know of a day beside the figures of its fold."""
    champion, own = champion_as_of(lake, as_of, same_day=False), _candidate(lake, config, as_of)
    labels = segment_labels(catalogue, config)
    kind, apart = _kind(own, released(registry, champion), labels) if champion else (FIRST, 0)
    cells = arrange(day_rows(lake, names.JUDGED_FOLD, as_of), labels)
    fitted = set(own.fleet.rows.filter(pc.equal(own.fleet.rows["state"], "fitted"))["series_id"].to_pylist())
    profile = day_rows(lake, INPUT_PROFILE.name, as_of) if lake.exists(INPUT_PROFILE.name) else None
    return Facts(
        kind=kind,
        differing=apart,
        behind=_behind(catalogue, cells, config, as_of),
        recomputed=_recomputed(cells, own),
        drifts=drifts(profile, config) if profile is not None else {},
        judged=len(fitted & set(cells.ids)) / len(fitted) if fitted else 0.0,
    )


def _candidate(lake: Lake, config: ForecastConfig, as_of: date) -> Incumbent:
    """The fleet of the day and how it was made."""
    rows, pools = (whole_day(lake, name, as_of) for name in (names.CANDIDATE_FLEET, names.FLEET_POOLS))
    settings = rows["settings"].drop_null().unique().to_pylist() if "settings" in rows.column_names else []
    return Incumbent(fleet_tables(rows, pools, config), settings[0] if settings else "")


def _kind(own: Incumbent, champion: Incumbent, labels: Mapping[str, str]) -> tuple[str, int]:
    """Whether a fleet is a refresh of the champion or a new recipe, and how many series, with their segments, choose otherwise."""
    apart = differing(own, champion, labels)
    return (REFRESH if own.settings and own.settings == champion.settings and not apart else NEW), apart


def _first_date(cells: Cells) -> date:
    return pd.Timestamp(min(cells.table["date"].to_pylist())).date()


def _behind(catalogue: pa.Table, cells: Cells, config: ForecastConfig, as_of: date) -> int | None:
    """Steps without any observation before the as-of day, in the catalogue or at the end of the judged fold, whichever are more."""
    newest = [pc.max(catalogue["last_date"]).as_py()]
    if len(cells.ids):
        newest.append(pc.max(cells.table["date"].filter(pc.is_valid(cells.table["actual"]))).as_py())
    known = [pd.Timestamp(one).tz_localize(None).normalize() for one in newest if one is not None]
    if not known:
        return None
    return len(pd.date_range(min(known) + pd.Timedelta(days=1), pd.Timestamp(as_of), freq=config.frequency))


def _recomputed(cells: Cells, own: Incumbent) -> float | None:
    """How far the judged forecasts are from what the fleet's weights make of its families; None where the fold lacks one of these."""
    there = {name.removeprefix("family_") for name in cells.table.column_names if name.startswith("family_")}
    told = [one for one in there if cells.table[f"family_{one}"].null_count < cells.table.num_rows]
    if not cells.ids or not told:
        return None
    mean = cells.column("mean")
    again = recipe_forecast(cells, sorted(told), own.fleet)
    total = float(np.abs(again).sum())
    return float(np.abs(np.nan_to_num(mean) - again).sum()) / total if total else 0.0
