"""Forecasts of a trained fleet for any later history.

Belongs here: reading parameters and pools, blending, bounds. Does not belong here: fitting (backtest, pipeline), the fleet's form.
"""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting import adapted, boosted, lags, ridge
from ml_platform.forecasting.adapted import Texts, rows_of
from ml_platform.forecasting.arrays import CHUNK, Bools, Shard
from ml_platform.forecasting.backtest import WALKS, clip_forecasts, family_forecasts, outspoken, standstill
from ml_platform.forecasting.bounds import Law, least_amount, quantile_levels
from ml_platform.forecasting.calendar import Floats, Ints, Plan, plan_folds
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import (
    KINDS,
    META,
    Fleet,
    PoolReader,
    class_items,
    cohorts_of,
    of_cohort,
    quantile_items,
    require_own,
    step_items,
)
from ml_platform.forecasting.intervals import CLASSES, grows_with, level_class, likely_difference, wider
from ml_platform.forecasting.lags import LagData, feature_width, respond
from ml_platform.forecasting.levels import LEVELS, History
from ml_platform.forecasting.pools import Setup, Shared, block_levels
from ml_platform.forecasting.selection import blend
from ml_platform.forecasting.sparse import Counts
from ml_platform.forecasting.standing import Standing


def predict(fleet: Fleet, shard: Shard) -> pa.Table:
    """The forecasts of predict_and_tell alone."""
    return predict_and_tell(fleet, shard)[0]


def predict_and_tell(fleet: Fleet, shard: Shard) -> tuple[pa.Table, list[str]]:
    """Forecast steps 1 .. horizon after the end of the shard's history, which may be later than training.

    Returns rows by series and step: series_id, step, date, mean, point, interval bounds, family. Series the fleet does
    not know use their segment's values; quarantined ones have no rows. Levels come from the history, the rest from the
    fleet. Dates are date32, or timestamp[us, UTC] below a day. Beside them what
    adapters failed on, one text per series of the shard, '' where none did: the fallback stands in, and is named where it weighs most.
    """
    at, states = fleet_places(fleet, shard)
    rows = cohort_rows(fleet, shard, states)
    told = list[tuple[pa.Table, Texts]]()
    for number, places in rows.items():
        own = shard if len(places) == len(shard) else shard.take(places)  # one cohort, most often: no copy of all
        told.append(_predict(of_cohort(fleet, number), own, at[places]))
    order = np.concatenate(list(rows.values()))
    failed = rows_of(order, len(shard), np.concatenate([texts for _, texts in told]))
    return in_order([table for table, _ in told], order, fleet.config.horizon), failed


def _predict(fleet: Fleet, shard: Shard, at: Ints) -> tuple[pa.Table, Texts]:
    """See predict_and_tell, for series of one cohort whose rows in the fleet are `at`."""
    known, told = Known(fleet, shard, at), list[tuple[pa.Table, Texts]]()
    for start in range(0, max(len(shard), 1), CHUNK):
        some = known.take(slice(start, start + CHUNK))
        constants = some.constants()
        told.append(forecast_table(some, Standing.of(some.shard, some.setup, constants), constants))
    return pa.concat_tables([table for table, _ in told]), np.concatenate([texts for _, texts in told])


def forecast_table(known: "Known", standing: Standing, constants: Mapping[str, Floats]) -> tuple[pa.Table, Texts]:
    """As predict_and_tell, for series of one cohort, from where they stand; constants: see Known.constants.

    Adapters that weigh something need a standing that holds the whole history.
    """
    setup, weights = known.setup, known.weights
    forecasts = _families(known, standing, constants)
    sentences = _adapted(known, standing, forecasts)
    blended = blend(clip_forecasts(forecasts, standing.largest, setup.kind), weights, setup.log)
    mean = clip_forecasts(blended * known.pool("factors", ("mean",)), standing.largest, setup.kind)
    bounds = _bounds(known, standing, mean)
    if setup.kind == "counts":
        empty = standing.shut(setup.plan)
        mean[empty], bounds[empty] = 0.0, 0.0
    family = np.asarray(setup.config.family_names, dtype=object)[weights.argmax(axis=1)]
    for name, own in sentences.items():
        family[(family == name) & (np.asarray(own) != "")] = adapted.FALLBACK
    failed = adapted.joined(list(sentences.values()), len(mean))
    return _table(standing.shard, known.fleet.config, mean, bounds, family), failed


def fleet_places(fleet: Fleet, shard: Shard) -> tuple[Ints, np.ndarray]:
    """Row of the fleet for each series, -1 where it has none, and its state."""
    place = pd.Index(fleet.rows["series_id"].to_pandas()).get_indexer(pd.Index(shard.series_id))
    states = np.append(np.asarray(fleet.rows["state"].to_pylist(), dtype=object), "fallback")
    return place.astype(np.int64), states[place]


def cohort_rows(fleet: Fleet, shard: Shard, states: np.ndarray) -> dict[int, Ints]:
    """Places in a shard of the series of each cohort, without those whose state (S,) is quarantined; one cohort where no series is left."""
    keep = np.flatnonzero(states != "quarantined")
    cohort = cohorts_of(fleet, shard.segments)[shard.segment[keep]]
    numbers = np.unique(cohort) if len(cohort) else cohorts_of(fleet, ("",))
    return {number: keep[cohort == number] for number in numbers.tolist()}


def in_order(tables: Sequence[pa.Table], places: Ints, horizon: int) -> pa.Table:
    """Tables of forecasts one after the other, with the series in the order of their places (S,)."""
    rows = np.argsort(places, kind="stable")[:, None] * horizon + np.arange(horizon)
    return pa.concat_tables(tables).take(pa.array(rows.ravel()))


class Known:
    """What a fleet knows of the series of a shard, which are of one cohort; `at` is their row in the fleet, -1 where it has none.

    setup: as in training, with `families`, by default those that weigh something for one of these series. weights (S, F): of those.
    """

    def __init__(self, fleet: Fleet, shard: Shard, at: Ints, families: tuple[str, ...] | None = None) -> None:
        require_own(fleet)
        self.fleet, self.shard, self.at = fleet, shard, at
        texts = fleet.rows["parameters"].take(pa.array(at, mask=at < 0)).to_pylist()
        self.own = [json.loads(text) if text else {} for text in texts]
        self.reader = PoolReader(fleet, shard.segments)
        meta = self.reader.array("meta", META[:5], np.arange(1)).ravel().astype(int)  # one for all
        kind, *self._planned = meta.tolist()
        weights = self._weights(fleet.config.family_names)
        everyone = np.asarray(fleet.config.family_names, dtype=object)
        used = np.isin(everyone, families) if families else weights.any(axis=0) | (len(weights) == 0)
        names, self.weights = tuple(everyone[used].tolist()), weights[:, used]
        config = fleet.config.with_families(names)
        self.setup = Setup(config, self._plan(shard.steps), KINDS[kind], len(shard.segments))

    def on(self, standing: Standing) -> "Known":
        """The same of the same series after later steps, of which the last may be all that is held."""
        later = copy(self)
        later.shard = standing.shard
        later.setup = replace(self.setup, plan=later._plan(standing.running.steps))  # noqa: SLF001
        return later

    def take(self, rows: Bools | slice) -> "Known":
        """Of some of the series, with the same families."""
        some = copy(self)
        some.shard, some.at, some.weights = self.shard.take(rows).working(), self.at[rows], self.weights[rows]
        some.own = [self.own[place] for place in np.arange(len(self.own))[rows].tolist()]
        return some

    def _plan(self, steps: int) -> Plan:
        """Folds as after so many steps, counted in the steps that are held; what teaches, and how many origins measure, is as in training."""
        plan, (longest, begin, settled, origins) = plan_folds(self.fleet.config, steps, False), self._planned
        return replace(
            plan,
            steps=self.shard.steps,
            longest=longest,
            begin=begin - self.shard.position,
            settled=settled,
            interval=tuple(range(origins, 0, -1)),
        )

    def constants(self) -> dict[str, Floats]:
        """Constants (S, C) of the families that have some: the series' own, or what others of its segment have."""
        names = [name for name in WALKS if name in self.setup.config.family_names]
        found = {name: self.parameter(name, np.tile(WALKS[name].DEFAULT, (len(self.shard), 1))) for name in names}
        if self.setup.with_ridge:
            width = ridge.width(self.setup.plan, self.shard)
            found[ridge.NAME] = self.parameter(ridge.NAME, self.pool("slopes", tuple(str(k) for k in range(width))))
        if self.setup.with_lags:
            width = feature_width(self.setup.plan, self.shard)
            found[lags.NAME] = self.parameter(lags.NAME, self.pool("prior", tuple(str(k) for k in range(width))))
        return found

    def owns(self, name: str) -> Bools:
        """Which series have a parameter of their own, (S,)."""
        return np.asarray([name in row for row in self.own], dtype=bool)

    def pool(self, name: str, items: tuple[str, ...]) -> Floats:
        """Items of a pool for each series, (S, I)."""
        return self.reader.array(name, items, self.shard.segment)

    def parameter(self, name: str, otherwise: Floats) -> Floats:
        """A parameter of the series' own, over the values of the segment, (S, ...)."""
        own = self.owns(name)
        if own.any() and otherwise.size:
            otherwise[own] = np.asarray([row[name] for row in self.own if name in row])
        return otherwise

    def _weights(self, names: tuple[str, ...]) -> Floats:
        weights = self.pool("weights", names)
        own = self.owns("weights")
        if own.any():
            weights[own] = [[row["weights"].get(name, 0.0) for name in names] for row in self.own if "weights" in row]
        return weights


def _families(known: Known, standing: Standing, constants: Mapping[str, Floats]) -> Floats:
    """Forecasts of every family but adapters after the end of the history, (S, H, F)."""
    shard, setup, history = standing.shard, known.setup, standing.history
    season, levels = setup.plan.season, standing.levels(setup.plan.season)
    shared = Shared(
        known.pool("profile", tuple(str((shard.position + k) % season) for k in range(season))),
        known.pool("drift", LEVELS),
        *known.pool("factors", ("dispersion", "level")).T,
    )
    out = family_forecasts(history, standing.season_sums(season), levels, shared, shard.steps, setup)
    for name, states in standing.walks.items():
        said = WALKS[name].ahead(states, standing.running.steps, constants[name], setup.plan.horizon, season)
        out[:, :, setup.config.family_names.index(name)] = outspoken(said, setup)
    if setup.with_ridge:
        said = _ridge(known, standing, constants[ridge.NAME], shared.mean)
        out[:, :, setup.config.family_names.index(ridge.NAME)] = said
    if setup.with_trees:
        codes, otherwise = known.reader.codes(shard.segment), standstill(shared.mean, setup)
        view = boosted.View.of(history, setup.plan, setup.kind, standing.moments, shard.steps, codes)
        said = outspoken(boosted.Trees(known.reader.text(boosted.NAME)).responses(view, otherwise), setup)
        out[:, :, setup.config.family_names.index(boosted.NAME)] = said
    if setup.with_lags:
        block = LagData(history, setup.plan, setup.log).block(0, levels)
        said = respond(block.x, constants[lags.NAME], block.scale, setup.log)
        out[:, :, setup.config.family_names.index(lags.NAME)] = said
    return out


def _ridge(known: Known, standing: Standing, constants: Floats, mean: Floats) -> Floats:
    """Forecasts (S, H) of ridge."""
    setup, shard = known.setup, standing.shard
    ahead = ridge.features(shard, setup.plan, shard.steps, shard.steps + setup.plan.horizon)
    said = standing.moments.forecast(ahead, constants, standstill(mean, setup), setup.kind)
    return outspoken(said, setup)


def _adapted(known: Known, standing: Standing, out: Floats) -> dict[str, list[str]]:
    """Write the adapters' columns of forecasts (S, H, F) for the series that give them weight; says by adapter and series what failed."""
    setup, sentences = known.setup, dict[str, list[str]]()
    for adapter in setup.config.adapters:
        column = setup.config.family_names.index(adapter.name)
        weighs = np.flatnonzero(known.weights[:, column] > 0)
        history = History.of(standing.shard.take(weighs), setup.config.missing)
        told = adapted.run(adapter, history, block_levels(history, setup.plan), [0], setup)
        out[weighs, :, column] = told.forecasts[:, 0]
        words = np.asarray(told.failures(adapter.name), dtype=np.str_)
        sentences[adapter.name] = rows_of(weighs, len(out), words)
    return sentences


def _bounds(known: Known, standing: Standing, mean: Floats) -> Floats:
    """Interval bounds in the order of the columns and the point forecast last: (S, H, Q)."""
    setup, size = known.setup, len(mean)
    edges = known.pool("edges", class_items(CLASSES - 1))
    level = mean.mean(axis=1)
    here = np.arange(size), level_class(level, edges)
    items = quantile_items(len(quantile_levels(setup.config)))
    shape = (size, CLASSES, len(items) // CLASSES)
    spread = known.pool("spread", class_items(CLASSES))[here]
    recent = standing.shard.y[:, -len(setup.plan.interval) * setup.plan.horizon :]
    quantiles = known.pool("quantiles", items).reshape(shape)[here]
    typical = known.pool("factors", ("typical",))[:, 0] * grows_with(level, setup.kind)
    prior = np.where(typical > 0, typical, standing.largest**2)
    likely = likely_difference(standing.squares, prior)
    if setup.kind != "real":  # whose unit is the difference
        quantiles = wider(quantiles, np.sqrt(likely / prior))
    law = Law(
        quantiles=known.parameter("quantiles", quantiles),
        scale=np.where(known.owns("quantiles"), standing.difference(), likely),
        least=least_amount(recent, setup.kind),  # of as many of the last steps as training measured residuals on
        steps=known.pool("steps", step_items(setup.plan.horizon)),
        largest=standing.largest,
        point=known.parameter("point", known.pool("factors", ("point",))[:, 0]),
        counts=Counts(
            grain=standing.tally.grains() if setup.kind == "counts" else np.zeros(size),
            spread=known.parameter("spread", spread),
            levels=known.pool("levels", items).reshape(shape)[here],
        ),
    )
    return law.bounds(mean, setup)


def _table(shard: Shard, config: ForecastConfig, mean: Floats, bounds: Floats, family: np.ndarray) -> pa.Table:
    size, horizon = mean.shape
    times = pd.DatetimeIndex(shard.times[shard.steps :])
    dates = (
        pa.array(times.tz_localize("UTC"), pa.timestamp("us", "UTC"))
        if config.subdaily
        else pa.array(times.date, pa.date32())
    )
    columns: dict[str, pa.Array] = {
        "series_id": pa.array(np.repeat(shard.series_id, horizon), pa.string()),
        "step": pa.array(np.tile(np.arange(1, horizon + 1, dtype=np.int32), size)),
        "date": dates.take(pa.array(np.tile(np.arange(horizon), size))),
        "mean": pa.array(mean.ravel()),
        "point": pa.array(bounds[:, :, -1].ravel()),
    }
    for column, name in enumerate(config.interval_columns):
        columns[name] = pa.array(np.ascontiguousarray(bounds[:, :, column]).ravel())
    columns["family"] = pa.array(np.repeat(family, horizon), pa.string())
    return pa.table(columns)
