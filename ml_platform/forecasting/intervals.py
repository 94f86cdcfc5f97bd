"""Intervals: how far actual values lay from the blend at past origins, by step; of series, and of their segments alone.

Belongs here: residual quantiles, step factors, the factor from blend to mean and to point. Does not belong here: choosing families, bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from ml_platform.forecasting import sparse
from ml_platform.forecasting.arrays import Bools, sum_by
from ml_platform.forecasting.bounds import Law, least_amount, quantile_levels, unit
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.pools import Setup

SERIES_CELLS = 40.0  # residuals of its class that a series counts for its own
CLASS_CELLS = 400.0  # residuals of the segment that a class counts for its own
EVEN_CELLS = 20.0  # residuals of a bell that a segment counts for its own
STEP_CELLS = 200.0  # residuals of all steps that a step counts for its own
QUARTILES = 2 * NormalDist().inv_cdf(0.75)  # from quartile to quartile of a bell, in standard deviations
ENOUGH = 16  # origins; with fewer, intervals are wider
SHARED = 0.25  # share of an error's variance that all series of an origin have in common, where nothing is known
SHARED_ORIGINS = 2.0  # that say so
CLASSES = 4  # series of a segment are compared with those of a like level
TYPICAL_STEPS = 8.0  # differences of its own that the typical one of its segment counts for, in a short series
IDLE = 0.02  # of a series' level: forecasts of days when nothing happens, whose errors say nothing of the others'
BELL = {"counts": 1.0, "positive": 0.5, "real": 1.0}  # standard deviation of residuals where nothing is known, in units


@dataclass(frozen=True)
class Spreads:
    """Residual quantiles by series (N, Q) and by segment and level class (G, CLASSES, Q), in units of `unit`, Q in the order of quantile_levels.

    steps (G, H): factor on a step. mean (G,): actual over blend. point (N,), group_point (G,): point over mean, for mape. edges
    (G, CLASSES - 1): blend levels between the classes. least (N,): see least_amount. Of sparse series: their spread (N,), that of a
    class (G, CLASSES), and the probabilities that its bounds ask for, levels (G, CLASSES, Q). typical (G,): see typical_difference.
    """

    series: Floats
    group: Floats
    steps: Floats
    mean: Floats
    point: Floats
    group_point: Floats
    edges: Floats
    least: Floats
    typical: Floats
    spread: Floats
    group_spread: Floats
    levels: Floats

    def law(self, told: "Residuals", largest: Floats, own: slice = slice(None)) -> Law:
        """How the series of some residuals, the rows `own` of all, spread around later means; largest (N,): value that each held."""
        classes = level_class(told.mean.mean(axis=(1, 2)), self.edges[told.segment])
        counts = sparse.Counts(told.grain, self.spread[own], self.levels[told.segment, classes])
        steps = self.steps[told.segment]
        return Law(self.series[own], told.scale, self.least[own], steps, largest, self.point[own], counts)


@dataclass(frozen=True)
class Residuals:
    """What N judged series said and held at J origins: mean and actual (N, J, H), NaN where not observed; scale (N,), see difference_scale.

    grain (N,): unit of a sparse series, 0 of all others. segment (N,).
    """

    mean: Floats
    actual: Floats
    scale: Floats
    grain: Floats
    segment: Ints

    @property
    def seen(self) -> Bools:
        return ~np.isnan(self.actual)


def mean_level(mean: Floats, actual: Floats) -> Floats:
    """Mean of each series' blend (N, J, H) over the origins after which something was observed, (N,); 0 where there are none."""
    begun = (~np.isnan(actual)).any(axis=2)
    return np.asarray((mean.sum(axis=2) * begun).sum(axis=1) / np.maximum(begun.sum(axis=1), 1) / max(mean.shape[2], 1))


def level_class(level: Floats, edges: Floats) -> Ints:
    """Class of each blend level (N,), 0 to CLASSES - 1, from the edges of its segment (N, CLASSES - 1)."""
    return np.asarray((level[:, None] > edges).sum(axis=1), dtype=np.int64)


def measure(told: Residuals, setup: Setup) -> Spreads:
    """Spreads of a fleet from what it said and held at past origins."""
    groups, segment, kind = setup.segments, told.segment, setup.kind
    spread = _group_spread(_log_errors(told), segment, groups) if setup.log else None
    factor = np.ones(groups) if spread is None else _mean_factor(told, groups, spread)
    mean = told.mean * factor[segment][:, None, None]
    least = least_amount(_flat(told.actual), kind)
    units = unit(mean, told.scale, kind, least)
    level = mean_level(mean, told.actual)
    if kind == "counts":
        told = replace(told, actual=np.where(mean < IDLE * level[:, None, None], np.nan, told.actual))
    residual = np.where(told.grain[:, None, None] > 0, np.nan, (told.actual - mean) / units)
    steps = _step_factors(residual, units, segment, groups)
    residual = residual / steps[segment][:, None, :]
    edges = _edges(level, segment, groups)
    classes = level_class(level, edges[segment])
    typical = typical_difference(told, level, kind, groups)
    bell = np.ones(groups) if kind == "real" else np.sqrt(typical)
    group = _group_quantiles(residual, segment, classes, bell, setup)
    own, count = row_quantiles(_flat(residual), quantile_levels(setup.config))
    series = _draw(own, count, group[segment, classes], SERIES_CELLS)
    point, group_point = _points(mean, told, factor, spread, setup.config.objective)
    counts = _counts(
        np.maximum(mean, least[:, None, None]), told, segment * CLASSES + classes, groups, quantile_levels(setup.config)
    )
    widening = _widening(residual, segment, groups)
    series, group = wider(series, widening[segment]), wider(group, widening[:, None])
    return Spreads(series, group, steps, factor, point, group_point, edges, least, typical, *counts)


def typical_difference(told: Residuals, level: Floats, kind: str, groups: int) -> Floats:
    """Median squared difference of neighbouring values per unit of what it grows with, by segment (G,); 0 where no real value says so.

    Counts: the level (N,); positive values: its square; real ones: nothing.
    """
    share = told.scale / grows_with(level, kind)
    out = np.full(groups, 0.0 if kind == "real" else BELL[kind] ** 2)
    for group, rows in _groups(told.segment, groups):
        usable = rows[(told.grain[rows] == 0) & ((level[rows] > 0) | (kind == "real")) & (share[rows] > 0)]
        if len(usable):
            out[group] = np.median(share[usable])
    return out


def grows_with(level: Floats, kind: str) -> Floats:
    """What the squared difference of neighbouring values grows with, (N,)."""
    held = np.maximum(level, 1e-6)
    return {"counts": held, "positive": held**2}.get(kind, np.ones_like(level))


def likely_difference(squares: Floats, prior: Floats) -> Floats:
    """Mean squared difference of short series from the sums and counts of their own (2, N), drawn to the one of their segment (N,).

    A level that so few values tell is off, too, and by as much as a share of it.
    """
    drawn = (squares[0] + TYPICAL_STEPS * prior) / (squares[1] + TYPICAL_STEPS)
    return np.asarray(drawn * (1.0 + 1.0 / (squares[1] + 1.0)))


def _widening(residual: Floats, segment: Ints, groups: int) -> Floats:
    """How much wider intervals of a segment are whose residuals (N, J, H) come from fewer than ENOUGH origins, (G,).

    All errors of an origin have a part in common, whose spread J draws tell: Student's t of them asks for about 1 + 2 / J times the variance, at
    80 %. How large a share of the variance that part is, the origins tell, drawn to SHARED.
    """
    seen = ~np.isnan(residual)
    cells = sum_by(seen.sum(axis=2).astype(float), segment, groups)
    total, squares = (sum_by(np.nan_to_num(one).sum(axis=2), segment, groups) for one in (residual, residual**2))
    origins, everything = (cells > 0).sum(axis=1), np.maximum(cells.sum(axis=1), 1.0)
    mean = total.sum(axis=1) / everything
    variance = np.maximum(squares.sum(axis=1) / everything - mean**2, 1e-12)
    by_chance = variance[:, None] / np.maximum(cells, 1.0)
    apart = np.where(cells > 0, (total / np.maximum(cells, 1.0) - mean[:, None]) ** 2 - by_chance, 0.0)
    shared = np.clip(apart.sum(axis=1) / variance, 0.0, origins)
    drawn = (shared + SHARED_ORIGINS * SHARED) / (origins + SHARED_ORIGINS)
    return np.sqrt((1.0 + 2.0 * drawn / np.clip(origins, 1, ENOUGH)) / (1.0 + 2.0 * drawn / ENOUGH))


def wider(quantiles: Floats, factor: Floats) -> Floats:
    """Quantiles (..., Q), the median last, so much farther from it (...)."""
    middle = quantiles[..., -1:]
    return middle + (quantiles - middle) * factor[..., None]


def _flat(values: Floats) -> Floats:
    """(N, J, H) to (N, J x H), also where there is nothing."""
    return values.reshape(len(values), values.shape[1] * values.shape[2])


def _draw(own: Floats, count: Floats, prior: Floats, cells: float) -> Floats:
    return (np.nan_to_num(own) * count[:, None] + cells * prior) / (count[:, None] + cells)


def _groups(segment: Ints, groups: int) -> Iterator[tuple[int, Ints]]:
    """Rows of each segment that has any."""
    order = np.argsort(segment, kind="stable")
    ends = np.cumsum(np.bincount(segment, minlength=groups))
    for group, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if end > start:
            yield group, order[start:end]


def _edges(level: Floats, segment: Ints, groups: int) -> Floats:
    out = np.zeros((groups, CLASSES - 1))
    for group, rows in _groups(segment, groups):
        out[group] = np.quantile(level[rows], np.arange(1, CLASSES) / CLASSES)
    return out


def _mean_factor(told: Residuals, groups: int, spread: Floats) -> Floats:
    """Mean over blend of logs, by segment, which is a median: what lognormal errors of this spread (G,) say, drawn to actual over blend.

    The farther actual over blend lies from that in standard errors over origins, the more it counts: few origins may be odd ones.
    """
    got = sum_by(np.nan_to_num(told.actual).sum(axis=2), told.segment, groups)
    said = sum_by(np.where(told.seen, told.mean, 0.0).sum(axis=2), told.segment, groups)
    each = np.where(said > 0, got / np.where(said > 0, said, 1.0), np.nan)
    known, total = (said > 0).sum(axis=1), said.sum(axis=1)
    ratio = np.clip(got.sum(axis=1) / np.where(total > 0, total, 1.0), 0.5, 2.0)
    error = np.nansum((each - ratio[:, None]) ** 2, axis=1) / np.maximum(known * (known - 1.0), 0.5)
    usual = np.exp(spread**2 / 2.0)
    trust = (ratio - usual) ** 2 / np.maximum((ratio - usual) ** 2 + error, 1e-12)
    return np.where(total > 0, np.clip(usual + trust * (ratio - usual), 0.5, 2.0), 1.0)


def _log_errors(told: Residuals) -> Floats:
    """Logs of actual over blend, (N, J, H), NaN where one of them is not positive."""
    both = told.seen & (told.actual > 0) & (told.mean > 0)
    logs = np.log(np.where(both, told.actual, 1.0)) - np.log(np.where(both, told.mean, 1.0))
    return np.where(both, logs, np.nan)


def _middle_spread(logs: Floats) -> tuple[Floats, Floats]:
    """Standard deviation of each row (N, M) as its quartiles tell it, (N,), and of how many values, (N,)."""
    quartiles, count = row_quantiles(logs, (0.25, 0.75))
    return np.nan_to_num(quartiles[:, 1] - quartiles[:, 0]) / QUARTILES, count


def _group_spread(logs: Floats, segment: Ints, groups: int) -> Floats:
    """Standard deviation of log errors (N, J, H) by segment (G,), from their quartiles."""
    out = np.zeros(groups)
    for group, rows in _groups(segment, groups):
        out[group] = _middle_spread(logs[rows].reshape(1, -1))[0][0]
    return out


def _step_factors(residual: Floats, units: Floats, segment: Ints, groups: int) -> Floats:
    """Root mean square error of a step over that of all steps, by segment, shrunk to a power of the step that fits them all: (G, H).

    Errors count in the target's own unit, relative to the sum of units: one sale of a series that hardly ever sells is a
    huge residual, and would else decide the factor of its step for the whole segment.
    """
    weight = np.where(np.isnan(residual), 0.0, units**2)
    squares = sum_by((np.nan_to_num(residual) ** 2 * weight).sum(axis=1), segment, groups)
    weights = sum_by(weight.sum(axis=1), segment, groups)
    known = sum_by((weight > 0).sum(axis=1).astype(float), segment, groups)
    cells = known.sum(axis=1)[:, None]
    total = weights.sum(axis=1)[:, None]
    overall = squares.sum(axis=1)[:, None] / np.where(total > 0, total, 1.0)
    prior = STEP_CELLS * total / np.maximum(cells, 1.0)
    power = _growth(np.where(weights > 0, squares / np.where(weights > 0, weights, 1.0), 0.0), known)
    drawn = (squares + prior * overall * power) / np.where(total > 0, weights + prior, 1.0)
    return np.sqrt(np.where(overall > 0, drawn / np.where(overall > 0, overall, 1.0), 1.0))


def _growth(squares: Floats, cells: Floats) -> Floats:
    """Mean square error of a step as a power of the step, over its mean: (G, H), from those measured and in how many cells (G, H).

    Errors of a level that wanders grow with the root of the step, those around a level that stays do not: power 0 to 2, drawn to 0.
    """
    far = np.log(np.arange(1, squares.shape[1] + 1))
    weight = np.where(squares > 0, cells, 0.0)
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    x = far - (weight * far).sum(axis=1, keepdims=True) / total
    logs = np.log(np.where(squares > 0, squares, 1.0))
    below = (weight * x**2).sum(axis=1) + SERIES_CELLS * far.var()
    slope = np.where(below > 0, (weight * x * logs).sum(axis=1) / np.where(below > 0, below, 1.0), 0.0)
    power = np.exp(np.clip(slope, 0.0, 2.0)[:, None] * far)
    return np.asarray(power / power.mean(axis=1, keepdims=True))


def row_quantiles(values: Floats, probabilities: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Quantiles of each row's known values, (N, Q), NaN for an empty row, and how many there are, (N,)."""
    count = (~np.isnan(values)).sum(axis=1)
    if not values.shape[1]:
        return np.full((len(values), len(probabilities)), np.nan), count.astype(float)
    ordered = np.sort(values, axis=1)
    place = np.maximum(count - 1, 0)[:, None] * np.asarray(probabilities)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[:, None])
    below, above = np.take_along_axis(ordered, low, axis=1), np.take_along_axis(ordered, high, axis=1)
    return below + (above - below) * (place - low), count.astype(float)


def _group_quantiles(residual: Floats, segment: Ints, classes: Ints, spread: Floats, setup: Setup) -> Floats:
    """Residual quantiles by segment and level class, drawn to those of the segment, which are drawn to those of bells as wide as `spread` (G,): (G, C, Q)."""
    probabilities = quantile_levels(setup.config)
    bells = spread[:, None] * np.asarray([NormalDist().inv_cdf(one) for one in probabilities])
    out = np.repeat(bells[:, None], CLASSES, axis=1)
    for group, rows in _groups(segment, setup.segments):
        own, count = row_quantiles(residual[rows].reshape(1, -1), probabilities)
        out[group] = _draw(own, count, bells[group], EVEN_CELLS)
        for level in np.unique(classes[rows]):
            own, count = row_quantiles(residual[rows[classes[rows] == level]].reshape(1, -1), probabilities)
            out[group, level] = _draw(own, count, out[group, level], CLASS_CELLS)[0]
    return out


def _counts(
    mean: Floats, told: Residuals, code: Ints, groups: int, probabilities: tuple[float, ...]
) -> tuple[Floats, Floats, Floats]:
    """Of sparse series: spread (N,), and by segment and class the spread (G, C) and the probabilities that bounds ask for (G, C, Q)."""
    cells = groups * CLASSES
    spread, own = np.zeros(len(mean)), np.flatnonzero(told.grain > 0)
    grain = told.grain[own, None, None]
    seen, lots, held = told.seen[own], mean[own] / grain, np.nan_to_num(told.actual[own]) / grain
    spread[own], group = sparse.spreads(lots, held, seen, code[own], cells)
    fine, finest = (one[:, None, None] for one in sparse.finer(told.grain[own], spread[own]))
    finest, times = np.broadcast_to(finest, lots.shape)[seen], np.broadcast_to(grain / fine, lots.shape)[seen]
    low, high = sparse.transforms(lots[seen] * times, held[seen] * times, finest)
    levels = sparse.calibrated(
        low, high, np.broadcast_to(code[own, None, None], lots.shape)[seen], cells, probabilities
    )
    return spread, group.reshape(groups, CLASSES), levels.reshape(groups, CLASSES, len(probabilities))


def _points(
    mean: Floats, told: Residuals, factor: Floats, spread: Floats | None, objective: str
) -> tuple[Floats, Floats]:
    """Factor on the mean with the least absolute percentage error, by series (N,) and by segment (G,).

    factor (G,): mean over blend. spread (G,): of log errors; None where values are not modelled in logs.
    """
    groups, segment = len(factor), told.segment
    if objective != "mape":
        return np.ones(len(mean)), np.ones(groups)
    if spread is None:
        return _least_percentage(mean, told, groups)
    own, count = _middle_spread(_flat(_log_errors(told)))
    drawn = _draw(own[:, None] ** 2, count, spread[segment][:, None] ** 2, SERIES_CELLS)[:, 0]
    return np.exp(-drawn) / factor[segment], np.exp(-(spread**2)) / factor  # of lognormal errors, times their median


def _least_percentage(mean: Floats, told: Residuals, groups: int) -> tuple[Floats, Floats]:
    """The minimum of sum |a - c m| / a over c is the median of a / m weighted by m / a; zero actuals do not count: c (N,) and (G,)."""
    usable = told.seen & (told.actual > 0) & (mean > 0)
    ratio = _flat(np.where(usable, told.actual / np.where(mean > 0, mean, 1.0), np.nan))
    by_segment = np.ones(groups)
    for group, rows in _groups(told.segment, groups):
        own, count = _weighted_median(ratio[rows].reshape(1, -1))
        by_segment[group] = _draw(own[:, None], count, np.ones(1), EVEN_CELLS)[0, 0]
    own, count = _weighted_median(ratio)
    return _draw(own[:, None], count, by_segment[told.segment][:, None], SERIES_CELLS)[:, 0], by_segment


def _weighted_median(ratio: Floats) -> tuple[Floats, Floats]:
    """Median of each row weighted by its inverse, (N,), and the number of values, (N,)."""
    count = (~np.isnan(ratio)).sum(axis=1).astype(float)
    if not ratio.shape[1]:
        return np.zeros(len(ratio)), count
    ordered = np.sort(ratio, axis=1)
    weight = np.cumsum(np.nan_to_num(1.0 / ordered), axis=1)
    place = (weight < weight[:, -1:] / 2).sum(axis=1)
    return np.take_along_axis(ordered, np.minimum(place, ratio.shape[1] - 1)[:, None], axis=1)[:, 0], count
