"""An earlier choice stands until another is better beyond noise; what an earlier choice is."""

import numpy as np
import pyarrow as pa
import pytest

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.fleet import POOL_SCHEMA, Fleet, pool_table
from ml_platform.forecasting.incumbent import Incumbent, Shares, differing, settings_of
from ml_platform.forecasting.selection import KEPT, select

CONFIG = ForecastConfig(
    series=["item"], time="date", target="units", frequency="D", horizon=7, families=["mean_28", "ses_05", "tsb"]
)
NAMES = CONFIG.family_names


def fleet(weights: dict[str, dict[str, float] | None], segments: dict[str, list[float]], states=None) -> Fleet:
    """Rows with these weights (None: no parameters) and segment weights."""
    rows = {
        "series_id": list(weights),
        "family": ["tsb"] * len(weights),
        "state": states or ["fitted"] * len(weights),
        "reason": pa.nulls(len(weights), pa.string()),
        "parameters": [None if one is None else f'{{"weights": {one}}}'.replace("'", '"') for one in weights.values()],
    }
    shared = pool_table(np.array(list(segments.values())), tuple(segments), NAMES)
    return Fleet(pa.table(rows), {"weights": shared.cast(POOL_SCHEMA)}, CONFIG)


def incumbent(**weights: dict[str, float] | None) -> Incumbent:
    return Incumbent(fleet(weights, {"x": [0.5, 0.5, 0.0], "y": [0.0, 0.0, 1.0]}), "s")


def products(errors: np.ndarray) -> np.ndarray:
    return errors.transpose(0, 1, 3, 2) @ errors / errors.shape[2]


def shares(weights: list[float], series: int, groups: int = 1) -> Shares:
    return Shares(np.tile(weights, (series, 1)), np.tile(weights, (groups, 1)))


def test_weights_are_those_of_the_series_else_of_its_segment_else_none() -> None:
    known = incumbent(a={"tsb": 1.0}, b=None)
    found = known.shares(np.array(["a", "b", "c", "d"]), np.array(["x", "x", "y", "z"]), ("x", "y", "z"), NAMES)
    np.testing.assert_array_equal(found.series[:3], [[0, 0, 1], [0.5, 0.5, 0], [0, 0, 1]])
    assert np.isnan(found.series[3]).all()
    assert np.isnan(found.segment[2]).all()


def test_a_family_that_is_not_run_leaves_its_share_to_the_others() -> None:
    third = 1.0 / 3.0
    known = incumbent(a={"mean_28": third, "ses_05": third, "tsb": third}, b={"tsb": 1.0})
    found = known.shares(np.array(["a", "b"]), np.array(["x", "x"]), ("x",), NAMES[:2])
    np.testing.assert_allclose(found.series, [[0.5, 0.5], [0.5, 0.5]])  # b has nothing left: its segment's
    whole = known.shares(np.array(["a"]), np.array(["x"]), ("x",), NAMES)
    assert whole.series[0].tolist() == [third] * 3, "to the last digit"


def test_a_choice_stands_where_another_is_not_clearly_better() -> None:
    rng = np.random.default_rng(5)
    errors = rng.normal(size=(60, 5, 14, 1)) * [1.0, 0.998, 1.0] + 0.01 * rng.normal(size=(60, 5, 14, 3))
    stands = shares([0.0, 0.0, 1.0], 60)
    chosen = select(products(errors), np.ones((60, 5)), np.zeros(60, dtype=np.int64), 1, stands)
    np.testing.assert_array_equal(chosen.series, stands.series)
    np.testing.assert_array_equal(chosen.segment, stands.segment)
    assert chosen.by_strategy[KEPT] == 1
    assert KEPT in chosen.scores


@pytest.mark.parametrize("keep", [False, True])
def test_a_choice_that_is_clearly_worse_is_left_unless_it_has_to_be_kept(keep: bool) -> None:
    errors = np.random.default_rng(6).normal(size=(60, 5, 14, 3)) * np.array([0.5, 1.0, 1.0])
    stands = shares([0.0, 0.0, 1.0], 60)
    chosen = select(products(errors), np.ones((60, 5)), np.zeros(60, dtype=np.int64), 1, stands, keep)
    assert (chosen.by_strategy[KEPT] == 1) is keep
    assert (chosen.series[:, 2] == 1.0).all() == keep


def test_few_folds_do_not_end_a_choice() -> None:
    errors = np.random.default_rng(7).normal(size=(3, 5, 14, 3)) * np.array([0.5, 1.0, 1.0])
    chosen = select(products(errors), np.ones((3, 5)), np.zeros(3, dtype=np.int64), 1, shares([0.0, 0.0, 1.0], 3))
    assert chosen.by_strategy[KEPT] == 1


def test_segments_without_an_earlier_choice_choose_freely() -> None:
    errors = np.random.default_rng(8).normal(size=(80, 5, 14, 3)) * np.array([0.5, 1.0, 1.0])
    segment = (np.arange(80) >= 40).astype(np.int64)
    stands = shares([0.0, 0.0, 1.0], 80, 2)
    stands.series[segment == 1] = np.nan
    stands.segment[1] = np.nan
    kept = select(products(errors), np.ones((80, 5)), segment, 2, stands, keep=True)
    free = select(products(errors), np.ones((80, 5)), segment, 2)
    np.testing.assert_array_equal(kept.series[segment == 0], stands.series[segment == 0])
    np.testing.assert_array_equal(kept.series[segment == 1], free.series[segment == 1])
    assert kept.by_strategy[KEPT] == 1
    assert sum(kept.by_strategy.values()) == 2


def test_without_folds_an_earlier_choice_stands() -> None:
    stands = shares([0.0, 1.0, 0.0], 4)
    chosen = select(np.zeros((4, 0, 3, 3)), np.ones((4, 0)), np.zeros(4, dtype=np.int64), 1, stands)
    np.testing.assert_array_equal(chosen.series, stands.series)


def test_fleets_differ_by_choice_not_by_data() -> None:
    one = incumbent(a={"tsb": 1.0}, b={"mean_28": 1.0})
    labels = {"a": "x", "b": "x", "c": "y"}
    assert differing(one, incumbent(a={"tsb": 1.0}, b={"mean_28": 1.0}, c={"ses_05": 1.0}), labels) == 0
    assert differing(one, incumbent(a={"tsb": 0.9, "mean_28": 0.1}, b={"mean_28": 1.0}), labels) == 1
    other = Incumbent(fleet({"a": {"tsb": 1.0}}, {"x": [1.0, 0.0, 0.0], "y": [1.0, 0.0, 0.0]}), "s")
    assert differing(one, other, labels) == 1, "segment x has series of both, y has none"
    assert one.recipe == incumbent(b={"mean_28": 1.0}, a={"tsb": 1.0}).recipe
    assert one.recipe != Incumbent(one.fleet, "other").recipe


def test_settings_are_what_forecasts_depend_on() -> None:
    base = settings_of(CONFIG, "1")
    assert settings_of(CONFIG.model_copy(update={"name": "another", "sums": ((),)}), "1") == base
    assert settings_of(CONFIG, "2") != base
    assert settings_of(CONFIG.model_copy(update={"horizon": 8}), "1") != base
    coherent = CONFIG.model_copy(update={"reconcile": "mint"})
    assert settings_of(coherent.model_copy(update={"sums": ((),)}), "1") != settings_of(coherent, "1")
