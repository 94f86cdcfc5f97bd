"""Training from the lake: what it reads, what it writes, and that nothing newer than its day matters."""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.compute import JobError, LocalCompute, Report
from ml_platform.evaluation import arrange, evaluate, segment_labels
from ml_platform.forecasting import FLOORS, Fleet, ForecastConfig, fleet_weights, forecast, predict
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.jobs import train as train_job
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import read_panel
from ml_platform.panel_rows import PanelError
from ml_platform.training import TrainingReport, train_fleet
from ml_platform.training_tables import judged_calibration, judged_fold

FIRST, DAYS, HORIZON = dt.date(2022, 1, 3), 110, 7
AS_OF = FIRST + dt.timedelta(days=DAYS - 1)
KEYS = [(site, f"item {item:02d}") for site in range(3) for item in range(8)]
CONFIG = ForecastConfig(
    series=("site", "item"),
    time="date",
    target="units",
    frequency="D",
    horizon=HORIZON,
    weight="value",
    known_future=("action",),
    static=("kind",),
    segments=("kind",),
    interval_origins=6,
)


class InProcess:
    """Runs shard jobs in this process: fast, and seen by coverage."""

    workers = 3

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report]:
        assert job == "train"
        return [{"code": train_job.main(list(arguments))} for arguments in argument_lists]


def rows_of(days: int = DAYS) -> pd.DataFrame:
    """Daily rows (site, item, date, units, value, action); the last two series begin late, one has nine days."""
    rng = np.random.default_rng(8)
    frames = []
    for number, (site, item) in enumerate(KEYS):
        begin = {22: 60, 23: days - 9}.get(number, 0)
        dates = pd.date_range(FIRST, periods=days)[begin:]
        action = (dates.dayofyear.to_numpy() % 9 == 0).astype(float) if site else np.full(len(dates), np.nan)
        units = rng.poisson(1 + number % 4 + 4 * np.nan_to_num(action), len(dates))
        units[0] = 3
        frames.append(
            pd.DataFrame(
                {"site": site, "item": item, "date": dates, "units": units, "value": units * 2.25, "action": action}
            )
        )
    return pd.concat(frames, ignore_index=True)


def identity(frame: pd.DataFrame) -> list[str]:
    return [f"{site:03d}-{item}" for site, item in zip(frame["site"], frame["item"], strict=True)]


def catalogue_of(rows: pd.DataFrame, as_of: dt.date = AS_OF, shards: int = 5) -> pa.Table:
    past = rows[rows["date"].dt.date <= as_of].assign(series_id=identity)
    found = past.groupby("series_id", as_index=False).agg(
        site=("site", "first"),
        item=("item", "first"),
        first_date=("date", "min"),
        last_date=("date", "max"),
        active_days=("date", "size"),
        days_before_fold=("date", lambda days: (days.dt.date <= as_of - dt.timedelta(days=CONFIG.horizon)).sum()),
    )
    found["kind"] = np.where(found["item"].str[-1].astype(int) % 2 == 0, "even", "odd")
    return pa.table(
        {
            "series_id": found["series_id"].to_list(),
            "site": found["site"].to_list(),
            "item": found["item"].to_list(),
            "shard": pa.array(np.arange(len(found)) % shards, pa.int32()),
            "first_date": pa.array(found["first_date"].dt.date, pa.date32()),
            "last_date": pa.array(found["last_date"].dt.date, pa.date32()),
            "active_days": pa.array(found["active_days"], pa.int64()),
            "days_before_fold": pa.array(found["days_before_fold"], pa.int64()),
            "kind": found["kind"].to_list(),
            "state": ["active"] * len(found),
            "reason": pa.nulls(len(found), pa.string()),
        }
    )


def panel_of(rows: pd.DataFrame, as_of: dt.date = AS_OF) -> pa.Table:
    """The panel of an as-of day: rows up to it, then `horizon` dates that only carry covariates."""
    past = rows[rows["date"].dt.date <= as_of]
    both = pd.concat([past, planned(past, as_of)], ignore_index=True).assign(series_id=identity)
    return pa.table(
        {
            "series_id": both["series_id"].to_list(),
            "date": pa.array(both["date"].dt.date, pa.date32()),
            "target": pa.array(both["units"], from_pandas=True).cast(pa.int64()),
            "weight": pa.array(both["value"], from_pandas=True).cast(pa.decimal128(38, 2)),
            "action": pa.array(both["action"], from_pandas=True),
            "known_from": pa.array([FIRST] * len(both), pa.date32()),
            "month": both["date"].dt.strftime("%Y-%m").to_list(),
        }
    )


def planned(past: pd.DataFrame, as_of: dt.date = AS_OF) -> pd.DataFrame:
    """The actions of the days after the as-of day: site, item, action, date."""
    last = past.groupby(["site", "item"], as_index=False)["action"].last()
    days = pd.DataFrame({"date": pd.date_range(as_of + dt.timedelta(days=1), periods=HORIZON)})
    later = last.merge(days, how="cross")
    later["action"] = np.where(later["action"].isna(), np.nan, (later["date"].dt.dayofyear % 9 == 0).astype(float))
    return later


def fill(lake: Lake, panel: pa.Table) -> Lake:
    lake.append(TableSpec("gold/series_panel", panel.schema, ("month",)), panel)
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return fill(Lake(str(tmp_path / "lake")), panel_of(rows_of()))


@pytest.fixture
def report(lake: Lake) -> TrainingReport:
    return train_fleet(lake, catalogue_of(rows_of()), CONFIG, AS_OF, InProcess())


def stored_fleet(lake: Lake) -> Fleet:
    rows = lake.read("gold/candidate_fleet").select(["series_id", "family", "state", "reason", "parameters"])
    pools = lake.read("gold/fleet_pools")
    names = pools["name"].unique().to_pylist()
    tables = {name: pools.filter(pc.equal(pools["name"], name)).select(["segment", "item", "value"]) for name in names}
    return Fleet(rows, tables, CONFIG)


def test_every_series_has_one_row_with_state_and_reason(lake: Lake, report: TrainingReport) -> None:
    rows = lake.read("gold/candidate_fleet")
    assert sorted(rows["series_id"].to_pylist()) == catalogue_of(rows_of())["series_id"].to_pylist()
    assert report.states == {"fallback": 1, "fitted": len(KEYS) - 1}
    reasons = dict(zip(rows["state"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    assert reasons == {"fitted": None, "fallback": "too_few_active_days"}
    assert set(rows["fingerprint"].to_pylist()) == {report.fingerprint}
    assert sum(report.families.values()) == len(KEYS)


@pytest.mark.parametrize(("days", "reason"), [(16, "too_few_active_days"), (17, "too_short")])
def test_days_of_the_fold_that_judges_let_no_series_be_judged(tmp_path: Path, days: int, reason: str) -> None:
    """Ten active days make a series one that is judged and teaches its segment: those before the fold of seven."""
    rows, young = rows_of(), (rows_of()["site"] == KEYS[5][0]) & (rows_of()["item"] == KEYS[5][1])
    rows = rows[~young | (rows["date"].dt.date > AS_OF - dt.timedelta(days=days))]
    lake = fill(Lake(str(tmp_path / "lake")), panel_of(rows))
    train_fleet(lake, catalogue_of(rows), CONFIG, AS_OF, InProcess())
    (series,) = set(identity(rows[young.loc[rows.index]]))
    found = {row["series_id"]: row["reason"] for row in lake.read("gold/candidate_fleet").to_pylist()}
    assert found[series] == reason
    assert (series in lake.read("gold/judged_fold")["series_id"].to_pylist()) == (reason == "too_short")


def test_every_family_has_its_folds(lake: Lake, report: TrainingReport) -> None:
    folds = lake.read("gold/fold_metrics").to_pandas()
    assert not folds.duplicated(["as_of", "series_id", "family", "fold"]).any()
    tried = folds.groupby("series_id").agg(families=("family", "nunique"), folds=("fold", "nunique"))
    assert len(tried) == len(KEYS) - 1
    assert {"ridge", "mean_182"} <= set(folds["family"]) <= set(CONFIG.family_names)
    assert (tried["families"] == folds["family"].nunique()).all()
    assert tried["folds"].max() == CONFIG.folds + 1
    assert tried["folds"].min() >= 3
    assert (folds["rows"] == HORIZON).all()
    assert report.scores["chosen"] <= report.scores["segment_blend"]
    assert sum(report.strategies.values()) == 2


def test_fold_metrics_are_sums_of_the_forecasts_errors(lake: Lake, report: TrainingReport) -> None:
    judged = lake.read("gold/judged_fold").to_pandas()
    newest = (
        lake.read("gold/fold_metrics")
        .to_pandas()
        .query("fold == @CONFIG.folds and family == 'mean_28'")
        .set_index("series_id")
    )
    error = (judged["family_mean_28"] - judged["actual"]).groupby(judged["series_id"])
    np.testing.assert_allclose(error.apply(lambda e: (e**2).sum()), newest["squared_error"].sort_index())
    np.testing.assert_allclose(error.apply(lambda e: e.abs().sum()), newest["absolute_error"].sort_index())
    np.testing.assert_allclose(error.sum(), newest["bias"].sort_index(), atol=1e-9)


def test_the_judged_fold_holds_actuals_weights_and_blends(lake: Lake, report: TrainingReport) -> None:
    judged, rows = lake.read("gold/judged_fold").to_pandas(), rows_of()
    origin = AS_OF - dt.timedelta(days=HORIZON)
    assert (judged["date"].min(), judged["date"].max()) == (origin + dt.timedelta(days=1), AS_OF)
    truth = rows.assign(series_id=identity, date=rows["date"].dt.date).set_index(["series_id", "date"])["units"]
    np.testing.assert_array_equal(
        judged["actual"], truth.loc[list(zip(judged["series_id"], judged["date"], strict=True))]
    )
    window = rows[(rows["date"].dt.date <= origin) & (rows["date"].dt.date > origin - dt.timedelta(days=28))]
    value = window.assign(series_id=identity).groupby("series_id")["value"].sum()
    np.testing.assert_allclose(
        judged.groupby("series_id")["weight"].first(), value.loc[sorted(judged["series_id"].unique())]
    )
    texts = (
        lake.read("gold/candidate_fleet", ["series_id", "parameters"]).to_pandas().set_index("series_id")["parameters"]
    )
    for series_id, group in judged.groupby("series_id"):
        weights = fleet_weights(texts[series_id])
        blended = sum(group[f"family_{name}"] * weight for name, weight in weights.items())
        np.testing.assert_allclose(group["mean"], blended, rtol=1e-6, atol=1e-9)
    bounds = judged[["lo_95", "lo_80", "hi_80", "hi_95"]].to_numpy()
    assert (np.diff(bounds, axis=1) >= 0).all()
    assert {f"floor_{name}" for name in FLOORS} <= set(judged.columns)


def test_the_judging_fold_chooses_nothing(tmp_path: Path, report: TrainingReport) -> None:
    rows = rows_of()
    newest = rows["date"].dt.date > AS_OF - dt.timedelta(days=HORIZON)
    spoiled = rows.assign(units=np.where(newest, 60, rows["units"]))
    other = fill(Lake(str(tmp_path / "other")), panel_of(spoiled))
    changed = train_fleet(other, catalogue_of(spoiled), CONFIG, AS_OF, InProcess())
    assert changed.fingerprint != report.fingerprint
    assert changed.scores == pytest.approx(report.scores, rel=1e-12)
    one, two = (
        Lake(str(tmp_path / name)).read("gold/judged_fold").sort_by([("series_id", "ascending"), ("step", "ascending")])
        for name in ("lake", "other")
    )
    for name in ("mean", "lo_95", "hi_80", "family_ridge", "floor_mean_56", "scale"):
        np.testing.assert_allclose(one[name].to_numpy(), two[name].to_numpy(), rtol=1e-9)


def test_the_same_training_again_writes_nothing(lake: Lake, report: TrainingReport) -> None:
    names = ("gold/candidate_fleet", "gold/fold_metrics", "gold/judged_fold", "gold/fleet_pools")
    before = {name: lake.version(name) for name in names}
    again = train_fleet(lake, catalogue_of(rows_of()), CONFIG, AS_OF, InProcess())
    assert again.unchanged
    assert again.fingerprint == report.fingerprint
    assert again.states == report.states
    assert {name: lake.version(name) for name in names} == before


def test_another_configuration_replaces_the_days_rows(lake: Lake, report: TrainingReport) -> None:
    changed = train_fleet(lake, catalogue_of(rows_of()), CONFIG.model_copy(update={"folds": 3}), AS_OF, InProcess())
    assert not changed.unchanged
    assert lake.read("gold/candidate_fleet").num_rows == len(KEYS)
    assert lake.read("gold/fold_metrics")["fold"].unique().to_pylist() == [0, 1, 2, 3]


def test_nothing_after_the_day_is_used(tmp_path: Path) -> None:
    early = AS_OF - dt.timedelta(days=20)
    rows = rows_of()
    own = fill(Lake(str(tmp_path / "own")), panel_of(rows, early))
    newer = fill(Lake(str(tmp_path / "newer")), panel_of(rows, AS_OF))
    catalogue = catalogue_of(rows, early)
    reports = [train_fleet(one, catalogue, CONFIG, early, InProcess()) for one in (own, newer)]
    assert reports[0].fingerprint == reports[1].fingerprint


def test_covariates_that_were_not_known_yet_are_not_read(lake: Lake) -> None:
    catalogue = catalogue_of(rows_of())
    panel = panel_of(rows_of())
    late = panel.set_column(5, "known_from", pa.array([AS_OF + dt.timedelta(days=1)] * panel.num_rows, pa.date32()))
    lake.replace(TableSpec("gold/series_panel", panel.schema, ("month",)), late, "month >= '2000-01'")
    assert np.isnan(read_panel(lake, catalogue, CONFIG, AS_OF).shard.known).all()


def test_the_kernel_in_one_call_agrees_with_the_platform(lake: Lake, report: TrainingReport) -> None:
    """Both read the same rows; the one call has no judging fold, so only its levels and shapes are compared."""
    rows, catalogue = rows_of(), catalogue_of(rows_of())
    out = predict(stored_fleet(lake), read_panel(lake, catalogue, CONFIG, AS_OF).shard).to_pandas()
    kinds = catalogue.select(["site", "item", "kind"]).to_pandas()
    direct = forecast(rows, planned(rows), kinds, config=CONFIG).forecasts.assign(series_id=identity)
    both = out.merge(direct, on=["series_id", "step"], validate="one_to_one")
    assert len(both) == len(out) == len(direct) == len(KEYS) * HORIZON
    assert both["mean_x"].sum() == pytest.approx(both["mean_y"].sum(), rel=0.15)


@pytest.mark.parametrize(
    ("shards", "families"), [(1, "default"), (16, "default"), (64, "default"), (16, ("lightgbm",))]
)
def test_the_number_of_shards_does_not_matter(tmp_path: Path, shards: int, families: str | tuple[str, ...]) -> None:
    config, homes = CONFIG.model_copy(update={"families": families}), []
    for number in (5, shards):
        homes.append(fill(Lake(str(tmp_path / f"home {number}")), panel_of(rows_of())))
        train_fleet(homes[-1], catalogue_of(rows_of(), shards=number), config, AS_OF, InProcess())
    shard = read_panel(homes[0], catalogue_of(rows_of()), config, AS_OF).shard
    one, two = (predict(dataclasses.replace(stored_fleet(home), config=config), shard) for home in homes)
    for name in ("mean", "lo_95", "lo_80", "hi_80", "hi_95"):
        np.testing.assert_allclose(one[name].to_numpy(), two[name].to_numpy(), rtol=1e-9, atol=1e-9)


def test_a_panel_that_lacks_a_series_is_named(lake: Lake) -> None:
    catalogue = catalogue_of(rows_of())
    stranger = catalogue.slice(0, 1).set_column(0, "series_id", pa.array(["stranger"]))
    with pytest.raises(PanelError, match="no row of 1 series, such as stranger"):
        train_fleet(lake, pa.concat_tables([catalogue, stranger]), CONFIG, AS_OF, InProcess())


def test_excluded_series_are_no_part_of_the_fleet(lake: Lake) -> None:
    catalogue = catalogue_of(rows_of())
    states = pa.array(["excluded", *catalogue["state"].to_pylist()[1:]])
    some = catalogue.set_column(catalogue.column_names.index("state"), "state", states)
    assert len(read_panel(lake, some, CONFIG, AS_OF).shard) == len(KEYS) - 1
    with pytest.raises(PanelError, match="no series to train"):
        read_panel(lake, some.slice(0, 1), CONFIG, AS_OF)


def test_a_job_is_a_process_that_ends_with_a_report(tmp_path: Path, lake: Lake, report: TrainingReport) -> None:
    other = fill(Lake(str(tmp_path / "other")), panel_of(rows_of()))
    local = train_fleet(other, catalogue_of(rows_of()), CONFIG, AS_OF, LocalCompute(workers=2))
    assert dataclasses.replace(local, seconds={}, versions={}) == dataclasses.replace(report, seconds={}, versions={})
    one, two = (home.read("gold/candidate_fleet").sort_by("series_id") for home in (lake, other))
    assert one.equals(two)


def test_adapters_come_and_go_with_the_configuration(lake: Lake, report: TrainingReport) -> None:
    """Trained by jobs, stored, judged, predicted and left out again: the tables of the lake stay the same."""
    window = {"name": "window", "statsforecast": "WindowAverage", "options": {"window_size": 21}}
    line = {"name": "line", "sklearn": "linear_model.LinearRegression"}
    config = ForecastConfig.model_validate(CONFIG.model_dump() | {"families": ["mean_28", window, line]})
    jobs = train_fleet(lake, catalogue_of(rows_of()), config, AS_OF, LocalCompute(workers=2))
    assert jobs.fingerprint != report.fingerprint
    fleet = dataclasses.replace(stored_fleet(lake), config=config)
    ahead = predict(fleet, read_panel(lake, catalogue_of(rows_of()), config, AS_OF).shard).to_pandas()
    assert np.isfinite(ahead["mean"]).all()
    assert set(lake.read("gold/fold_metrics")["family"].to_pylist()) == {"mean_28", "window", "line"}
    judged = arrange(lake.read("gold/judged_fold"), segment_labels(catalogue_of(rows_of()), config))
    rows = evaluate(judged, config, AS_OF, Incumbent(fleet, "before"), "release").to_pandas()
    errors = rows[rows["level"] == "fleet"].set_index("contender")["weighted_rmsse"]
    assert {"challenger", "champion", "family_mean_28", "family_window", "family_line"} <= set(errors.index)
    assert errors["champion"] == pytest.approx(errors["challenger"], rel=1e-9)
    again = train_fleet(lake, catalogue_of(rows_of()), CONFIG, AS_OF, InProcess())
    assert again.fingerprint == report.fingerprint
    assert not again.unchanged


def test_calibration_counts_the_rows_of_the_judged_fold(lake: Lake, report: TrainingReport) -> None:
    judged = lake.read("gold/judged_fold")
    found, rows = judged_calibration(judged, CONFIG), judged.to_pandas()
    inside = (rows["actual"] >= rows["lo_80"]) & (rows["actual"] <= rows["hi_80"])
    eighty = found[found["nominal"] == 80].set_index(["by", "group"])
    assert eighty.loc[("all", 0), "covered"] == pytest.approx(inside.mean())
    assert eighty.loc[("step", 3), "covered"] == pytest.approx(inside[rows["step"] == 3].mean())
    assert eighty.loc["level", "rows"].sum() == eighty.loc["step", "rows"].sum() == len(rows)
    assert judged_calibration(judged.slice(0, 0), CONFIG).empty


def test_an_old_home_gets_the_newer_columns(lake: Lake, report: TrainingReport) -> None:
    spec = judged_fold(CONFIG)
    old = TableSpec(
        "gold/judged_before",
        pa.schema(list(spec.schema)[: spec.schema.get_field_index("adapted")]),
        description=spec.description,
    )
    lake.append(old, lake.read(spec.name).select(old.schema.names))
    assert lake.migrate(dataclasses.replace(spec, name=old.name))
    assert lake.read(old.name).schema.names == spec.schema.names
    assert not lake.migrate(dataclasses.replace(spec, name=old.name))


def test_a_failed_job_says_why(tmp_path: Path) -> None:
    [outcome] = LocalCompute().run("train", [["--step", "pools", "--work", str(tmp_path), "--shards", "0"]])
    assert isinstance(outcome, JobError)
    assert re.search(r"(?s)job train .*ended with code 2 .*setup\.json", str(outcome))


def test_a_work_folder_gives_back_what_it_was_given(tmp_path: Path, lake: Lake) -> None:
    shard = read_panel(lake, catalogue_of(rows_of()), CONFIG, AS_OF).shard
    work = WorkFolder(tmp_path)
    work.write_shard(3, shard)
    again = work.read_shard(3)
    assert (shard.y.dtype, shard.known.dtype, again.y.dtype) == (np.float32, np.float32, np.float64)
    for field in dataclasses.fields(shard):
        np.testing.assert_array_equal(np.asarray(getattr(again, field.name)), np.asarray(getattr(shard, field.name)))


def test_the_report_can_be_shown(report: TrainingReport) -> None:
    assert json.loads(json.dumps(dict(report.states)))
    assert {"read", "share", "pools", "backtest", "select", "sums", "tables", "write"} == set(report.seconds)
    assert set(report.versions) == {
        "gold/candidate_fleet",
        "gold/fold_metrics",
        "gold/judged_fold",
        "gold/fleet_pools",
        "gold/input_profile",
    }
