"""The marts, built by dbt itself in a staged warehouse."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import schemas
from ml_platform.warehouse import DuckDBWarehouse
from ml_platform.warehouse.marts import dbt_arguments

PROJECT = Path(__file__).resolve().parents[3] / "dbt"


def dbt(world, *arguments, check=True):
    target = DuckDBWarehouse(world.home / "warehouse" / "warehouse.duckdb")
    places = {"DBT_TARGET_PATH": str(world.home / "dbt"), "DBT_LOG_PATH": str(world.home / "dbt"), "DO_NOT_TRACK": "1"}
    command = [
        str(Path(sys.executable).with_name("dbt")),
        *arguments,
        "--project-dir",
        str(PROJECT),
        "--profiles-dir",
        str(PROJECT),
    ]
    done = subprocess.run(
        command, env={**os.environ, **places, **target.environment()}, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout
    return done


@pytest.fixture(scope="module")
def built(new_world, tmp_path_factory):
    """Published marts of two as-of days."""
    world = new_world(tmp_path_factory.mktemp("marts"))
    before = world.day - timedelta(days=1)
    spec = schemas.forecasts(world.config.interval_columns, pa.date32())
    for day, release in ((before, "r0"), (world.day, "r1")):
        world.train(day)
        world.lake.append(spec, world.forecasts_of(world.count, day, release))
        of_sums = schemas.forecast_sums(world.config.interval_columns, pa.date32())
        world.lake.append(of_sums, world.sums_of(world.count, day, release))
        world.evaluate(day)
    world.put("silver/series_catalogue", world.catalogue)
    target = DuckDBWarehouse(world.home / "warehouse" / "warehouse.duckdb")
    for day, release in ((before, "r0"), (world.day, "r1")):
        target.stage(world.lake, world.config, {day: release})
        if release == "r0":
            with duckdb.connect(str(target.staged)) as sql:
                sql.execute("create schema marts; create view marts.forecast_latest as from lake.forecasts")
                sql.execute("create view marts.forecast_sums_latest as from lake.forecast_sums")
                for name in ("forecast_accuracy", "fleet_health", "release_lineage"):
                    sql.execute(f"create view marts.{name} as select 1")
            target.publish(world.lake)
    dbt(world, "build", *dbt_arguments(world.config))
    target.publish(world.lake)
    return world


def test_marts_are_views_over_the_published_day(built):
    with duckdb.connect(str(built.home / "warehouse" / "warehouse.duckdb"), read_only=True) as sql:
        kinds = sql.execute(
            "select table_name, table_type from information_schema.tables where table_schema = 'marts' order by 1"
        ).fetchall()
        names = ("fleet_health", "forecast_accuracy", "forecast_latest", "forecast_sums_latest", "release_lineage")
        assert kinds == [(name, "VIEW") for name in names]
        sums = sql.execute("select * from marts.forecast_sums_latest where level = 'total'")
        columns = [one[0] for one in sums.description]
        assert len(sums.fetchall()) == built.config.horizon
        cursor = sql.execute("select * from marts.forecast_latest")
        names, rows = [one[0] for one in cursor.description], cursor.fetchall()
        health = sql.execute(
            "select as_of, state, reason, family, series, share from marts.fleet_health order by as_of, state"
        ).fetchall()
        accuracy = sql.execute(
            "select distinct basis, contender from marts.forecast_accuracy where level = 'fleet'"
        ).fetchall()
    expected = "series_id site item as_of release_id date step mean point lo_95 lo_80 hi_80 hi_95 family published_at"
    expected += " decided_by decided_at code_commit input_tables"
    assert names == expected.split()
    of_sums = "level sum_id site as_of release_id date step mean point lo_95 lo_80 hi_80 hi_95 series fallback quarantined published_at"
    assert columns == of_sums.split()
    assert len(rows) == built.count * built.config.horizon
    assert {(row[names.index("as_of")], row[names.index("release_id")]) for row in rows} == {(built.day, "r1")}
    assert {row[names.index("item")] for row in rows} == {f"item {i}" for i in range(built.count)}
    assert [row[1:5] for row in health] == 2 * [("fallback", "too_short", "tsb", 1), ("fitted", "", "tsb", 11)]
    assert health[1][5] == pytest.approx(11 / 12)
    assert ("backtest", "challenger") in accuracy


def test_the_manifest_tells_dagster_key_group_and_owner(built):
    manifest = json.loads((built.home / "dbt" / "manifest.json").read_text())
    models = [one for one in manifest["nodes"].values() if one["resource_type"] == "model"]
    assert {one["name"] for one in models} == {
        "forecast_latest",
        "forecast_sums_latest",
        "forecast_accuracy",
        "fleet_health",
        "release_lineage",
    }
    for model in models:
        assert model["meta"]["dagster"] == {"group": "warehouse", "owners": ["team:forecasting"]}
        assert model["description"]
        assert model["columns"]
        assert model["config"]["materialized"] == "view"
    sources = manifest["sources"].values()
    keys = {tuple((one["config"].get("meta") or one["meta"])["dagster"]["asset_key"]) for one in sources}
    assert keys == {("warehouse_forecasts",)}
    staged_tables = {
        "published",
        "forecasts",
        "forecast_sums",
        "series_catalogue",
        "fleet_states",
        "fleet_evaluation",
        "promoted_release",
        "releases",
        "live_accuracy",
    }
    assert {one["name"] for one in sources} == staged_tables


def test_empty_marts_build_and_broken_data_fails_its_test(plain_world):
    target = DuckDBWarehouse(plain_world.home / "warehouse" / "warehouse.duckdb")
    target.stage(plain_world.lake, plain_world.config)
    dbt(plain_world, "build", *dbt_arguments(plain_world.config))
    with duckdb.connect(str(target.staged)) as sql:
        assert sql.execute("select count(*) from marts.forecast_latest").fetchall() == [(0,)]
        sql.execute("insert into lake.published values ('2024-03-31', 'r1', now())")
        values = "('2024-03-31', 'r1', 'x', 1, '2024-04-01', 5, 5, 3, 4, 6, 5.5, 'tsb')"
        sql.execute(f"insert into lake.forecasts values {values}, {values}")
        of_sum = "('2024-03-31', 'r1', 'total', 's', null, 1, '2024-04-01', {}, 5, 3, 4, 6, 5.5, 2, 0, 0)"
        sql.execute(f"insert into lake.forecast_sums values {of_sum.format(10.1)}, {of_sum.format(0)}")
    failed = dbt(plain_world, "test", *dbt_arguments(plain_world.config), check=False).stdout
    for name in (
        "unique_combination_forecast_latest",
        "quantiles_in_order_forecast_latest",
        "relationships_forecast_latest",
        "unique_combination_forecast_sums_latest",
        "quantiles_in_order_forecast_sums_latest",
        "sums_agree_forecast_sums_latest",
    ):
        assert any(name in line and "FAIL" in line for line in failed.splitlines()), (name, failed)


def test_key_columns_and_intervals_come_from_the_configuration():
    config = ForecastConfig(series=["meter"], time="at", target="kwh", frequency="h", horizon=4, intervals=[50, 90])
    assert json.loads(dbt_arguments(config)[1]) == {"series_keys": ["meter"], "sum_keys": [], "intervals": [50, 90]}
    zones = config.model_copy(update={"sums": (("zone", "meter"), ("zone",), ())})
    assert json.loads(dbt_arguments(zones)[1])["sum_keys"] == ["zone", "meter"]
