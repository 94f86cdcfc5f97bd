"""Judging a day: the candidate fleet and the champion before that day, measured on the fold that chose nothing, and the facts beside.

Belongs here: what a judgement needs beside figures, and storing what it finds. Does not belong here: figures (evaluation), the verdict (gate).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.candidates import Candidate
from ml_platform.drift import drifts
from ml_platform.evaluation import FLEET, contenders, evaluate, recipe_forecast, store_evaluation
from ml_platform.evaluation.live import live_forecasts
from ml_platform.evaluation.losses import losses
from ml_platform.evaluation.noise import Blocks, blocks
from ml_platform.evaluation.origins import Meeting, earlier_blocks, store_blocks
from ml_platform.gate.rules import NEW, Facts
from ml_platform.registry import Champion

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


def judge_candidate(one: Candidate) -> Evaluation:
    """Measure a candidate and the champion before its day on the fold that chose nothing; store the rows."""
    one.require()
    release_id, live = one.champion.release_id if one.champion else None, live_forecasts(one.lake, one.cells)
    table = evaluate(one.cells, one.config, one.as_of, one.opponent, release_id, live, _earlier(one))
    return Evaluation(table, one.champion, store_evaluation(one.lake, table, one.config, one.as_of))


def _earlier(one: Candidate) -> list[Blocks]:
    """Older folds on which a new recipe like this one met the same champion; keeps this fold for younger ones."""
    if one.opponent is None or not one.cells.ids or one.kind != NEW:
        return []
    own, theirs = (losses(one.cells, each, one.config) for each in contenders(one.cells, one.config, one.opponent)[:2])
    met, meeting = blocks(one.cells, own, theirs), Meeting(one.own.settings, one.opponent.lineage)
    store_blocks(one.lake, one.as_of, meeting, one.cells, met)
    return earlier_blocks(one.lake, one.as_of, meeting, one.cells.first_date, met.root)


def the_facts(one: Candidate) -> Facts:
    """What the gate has to know of a candidate beside the figures of its fold."""
    fleet = one.own.fleet
    fitted = set(fleet.rows.filter(pc.equal(fleet.rows["state"], "fitted"))["series_id"].to_pylist())
    return Facts(
        kind=one.kind,
        differing=one.differing,
        behind=_behind(one),
        recomputed=_recomputed(one),
        drifts=drifts(one.profile, one.config) if one.profile is not None else {},
        judged=len(fitted & set(one.cells.ids)) / len(fitted) if fitted else 0.0,
    )


def _behind(one: Candidate) -> int | None:
    """Steps without any observation before the as-of day, in the catalogue or at the end of the judged fold, whichever are more."""
    newest, cells = [pc.max(one.catalogue["last_date"]).as_py()], one.cells
    if len(cells.ids):
        newest.append(pc.max(cells.table["date"].filter(pc.is_valid(cells.table["actual"]))).as_py())
    known = [pd.Timestamp(each).tz_localize(None).normalize() for each in newest if each is not None]
    if not known:
        return None
    return len(pd.date_range(min(known) + pd.Timedelta(days=1), pd.Timestamp(one.as_of), freq=one.config.frequency))


def _recomputed(one: Candidate) -> float | None:
    """How far the judged forecasts are from what the fleet's weights make of its families; None where the fold lacks one of these."""
    cells = one.cells
    if not cells.ids or not cells.families:
        return None
    again, told = recipe_forecast(cells, one.own.fleet), np.nan_to_num(cells.column("mean"))
    total = max(float(np.abs(again).sum()), float(np.abs(told).sum()))
    return float(np.abs(told - again).sum()) / total if total else 0.0
