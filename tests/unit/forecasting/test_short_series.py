"""Intervals of series that were judged at no origin: their own spread, as far as they show one, around that of their segment."""

import numpy as np
import pandas as pd
import pytest

from ml_platform.forecasting import forecast

STEPS, HORIZON, SEASON = 200, 14, 7
FAMILIES = ["seasonal_naive", "mean_28", "ses_05", "ridge"]
SHORT, ALL = 60, 180


def world(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (S, T + H) around a level and a week, and how wild each series is (S,): noise of an own size."""
    rng, at = np.random.default_rng(0), np.arange(STEPS + HORIZON)
    level = np.exp(rng.normal(3.5, 0.6, (ALL, 1)))
    mean = level * np.exp(rng.normal(0, 0.2, (1, SEASON)))[:, at % SEASON]
    wild = np.exp(rng.normal(0, 0.6, (ALL, 1)))
    if kind == "counts":
        size = 20.0 / wild
        return rng.negative_binomial(size, size / (size + mean)).astype(float), wild[:, 0]
    noise = rng.normal(size=mean.shape) * wild
    return (mean * np.exp(0.15 * noise) if kind == "positive" else mean - 30 + 0.2 * level * noise), wild[:, 0]


def forecasts(y: np.ndarray, lengths: np.ndarray) -> pd.DataFrame:
    """Forecasts of the last so many values of each series (S,) before the horizon."""
    times = pd.date_range("2024-01-01", periods=STEPS)
    rows = [
        (f"s{one:03d}", times[at], y[one, at])
        for one in range(len(y))
        for at in range(STEPS - int(lengths[one]), STEPS)
    ]
    history = pd.DataFrame(rows, columns=["series", "day", "y"])
    config = {
        "series": ["series"], "time": "day", "target": "y", "frequency": "D", "horizon": HORIZON, "missing": "gap",
        "families": FAMILIES,
    }  # fmt: skip
    result = forecast(history, config=config)
    states = result.ledger.set_index("series")["state"]
    assert (states.sort_index() == np.where(lengths < 30, "fallback", "fitted")).all()
    return result.forecasts.sort_values(["series", "step"])


@pytest.mark.parametrize("kind", ["counts", "positive", "real"])
def test_they_cover_what_comes_and_wild_ones_are_wider(kind: str) -> None:
    y, wild = world(kind)
    lengths = np.where(np.arange(ALL) < SHORT, np.random.default_rng(1).integers(1, 16, ALL), STEPS)
    table = forecasts(y, lengths)
    low, high = (table[name].to_numpy().reshape(ALL, HORIZON)[:SHORT] for name in ("lo_80", "hi_80"))
    held = (low <= y[:SHORT, STEPS:]) & (y[:SHORT, STEPS:] <= high)
    assert 0.7 < held.mean() < 0.9
    width = ((high - low) / np.exp(3.5)).mean(axis=1)
    assert (width > 0).all()
    longer = lengths[:SHORT] > 7
    if kind != "counts":  # whose noise is mostly that of counting
        assert np.corrcoef(np.log(width[longer]), np.log(wild[:SHORT][longer]))[0, 1] > 0.4


def test_young_series_are_no_surer_than_old_ones() -> None:
    """Origins at which a series had not begun say nothing of its level: those that began late would seem to vary more, the new ones less."""
    rng = np.random.default_rng(2)
    y = np.exp(rng.normal(4.0, 0.6, (90, 1)) + rng.normal(0, 0.2, (90, STEPS + HORIZON)))
    lengths = np.array([STEPS, 100, 80, 60, 10])[np.arange(90) % 5]
    table = forecasts(y, lengths)
    low, high, mean = (table[name].to_numpy().reshape(90, HORIZON) for name in ("lo_80", "hi_80", "mean"))
    held = ((low <= y[:, STEPS:]) & (y[:, STEPS:] <= high)).mean(axis=1)
    width = ((high - low) / mean).mean(axis=1)
    for length in set(lengths.tolist()):
        assert 0.74 < held[lengths == length].mean() < 0.88
    assert width[lengths == 10].mean() == pytest.approx(width[lengths == STEPS].mean(), rel=0.15)


@pytest.mark.parametrize("shift", [0.0, -300.0])
def test_a_wild_one_among_calm_ones(shift: float) -> None:
    """Twenty steps that jump by a hundred among series that hardly move; a third that shows one value gets what its segment has."""
    rng = np.random.default_rng(3)
    y = 200.0 + rng.normal(0, 2, (30, STEPS + HORIZON)) + shift
    y[0] = 200.0 + rng.normal(0, 70, STEPS + HORIZON) + shift
    table = forecasts(y, np.where(np.arange(30) == 0, 20, np.where(np.arange(30) < 3, 1, STEPS)))
    width = (table["hi_80"] - table["lo_80"]).to_numpy().reshape(30, HORIZON).mean(axis=1)
    assert 100 < width[0] < 300
    assert 3 < width[3:].min() <= width[3:].max() < 8
    assert 4 < width[1:3].min() <= width[1:3].max() < 16
