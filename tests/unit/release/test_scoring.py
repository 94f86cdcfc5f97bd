"""Scoring with fleets that the kernel has trained on a small panel."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform import scoring
from ml_platform.candidates import Candidate
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.gate import GateConfig
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.train import run_step
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import Panel, read_panel
from ml_platform.promotion import judge_candidate, release_candidate
from ml_platform.registry import champion_as_of
from ml_platform.registry.manifest import ReleaseError
from ml_platform.scoring import ScoringError, forecasts_spec, score
from ml_platform.training import train_fleet

FIRST, DAYS, COUNT = date(2023, 6, 1), 230, 8
TRAINED = FIRST + timedelta(days=DAYS - 3)
CONFIG = ForecastConfig(
    series=["item"],
    time="date",
    target="amount",
    frequency="D",
    horizon=7,
    segments=["item_group"],
    static=["item_group"],
    folds=3,
    interval_origins=4,
)
SCHEMA = pa.schema(
    [
        ("series_id", pa.string()),
        ("date", pa.date32()),
        ("target", pa.int64()),
        ("known_from", pa.date32()),
        ("month", pa.string()),
    ]
)


class InProcess:
    """Compute that runs the jobs where it stands."""

    workers = 1

    def run(self, job, argument_lists):
        found = []
        for arguments in argument_lists:
            options = dict(zip(arguments[::2], arguments[1::2], strict=True))
            shards = [int(one) for one in options["--shards"].split(",")]
            found.append(run_step(options["--step"], WorkFolder(Path(options["--work"])), shards))
        return found


def panel(count, until, horizon=CONFIG.horizon):
    """Daily counts with a weekly shape, and the dates of the horizon without a target."""
    rows = []
    for i in range(count):
        rng = np.random.default_rng(i)
        days = (until - FIRST).days + 1
        level = 3 + i + 20 * (np.arange(DAYS + 30) % 7 >= 5)
        values = rng.poisson(level)
        for day in range(days + horizon):
            moment = FIRST + timedelta(days=day)
            target = int(values[day]) if day < days else None
            rows.append(
                {
                    "series_id": f"{i:016x}",
                    "date": moment,
                    "target": target,
                    "known_from": None,
                    "month": f"{moment:%Y-%m}",
                }
            )
    return pa.Table.from_pylist(rows, SCHEMA)


def catalogue(count, as_of):
    return pa.table(
        {
            "series_id": [f"{i:016x}" for i in range(count)],
            "item": [f"item {i}" for i in range(count)],
            "shard": pa.array([i % 2 for i in range(count)], pa.int32()),
            "first_date": pa.array([FIRST] * count),
            "last_date": pa.array([as_of] * count),
            "active_days": pa.array([150] * count, pa.int64()),
            "days_before_fold": pa.array([150] * count, pa.int64()),
            "item_group": ["x" if i % 2 else "y" for i in range(count)],
            "state": ["active"] * count,
            "reason": pa.nulls(count, pa.string()),
        }
    )


@pytest.fixture(scope="module")
def trained(new_world, tmp_path_factory, blank_mlflow):
    """A home with a panel and a promoted release as of TRAINED."""
    world = new_world(tmp_path_factory.mktemp("scoring"))
    world.lake.append(TableSpec("gold/series_panel", SCHEMA, ("month",)), panel(COUNT + 1, TRAINED + timedelta(days=2)))
    series = catalogue(COUNT, TRAINED)
    train_fleet(world.lake, series, CONFIG, TRAINED, InProcess())
    candidate = Candidate(world.lake, world.registry, series, CONFIG, TRAINED)
    judge_candidate(candidate)
    promotion = release_candidate(candidate, GateConfig(bias={"excess": 0.5}))
    assert promotion.decision.promoted, promotion.decision.summary
    return world


def test_the_release_of_the_day_scores_every_series_once(trained):
    report = score(trained.lake, trained.registry, catalogue(COUNT, TRAINED), CONFIG, TRAINED)
    assert report.release_id == champion_as_of(trained.lake, TRAINED, same_day=True).release_id
    assert report.series == {"scored": COUNT, "new_since_training": 0, "quarantined": 0}
    assert sum(report.families.values()) == COUNT
    rows = trained.lake.read("gold/forecasts", where=pc.field("as_of") == pa.scalar(TRAINED))
    assert rows.num_rows == report.rows == COUNT * CONFIG.horizon
    assert rows["date"].unique().to_pylist() == [TRAINED + timedelta(days=step) for step in range(1, 8)]
    values = rows.select(["lo_95", "lo_80", "hi_80", "hi_95"]).to_pandas().to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= 0).all()


def test_scoring_again_keeps_what_is_there(trained):
    series = catalogue(COUNT, TRAINED)
    score(trained.lake, trained.registry, series, CONFIG, TRAINED)
    version = trained.lake.version("gold/forecasts")
    again = score(trained.lake, trained.registry, series, CONFIG, TRAINED)
    assert not again.written
    assert (again.rows, again.series["scored"]) == (COUNT * CONFIG.horizon, COUNT)
    assert trained.lake.version("gold/forecasts") == version


def test_the_next_day_is_scored_by_the_same_champion_with_newcomers_by_segment(trained):
    day = TRAINED + timedelta(days=1)
    report = score(trained.lake, trained.registry, catalogue(COUNT + 1, day), CONFIG, day)
    assert report.release_id.startswith(str(TRAINED))
    assert report.series == {"scored": COUNT, "new_since_training": 1, "quarantined": 0}
    assert report.rows == (COUNT + 1) * CONFIG.horizon


def test_nothing_newer_than_the_day_is_read(trained):
    day = TRAINED + timedelta(days=1)
    score(trained.lake, trained.registry, catalogue(COUNT + 1, day), CONFIG, day)
    made = trained.lake.read("gold/forecasts", where=pc.field("as_of") == pa.scalar(day)).drop_columns(["as_of"])
    other = trained.home / "cut"
    cut = Lake(str(other))
    cut.append(TableSpec("gold/series_panel", SCHEMA, ("month",)), panel(COUNT + 1, day))
    fleet = trained.registry.load(champion_as_of(trained.lake, day, same_day=True).release_id)
    expected = predict(fleet, read_panel(cut, catalogue(COUNT + 1, day), CONFIG, day).shard)
    order = [("series_id", "ascending"), ("step", "ascending")]
    assert (
        made.select(expected.column_names)
        .sort_by(order)
        .equals(expected.sort_by(order).cast(made.select(expected.column_names).schema))
    )


def test_before_the_first_release_there_is_nothing_to_score_with(trained):
    report = score(trained.lake, trained.registry, catalogue(COUNT, TRAINED), CONFIG, TRAINED - timedelta(days=1))
    assert (report.release_id, report.rows, report.written) == (None, 0, False)
    assert "no release" in report.reason


def test_a_changed_release_is_refused_and_nothing_is_written(trained):
    day = TRAINED + timedelta(days=2)
    release_id = champion_as_of(trained.lake, day, same_day=True).release_id
    path = trained.registry.root / release_id / "parameters.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(ReleaseError, match=r"parameters\.parquet"):
            score(trained.lake, trained.registry, catalogue(COUNT, day), CONFIG, day)
    finally:
        path.write_bytes(content)
    assert not trained.lake.count("gold/forecasts", pc.field("as_of") == pa.scalar(day))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda made: made.slice(1), "1 series have no complete forecast, such as 0{16}"),
        (lambda made: pa.concat_tables([made, made.slice(0, 1)]), "have no complete forecast"),
        (lambda made: made.set_column(3, "mean", pa.array([float("inf")] * made.num_rows)), "column mean"),
        (lambda made: made.set_column(3, "mean", pa.nulls(made.num_rows, pa.float64())), "column mean"),
        (
            lambda made: pa.concat_tables([made, made.slice(0, 7).set_column(0, "series_id", pa.array(["z"] * 7))]),
            "not expected",
        ),
    ],
)
def test_forecasts_that_do_not_cover_exactly_are_not_written(trained, monkeypatch, spoil, words):
    day, original = TRAINED + timedelta(days=2), scoring.predict
    monkeypatch.setattr(scoring, "predict", lambda fleet, shard: spoil(original(fleet, shard)))
    with pytest.raises(ScoringError, match=words):
        score(trained.lake, trained.registry, catalogue(COUNT, day), CONFIG, day)
    assert not trained.lake.count("gold/forecasts", pc.field("as_of") == pa.scalar(day))


def test_a_series_whose_data_broke_since_training_stops_no_other(trained, monkeypatch):
    def with_one_broken(*arguments):
        shard = read_panel(*arguments).shard
        return Panel(shard.take(np.arange(len(shard)) != 2), (shard.series_id[2],))

    day = TRAINED + timedelta(days=2)
    monkeypatch.setattr(scoring, "read_panel", with_one_broken)
    report = score(trained.lake, trained.registry, catalogue(COUNT, day), CONFIG, day)
    assert report.series == {"scored": COUNT - 1, "new_since_training": 0, "quarantined": 1}
    assert report.rows == (COUNT - 1) * CONFIG.horizon


def test_hours_have_instants():
    hourly = ForecastConfig(series=["m"], time="t", target="y", frequency="h", horizon=3, intervals=[50])
    schema = forecasts_spec(hourly).schema
    assert str(schema.field("date").type) == "timestamp[us, tz=UTC]"
    assert {"lo_50", "hi_50"} <= set(schema.names)
