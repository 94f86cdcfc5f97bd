"""Families that walk over a history: equal to a loop by hand, blind for what comes later, as good as those of statsforecast."""

import numpy as np
import pytest
from statsforecast.models import AutoETS, Theta

from ml_platform.forecasting import ets, theta
from ml_platform.forecasting.backtest import WALKS
from ml_platform.forecasting.walk import Walk

HORIZON, SEASON = 14, 7


def daily(series: int, steps: int, seed: int = 0) -> np.ndarray:
    """Counts with a level that wanders and a week of their own."""
    rng, at = np.random.default_rng(seed), np.arange(steps)
    level = np.exp(rng.normal(3, 0.7, (series, 1)) + np.cumsum(rng.normal(0, 0.03, (series, steps)), axis=1))
    return rng.poisson(level * np.exp(rng.normal(0, 0.2, (series, SEASON)))[:, at % SEASON]).astype(float)


def predict(walk: Walk, y: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Forecasts after the end of y with known constants."""
    states = walk.advance(np.zeros((len(y), walk.width(SEASON))), 0, y, constants, SEASON)
    return walk.ahead(states, y.shape[1], constants, HORIZON, SEASON)


def by_hand(y: np.ndarray, form: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """One series, one form, one step after the other."""
    alpha, beta, phi, gamma, begun = form
    level, trend, turn, count, first = 0.0, 0.0, np.zeros(season), 0, dict[int, float]()
    for at, value in enumerate(y):
        trend = after(trend, phi)
        level += trend
        if np.isnan(value):
            continue
        count += 1
        gathers = begun and count <= 2 * season
        error = value - level - (0.0 if gathers else turn[at % season])
        level += max(alpha, 1 / count) * error
        share = alpha * ets.YOUNG / (count + ets.YOUNG) if phi >= 1 else 0.0
        trend += max(beta, share) * error if count > season else 0.0
        if gathers:
            first[at] = value
        elif gamma >= 0 and count > 1:
            turn[at % season] += max(gamma, 1 / (count / season + (1.0 if begun else ets.CYCLES))) * error
        if begun and count == 2 * season:
            level, trend, turn = begin(first, season, phi)
    out = np.empty(horizon)
    for step in range(horizon):
        trend = after(trend, phi)
        level += trend
        out[step] = level + turn[(len(y) + step) % season]
    return out


def after(trend: float, phi: float) -> float:
    """Damped, a line, or (2) in logs what is a line without them."""
    return phi * trend if phi <= 1 else trend / (1 + max(trend, 0.0))


def begin(first: dict[int, float], season: int, phi: float) -> tuple[float, float, np.ndarray]:
    """Level, trend and season after two cycles without a gap."""
    at, value = np.array(list(first)), np.array(list(first.values()))
    halves = value[:season].mean(), value[season:].mean()
    slope = (halves[1] - halves[0]) / season
    line = value.mean() + slope * (np.arange(2 * season) - (2 * season - 1) / 2)
    turn, own = np.zeros(season), ((value - line)[:season] + (value - line)[season:]) / 2
    turn[at[:season] % season] = own
    if phi:
        return value.mean() + slope * (season - 0.5), slope, turn
    return halves[1], 0.0, turn


@pytest.mark.parametrize("season", [1, SEASON])
def test_ets_equals_a_loop_by_hand(season: int) -> None:
    y = daily(30, 60)
    y[1, :11] = np.nan
    y[2, 20:33] = np.nan
    forecasts, forms = ets.fit(y, [60], HORIZON, season)
    assert season == 1 or set(forms[:, 4]) == {0.0, 1.0}
    for row in range(len(y)):
        assert forecasts[row, 0] == pytest.approx(by_hand(y[row], forms[row], season, HORIZON), rel=1e-9)


@pytest.mark.parametrize("name", WALKS)
def test_later_values_change_nothing_before_them(name: str) -> None:
    y = daily(5, 120)
    other = y.copy()
    other[:, 80:] *= 7
    first, _ = WALKS[name].fit(y, [40, 80, 120], HORIZON, SEASON)
    second, _ = WALKS[name].fit(other, [40, 80, 120], HORIZON, SEASON)
    assert np.array_equal(first[:, :2], second[:, :2])
    assert not np.allclose(first[:, 2], second[:, 2])


@pytest.mark.parametrize("name", WALKS)
def test_constants_bring_the_same_forecasts_back(name: str) -> None:
    y = daily(5, 90)
    y[0, :30], y[3] = np.nan, 0.0
    forecasts, constants = WALKS[name].fit(y, [90], HORIZON, SEASON)
    assert np.array_equal(predict(WALKS[name], y, constants), forecasts[:, 0])
    assert len(WALKS[name].DEFAULT) == constants.shape[1]
    assert np.isfinite(forecasts).all()
    assert not forecasts[3].any()


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_goes_on_where_it_stopped(name: str) -> None:
    y = daily(5, 90)
    y[0, :30], y[1, 50:60] = np.nan, np.nan
    walk, (_, constants) = WALKS[name], WALKS[name].fit(y, [90], HORIZON, SEASON)
    states = np.zeros((5, walk.width(SEASON)))
    for first, end in ((0, 1), (1, 47), (47, 88), (88, 89), (89, 90)):
        states = walk.advance(states, first, y[:, first:end], constants, SEASON)
    whole = walk.advance(np.zeros_like(states), 0, y, constants, SEASON)
    assert np.allclose(states, whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_a_multiple_of_the_series_has_a_multiple_of_its_forecast(name: str, factor: float) -> None:
    y = daily(8, 100)
    once, _ = WALKS[name].fit(y, [100], HORIZON, SEASON)
    more, _ = WALKS[name].fit(factor * y, [100], HORIZON, SEASON)
    assert more == pytest.approx(factor * once, rel=1e-8, abs=1e-8 * factor)


@pytest.mark.parametrize("name", WALKS)
def test_series_do_not_see_each_other(name: str) -> None:
    y = daily(700, 40)
    whole, constants = WALKS[name].fit(y, [30, 40], HORIZON, SEASON)
    alone, own = WALKS[name].fit(y[345:346], [30, 40], HORIZON, SEASON)
    assert np.array_equal(whole[345:346], alone)
    assert np.array_equal(constants[345:346], own)


def wave(series: int, steps: int, season: int) -> np.ndarray:
    """A smooth season over a level that wanders, as of temperatures or of a turnover by month."""
    rng, at = np.random.default_rng(6), np.arange(steps)
    turn = 20 * np.sin(2 * np.pi * at / season + rng.uniform(0, 6, (series, 1)))
    return 100 + turn + np.cumsum(rng.normal(0, 1, (series, steps)), axis=1)


@pytest.mark.parametrize(
    ("walk", "peer", "y", "season", "above"),
    [
        (ets, AutoETS(SEASON), daily(60, 314, seed=4), SEASON, 1.04),
        (theta, Theta(1), daily(60, 314, seed=4), 1, 1.03),
        (theta, Theta(SEASON), daily(60, 314, seed=4), SEASON, 1.03),
        (ets, AutoETS(12), wave(30, 74, 12), 12, 1.05),
        (theta, Theta(12), wave(60, 134, 12), 12, 1.2),
    ],
    ids=["ets", "theta", "theta, week", "ets, months", "theta, months"],
)
def test_as_good_as_the_peer(walk: Walk, peer: AutoETS | Theta, y: np.ndarray, season: int, above: float) -> None:
    """Mean root scaled square error of unseen steps, so much above a method that optimises every series by itself."""
    past, later = y[:, :-HORIZON], y[:, -HORIZON:]
    own, _ = walk.fit(past, [past.shape[1]], HORIZON, season)
    theirs = np.stack([peer.forecast(row, h=HORIZON)["mean"] for row in past])
    scale = np.sqrt((np.diff(past, axis=1) ** 2).mean(axis=1))
    errors = [float(np.mean(np.sqrt(((said - later) ** 2).mean(axis=1)) / scale)) for said in (own[:, 0], theirs)]
    assert errors[0] <= above * errors[1]


@pytest.mark.parametrize("name", WALKS)
def test_a_level_does_not_matter(name: str) -> None:
    """In logs a multiple is a sum: what is added to all values is added to the forecasts, and nowhere taken for a season."""
    y = daily(8, 150)
    once, _ = WALKS[name].fit(y, [150], HORIZON, SEASON, logs=True)
    more, _ = WALKS[name].fit(y + 1e4, [150], HORIZON, SEASON, logs=True)
    assert more == pytest.approx(once + 1e4, rel=1e-9)


@pytest.mark.parametrize("slope", [0.8, -0.2])
def test_a_line_goes_on_in_logs_too(slope: float) -> None:
    """A line times a week: in logs its growth falls, and a form knows how."""
    rng, at = np.random.default_rng(3), np.arange(400)
    line = (100 + slope * at) * (1 + 0.3 * np.sin(at * 2 * np.pi / SEASON))
    y = np.log(line * np.exp(rng.normal(0, 0.01, (20, 400))))
    ahead, forms = ets.fit(y[:, :300], [300], 100, SEASON, logs=True)
    assert np.exp(ahead[:, 0]).sum(axis=1) == pytest.approx(line[300:].sum(), rel=0.06 if slope > 0 else 0.2)
    assert (forms[:, 2] == 2).mean() > 0.8 or slope < 0


def test_a_line_goes_on_and_a_strong_season_is_seen_in_its_third_cycle() -> None:
    """Noise of a hundredth: a year of a straight line, and ten weeks more than two years of weeks that differ."""
    rng, at = np.random.default_rng(3), np.arange(379)
    line = 100 + 0.3 * at + rng.normal(0, 1, (20, 379))
    ahead, forms = ets.fit(line[:, :365], [365], 14, SEASON)
    assert (forms[:, 2] == 1).mean() > 0.8
    assert ahead[:, 0].mean(axis=0) == pytest.approx(line[:, 365:].mean(axis=0), abs=2)
    year = 100 + rng.normal(0, 20, (20, 52))[:, np.arange(122) % 52] + rng.normal(0, 1, (20, 122))
    ahead, forms = ets.fit(year[:, :114], [114], 8, 52)
    assert (forms[:, 3] >= 0).all()
    assert np.abs(ahead[:, 0] - year[:, 114:]).mean() < 0.6 * np.abs(year[:, :114].mean() - year[:, 114:]).mean()


@pytest.mark.parametrize("logs", [False, True])
def test_the_likeliest_form_is_taken_with_absolute_or_relative_errors(logs: bool) -> None:
    """The corrected Akaike criterion of every form, one step after the other; relative errors only of values above 0 that are no logs."""
    y, season, steps = daily(24, 48, seed=2), 3, 48
    positive = np.array([not logs and row.min() > 0 for row in y])
    assert logs or 0 < positive.sum() < len(y)
    grid = ets.Form.grid(season, logs)
    relative = 0
    for own, above, chosen in zip(y, positive, ets.fit(y, [steps], HORIZON, season, logs=logs)[1], strict=True):
        criteria = np.empty((2, len(grid.alpha)))
        for place, form in enumerate(grid.rows()):
            said = np.array([by_hand(own[:at], form, season, 1)[0] for at in range(season, steps)])
            count, freedom = steps - season, grid.freedom()[place]
            squares = ((own[season:] - said) ** 2).sum(), ((own[season:] / said - 1) ** 2).sum()
            likely = count * np.log(np.array(squares) / count) + (0, 2 * np.log(np.abs(said)).sum())
            criteria[:, place] = likely + 2 * freedom * count / (count - freedom - 1)
        judged = criteria if above else criteria[:1]
        assert np.array_equal(chosen, grid.rows()[judged.min(axis=0).argmin()])
        relative += above and criteria[1].min() < criteria[0].min()
    assert (relative > 0) == (not logs)


def test_only_what_lies_before_an_origin_says_whether_errors_may_be_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    y = 5 + daily(40, 150, seed=2)
    y[:, 149] = 0.0
    either = ets.fit(y, [149, 150], HORIZON, SEASON)[0]
    monkeypatch.setattr(ets, "above_nothing", lambda y, origins: np.zeros((len(y), len(origins)), dtype=bool))
    absolute = ets.fit(y, [149, 150], HORIZON, SEASON)[0]
    assert np.isclose(either, absolute).all(axis=(0, 2)).tolist() == [False, True]
