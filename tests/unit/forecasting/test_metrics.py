"""Metrics: each equal to that of utilsforecast where it has it, and to a sum by hand where it does not; calibration on origins unseen."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from utilsforecast import losses

from ml_platform.forecasting import forecast, metrics
from ml_platform.forecasting.calibration import calibration_table
from ml_platform.forecasting.folds import season_scale
from ml_platform.forecasting.metrics import Cells

SERIES, PAST, HORIZON, SEASON = 9, 60, 14, 7


def judged(seed: int = 0) -> tuple[Cells, pd.DataFrame, pd.DataFrame]:
    """Forecasts and bounds of one group of series as cells, and the same as frames of utilsforecast, past and judged."""
    rng = np.random.default_rng(seed)
    y = rng.poisson(rng.uniform(1, 9, (SERIES, 1)), (SERIES, PAST + HORIZON)).astype(float)
    past, actual = y[:, :PAST], y[:, PAST:]
    scale = (np.diff(past, axis=1) ** 2).mean(axis=1)
    codes = np.repeat(np.arange(SERIES), HORIZON)
    group, weight = np.zeros(SERIES, dtype=np.int64), rng.uniform(1, 5, SERIES)
    cells = Cells(actual.ravel(), codes, group, 1, weight, scale, season_scale(past, SEASON))
    said = rng.gamma(2.0, 2.0, actual.shape)
    frame = pd.DataFrame(
        {"unique_id": codes, "ds": np.tile(np.arange(PAST, PAST + HORIZON), SERIES), "y": actual.ravel()}
    )
    frame = frame.assign(**{"m": said.ravel(), "m-lo-80": said.ravel() - 2.0, "m-hi-80": said.ravel() + 3.0})
    before = {
        "unique_id": np.repeat(np.arange(SERIES), PAST),
        "ds": np.tile(np.arange(PAST), SERIES),
        "y": past.ravel(),
    }
    return cells, frame, pd.DataFrame(before)


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        (metrics.smape, lambda frame, past: losses.smape(frame, ["m"])["m"].mean()),
        (metrics.mape, lambda frame, past: losses.mape(frame, ["m"])["m"].mean()),
        (metrics.mase, lambda frame, past: losses.mase(frame, ["m"], SEASON, past)["m"].mean()),
        (metrics.wape, lambda frame, past: losses.nd(frame.assign(unique_id=0), ["m"])["m"].iloc[0]),
        (metrics.bias, lambda frame, past: losses.bias(frame, ["m"])["m"].mean() / frame["y"].mean()),
    ],
    ids=["smape", "mape", "mase", "wape", "bias"],
)
def test_figures_are_those_of_utilsforecast(
    own: Callable[..., np.ndarray], theirs: Callable[[pd.DataFrame, pd.DataFrame], float]
) -> None:
    cells, frame, past = judged()
    assert own(cells, frame["m"].to_numpy())[0] == pytest.approx(theirs(frame, past), rel=1e-12)


def test_interval_figures_are_those_of_utilsforecast() -> None:
    cells, frame, _ = judged()
    low, high = frame["m-lo-80"].to_numpy(), frame["m-hi-80"].to_numpy()
    assert metrics.coverage(cells, low, high)[0] == pytest.approx(losses.coverage(frame, ["m"], 80)["m"].mean())
    for probability, bound in ((0.1, "m-lo-80"), (0.9, "m-hi-80")):
        theirs = losses.quantile_loss(frame, {"m": bound}, q=probability)["m"].mean()
        assert metrics.pinball(cells, frame[bound].to_numpy(), probability)[0] == pytest.approx(theirs, rel=1e-12)


def test_the_weighted_error_is_that_of_utilsforecast_with_the_root_once() -> None:
    cells, frame, past = judged()
    per_series = losses.rmsse(frame, ["m"], 1, past)["m"].to_numpy()
    expected = np.sqrt(np.average(per_series**2, weights=cells.weight))
    assert metrics.weighted_rmsse(cells, frame["m"].to_numpy())[0][0] == pytest.approx(expected, rel=1e-12)


def test_cells_that_were_not_observed_and_series_without_a_scale_count_for_nothing() -> None:
    cells, frame, _ = judged()
    said = frame["m"].to_numpy()
    gone = cells.series >= 6
    holes = Cells(
        np.where(gone, np.nan, cells.actual),
        cells.series,
        cells.group,
        1,
        cells.weight,
        cells.scale,
        cells.season_scale,
    )
    fewer = Cells(
        cells.actual[~gone], cells.series[~gone], cells.group[:6], 1, cells.weight[:6], cells.scale[:6], cells.season_scale[:6]
    )  # fmt: skip
    for figure in (metrics.mase, metrics.wape, metrics.smape, metrics.mape, metrics.bias):
        assert figure(holes, said)[0] == pytest.approx(figure(fewer, said[~gone])[0], rel=1e-12)
    assert metrics.weighted_rmsse(holes, said)[0][0] == metrics.weighted_rmsse(fewer, said[~gone])[0][0]
    flat = Cells(*(getattr(cells, name) for name in ("actual", "series", "group", "groups", "weight")), cells.scale * 0, cells.scale * 0)  # fmt: skip
    assert np.isnan([metrics.mase(flat, said)[0], metrics.weighted_rmsse(flat, said)[0][0]]).all()


def test_groups_are_judged_apart() -> None:
    cells, frame, _ = judged()
    said, group = frame["m"].to_numpy(), (np.arange(SERIES) % 2).astype(np.int64)
    both = Cells(cells.actual, cells.series, group, 2, cells.weight, cells.scale, cells.season_scale)
    own = frame[frame["unique_id"] % 2 == 1]
    assert metrics.mape(both, said)[1] == pytest.approx(losses.mape(own, ["m"])["m"].mean(), rel=1e-12)
    assert metrics.wape(both, said)[1] == pytest.approx((own["m"] - own["y"]).abs().sum() / own["y"].sum(), rel=1e-12)


def test_the_season_scale_skips_what_was_not_observed() -> None:
    y = np.array([[np.nan, 2.0, 4.0, 1.0, np.nan, 9.0], [np.nan] * 6, [1.0, 2.0, np.nan, np.nan, np.nan, np.nan]])
    assert season_scale(y, 2)[0] == pytest.approx((1.0 + 8.0) / 2)
    assert np.isnan(season_scale(y, 2)[1:]).all()
    assert np.isnan(season_scale(y, 6)).all()


def test_calibration_counts_what_lies_inside_below_and_above() -> None:
    actual, step = np.array([1.0, 5.0, 9.0, np.nan]), np.array([1, 2, 1, 2])
    bounds = {"lo_80": np.array([2.0] * 4), "hi_80": np.array([8.0, 8.0, 8.0, 8.0])}
    found = calibration_table(actual, bounds, {"step": step}, [80]).set_index(["by", "group"])
    assert found.loc[("all", 0)].to_dict() == pytest.approx(
        {"nominal": 80, "covered": 1 / 3, "below": 1 / 3, "above": 1 / 3, "rows": 3}
    )
    assert found.loc[("step", 1), "covered"] == 0.0
    assert found.loc[("step", 2), ["covered", "rows"]].tolist() == [1.0, 1]


def test_a_fold_is_covered_by_residuals_of_other_origins(make) -> None:
    """One fold in which everything is ten times as much: its own residuals would have widened the intervals until they hold it."""
    history = make.counts(series=30, seed=9)
    last = history["day"] > history["day"].max() - pd.Timedelta(days=7)
    jump = history.assign(units=np.where(last, 10 * history["units"] + 20, history["units"]))
    found = forecast(jump, static=make.kinds(history), config=make.config(interval_origins=4))
    covered = found.metrics[found.metrics["family"] == "blend"].set_index("fold")["coverage_95"]
    assert covered[3] < 0.05
    assert covered.drop(3).min() > 0.9


def test_calibrated_intervals_are_found_to_be(make) -> None:
    history = make.counts(series=60, days=200, seed=5)
    found = forecast(history, static=make.kinds(history), config=make.config(interval_origins=12))
    table = found.calibration
    whole = table[table["by"] == "all"].set_index("nominal")
    assert whole.loc[80, "covered"] == pytest.approx(0.8, abs=0.05)
    assert whole.loc[95, "covered"] == pytest.approx(0.95, abs=0.03)
    assert (whole["rows"] == 60 * 7 * 4).all()
    assert set(table.loc[table["by"] == "step", "group"]) == set(range(1, 8))
    blend = found.metrics[found.metrics["family"] == "blend"]
    assert blend["coverage_80"].mean() == pytest.approx(whole.loc[80, "covered"], rel=1e-9)
    assert (blend["pinball"] > 0).all()


def test_skill_is_measured_against_the_best_floor(make) -> None:
    """Means that are trailing means without a week: a fleet without season, whose best floor is its longest mean."""
    history = make.counts(series=20).assign(units=lambda rows: np.random.default_rng(1).poisson(4.0, len(rows)))
    found = forecast(history, static=make.kinds(history), config=make.config(families=["mean_28", "seasonal_naive"]))
    by_family = found.metrics.groupby("family")["skill"].mean()
    assert by_family["seasonal_naive"] < -0.2
    assert abs(by_family["mean_28"]) < 0.05
