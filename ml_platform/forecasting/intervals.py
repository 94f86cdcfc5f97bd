"""Intervals: how far actual values lay from the blend at past origins, by step.

Belongs here: residual quantiles, step factors, the factor from blend to mean and to point. Does not belong here: choosing families.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ml_platform.forecasting.arrays import Bools, sum_by
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.pools import Setup

SEGMENT_CELLS = 40.0  # residuals of the segment that a series counts for its own
STEP_CELLS = 200.0  # residuals of all steps that a step counts for its own
CLASSES = 4  # series of a segment are compared with those of a like level
UNITS_AWAY = 4.0  # a bound may lie so many units from the mean even where the series never held such a value


@dataclass(frozen=True)
class Spreads:
    """Residual quantiles by series (N, Q) and by segment and level class (G, CLASSES, Q), in units of `unit`.

    steps (G, H): factor on a step. mean (G,): actual over blend. point (N,), group_point (G,): point over mean, for mape.
    edges (CLASSES - 1,): blend levels between the classes. least (N,): see least_amount. Q is in the order of
    quantile_levels.
    """

    series: Floats
    group: Floats
    steps: Floats
    mean: Floats
    point: Floats
    group_point: Floats
    edges: Floats
    least: Floats


def quantile_levels(config: ForecastConfig) -> tuple[float, ...]:
    """Probabilities of the interval bounds from the lowest to the highest, then the median."""
    low = [(100 - level) / 200 for level in reversed(config.intervals)]
    return (*low, *(1 - value for value in reversed(low)), 0.5)


def unit(mean: Floats, scale: Floats, kind: str, least: Floats | None = None) -> Floats:
    """What a residual is measured in: root of the mean for counts, the mean, or the typical difference (N, ...).

    No mean, and no difference, counts for less than `least` (N,), see least_amount.
    """
    shape = (len(mean), *(1,) * (mean.ndim - 1))
    low = np.zeros(shape) if least is None else least.reshape(shape)
    if kind == "real":
        spread = np.sqrt(np.maximum(np.nan_to_num(scale), 1e-12)).reshape(shape)
        return np.broadcast_to(np.maximum(spread, low), mean.shape)
    held = np.maximum(mean, low)
    return np.maximum(np.sqrt(held) if kind == "counts" else held, 1e-6)


def least_amount(values: Floats, kind: str) -> Floats:
    """The least unit's mean, or difference, (N,): what one value (change) of mean size in all steps (N, T) comes to.

    So many steps cannot tell less from 0. Without it, an actual that meets a mean of almost 0 is millions of units away,
    and makes millions of any later mean that is ordinary.
    """
    sizes = np.diff(values, axis=1) ** 2 if kind == "real" else values
    often, steps = (sizes > 0).sum(axis=1), (~np.isnan(sizes)).sum(axis=1)
    least = np.nansum(sizes, axis=1) / np.maximum(often, 1) / np.maximum(steps, 1)
    return np.asarray(np.sqrt(least) if kind == "real" else least)


def level_class(level: Floats, edges: Floats) -> Ints:
    """Class of each blend level, 0 to CLASSES - 1."""
    return np.searchsorted(edges, level).astype(np.int64)


def measure(mean: Floats, actual: Floats, begun: Bools, scale: Floats, segment: Ints, setup: Setup) -> Spreads:
    """Spreads from blends and actuals (N, J, H) of J origins; begun (N, J), scale (N,)."""
    groups, config = setup.segments, setup.config
    seen = ~np.isnan(actual) & begun[:, :, None]
    factor = _mean_factor(mean, actual, seen, segment, groups) if setup.log else np.ones(groups)
    mean = mean * factor[segment][:, None, None]
    known = np.where(seen, actual, np.nan).reshape(len(mean), mean.shape[1] * mean.shape[2])
    least = least_amount(known, setup.kind)
    units = unit(mean, scale, setup.kind, least)
    residual = np.where(seen, (actual - mean) / units, np.nan)
    steps = _step_factors(residual, units, segment, groups)
    residual = residual / steps[segment][:, None, :]
    level = mean.mean(axis=(1, 2)) if mean.size else np.zeros(len(mean))
    edges = np.quantile(level, np.arange(1, CLASSES) / CLASSES) if len(level) else np.zeros(CLASSES - 1)
    flat = residual.reshape(len(residual), residual.shape[1] * residual.shape[2])
    probabilities = quantile_levels(config)
    group = _group_quantiles(flat, segment, level_class(level, edges), groups, probabilities)
    own, count = row_quantiles(flat, probabilities)
    series = _draw(own, count, group[segment, level_class(level, edges)])
    point, group_point = _points(mean, actual, seen, segment, groups, config.objective)
    return Spreads(series, group, steps, factor, point, group_point, edges, least)


def _draw(own: Floats, count: Floats, prior: Floats) -> Floats:
    return (np.nan_to_num(own) * count[:, None] + SEGMENT_CELLS * prior) / (count[:, None] + SEGMENT_CELLS)


def _mean_factor(mean: Floats, actual: Floats, seen: Bools, segment: Ints, groups: int) -> Floats:
    """Actual over blend by segment, drawn to the fleet's: a blend of logs is a median, not a mean."""
    got = sum_by(np.where(seen, actual, 0.0).sum(axis=(1, 2)), segment, groups)
    said = sum_by(np.where(seen, mean, 0.0).sum(axis=(1, 2)), segment, groups)
    if said.sum() <= 0:
        return np.ones(groups)
    extra = 0.1 * said.sum()
    return np.asarray(np.clip((got + extra * got.sum() / said.sum()) / (said + extra), 0.5, 2.0))


def _step_factors(residual: Floats, units: Floats, segment: Ints, groups: int) -> Floats:
    """Root mean square error of a step over that of all steps, by segment, shrunk to 1: (G, H).

    Errors count in the target's own unit, relative to the sum of units: one sale of a series that hardly ever sells is a
    huge residual, and would else decide the factor of its step for the whole segment.
    """
    weight = np.where(np.isnan(residual), 0.0, units**2)
    squares = sum_by((np.nan_to_num(residual) ** 2 * weight).sum(axis=1), segment, groups)
    weights = sum_by(weight.sum(axis=1), segment, groups)
    cells = sum_by((weight > 0).sum(axis=1).astype(float), segment, groups).sum(axis=1)[:, None]
    total = weights.sum(axis=1)[:, None]
    overall = squares.sum(axis=1)[:, None] / np.where(total > 0, total, 1.0)
    prior = STEP_CELLS * total / np.maximum(cells, 1.0)
    drawn = (squares + prior * overall) / np.where(total > 0, weights + prior, 1.0)
    return np.sqrt(np.where(overall > 0, drawn / np.where(overall > 0, overall, 1.0), 1.0))


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


def _group_quantiles(
    flat: Floats, segment: Ints, classes: Ints, groups: int, probabilities: tuple[float, ...]
) -> Floats:
    """Residual quantiles by segment and level class, drawn to those of the class in the whole fleet: (G, C, Q)."""
    fleet = np.stack([row_quantiles(flat[classes == c].reshape(1, -1), probabilities)[0][0] for c in range(CLASSES)])
    fleet = np.where(
        np.isnan(fleet), np.nan_to_num(np.nanmean(np.append(fleet, np.zeros((1, fleet.shape[1])), 0), 0)), fleet
    )
    out = np.repeat(fleet[None], groups, axis=0)
    order = np.lexsort((classes, segment))
    cells = segment[order] * CLASSES + classes[order]
    starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]]) if len(cells) else np.zeros(0, dtype=int)
    for start, end in pairwise([*starts, len(cells)]):
        group, level = divmod(int(cells[start]), CLASSES)
        own, count = row_quantiles(flat[order[start:end]].reshape(1, -1), probabilities)
        out[group, level] = _draw(own, count / 10.0, fleet[level][None])[0]
    return out


def _points(
    mean: Floats, actual: Floats, seen: Bools, segment: Ints, groups: int, objective: str
) -> tuple[Floats, Floats]:
    """Factor on the mean with the least absolute percentage error, by series (N,) and by segment (G,).

    The minimum of sum |a - c m| / a over c is the median of a / m weighted by m / a; zero actuals do not count.
    """
    if objective != "mape":
        return np.ones(len(mean)), np.ones(groups)
    usable = seen & (actual > 0) & (mean > 0)
    ratio = np.where(usable, actual / np.where(mean > 0, mean, 1.0), np.nan)
    ratio = ratio.reshape(len(mean), mean.shape[1] * mean.shape[2])
    fleet = _weighted_median(ratio.reshape(1, -1))[0][0] if np.isfinite(ratio).any() else 1.0
    by_segment = np.full(groups, fleet)
    for group in np.unique(segment):
        own, count = _weighted_median(ratio[segment == group].reshape(1, -1))
        by_segment[group] = (np.nan_to_num(own[0]) * count[0] + 100.0 * fleet) / (count[0] + 100.0)
    own, count = _weighted_median(ratio)
    return (np.nan_to_num(own) * count + SEGMENT_CELLS * by_segment[segment]) / (count + SEGMENT_CELLS), by_segment


def _weighted_median(ratio: Floats) -> tuple[Floats, Floats]:
    """Median of each row weighted by its inverse, (N,), and the number of values, (N,)."""
    count = (~np.isnan(ratio)).sum(axis=1).astype(float)
    if not ratio.shape[1]:
        return np.zeros(len(ratio)), count
    ordered = np.sort(ratio, axis=1)
    weight = np.cumsum(np.nan_to_num(1.0 / ordered), axis=1)
    place = (weight < weight[:, -1:] / 2).sum(axis=1)
    return np.take_along_axis(ordered, np.minimum(place, ratio.shape[1] - 1)[:, None], axis=1)[:, 0], count


def hold_bounds(values: Floats, mean: Floats, spread: Floats, largest: Floats) -> Floats:
    """Bounds (S, H, Q) no farther from the mean than what the series ever held (S,), or a few units of it (S, H)."""
    far = np.maximum(largest[:, None], UNITS_AWAY * spread)[:, :, None]
    return np.clip(values, mean[:, :, None] - far, mean[:, :, None] + far)


def held_bounds(
    mean: Floats, spread: Floats, quantiles: Floats, largest: Floats, point: Floats, setup: Setup
) -> Floats:
    """Bounds and point (S, H, Q) from quantiles (S, Q) in units of `spread` (S, H); see hold_bounds and finish_bounds."""
    values = mean[:, :, None] + spread[:, :, None] * quantiles[:, None, :]
    return finish_bounds(mean, hold_bounds(values, mean, spread, largest), point, setup)


def finish_bounds(mean: Floats, values: Floats, point: Floats, setup: Setup) -> Floats:
    """Nested bounds around the mean, not below 0 where values never are, and the point of the objective last."""
    values = values if setup.kind == "real" else np.maximum(values, 0.0)
    half = len(setup.config.intervals)
    bounds, median = values[:, :, :-1], values[:, :, -1]
    low = np.minimum.accumulate(np.minimum(bounds[:, :, :half][:, :, ::-1], mean[:, :, None]), axis=2)[:, :, ::-1]
    high = np.maximum.accumulate(np.maximum(bounds[:, :, half:], mean[:, :, None]), axis=2)
    objective = setup.config.objective
    best = mean if objective == "rmsse" else mean * point[:, None] if objective == "mape" else median
    return np.concatenate([low, high, best[:, :, None]], axis=2)
