"""Days between trainings, by Dagster on real tables: files land, `update` brings the champion forward, its forecasts are in SQL."""

import random
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.compute as pc
import pytest

from ml_platform.forecasting import predict
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.panel import read_panel
from ml_platform.registry import Registry
from ml_platform.settings import Settings

FIRST = date(2024, 2, 1)
TRAINED = FIRST + timedelta(days=89)
SITES = [f"site-{number}" for number in range(6)]
NEW, SILENT, CORRECTED = "site-9", "site-1", "site-2"
SOURCE = """
name: visits
kind: events
description: Visits of every site, one file per day.
owner: team:parks
path: visits_{day}.csv
format: {type: csv}
columns:
  site: {type: string, description: Site}
  at: {type: date, description: Day}
  visits: {type: int64, min: 0, unit: visits, description: Visits of the day}
key: [site, at]
time: {column: at}
panel: {target: true}
"""
FORECAST = """
name: visits
series: [site]
time: at
target: visits
frequency: D
horizon: 7
missing: gap
families: [ridge]
folds: 3
interval_origins: 6
"""
GATE = "bias: {excess: 1.0}\n"


def day(number: int) -> date:
    """So many days after the training."""
    return TRAINED + timedelta(days=number)


def configure(folder: Path) -> Path:
    (folder / "sources").mkdir(parents=True)
    (folder / "sources" / "visits.yaml").write_text(SOURCE)
    (folder / "forecast.yaml").write_text(FORECAST)
    (folder / "gate.yaml").write_text(GATE)
    return folder


def visits(site: str, at: date) -> int:
    """Many at weekends, and a chance that is the same in every run."""
    level = 20 + 10 * int(site[-1]) + (30 if at.weekday() >= 5 else 0)
    return max(0, round(random.Random(f"{site} {at}").gauss(level, 4)))


def land(settings: Settings, first: date, last: date, more: int = 0) -> None:
    """Files of the days; the new site begins on the second day after the training, when one falls silent. `more`: visits that one has besides."""
    folder = settings.landing / "visits"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range((last - first).days + 1):
        at = first + timedelta(days=number)
        sites = [site for site in SITES if site != SILENT or at < day(2)] + ([NEW] if at >= day(2) else [])
        rows = [f"{site},{at},{visits(site, at) + (more if site == CORRECTED else 0)}" for site in sites]
        (folder / f"visits_{at}.csv").write_text("\n".join(["site,at,visits", *rows]) + "\n")


@pytest.fixture(scope="module")
def park(tmp_path_factory, open_platform):
    """A home with a champion of one day and the data of the next; the tests here go on from day to day, in order."""
    home = tmp_path_factory.mktemp("park")
    settings = Settings(
        home=home / "home", configs=configure(home / "configs"), first_day=FIRST, last_day=day(20), workers=1, shards=2
    )
    land(settings, FIRST, day(1))
    with open_platform(settings) as platform:
        platform.succeed("ingest", FIRST, day(1))
        yield platform


def released(park, as_of):
    return park.lake.read("gold/promoted_release", where=pc.field("as_of") == as_of).to_pylist()


def states(park, as_of):
    rows = park.lake.read("gold/candidate_fleet", where=pc.field("as_of") == as_of).to_pylist()
    return {row["series_id"]: row["state"] for row in rows}


def series_of(park, site):
    rows = park.lake.read("silver/series_catalogue").to_pylist()
    return next(row["series_id"] for row in rows if row["site"] == site)


def registry_of(park):
    return Registry(park.settings.releases, park.settings.mlflow_uri, park.settings.mlflow_artifacts, "visits")


def test_without_a_champion_the_run_fails_with_the_way_out(park):
    run = park.run("update", day(1))
    assert not run.is_success
    assert f"no release older than {day(1)} is promoted: train that day, `ml-platform run retrain" in park.why(run)
    assert not park.lake.exists("gold/promoted_release")


def test_a_day_is_taken_in_released_and_published(park):
    park.succeed("retrain", TRAINED)
    (trained,) = released(park, TRAINED)
    assert trained["promoted"], trained["rules"]
    run = park.succeed("update", day(1))
    (updated,) = released(park, day(1))
    assert (updated["promoted"], updated["approved_by"]) == (True, "update")
    shown = {name: value.value for name, value in park.materialized(run)["updated_fleet"].items()}
    assert (shown["since"], shown["updated_from"]) == (TRAINED.isoformat(), trained["release_id"])
    assert (shown["as_of"], shown["made_anew"], shown["carried_over"], shown["unchanged"]) == (
        day(1).isoformat(),
        6,
        0,
        False,
    )
    assert shown["rows_in"] == 91 * len(SITES)
    assert len(shown["recorded_rows"]) == 64
    assert shown["seconds"] > 0
    assert {"candidate_fleet", "fleet_evaluation", "raw_visits"}.isdisjoint(park.materialized(run))
    assert park.sql("select distinct as_of, release_id from marts.forecast_latest") == [(day(1), updated["release_id"])]
    assert registry_of(park).versions.tags_of("champion")["release_id"] == updated["release_id"]


def test_the_same_day_again_changes_nothing(park):
    before, content = park.versions(), park.content()
    run = park.succeed("update", day(1))
    assert park.materialized(run)["updated_fleet"]["unchanged"].value is True
    assert park.versions() == before
    assert park.content() == content


def test_a_gap_a_new_series_a_silent_one_and_a_correction_in_one_update(park):
    land(park.settings, day(2), day(4))
    land(park.settings, day(-30), day(-30), more=9)  # another version of an old day: one site has other visits
    park.succeed("ingest", FIRST, day(4))
    run = park.succeed("update", day(4))
    shown = {name: value.value for name, value in park.materialized(run)["updated_fleet"].items()}
    assert (shown["since"], shown["advanced"], shown["made_anew"]) == (day(1).isoformat(), 5, 2)
    found = states(park, day(4))
    assert found.pop(series_of(park, SILENT)) == "carried_over"
    assert found.pop(series_of(park, NEW)) == "fallback"
    assert set(found.values()) == {"fitted"}
    assert not released(park, day(3))


def test_its_forecasts_are_those_of_the_whole_history_at_the_trained_fleet(park):
    registry, lake = registry_of(park), park.lake
    catalogue = lake.read("silver/series_catalogue")
    (trained,) = released(park, TRAINED)
    (updated,) = released(park, day(4))
    fleet = registry.load(trained["release_id"])
    shard = read_panel(lake, catalogue, fleet.config, day(4)).shard
    anew = Statistics.of(fleet, shard).forecasts().to_pandas().set_index(["series_id", "step"]).sort_index()
    published = lake.read("gold/forecasts", where=pc.field("release_id") == updated["release_id"]).to_pandas()
    published = published.set_index(["series_id", "step"]).sort_index()
    stale = predict(fleet, shard).to_pandas().set_index(["series_id", "step"]).sort_index()
    np.testing.assert_allclose(published["mean"], anew["mean"], rtol=1e-8, atol=1e-8)
    assert not np.allclose(published["mean"], stale["mean"], rtol=1e-6), "the coefficients are fresh"


def test_a_run_over_days_updates_each_from_the_one_before(park):
    land(park.settings, day(5), day(6))
    park.succeed("ingest", day(5), day(6))
    park.succeed("update", day(5), day(6))
    first, second = (released(park, day(number))[0]["release_id"] for number in (5, 6))
    evidence = registry_of(park).evidence(second)
    assert evidence["updated_from"] == first
    assert evidence["trained"] == {"release_id": released(park, TRAINED)[0]["release_id"], "as_of": TRAINED.isoformat()}
    days = park.instance.get_materialized_partitions(dg.AssetKey("updated_fleet"))
    assert {day(number).isoformat() for number in (1, 4, 5, 6)} == days


def test_the_schedule_of_trainings_still_takes_the_day(park):
    schedule = next(one for one in park.defs.schedules if one.name == "daily_retraining")
    asked = schedule(dg.build_schedule_context(instance=park.instance))
    assert asked.partition_key == day(6).isoformat()
    park.succeed("retrain", day(6))
    newest = max(released(park, day(6)), key=lambda row: row["decided_at"])
    assert newest["approved_by"] == "gate"
    run = park.succeed("update", day(6))
    assert "was trained" in park.materialized(run)["updated_fleet"]["reason"].value
    used = max((row for row in released(park, day(6)) if row["promoted"]), key=lambda row: row["decided_at"])
    assert park.sql("select distinct release_id from marts.forecast_latest") == [(used["release_id"],)]
