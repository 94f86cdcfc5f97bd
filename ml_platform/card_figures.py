"""Figures of a model card: error by cohort, fairness across segments, what covariates do.

Belongs here: computing them from the day's tables. Does not belong here: their words (registry.card), the verdict (gate).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.evaluation import FLEET, Cells
from ml_platform.evaluation.contenders import CHALLENGER, Contender
from ml_platform.evaluation.figures import measure
from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.ridge import NAME as RIDGE
from ml_platform.gate import Decision
from ml_platform.registry.card import Card, Table

QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
MOST = 40  # rows of a table
PER_COVARIATE = 3  # features of ridge: its value, whether it is known, its mean in the segment


def make_card(
    fleet: Fleet, cells: Cells | None, evaluation: pa.Table, profile: pa.Table | None, decision: Decision, as_of: date
) -> str:
    """The card of a fleet in Markdown. cells: its judged rows, None for an update, which has none of its own."""
    config = fleet.config
    states = pc.value_counts(fleet.rows["state"]).to_pylist()
    told = ", ".join(f"{one['counts']:,} {one['values']}" for one in sorted(states, key=lambda one: str(one["values"])))
    facts = {
        "Forecasts": f"`{config.target}` of {fleet.rows.num_rows:,} series ({', '.join(config.series)}), {config.horizon} steps of {config.frequency}",
        "Objective": config.objective,
        "Series": told,
        "Gate": f"{'passed' if decision.promoted else 'stopped'} as {decision.kind}: {decision.summary}",
    }
    sections = [("Families", "Series by the family that weighs most in their blend.", _families(fleet))]
    if cells is not None:
        sections += [
            (
                "Error on the fold that chose nothing",
                "Challenger, champion and the simple floors.",
                _contenders(evaluation),
            ),
            (
                "Error by cohort",
                "By quarter of the level, and by family with the greatest weight.",
                _cohorts(cells, fleet),
            ),
            (
                "Fairness across segments",
                "The same figures for every segment, the heaviest first.",
                _segments(evaluation, config),
            ),
        ]
    sections.append(
        (
            "What covariates do",
            "How much one usual change of a covariate moves a forecast of `ridge`, weighed by how much `ridge` counts.",
            _covariates(fleet, evaluation, profile),
        )
    )
    return Card(config.name, as_of, facts, sections).markdown()


def _families(fleet: Fleet) -> Table:
    counted = pc.value_counts(fleet.rows["family"].drop_null()).to_pylist()
    ordered = sorted(counted, key=lambda one: (-one["counts"], one["values"]))
    return Table(("family", "series"), [(one["values"], one["counts"]) for one in ordered])


def _contenders(evaluation: pa.Table) -> Table:
    rows = [
        row for row in evaluation.to_pylist() if row["level"] == FLEET and not row["contender"].startswith("family_")
    ]
    names = ("error", "skill", "bias", "weekly_bias")
    shown = ("contender", "error", "skill %", "bias %", "bias by week %")
    return Table(shown, [(row["contender"], *(row[name] for name in names)) for row in rows])


def _of_segments(evaluation: pa.Table) -> list[dict[str, Any]]:
    return [row for row in evaluation.to_pylist() if row["level"] != FLEET and row["contender"] == CHALLENGER]


def _segments(evaluation: pa.Table, config: ForecastConfig) -> Table:
    rows = _of_segments(evaluation)
    total = sum(row["weight"] or 0.0 for row in rows) or 1.0
    levels = [f"coverage_{one}" for one in config.intervals]
    shown = (
        "segment",
        "series",
        "weight %",
        "error",
        "skill %",
        "bias %",
        *(f"{one} % hold" for one in config.intervals),
    )
    ordered = sorted(rows, key=lambda row: (-(row["weight"] or 0.0), row["segment"]))[:MOST]
    return Table(
        shown,
        [
            (
                row["segment"],
                row["series"],
                (row["weight"] or 0.0) / total,
                row["error"],
                row["skill"],
                row["bias"],
                *(row[one] for one in levels),
            )
            for row in ordered
        ],
    )


def _cohorts(cells: Cells, fleet: Fleet) -> Table:
    """Series by quarter of their mean forecast, and by family."""
    config, mean = fleet.config, cells.column("mean")
    bounds = {one: (cells.column(f"lo_{one}"), cells.column(f"hi_{one}")) for one in config.intervals}
    contender = Contender(CHALLENGER, mean, bounds, best=cells.column("point"))
    level = np.bincount(cells.row_series, np.nan_to_num(mean), len(cells.ids))
    quarter = np.searchsorted(np.quantile(level, (0.25, 0.5, 0.75)), level) if len(level) else np.zeros(0, np.int64)
    known = pd.Series(dict(zip(*(fleet.rows[name].to_pylist() for name in ("series_id", "family")), strict=True)))
    family, names = pd.factorize(known.reindex(cells.ids).fillna("none"), sort=True)
    rows = [
        *_measured(cells, contender, quarter, QUARTERS, config),
        *_measured(cells, contender, family, tuple(names), config),
    ]
    return Table(("cohort", "series", "error", "bias %", *(f"{one} % hold" for one in config.intervals)), rows)


def _measured(
    cells: Cells, contender: Contender, group: np.ndarray, names: tuple[str, ...], config: ForecastConfig
) -> Iterator[tuple[Any, ...]]:
    found = measure(cells, contender, np.asarray(group, np.int64), len(names), config)
    keys = ("series", "error", "bias", *(f"coverage_{one}" for one in config.intervals))
    for name, *figures in zip(names, *(found[key].tolist() for key in keys), strict=True):
        if figures[0]:
            yield (name, *figures)


def _covariates(fleet: Fleet, evaluation: pa.Table, profile: pa.Table | None) -> Table:
    """|slope| of a segment x usual change of the covariate, the mean over segments by their weight x that of ridge in them."""
    names, columns = fleet.config.known_future, ("covariate", "effect %")
    if profile is None or not names or not profile.num_rows or "slopes" not in fleet.pools:
        return Table(columns, [])
    slopes, weights = _by_segment(fleet.pools["slopes"]), _by_segment(fleet.pools["weights"])
    spread = profile.filter(pc.equal(profile["window"], 0)).to_pandas().set_index("input")["spread"]
    heavy = {row["segment"]: row["weight"] or 0.0 for row in _of_segments(evaluation)} or dict.fromkeys(slopes, 1.0)
    total = sum(heavy.values()) or 1.0
    effects = dict.fromkeys(names, 0.0)
    for segment, own in slopes.items():
        share = heavy.get(segment, 0.0) / total * weights.get(segment, {}).get(RIDGE, 0.0)
        first = len(own) - PER_COVARIATE * len(names)  # the calendar comes before the covariates
        for place, name in enumerate(names):
            effects[name] += share * abs(own.get(str(first + place), 0.0)) * float(spread.get(name, 0.0))
    ordered = sorted(effects, key=lambda name: (-effects[name], name))
    return Table(columns, [(name, effects[name]) for name in ordered])


def _by_segment(pool: pa.Table) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for row in pool.to_pylist():
        out.setdefault(row["segment"], {})[row["item"]] = row["value"]
    return out
