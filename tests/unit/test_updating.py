"""Updating on a real lake: the fleet of an earlier day takes in later ones, exactly, and training renews it."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from orchard import InProcess, Poisoned

from ml_platform.forecasting import Fleet, ForecastConfig, predict
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import read_panel
from ml_platform.registry import fleet_tables
from ml_platform.training import train_fleet
from ml_platform.updating import UpdateError, update_fleet
from ml_platform.updating_tables import read_statistics

FIRST, DAYS, HORIZON = dt.date(2022, 1, 3), 100, 7
TRAINED = FIRST + dt.timedelta(days=89)
LAST = FIRST + dt.timedelta(days=DAYS - 1)
SILENT = "003"  # has no row after the training


CONFIG = ForecastConfig(
    series=("item",),
    time="date",
    target="units",
    frequency="D",
    horizon=HORIZON,
    missing="gap",
    static=("kind",),
    segments=("kind",),
    families=("mean_56", "ses_05", "ridge"),
    interval_origins=6,
)


def rows_of() -> pd.DataFrame:
    """Daily rows (series_id, date, units) of ten series; one ends with the training, one begins after it."""
    rng, frames = np.random.default_rng(4), []
    for item in range(10):
        days = pd.date_range(FIRST, periods=DAYS)
        units = rng.poisson(2 + item % 3 + 2 * (days.dayofweek.to_numpy() == 5)) + rng.random(DAYS).round(3)
        frame = pd.DataFrame({"series_id": f"{item:03d}", "date": days, "units": units + 0.25})
        kept = {3: days.date <= TRAINED, 9: days.date > TRAINED + dt.timedelta(days=2)}.get(
            item, rng.random(DAYS) < 0.9
        )
        frames.append(frame[kept])
    return pd.concat(frames, ignore_index=True)


def catalogue_of(rows: pd.DataFrame, as_of: dt.date) -> pa.Table:
    found = rows[rows["date"].dt.date <= as_of].groupby("series_id", as_index=False)["date"].agg(["min", "size"])
    ids = found["series_id"].to_list()
    return pa.table(
        {
            "series_id": ids,
            "item": ids,
            "shard": pa.array(np.arange(len(ids)) % 3, pa.int32()),
            "first_date": pa.array(found["min"].dt.date, pa.date32()),
            "active_days": pa.array(found["size"], pa.int64()),
            "kind": ["even" if int(one) % 2 == 0 else "odd" for one in ids],
            "state": ["active"] * len(ids),
        }
    )


def fill(lake: Lake, rows: pd.DataFrame) -> None:
    panel = pa.table(
        {
            "series_id": rows["series_id"].to_list(),
            "date": pa.array(rows["date"].dt.date, pa.date32()),
            "target": pa.array(rows["units"]),
            "known_from": pa.array([FIRST] * len(rows), pa.date32()),
            "month": rows["date"].dt.strftime("%Y-%m").to_list(),
        }
    )
    lake.replace(TableSpec("gold/series_panel", panel.schema, ("month",)), panel, "month >= '2000-01'")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake whose fleet was trained ten days before its last day."""
    lake, rows = Lake(str(tmp_path / "lake")), rows_of()
    fill(lake, rows)
    report = train_fleet(lake, catalogue_of(rows, TRAINED), CONFIG, TRAINED, InProcess())
    assert report.states == {"fitted": 9}
    return lake


def day(number: int) -> dt.date:
    """So many days after the training."""
    return TRAINED + dt.timedelta(days=number)


def fleet_of(lake: Lake, as_of: dt.date, config: ForecastConfig = CONFIG) -> Fleet:
    where = pc.field("as_of") == pa.scalar(as_of)
    return fleet_tables(
        lake.read("gold/candidate_fleet", where=where), lake.read("gold/fleet_pools", where=where), config
    )


def states_of(lake: Lake, as_of: dt.date) -> dict[str, tuple[str, str | None]]:
    rows = fleet_of(lake, as_of).rows.to_pylist()
    return {row["series_id"]: (row["state"], row["reason"]) for row in rows}


def assert_as_from_history(lake: Lake, rows: pd.DataFrame, as_of: dt.date, config: ForecastConfig = CONFIG) -> None:
    """What the lake remembers of a day forecasts as statistics of the whole history at the fleet of the training do."""
    shard = read_panel(lake, catalogue_of(rows, as_of), config, as_of).shard
    stored = read_statistics(lake, as_of, fleet_of(lake, as_of, config))
    assert stored is not None
    anew = Statistics.of(fleet_of(lake, TRAINED, config), shard)
    assert stored.recorded == anew.recorded
    tables = [stored.forecasts(), anew.forecasts(), predict(fleet_of(lake, as_of, config), shard)]
    one, two, three = (table.to_pandas().set_index(["series_id", "step"]).sort_index() for table in tables)
    for name in ("mean", "lo_95", "lo_80", "hi_80", "hi_95"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(one[name], three[name], rtol=1e-8, atol=1e-8)


def test_day_after_day_takes_in_what_is_new(lake: Lake) -> None:
    rows = rows_of()
    first = update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    assert (first.since, first.advanced, first.made_anew) == (TRAINED, 0, 9)
    for number in range(2, 7):
        report = update_fleet(lake, catalogue_of(rows, day(number)), CONFIG, day(number))
        assert (report.since, report.made_anew) == (day(number - 1), int(number == 3)), number
        assert report.advanced == (9 if number <= 3 else 10)
        assert_as_from_history(lake, rows, day(number))
    assert states_of(lake, day(6))[SILENT] == ("carried_over", "no_new_row")
    assert states_of(lake, day(6))["009"] == ("fallback", "new_since_training")
    assert lake.read("gold/fleet_statistics")["as_of"].unique().to_pylist() == [day(6)]


def test_days_that_were_left_out_are_taken_in_together(lake: Lake) -> None:
    rows = rows_of()
    update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    report = update_fleet(lake, catalogue_of(rows, day(8)), CONFIG, day(8))
    assert (report.since, report.advanced, report.made_anew) == (day(1), 9, 1)
    assert_as_from_history(lake, rows, day(8))


def correct(lake: Lake, rows: pd.DataFrame) -> None:
    """An old value of the silent series changes."""
    old = (rows["series_id"] == SILENT) & (rows["date"].dt.date == FIRST + dt.timedelta(days=50))
    assert old.sum() == 1
    fill(lake, rows.assign(units=rows["units"] + 3.0 * old))


def test_a_correction_before_the_first_update_is_seen(lake: Lake) -> None:
    rows = rows_of()
    correct(lake, rows)
    update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    assert states_of(lake, day(1))[SILENT] == ("fitted", None)
    assert_as_from_history(lake, rows, day(1))


def test_a_corrected_series_is_made_anew_and_no_other(lake: Lake) -> None:
    rows = rows_of()
    update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    assert states_of(lake, day(1))[SILENT] == ("carried_over", "no_new_row")
    correct(lake, rows)
    report = update_fleet(lake, catalogue_of(rows, day(2)), CONFIG, day(2))
    assert (report.advanced, report.made_anew) == (8, 1)
    assert states_of(lake, day(2))[SILENT] == ("fitted", None)
    assert_as_from_history(lake, rows, day(2))


def test_only_what_was_touched_has_other_parameters(lake: Lake) -> None:
    rows = rows_of()
    for number in (1, 2):
        update_fleet(lake, catalogue_of(rows, day(number)), CONFIG, day(number))
    before, after = ({row["series_id"]: row for row in fleet_of(lake, day(n)).rows.to_pylist()} for n in (1, 2))
    seen = set(rows.loc[rows["date"].dt.date == day(2), "series_id"])
    for series, row in after.items():
        assert row["state"] == ("fitted" if series in seen else "carried_over")
        assert (row["parameters"] == before[series]["parameters"]) == (series not in seen)
    pools = [fleet_of(lake, each).pools for each in (TRAINED, day(2))]
    assert all(
        pools[0][name]
        .sort_by([("segment", "ascending"), ("item", "ascending")])
        .equals(pools[1][name].sort_by([("segment", "ascending"), ("item", "ascending")]))
        for name in pools[0]
    )


def test_the_same_day_again_writes_nothing(lake: Lake) -> None:
    rows = rows_of()
    one = update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    versions = {
        name: lake.version(name) for name in ("gold/candidate_fleet", "gold/fleet_pools", "gold/fleet_statistics")
    }
    again = update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    assert (again.unchanged, again.fingerprint, again.recorded) == (True, one.fingerprint, one.recorded)
    assert {name: lake.version(name) for name in versions} == versions


def test_training_renews_what_an_update_wrote(lake: Lake) -> None:
    rows = rows_of()
    updated = update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    trained = train_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1), InProcess())
    assert not trained.unchanged
    assert trained.fingerprint != updated.fingerprint
    assert trained.states == {"fitted": 9}
    with pytest.raises(UpdateError, match="was trained"):
        update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))


def test_a_series_that_is_expected_no_more_leaves_the_fleet(lake: Lake) -> None:
    rows = rows_of()
    update_fleet(lake, catalogue_of(rows, day(1)), CONFIG, day(1))
    fewer = catalogue_of(rows, day(2)).slice(1)
    assert update_fleet(lake, fewer, CONFIG, day(2)).advanced == 8
    assert sorted(states_of(lake, day(2))) == fewer["series_id"].to_pylist()


def test_without_an_earlier_fleet_there_is_nothing_to_update(lake: Lake, tmp_path: Path) -> None:
    rows = rows_of()
    with pytest.raises(UpdateError, match="no fleet is older"):
        update_fleet(lake, catalogue_of(rows, TRAINED), CONFIG, TRAINED)
    with pytest.raises(UpdateError, match="no fleet is older"):
        update_fleet(Lake(str(tmp_path / "empty")), catalogue_of(rows, day(1)), CONFIG, day(1))
    with pytest.raises(UpdateError, match="another configuration"):
        update_fleet(lake, catalogue_of(rows, day(1)), CONFIG.model_copy(update={"horizon": 5}), day(1))


def test_a_series_that_failed_stays_quarantined_with_its_reason(tmp_path: Path) -> None:
    rows, lake = rows_of(), Lake(str(tmp_path / "failed"))
    fill(lake, rows)
    failed = train_fleet(lake, catalogue_of(rows, TRAINED), CONFIG, TRAINED, Poisoned(InProcess(), {"004"})).failed
    assert list(failed) == ["004"]
    for number in (1, 2):
        update_fleet(lake, catalogue_of(rows, day(number)), CONFIG, day(number))
        (row,) = [
            row
            for row in lake.read("gold/candidate_fleet", where=pc.field("as_of") == pa.scalar(day(number))).to_pylist()
            if row["series_id"] == "004"
        ]
        assert (row["state"], row["reason"], row["detail"]) == ("quarantined", "failed", failed["004"])
    assert_as_from_history(lake, rows, day(2))


def test_segments_that_run_other_families_lie_in_one_table(tmp_path: Path) -> None:
    rows, lake = rows_of(), Lake(str(tmp_path / "lake"))
    even = rows["series_id"].astype(int) % 2 == 0
    seldom = np.random.default_rng(6).poisson(0.4, len(rows)) * 1.0
    rows = rows.assign(units=np.where(even, seldom, rows["units"]))
    config = CONFIG.model_copy(update={"families": "default"})
    fill(lake, rows)
    train_fleet(lake, catalogue_of(rows, TRAINED), config, TRAINED, InProcess())
    for number in (1, 2, 3):
        report = update_fleet(lake, catalogue_of(rows, day(number)), config, day(number))
        assert (report.advanced > 0) == (number > 1)
        assert_as_from_history(lake, rows, day(number), config)
    kept = lake.read("gold/fleet_statistics").to_pandas()
    by_kind = kept.groupby(kept["series_id"].astype(int) % 2)
    assert by_kind["cohort"].agg(set).tolist() == [{0}, {1}]
    assert by_kind["walk_ets"].apply(lambda own: own.notna().mean()).tolist() == [0.0, 1.0]
