"""Metrics on the judged fold, against figures computed by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.evaluation import arrange, evaluate, segment_labels, store_evaluation
from ml_platform.evaluation.live import live_forecasts
from ml_platform.evaluation.noise import Blocks, difference
from ml_platform.lake import schemas


def hand_made(world, **changes):
    """Two series in two segments, three steps; errors that a person can check."""
    fold = {
        "series_id": ["a", "a", "a", "b", "b", "b"],
        "step": pa.array([1, 2, 3] * 2, pa.int32()),
        "date": pa.array(np.array(["2024-03-01", "2024-03-02", "2024-03-09"] * 2, "datetime64[D]")),
        "actual": [2.0, 0.0, 4.0, 10.0, 10.0, 10.0],
        "mean": [1.0, 1.0, 4.0, 13.0, 10.0, 10.0],
        "lo_80": [0.0, 0.5, 3.0, 11.0, 9.0, 9.0],
        "hi_80": [3.0, 1.5, 5.0, 14.0, 11.0, 11.0],
        "lo_95": [0.0] * 6,
        "hi_95": [20.0] * 6,
        "weight": [1.0] * 3 + [3.0] * 3,
        "scale": [2.0] * 3 + [4.0] * 3,
        "family_mean_28": [2.0, 0.0, 4.0, 20.0, 20.0, 20.0],
        "family_tsb": [0.0] * 6,
        "floor_zero": [0.0] * 6,
    } | changes
    catalogue = pa.table({"series_id": ["a", "b"], "site": [1, 2], "item": ["i", "j"], "state": ["active"] * 2})
    return pa.table(fold), catalogue


def judged(fold, catalogue, config, as_of, *rest, **more):
    return evaluate(arrange(fold, segment_labels(catalogue, config)), config, as_of, *rest, **more)


def row(table, contender, segment="fleet"):
    return next(r for r in table.to_pylist() if (r["contender"], r["segment"]) == (contender, segment))


def test_weighted_rmsse_takes_the_root_once(world):
    found = row(judged(*hand_made(world), world.config, world.day), "challenger")
    expected = np.sqrt((1 * (2 / 3 / 2) + 3 * (9 / 3 / 4)) / 4)
    assert found["weighted_rmsse"] == pytest.approx(expected, abs=1e-12)
    assert found["wape"] == pytest.approx(5 / 36)
    assert found["bias"] == pytest.approx(39 / 36 - 1)
    assert (found["series"], found["rows"], found["unscaled"], found["weight"]) == (2, 6, 0, 4.0)


def test_wape_by_week_sums_before_it_compares(world):
    # week 0 of series a: 2 sold, 2 forecast, though every day is wrong; series b: 20 against 23
    found = row(judged(*hand_made(world), world.config, world.day), "challenger")
    assert found["wape_week"] == pytest.approx(3 / 36)
    assert row(judged(*hand_made(world), world.config, world.day), "challenger", "1")["wape_week"] == 0.0


def test_interval_coverage_counts_actuals_inside(world):
    found = row(judged(*hand_made(world), world.config, world.day), "challenger")
    assert found["coverage_80"] == pytest.approx(4 / 6)  # 0.0 lies below 0.5, 10 below 11
    assert found["coverage_95"] == 1.0
    assert row(judged(*hand_made(world), world.config, world.day), "floor_zero")["coverage_80"] is None


def test_series_without_scale_are_counted_not_judged(world):
    fold, catalogue = hand_made(world, scale=[0.0] * 3 + [4.0] * 3)
    found = row(judged(fold, catalogue, world.config, world.day), "challenger")
    assert found["unscaled"] == 1
    assert found["weighted_rmsse"] == pytest.approx(np.sqrt(9 / 3 / 4))
    assert row(judged(fold, catalogue, world.config, world.day), "challenger", "1")["weighted_rmsse"] is None


def test_weights_that_are_all_null_are_equal(world):
    fold, catalogue = hand_made(world, weight=pa.array([None] * 6, pa.float64()))
    found = row(judged(fold, catalogue, world.config, world.day), "challenger")
    assert found["weighted_rmsse"] == pytest.approx(np.sqrt((2 / 3 / 2 + 9 / 3 / 4) / 2))


def test_a_missing_forecast_counts_as_zero_and_is_counted(world):
    fold, catalogue = hand_made(world, mean=[1.0, 1.0, None, 13.0, float("inf"), 10.0])
    found = row(judged(fold, catalogue, world.config, world.day), "challenger")
    assert found["rows"] == 4
    assert found["weighted_rmsse"] == pytest.approx(np.sqrt((18 / 3 / 2 + 3 * 109 / 3 / 4) / 4))


def test_a_missing_actual_is_not_judged(world):
    fold, catalogue = hand_made(world, actual=[2.0, None, 4.0, 10.0, 10.0, 10.0])
    found = row(judged(fold, catalogue, world.config, world.day), "challenger")
    assert found["rows"] == 5
    assert found["weighted_rmsse"] == pytest.approx(np.sqrt((1 / 2 / 2 + 3 * 9 / 3 / 4) / 4))


def test_the_champion_is_judged_by_its_recipe(world):
    champion = world.champion_of({"a": {"mean_28": 1.0}, "b": {"mean_28": 0.25, "tsb": 0.75}})
    found = row(judged(*hand_made(world), world.config, world.day, champion, "2024-03-30-abc"), "champion")
    assert found["release_id"] == "2024-03-30-abc"
    assert found["weighted_rmsse"] == pytest.approx(np.sqrt(3 * (25 / 4) / 4))  # a is exact, b forecasts 5 of 10


def test_a_series_that_the_champion_lacks_takes_the_weights_of_its_segment(world):
    champion = world.champion_of({"b": {"tsb": 1.0}})  # forecasts 0; segments are mean_28, exact for series a
    table = judged(*hand_made(world), world.config, world.day, champion)
    assert row(table, "champion", "1")["bias"] == 0.0
    assert row(table, "champion", "2")["bias"] == -1.0


def test_a_family_that_the_fold_lacks_leaves_its_share_to_the_others(world):
    fold, catalogue = hand_made(world)
    champion = world.champion_of({"a": {"mean_28": 0.2, "tsb": 0.8}, "b": {"tsb": 1.0}})
    table = judged(fold.drop_columns(["family_tsb"]), catalogue, world.config, world.day, champion)
    assert row(table, "champion")["bias"] == pytest.approx(66 / 36 - 1)  # both by mean_28: 6 and 60


def test_rows_in_any_order_give_the_same_bits(world):
    fold, catalogue = world.fold_of(40, world.day), world.catalogue_of(40)
    mixed = fold.take(pa.array(np.random.default_rng(1).permutation(fold.num_rows)))
    first = judged(fold, catalogue, world.config, world.day)
    assert first.equals(judged(mixed, catalogue.slice(0).sort_by([("item", "descending")]), world.config, world.day))


def test_every_segment_and_contender_has_its_row(world):
    table = judged(world.fold_of(9, world.day), world.catalogue_of(9), world.config, world.day)
    assert set(table["contender"].to_pylist()) == {
        "challenger",
        "family_mean_28",
        "family_tsb",
        "floor_zero",
        "floor_seasonal_naive",
        "floor_mean_28",
    }
    segments = table.filter(pc.equal(table["level"], "segment"))
    assert set(segments["segment"].to_pylist()) == {"1", "2", "3"}
    assert segments.num_rows == 6 * 3


def test_hours_are_judged_like_days(world):
    instants = np.array(["2024-03-01T01", "2024-03-01T02", "2024-03-09T03"] * 2, "datetime64[us]")
    fold, catalogue = hand_made(world, date=pa.array(instants, pa.timestamp("us", tz="UTC")))
    assert row(judged(fold, catalogue, world.config, world.day), "challenger")["wape_week"] == pytest.approx(3 / 36)


def test_an_empty_fold_says_nothing(world):
    fold, catalogue = hand_made(world)
    found = row(judged(fold.slice(0, 0), catalogue, world.config, world.day), "challenger")
    assert (found["weighted_rmsse"], found["bias"], found["rows"]) == (None, None, 0)


def test_storing_again_writes_nothing(world):
    table = judged(world.fold_of(6, world.day), world.catalogue_of(6), world.config, world.day)
    assert store_evaluation(world.lake, table, world.config, world.day)
    version = world.lake.version("gold/fleet_evaluation")
    assert not store_evaluation(world.lake, table, world.config, world.day)
    assert world.lake.version("gold/fleet_evaluation") == version
    changed = judged(world.fold_of(6, world.day, error=0.9), world.catalogue_of(6), world.config, world.day)
    assert store_evaluation(world.lake, changed, world.config, world.day)
    assert world.lake.count("gold/fleet_evaluation") == table.num_rows


def test_a_fleet_of_one_segment_is_a_fleet_with_blocks_of_weeks_and_a_segment_of_series(world):
    fold, catalogue = hand_made(world)
    one = catalogue.set_column(1, "site", pa.array([1, 1]))
    table = judged(fold, one, world.config, world.day)
    fleet, segment = row(table, "challenger"), row(table, "challenger", "1")
    assert (fleet["origins"], segment["origins"]) == (1, None)
    assert fleet["difference"] == pytest.approx(segment["difference"])
    assert fleet["difference_se"] != pytest.approx(segment["difference_se"])


def test_what_was_really_forecast_is_judged_where_it_is_beside_the_challenger_on_the_same_rows(world):
    fold, catalogue = hand_made(world)
    live = pa.table({"series_id": ["b"] * 2, "date": fold["date"][:2], "mean": [10.0, 13.0], "release_id": ["r"] * 2})
    table = judged(fold, catalogue, world.config, world.day, live=live)
    told, beside = (row(table, name) for name in ("champion_live", "challenger_beside_live"))
    assert (told["rows"], beside["rows"], told["release_id"]) == (2, 2, "r")
    assert told["error"] == pytest.approx(np.sqrt(9 / 2 / 4))
    assert beside["error"] == pytest.approx(np.sqrt(9 / 2 / 4))
    assert row(table, "challenger")["rows"] == 6


def test_live_forecasts_are_the_published_ones_of_before_the_fold(world):
    fold = world.fold_of(4, world.day)
    cut, older = (min(fold["date"].to_pylist()) - timedelta(days=back) for back in (1, 3))
    for as_of, release_id in ((older, "old"), (cut, "stopped"), (cut, "used"), (world.day, "later")):
        world.put("gold/forecasts", world.forecasts_of(4, as_of, release_id))
    assert live_forecasts(world.lake, arrange(fold, {})) is None
    spec, moment = schemas.PUBLISHED, datetime(2024, 4, 1, tzinfo=UTC)
    rows = [
        {"as_of": one, "release_id": name, "published_at": moment}
        for one, name in ((older, "old"), (cut, "used"), (world.day, "later"))
    ]
    world.lake.append(spec, pa.Table.from_pylist(rows, spec.schema))
    found = live_forecasts(world.lake, arrange(fold, {}))
    assert found["release_id"].unique().to_pylist() == ["used"]
    told = row(judged(fold, world.catalogue_of(4), world.config, world.day, live=found), "champion_live")
    assert told["rows"] == 4 * 14


def test_a_difference_has_the_error_of_its_blocks(world):
    """Six blocks whose differences are known: the bootstrap's error is that of a mean, by hand, up to a tenth."""
    rng = np.random.default_rng(3)
    loss = np.concatenate([np.full((12, 1), 1.0) + rng.normal(0, 0.05, (12, 1)), np.ones((12, 1))], axis=1)
    sums = np.stack([loss[:, 0], np.ones(12), loss[:, 1], np.ones(12)], axis=1)
    told = difference(Blocks(sums, np.zeros(12, np.int64), root=False))
    assert told.value == pytest.approx(loss[:, 0].mean() - 1)
    assert told.error == pytest.approx(loss[:, 0].std(ddof=1) / np.sqrt(12), rel=0.1)
    assert told.units == pytest.approx(12.0)
    assert told.noise(0.99) == pytest.approx(2.718 * told.error, rel=1e-3)  # Student's t with 11 degrees of freedom
    same = difference(Blocks(sums[:, [0, 1, 0, 1]], np.zeros(12, np.int64), root=True))
    assert (same.value, same.noise(0.99)) == (0.0, 0.0)
    alone = difference(Blocks(sums[:1], np.zeros(1, np.int64), root=True))
    assert alone.noise(0.99) == float("inf")


def test_five_origins_are_drawn_whole_too():
    """What all blocks of an origin have in common is chance that blocks alone do not show."""
    rng = np.random.default_rng(5)
    common = np.repeat(rng.normal(0, 0.1, 6), 20)
    sums = np.stack([1.0 + common + rng.normal(0, 0.01, 120), np.ones(120), np.ones(120), np.ones(120)], axis=1)
    few, many = (difference(Blocks(sums[:size], np.repeat(np.arange(6), 20)[:size], root=False)) for size in (80, 120))
    assert few.units == pytest.approx(80.0)
    assert many.units == pytest.approx(6.0)
    assert many.error > 3 * few.error * np.sqrt(80 / 120)
