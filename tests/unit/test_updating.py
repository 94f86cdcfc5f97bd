"""Updating on a real lake: the champion's fleet takes in later days, exactly, from what is new alone; training renews it."""

import copy
import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from orchard import InProcess, Poisoned
from ten_items import (
    CONFIG,
    FIRST,
    HORIZON,
    LATE,
    SILENT,
    TRAINED,
    catalogue_of,
    day,
    fill,
    fleet_of,
    of,
    promote,
    registry_of,
    rows_of,
    states_of,
)

from ml_platform import panel_rows
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import read_panel, without_failed
from ml_platform.registry import Registry
from ml_platform.registry.manifest import ReleaseError
from ml_platform.training import train_fleet
from ml_platform.updating import TrainedError, UpdateError, UpdateReport, update_fleet
from ml_platform.updating_tables import read_statistics


class Home:
    """A lake and releases whose fleet was trained ten days before its last day and promoted."""

    def __init__(self, folder: Path, rows: pd.DataFrame, config: ForecastConfig = CONFIG) -> None:
        self.folder, self.rows, self.config = folder, rows, config
        fill(self.lake, rows)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def registry(self) -> Registry:
        return registry_of(self.folder)

    def train(self, compute: object = None) -> "Home":
        made = catalogue_of(self.rows, TRAINED)
        self.trained = train_fleet(self.lake, made, self.config, TRAINED, compute or InProcess())
        self.release = promote(self.lake, self.registry, TRAINED, self.config)
        return self

    def copied(self, folder: Path) -> "Home":
        """The same home in another folder."""
        other = copy.copy(self)
        other.folder = Path(shutil.copytree(self.folder, folder))
        return other

    def update(self, number: int, catalogue: pa.Table | None = None) -> UpdateReport:
        """Bring the fleet to so many days after the training, and let it be champion."""
        report = self.only_update(number, catalogue)
        if not report.unchanged:
            promote(self.lake, self.registry, day(number), self.config)
        return report

    def only_update(self, number: int, catalogue: pa.Table | None = None) -> UpdateReport:
        made = catalogue_of(self.rows, day(number)) if catalogue is None else catalogue
        return update_fleet(self.lake, self.registry, made, self.config, day(number))

    def correct(self, series: str = SILENT, at: dt.date = FIRST + dt.timedelta(days=50), by: float = 3.0) -> None:
        """An old value changes, and with it the months of the panel from its own on."""
        old = (self.rows["series_id"] == series) & (self.rows["date"].dt.date == at)
        assert old.sum() == 1
        self.rows = self.rows.assign(units=self.rows["units"] + by * old)
        fill(self.lake, self.rows, f"{at:%Y-%m}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("trained"), rows_of()).train()
    assert home.trained.states == {"fitted": 9}
    return home


@pytest.fixture
def home(trained: Home, tmp_path: Path) -> Home:
    return trained.copied(tmp_path / "home")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that each scan of the panel yields."""
    scans, scan = list[int](), panel_rows.PanelRows.scan

    def counted(self: panel_rows.PanelRows, dataset: object, where: pc.Expression, as_of: dt.date) -> None:
        scans.append(dataset.count_rows(filter=where))  # type: ignore[attr-defined]
        scan(self, dataset, where, as_of)  # type: ignore[arg-type]

    monkeypatch.setattr(panel_rows.PanelRows, "scan", counted)
    return scans


def assert_as_from_history(home: Home, as_of: dt.date) -> None:
    """What the lake remembers of a day forecasts as statistics of the whole history at the fleet of the training do."""
    fleet = fleet_of(home.lake, as_of, home.config)
    (fingerprint,) = home.lake.read("gold/candidate_fleet", ["fingerprint"], of(as_of))["fingerprint"].unique()
    readable = without_failed(catalogue_of(home.rows, as_of), fleet)
    shard = read_panel(home.lake, readable, home.config, as_of).shard
    stored = read_statistics(home.lake, as_of, fleet, fingerprint.as_py())
    assert stored is not None
    anew = Statistics.of(home.registry.load(home.release), shard)
    assert stored.statistics.recorded == anew.recorded
    tables = [stored.statistics.forecasts(), anew.forecasts(), predict(fleet, shard)]
    one, two, three = (table.to_pandas().set_index(["series_id", "step"]).sort_index() for table in tables)
    for name in ("mean", "lo_95", "lo_80", "hi_80", "hi_95"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(one[name], three[name], rtol=1e-8, atol=1e-8)


def test_day_after_day_takes_in_what_is_new(home: Home) -> None:
    first = home.update(1)
    assert (first.since, first.release_id, first.advanced, first.made_anew) == (TRAINED, home.release, 0, 9)
    for number in range(2, 7):
        report = home.update(number)
        assert (report.since, report.made_anew) == (day(number - 1), int(number == 3)), number
        assert report.advanced == (9 if number <= 3 else 10)
        assert_as_from_history(home, day(number))
    assert states_of(home.lake, day(6))[SILENT] == ("carried_over", "no_new_row")
    assert states_of(home.lake, day(6))[LATE] == ("fallback", "new_since_training")
    days = home.lake.read("gold/fleet_statistics")["as_of"].unique().to_pylist()
    assert sorted(days) == [day(5), day(6)], "of the newest day, and of the one it came from"


def test_only_rows_since_are_read(home: Home, read: list[int]) -> None:
    home.update(4)
    dates = home.rows["date"].dt.date
    everything = int((dates <= day(4 + HORIZON)).sum())
    assert read == [everything]
    read.clear()
    report = home.update(5)
    since = int(((dates > day(4)) & (dates <= day(5 + HORIZON))).sum())
    assert (read, report.advanced) == ([since], 10)
    assert since < everything / 8


def test_of_a_month_that_was_written_anew_both_versions_are_read(home: Home, read: list[int]) -> None:
    home.update(4)
    month = f"{day(5):%Y-%m}"
    fill(home.lake, home.rows, month)
    read.clear()
    assert home.update(5).made_anew == 0
    dates, inside = home.rows["date"].dt.date, home.rows["date"].dt.strftime("%Y-%m") == month
    now = (inside | (dates > day(4))) & (dates <= day(5 + HORIZON))
    assert read == [int(now.sum()), int((inside & (dates <= day(4))).sum())]
    assert_as_from_history(home, day(5))


def test_days_that_were_left_out_are_taken_in_together(home: Home) -> None:
    home.update(1)
    report = home.update(8)
    assert (report.since, report.advanced, report.made_anew) == (day(1), 9, 1)
    assert_as_from_history(home, day(8))


def test_days_of_one_run_come_from_each_other_before_they_are_released(home: Home) -> None:
    sinces = [home.only_update(number).since for number in (1, 2, 3)]
    assert sinces == [TRAINED, day(1), day(2)]
    assert home.only_update(3).unchanged
    came_from = {home.lake.read("gold/candidate_fleet", where=of(day(n)))["updated_from"][0].as_py() for n in (1, 2, 3)}
    assert came_from == {home.release}
    assert_as_from_history(home, day(3))


def test_the_fleet_of_a_day_that_was_not_promoted_is_not_where_an_update_begins(home: Home) -> None:
    train_fleet(home.lake, catalogue_of(home.rows, day(1)), CONFIG, day(1), InProcess())
    report = home.only_update(2)
    assert (report.since, report.release_id) == (TRAINED, home.release)


def test_a_correction_before_the_first_update_is_seen(home: Home) -> None:
    home.correct()
    home.update(1)
    assert states_of(home.lake, day(1))[SILENT] == ("fitted", None)
    assert_as_from_history(home, day(1))


def segment_of(home: Home, series: str) -> list[str]:
    """The series of its segment on the second day."""
    made = catalogue_of(home.rows, day(2)).to_pandas().set_index("series_id")["kind"]
    return made.index[made == made[series]].tolist()


def test_a_corrected_series_is_made_anew_and_no_other(home: Home, read: list[int]) -> None:
    home.update(1)
    assert states_of(home.lake, day(1))[SILENT] == ("carried_over", "no_new_row")
    home.correct()
    read.clear()
    report = home.update(2)
    assert (report.advanced, report.made_anew) == (8, 1)
    ahead = home.rows["date"].dt.date <= day(2 + CONFIG.horizon)
    assert read[-1] == int((ahead & home.rows["series_id"].isin(segment_of(home, SILENT))).sum()), (
        "its whole history, and that of its segment, whose covariates it needs"
    )
    assert states_of(home.lake, day(2))[SILENT] == ("fitted", None)
    assert_as_from_history(home, day(2))


@pytest.mark.parametrize("column", ["offer", "known_from"])
def test_a_covariate_that_changes_for_a_past_day_is_a_correction(home: Home, column: str) -> None:
    if (
        column == "known_from"
    ):  # the offers of a past day become known with the second update, and the panel has said so all along
        past = home.rows["date"].dt.date == day(-3)
        home.rows = home.rows.assign(known_from=home.rows["known_from"].where(~past, day(2)))
        fill(home.lake, home.rows)
    home.update(1)
    if column == "offer":
        one = (home.rows["series_id"] == "001") & (home.rows["date"].dt.date == day(-3))
        assert one.any()
        home.rows = home.rows.assign(offer=home.rows["offer"].where(~one, 0.5))
        fill(home.lake, home.rows, f"{day(-3):%Y-%m}")
    report = home.update(2)
    assert report.made_anew == (len(segment_of(home, "001")) if column == "offer" else 9), (
        "its segment's, too: they know what its covariates are on average"
    )
    assert_as_from_history(home, day(2))


def test_a_covariate_that_is_not_known_takes_the_last_known_one(home: Home) -> None:
    late = home.rows["date"].dt.date > day(2)
    home.rows = home.rows.assign(offer=(home.rows["offer"] + 0.5).where(~late))
    fill(home.lake, home.rows)
    for number in (1, 2, 3, 4):
        home.update(number)
    assert_as_from_history(home, day(4))


def test_zeros_of_series_that_were_noticed_late_are_those_of_training(tmp_path: Path) -> None:
    """Under `missing: zero` a series with few active days counts as begun with the calendar, until it has enough of them."""
    rows, config = rows_of(), CONFIG.model_copy(update={"missing": "zero", "min_active_days": 5})
    home = Home(tmp_path, rows, config).train()
    anew = []
    for number in (1, 4, 6, 9):
        anew.append(home.update(number).made_anew)
        assert_as_from_history(home, day(number))
    assert anew == [9, 1, 0, 1], "the late item: when it comes, and when it has five days"


def test_a_segment_that_begins_earlier_is_made_anew_and_no_other(tmp_path: Path) -> None:
    """Under `missing: zero` a series had so many empty steps before its first value as its segment was there without it."""
    rows, config = rows_of(), CONFIG.model_copy(update={"missing": "zero", "min_active_days": 5})
    odd = rows["series_id"].astype(int) % 2 == 1
    late = rows[~odd | (rows["date"] >= pd.Timestamp(FIRST) + pd.Timedelta(days=20))]
    home = Home(tmp_path, late, config).train()
    home.update(4)
    early = rows[rows["series_id"] == "001"].iloc[:1].assign(date=pd.Timestamp(FIRST) + pd.Timedelta(days=12))
    home.rows = pd.concat([early, late], ignore_index=True)
    fill(home.lake, home.rows)
    assert home.update(5).made_anew == 5, "the odd ones"
    assert_as_from_history(home, day(5))


def test_segments_that_are_known_less_far_back_lie_in_one_table(tmp_path: Path) -> None:
    """Their regressions describe fewer seasons: a year of thirty days is seen three times by some only."""
    rows = rows_of()
    odd = rows["series_id"].astype(int) % 2 == 1
    late = rows[~odd | (rows["date"] >= pd.Timestamp(FIRST) + pd.Timedelta(days=40))]
    families = ("mean_28", "ridge", "ridge_lags", "ets")
    home = Home(tmp_path, late, CONFIG.model_copy(update={"season_lengths": (7, 30), "families": families})).train()
    for number in (1, 2, 5):
        home.update(number)
        assert_as_from_history(home, day(number))
    home.correct("004")
    assert home.update(6).made_anew == 1
    assert_as_from_history(home, day(6))


@pytest.mark.parametrize("value", [1e13, 1e7])
def test_values_beyond_all_measure_keep_a_series_out(home: Home, value: float) -> None:
    home.update(1)
    home.correct("005", day(2), value)
    assert home.update(2).advanced == 9 - len(segment_of(home, "005"))
    assert states_of(home.lake, day(2))["005"] == ("quarantined", "out_of_range")
    home.update(3)
    assert states_of(home.lake, day(3))["005"] == ("quarantined", "out_of_range")
    assert_as_from_history(home, day(3))


def test_a_panel_whose_past_is_gone_is_read_anew(home: Home) -> None:
    home.update(1)
    fill(home.lake, home.rows)
    home.lake.table("gold/series_panel").vacuum(0, dry_run=False, enforce_retention_duration=False)
    report = home.update(2)
    assert (report.advanced, report.made_anew) == (0, 9)
    assert states_of(home.lake, day(2))[SILENT] == ("carried_over", "no_new_row")
    assert_as_from_history(home, day(2))


def test_a_calendar_that_begins_earlier_makes_all_series_anew(home: Home) -> None:
    home.update(1)
    before = home.rows.iloc[:1].assign(date=pd.Timestamp(FIRST) - pd.Timedelta(days=2))
    home.rows = pd.concat([before, home.rows], ignore_index=True)
    fill(home.lake, home.rows)
    assert home.update(2).advanced == 0
    assert_as_from_history(home, day(2))


def test_only_what_was_touched_has_other_parameters(home: Home) -> None:
    for number in (1, 2):
        home.update(number)
    before, after = ({row["series_id"]: row for row in fleet_of(home.lake, day(n)).rows.to_pylist()} for n in (1, 2))
    seen = set(home.rows.loc[home.rows["date"].dt.date == day(2), "series_id"])
    for series, row in after.items():
        assert row["state"] == ("fitted" if series in seen else "carried_over")
        assert (row["parameters"] == before[series]["parameters"]) == (series not in seen)
    pools = [fleet_of(home.lake, each).pools for each in (TRAINED, day(2))]
    order = [("segment", "ascending"), ("item", "ascending")]
    assert all(pools[0][name].sort_by(order).equals(pools[1][name].sort_by(order)) for name in pools[0])


def test_the_same_day_again_writes_nothing(home: Home, read: list[int]) -> None:
    home.update(1)
    one = home.update(2)
    names = ("gold/candidate_fleet", "gold/fleet_pools", "gold/fleet_statistics")
    versions = {name: home.lake.version(name) for name in names}
    read.clear()
    again = home.update(2)
    assert (again.unchanged, again.fingerprint, again.recorded) == (True, one.fingerprint, one.recorded)
    assert {name: home.lake.version(name) for name in versions} == versions
    assert read[0] < len(home.rows) / 8, "from what the day before remembers, not from the history"


class CrashError(RuntimeError):
    """Stands for a process that dies."""


@pytest.mark.parametrize("table", ["gold/fleet_statistics", "gold/candidate_fleet"])
def test_an_update_that_was_cut_off_is_made_whole_by_the_next_one(
    home: Home, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.update(1)
    whole = home.copied(tmp_path / "whole").update(2)
    replace = Lake.replace

    def dying(self: Lake, spec: TableSpec, data: pa.Table, where: str) -> int:
        if spec.name == table:
            raise CrashError
        return replace(self, spec, data, where)

    with monkeypatch.context() as context:
        context.setattr(Lake, "replace", dying)
        with pytest.raises(CrashError):
            home.only_update(2)
    again = home.update(2)
    assert (again.unchanged, again.advanced) == (False, 9)
    assert (again.fingerprint, again.states) == (whole.fingerprint, whole.states)
    assert_as_from_history(home, day(2))


def test_the_same_rows_give_the_same_bytes(home: Home, trained: Home, tmp_path: Path) -> None:
    """A replay in another home, day by day, and one whose rows were written in another order."""
    other = trained.copied(tmp_path / "replay")
    fill(other.lake, home.rows.sample(frac=1, random_state=1))
    for number in (1, 2, 3):
        reports = [each.update(number) for each in (home, other)]
        assert reports[0].recorded == reports[1].recorded
        assert reports[0].fingerprint == reports[1].fingerprint
    sorted_by = {
        "candidate_fleet": ["series_id"],
        "fleet_statistics": ["series_id"],
        "fleet_pools": ["name", "segment", "item"],
    }
    for name, keys in sorted_by.items():
        tables = [each.lake.read(f"gold/{name}", where=of(day(3))) for each in (home, other)]
        kept = [name for name in tables[0].column_names if name != "panel"]
        order = [(one, "ascending") for one in keys]
        one, two = (str(table.select(kept).sort_by(order).to_pylist()) for table in tables)  # NaN is no NaN to Arrow
        assert one == two, name
    releases = [sorted(path.name for path in (each.folder / "releases").iterdir()) for each in (home, other)]
    assert releases[0] == releases[1]


def test_training_renews_what_an_update_wrote(home: Home) -> None:
    updated = home.update(1)
    trained = train_fleet(home.lake, catalogue_of(home.rows, day(1)), CONFIG, day(1), InProcess())
    assert not trained.unchanged
    assert trained.fingerprint != updated.fingerprint
    assert trained.states == {"fitted": 9}
    with pytest.raises(TrainedError, match="was trained"):
        home.update(1)
    promote(home.lake, home.registry, day(1))
    after = home.update(2)
    assert (after.since, after.advanced) == (day(1), 0), (
        "what the updated fleet of that day remembers is of another fleet"
    )
    home.release = after.release_id
    assert_as_from_history(home, day(2))


def test_a_series_that_is_expected_no_more_leaves_the_fleet(home: Home) -> None:
    home.update(1)
    fewer = catalogue_of(home.rows, day(2)).slice(1)
    assert home.update(2, fewer).advanced == 9 - len(segment_of(home, "000"))
    assert sorted(states_of(home.lake, day(2))) == fewer["series_id"].to_pylist()


def test_a_series_of_another_segment_is_made_anew(home: Home) -> None:
    home.update(1)
    made = catalogue_of(home.rows, day(2))
    kinds = [
        "even" if one == "001" else kind
        for one, kind in zip(made["item"].to_pylist(), made["kind"].to_pylist(), strict=True)
    ]
    assert home.update(2, made.set_column(made.column_names.index("kind"), "kind", pa.array(kinds))).made_anew == 9


def test_without_a_champion_there_is_nothing_to_update(home: Home, tmp_path: Path) -> None:
    with pytest.raises(
        UpdateError, match=r"no release older than .* is promoted: train that day, `ml-platform run retrain"
    ):
        home.only_update(-1)
    with pytest.raises(UpdateError, match="no release older"):
        update_fleet(Lake(str(tmp_path / "empty")), home.registry, catalogue_of(home.rows, day(1)), CONFIG, day(1))
    other = CONFIG.model_copy(update={"horizon": 5})
    with pytest.raises(UpdateError, match="another configuration"):
        update_fleet(home.lake, home.registry, catalogue_of(home.rows, day(1)), other, day(1))


def test_a_release_with_changed_bytes_is_refused(home: Home) -> None:
    path = home.registry.root / home.release / "parameters.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ReleaseError, match="its bytes were changed"):
        home.only_update(1)


def test_a_series_that_failed_stays_quarantined_with_its_reason(tmp_path: Path) -> None:
    home = Home(tmp_path, rows_of()).train(Poisoned(InProcess(), {"004"}))
    assert list(home.trained.failed) == ["004"]
    for number in (1, 2):
        home.update(number)
        (row,) = home.lake.read(
            "gold/candidate_fleet", where=of(day(number)) & (pc.field("series_id") == "004")
        ).to_pylist()
        assert (row["state"], row["reason"], row["detail"]) == ("quarantined", "failed", home.trained.failed["004"])
    assert_as_from_history(home, day(2))


def test_segments_that_run_other_families_lie_in_one_table(tmp_path: Path) -> None:
    rows = rows_of()
    even = rows["series_id"].astype(int) % 2 == 0
    seldom = np.random.default_rng(6).poisson(0.4, len(rows)) * 1.0
    rows = rows.assign(units=np.where(even & rows["units"].notna(), seldom, rows["units"]))
    home = Home(tmp_path, rows, CONFIG.model_copy(update={"families": "default"})).train()
    for number in (1, 2, 3):
        report = home.update(number)
        assert (report.advanced > 0) == (number > 1)
        assert_as_from_history(home, day(number))
    kept = home.lake.read("gold/fleet_statistics", where=of(day(3))).to_pandas()
    by_kind = kept.groupby(kept["series_id"].astype(int) % 2)
    assert by_kind["cohort"].agg(set).tolist() == [{0}, {1}]
    assert by_kind["walk_ets"].apply(lambda own: own.notna().mean()).tolist() == [0.0, 1.0]
