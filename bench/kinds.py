"""Seeded series of five kinds, each with a behaviour of its own: trend, damped trend, season, level shifts, counts.

Belongs here: what exponential smoothing is measured on. Does not belong here: the world of sales (generator), measuring.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _noise(rng: np.random.Generator, size: int, steps: int) -> tuple[Floats, Floats]:
    """Levels (S, 1) around 100 and errors (S, T) of a few percent of them."""
    level = np.exp(rng.normal(4.6, 0.5, (size, 1)))
    return level, level * rng.uniform(0.02, 0.1, (size, 1)) * rng.normal(0.0, 1.0, (size, steps))


def _wandering(rng: np.random.Generator, errors: Floats) -> Floats:
    """A level that keeps a share of every error, as exponential smoothing assumes: (S, T)."""
    share = rng.uniform(0.02, 0.4, (len(errors), 1))
    return share * np.cumsum(errors, axis=1) + (1.0 - share) * errors


def _profile(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """A season of mean 0 that repeats, (S, T), as a share of the level."""
    turn = rng.normal(0.0, 0.2, (size, season))
    return np.asarray((turn - turn.mean(axis=1, keepdims=True))[:, np.arange(steps) % season])


def trend(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """A straight line, up or down by as much as the level over the history."""
    level, errors = _noise(rng, size, steps)
    slope = level * rng.uniform(-0.5, 1.0, (size, 1)) / steps
    return level + slope * np.arange(steps) + _wandering(rng, errors) + 0.0 * season


def damped(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """Pushes that fade away, with a weak season."""
    level, errors = _noise(rng, size, steps)
    pushes = level * 0.02 * rng.normal(0.0, 1.0, (size, steps)) * (rng.random((size, steps)) < 0.05)
    slope = np.zeros((size, steps))
    for at in range(1, steps):
        slope[:, at] = 0.9 * slope[:, at - 1] + pushes[:, at]
    return level * (1.0 + 0.3 * _profile(rng, size, steps, season)) + np.cumsum(slope, axis=1) + errors


def seasonal(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """A season over a level that wanders."""
    level, errors = _noise(rng, size, steps)
    return level * (1.0 + _profile(rng, size, steps, season)) + _wandering(rng, errors)


def shifts(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """Levels that jump about twice in a history, with a season."""
    level, errors = _noise(rng, size, steps)
    jumps = np.where(rng.random((size, steps)) < 2.0 / steps, rng.normal(0.0, 0.4, (size, steps)), 0.0)
    return level * (np.exp(np.cumsum(jumps, axis=1)) + 0.5 * _profile(rng, size, steps, season)) + errors


def counts(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """Draws of a negative binomial around a slow random walk with a season; few are zero."""
    walk = np.cumsum(rng.normal(0.0, 0.01, (size, steps)), axis=1)
    mean = np.exp(rng.normal(2.0, 0.7, (size, 1)) + walk + _profile(rng, size, steps, season))
    return np.asarray(rng.negative_binomial(5, 5 / (5 + mean)), dtype=float)


def smooth(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """A wave that repeats over a level that wanders freely."""
    level = np.exp(rng.normal(4.6, 0.5, (size, 1)))
    turn = 0.2 * np.sin(2 * np.pi * np.arange(steps) / season + rng.uniform(0.0, 6.0, (size, 1)))
    return np.asarray(level * (1.0 + turn + 0.01 * np.cumsum(rng.normal(0.0, 1.0, (size, steps)), axis=1)))


def products(rng: np.random.Generator, size: int, steps: int, season: int) -> Floats:
    """A line times a wave times noise: never 0, so the platform works on its logs."""
    line = 100.0 + rng.uniform(0.2, 2.0, (size, 1)) * np.arange(steps)
    turn = 0.3 * np.sin(2 * np.pi * np.arange(steps) / season + rng.uniform(0.0, 6.0, (size, 1)))
    return np.asarray(line * (1.0 + turn) * np.exp(rng.normal(0.0, 0.04, (size, steps))))


KINDS: dict[str, Callable[[np.random.Generator, int, int, int], Floats]] = {
    "trend": trend,
    "damped": damped,
    "season": seasonal,
    "shifts": shifts,
    "counts": counts,
    "smooth": smooth,
    "products": products,
}
LOGS = ("products",)  # kinds of which the kernel gets logs, as in the platform


def draw(kind: str, size: int, steps: int, season: int, seed: int) -> Floats:
    """Values (S, T) of a kind."""
    return KINDS[kind](np.random.default_rng([seed, list(KINDS).index(kind)]), size, steps, season)
