"""The incremental day: what a fleet remembers of each series, brought forward by one step, equal to computing it from the whole history.

Belongs here: sufficient statistics of a cohort, taking in a day, its rows of the fleet after it. Does not belong here: whole fleets
(fleet_statistics), their form on disk (statistics_table), the lake.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import lags, ridge
from ml_platform.forecasting.adapted import FAILED
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.backtest import ridge_strength
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.fleet import (
    NEW_SERIES,
    ROWS_SCHEMA,
    Fleet,
    fleet_weights,
    of_cohort,
    significant,
    triangle_items,
)
from ml_platform.forecasting.grams import DECAY, Grams, solve_series, symmetric
from ml_platform.forecasting.lags import LagData, running_grams, training_origins
from ml_platform.forecasting.levels import LEVELS, History, LevelTable
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.predict import Known, fleet_places, forecast_table
from ml_platform.forecasting.recorded import Digests, row_digests
from ml_platform.forecasting.standing import Standing, steps_held

OWN = ("fitted", "carried_over")  # states of series with parameters of their own
NO_NEW_ROW = "no_new_row"
REGRESSIONS = frozenset({ridge.NAME, lags.NAME})
KEPT_DIGITS = 1e-6  # a fleet keeps ten, and a repetition of the same sums differs in the last of sixteen
AT_ONCE = 2048  # series whose equations stay in the cache of a core


class AdapterError(ValueError):
    """Forecasts that models of others have a share in, which need the whole history; names them and the way out."""


@dataclass(frozen=True)
class Lessons:
    """What the ridge on lags remembers of S series: grams of all rows, and levels (S, L) at the first step of the block that the next step belongs to."""

    grams: Grams
    block: Floats

    @classmethod
    def of(cls, history: History, setup: Setup) -> "Lessons":
        """From a whole history."""
        plan, size = setup.plan, len(history.y)
        if not setup.with_lags:
            return cls(Grams.empty(size, 0, 0.0), np.zeros((size, 0)))
        data, steps = LagData(history, replace(plan, refit=(0,)), setup.log), plan.steps
        levels = LevelTable.of(history, [*training_origins(plan), steps], plan.season)
        ((_, grams),) = running_grams(data, levels, DECAY[setup.kind])
        begun = data.block_of(steps) <= steps
        return cls(grams, levels.at(data.block_of(steps)) if begun else np.zeros((size, len(LEVELS))))

    def advanced(self, standing: Standing, setup: Setup) -> "Lessons":
        """With the row of the last step, if it is one."""
        data, step = LagData(standing.history, setup.plan, setup.log), standing.shard.steps - 1
        grams, block = deepcopy(self.grams), self.block
        if step >= setup.plan.begin:
            first = data.block_of(step)
            grams.add(data.rows(first, block, step - first, step + 1 - first), standing.running.steps - 1)
        if data.block_of(step + 1) == step + 1:
            block = standing.levels(setup.plan.season)
        return Lessons(grams, block)

    def take(self, rows: Bools) -> "Lessons":
        """Of some of the series."""
        grams = self.grams
        some = replace(grams, gram=grams.gram[rows], weight=grams.weight[rows], last=grams.last[rows])
        return Lessons(some, self.block[rows])


@dataclass(frozen=True)
class CohortStatistics:
    """All that forecasts of S series of a cohort need, and the next step, at frozen priors, penalties and selection of a fleet.

    known: of the fleet with the pools of the cohort alone. constants: see Known.constants; those of regressions are refitted with every row.
    digests (S,): see recorded. touched (S,): whether a value was observed since these statistics were made from a history or a table.
    """

    cohort: int
    known: Known
    standing: Standing
    lessons: Lessons
    constants: Mapping[str, Floats]
    digests: Digests
    touched: Bools

    def __len__(self) -> int:
        return len(self.standing.shard)

    @classmethod
    def of(cls, fleet: Fleet, cohort: int, shard: Shard) -> "CohortStatistics":
        """From the whole history of series of a cohort, none of which the fleet quarantines.

        Raises ValueError where no step was observed yet.
        """
        own = of_cohort(fleet, cohort)
        known = Known(own, shard, fleet_places(fleet, shard)[0], used_families(own))
        setup, constants = known.setup, known.constants()
        standing = Standing.of(shard, setup, constants, teaches=True)
        lessons = Lessons.of(standing.history, setup)
        held = standing.trimmed(steps_held(setup))
        digests = row_digests(shard.y, shard.both(0, shard.steps), shard.position)
        made = cls(cohort, known.on(held), held, lessons, constants, digests, np.ones(len(shard), dtype=bool))
        return replace(_refitted(made), touched=np.zeros(len(shard), dtype=bool))

    def advanced(self, y: Floats, known: Floats) -> "CohortStatistics":
        """After one more step with these values (S,), NaN where not observed, and covariates and means (S, 2 K, 1 + H) of it and the steps after it."""
        standing = self.standing.advanced(y, known, self.known.setup, self.constants)
        later = self.known.on(standing)
        digests = self.digests + row_digests(
            y[:, None], known[:, :, :1], standing.shard.position + standing.shard.steps - 1
        )
        lessons = self.lessons.advanced(standing, later.setup) if later.setup.with_lags else self.lessons
        seen = ~np.isnan(y)
        made = replace(self, known=later, standing=standing, lessons=lessons, digests=digests, touched=seen)
        return replace(_refitted(made), touched=self.touched | seen)

    def take(self, rows: Bools) -> "CohortStatistics":
        """Of some of the series."""
        standing = self.standing.take(rows)
        return CohortStatistics(
            self.cohort,
            self.known.take(rows).on(standing),
            standing,
            self.lessons.take(rows),
            {name: values[rows] for name, values in self.constants.items()},
            self.digests[rows],
            self.touched[rows],
        )

    def kept(self) -> "CohortStatistics":
        """With the coefficients that the fleet holds, in its digits."""
        return replace(self, constants=self.known.constants())

    def forecasts(self) -> pa.Table:
        """The table of predict for the steps after the last one. Raises AdapterError where an adapter weighs something."""
        asked = [one.name for one in self.known.setup.config.adapters if self._weighs(one.name)]
        if asked:
            raise AdapterError(
                f"{', '.join(asked)}: what is remembered of a series is not the history that models of others are fitted to: "
                "take the forecasts from predict(statistics.fleet(), shard), with the whole history as the shard"
            )
        return forecast_table(self.known, self.standing, self.constants)[0]

    def _weighs(self, family: str) -> bool:
        return bool(self.known.weights[:, self.known.setup.config.family_names.index(family)].any())

    def moved(self) -> Bools:
        """Series whose coefficients are no longer those of the fleet, beyond the digits that a fleet keeps, (S,)."""
        moved, known = np.zeros(len(self), dtype=bool), self.known.constants()
        for name in REGRESSIONS:
            if name in known:
                apart = np.abs(self.constants[name] - known[name]).max(axis=1, initial=0.0)
                moved |= apart > KEPT_DIGITS * np.abs(known[name]).max(axis=1, initial=0.0)
        return moved

    @property
    def steps(self) -> int:
        """Steps of the whole history."""
        return self.standing.running.steps

    @property
    def first(self) -> pd.Timestamp:
        """Time of the first step of the whole history."""
        held = self.standing.shard
        return step_before(pd.Timestamp(held.times[0]), self.steps - held.steps, self.known.fleet.config.frequency)

    @property
    def counts(self) -> Ints:
        """Observed steps of each series, (S,)."""
        return self.standing.history.until(self.standing.shard.steps)[:, 1].astype(np.int64)

    def rows(self) -> list[dict[str, str | None]]:
        """Rows of the fleet after these steps, one per series: refreshed coefficients of regressions, everything else as it was.

        A fitted series of which nothing was observed is `carried_over`; one that the fleet does not know is `fallback`.
        """
        old = self.known.fleet.rows.take(pa.array(np.maximum(self.known.at, 0))).to_pylist() if len(self) else []
        fresh = {name: significant(self.constants[name]) for name in REGRESSIONS & self.constants.keys()}
        places = enumerate(zip(old, self.known.at.tolist(), strict=True))
        return [self._row(row, at, fresh) if known >= 0 else self._newcomer(at) for at, (row, known) in places]

    def _row(self, row: dict[str, str | None], place: int, fresh: Mapping[str, Floats]) -> dict[str, str | None]:
        if row["state"] not in OWN:
            return row
        if not self.touched[place]:
            return {**row, "state": "carried_over", "reason": NO_NEW_ROW}
        own = dict(self.known.own[place])
        for name in own.keys() & REGRESSIONS:
            own[name] = fresh[name][place].tolist()
        reason = FAILED if "failed" in own else None
        return {**row, "state": "fitted", "reason": reason, "parameters": json.dumps(own)}

    def _newcomer(self, place: int) -> dict[str, str | None]:
        names, weights = self.known.setup.config.family_names, self.known.weights[place]
        parameters = json.dumps({"weights": {n: w for n, w in zip(names, weights.tolist(), strict=True) if w > 0}})
        texts = (str(self.standing.shard.series_id[place]), names[int(weights.argmax())], "fallback", NEW_SERIES)
        return dict(zip(ROWS_SCHEMA.names, (*texts, parameters), strict=True))


def _refitted(statistics: CohortStatistics) -> CohortStatistics:
    """With coefficients of the touched series that have their own; all others keep theirs."""
    known, constants = statistics.known, dict(statistics.constants)
    for name in REGRESSIONS & constants.keys():
        rows = np.flatnonzero(statistics.touched & known.owns(name))
        constants[name] = constants[name].copy()
        for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            constants[name][some] = _coefficients(statistics, name, some)
    return replace(statistics, constants=constants)


def _coefficients(statistics: CohortStatistics, name: str, rows: Ints) -> Floats:
    setup, reader, width = statistics.known.setup, statistics.known.reader, statistics.constants[name].shape[1]
    pool, pool_gram = ("slopes", "slope_gram") if name == ridge.NAME else ("prior", "prior_gram")
    groups, place = np.unique(statistics.known.shard.segment[rows], return_inverse=True)
    prior = reader.array(pool, tuple(str(k) for k in range(width)), groups)[place]
    prior_gram = symmetric(reader.array(pool_gram, triangle_items(width), groups), width)[place]
    strength = ridge_strength(reader.array("factors", ("dispersion",), groups)[:, 0], setup)[place]
    if name == ridge.NAME:
        return statistics.standing.moments.take(rows).slopes(prior, prior_gram, strength, setup.kind)
    return solve_series(statistics.lessons.grams.gram[rows], prior, prior_gram, strength)


def used_families(fleet: Fleet) -> tuple[str, ...]:
    """Families of a cohort that weigh something for some series of the fleet, or segment of the cohort, in the order of its configuration."""
    pool = fleet.pools["weights"]
    tried = set(pool["item"].to_pylist())
    used = set(pool.filter(pc.greater(pool["value"], 0.0))["item"].to_pylist())
    for parameters in fleet.rows["parameters"].to_pylist():
        used |= {name for name, weight in fleet_weights(parameters).items() if weight > 0}
    return tuple(name for name in fleet.config.family_names if name in used & tried)


def step_before(time: pd.Timestamp, steps: int, frequency: str) -> pd.Timestamp:
    """The time so many steps before a step."""
    return pd.Timestamp(pd.date_range(end=time, periods=steps + 1, freq=frequency)[0])
