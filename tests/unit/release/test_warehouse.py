"""The warehouse: staged beside the live file, compared with the lake, switched in one step."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from fault_worker import KILLED, worker

from ml_platform import failpoints
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake, schemas
from ml_platform.scoring import forecasts_spec
from ml_platform.warehouse import DuckDBWarehouse, WarehouseError
from ml_platform.warehouse.contents import pointer_table
from ml_platform.warehouse.duckdb import _open
from ml_platform.warehouse.protocol import Pointer

KILLS = 20


@pytest.fixture
def house(plain_world):
    """A home with one day of forecasts of release r1 and a catalogue."""
    lake = plain_world.lake
    add_forecasts(plain_world, plain_world.day, "r1")
    catalogue = plain_world.catalogue
    plain_world.put("silver/series_catalogue", catalogue)
    plain_world.train(plain_world.day)
    assert lake.exists("gold/judged_fold")
    return plain_world


def add_forecasts(world, as_of, release_id):
    spec = schemas.forecasts(world.config.interval_columns, pa.date32())
    world.lake.append(spec, world.forecasts_of(world.count, as_of, release_id))
    of_sums = schemas.forecast_sums(world.config.interval_columns, pa.date32())
    world.lake.append(of_sums, world.sums_of(world.count, as_of, release_id))


def warehouse(world):
    return DuckDBWarehouse(world.home / "warehouse" / "warehouse.duckdb")


def build_marts(target):
    """What dbt does, as far as publishing cares: views in schema marts that name the database."""
    with duckdb.connect(str(target.staged)) as sql:
        sql.execute("create schema if not exists marts")
        for name, table in {
            "forecast_latest": "forecasts",
            "forecast_sums_latest": "forecast_sums",
            "forecast_accuracy": "live_accuracy",
            "fleet_health": "fleet_states",
            "release_lineage": "releases",
        }.items():
            sql.execute(f"create or replace view marts.{name} as select * from warehouse.lake.{table}")


def publish(world, as_of, release_id):
    target = warehouse(world)
    target.stage(world.lake, world.config, {as_of: release_id})
    build_marts(target)
    return target.publish(world.lake)


def ask(path, query):
    with duckdb.connect(str(path), read_only=True) as sql:
        return sql.execute(query).fetchall()


def test_nothing_published_still_stages_every_table(plain_world):
    staged = warehouse(plain_world).stage(plain_world.lake, plain_world.config)
    assert set(staged.rows.values()) == {0}
    columns = {
        row[0]
        for row in ask(staged.path, "select column_name from information_schema.columns where table_name = 'forecasts'")
    }
    assert {"series_id", "lo_95", "hi_80", "family"} <= columns


def test_what_is_published_is_what_the_lake_holds(house):
    assert publish(house, house.day, "r1")
    live = warehouse(house).path
    mart = ask(live, "select series_id, step, mean, lo_95, family from marts.forecast_latest order by 1, 2")
    lake = house.lake.read("gold/forecasts").sort_by([("series_id", "ascending"), ("step", "ascending")]).to_pylist()
    assert mart == [(r["series_id"], r["step"], r["mean"], r["lo_95"], r["family"]) for r in lake]
    assert house.lake.read("ops/published")["release_id"].to_pylist() == ["r1"]
    assert not warehouse(house).staged.exists()
    assert ask(live, "select comment from duckdb_tables() where comment is null") == []


def test_sums_have_a_column_per_key_of_the_type_of_the_catalogue(house):
    publish(house, house.day, "r1")
    live = warehouse(house).path
    shown = ask(
        live, "select level, site, sum(mean), min(series) from marts.forecast_sums_latest group by all order by 1, 2"
    )
    forecasts = house.lake.read("gold/forecasts").to_pandas()
    columns = (house.catalogue[one].to_pylist() for one in ("series_id", "site"))
    sites = forecasts["series_id"].map(dict(zip(*columns, strict=True)))
    wanted = forecasts.groupby(sites)["mean"].sum()
    assert shown == [
        *(("site", site, pytest.approx(wanted[site]), 4) for site in (1, 2, 3)),
        ("total", None, pytest.approx(wanted.sum()), 12),
    ]


def test_a_release_without_sums_is_published_with_none(house):
    spec = schemas.forecasts(house.config.interval_columns, pa.date32())
    later = house.day + timedelta(days=1)
    house.lake.append(spec, house.forecasts_of(house.count, later, "r2"))
    assert publish(house, later, "r2")
    live = warehouse(house).path
    assert ask(live, "select count(*) from marts.forecast_sums_latest") == [(0,)]
    assert ask(live, "select distinct as_of from marts.forecast_latest") == [(later,)]


def test_publishing_again_changes_nothing(house):
    publish(house, house.day, "r1")
    target = warehouse(house)
    before, moment = target.path.stat(), house.lake.read("ops/published")
    assert not target.publish(house.lake)
    assert target.path.stat().st_mtime_ns == before.st_mtime_ns
    publish(house, house.day, "r1")
    assert house.lake.version("ops/published") == 1
    assert ask(target.path, "select published_at from lake.published")[0][0] == moment["published_at"][0].as_py()


def test_the_marts_show_the_newest_day_whatever_is_published_last(house):
    publish(house, house.day, "r1")
    older = house.day - timedelta(days=3)
    add_forecasts(house, older, "r0")
    publish(house, older, "r0")
    assert ask(warehouse(house).path, "select distinct as_of, release_id from marts.forecast_latest") == [
        (house.day, "r1")
    ]
    assert len(ask(warehouse(house).path, "select * from lake.published")) == 2


def test_a_second_release_of_a_day_replaces_the_first_and_the_first_can_return(house):
    publish(house, house.day, "r1")
    add_forecasts(house, house.day, "r2")
    publish(house, house.day, "r2")
    assert ask(warehouse(house).path, "select distinct release_id from marts.forecast_latest") == [("r2",)]
    publish(house, house.day, "r1")
    assert ask(warehouse(house).path, "select distinct release_id from marts.forecast_latest") == [("r1",)]
    assert house.lake.count("ops/published") == 3


def test_a_replay_publishes_every_day_of_it_at_once(house):
    days = [house.day - timedelta(days=back) for back in (2, 1)]
    for day in days:
        add_forecasts(house, day, "r0")
    target = warehouse(house)
    target.stage(house.lake, house.config, dict.fromkeys(days, "r0") | {house.day: "r1"})
    build_marts(target)
    assert [one.as_of for one in target.publish(house.lake)] == [*days, house.day]
    assert house.lake.version("ops/published") == 1
    assert ask(target.path, "select distinct as_of, release_id from marts.forecast_latest") == [(house.day, "r1")]


def test_a_file_staged_before_another_publication_is_refused(house):
    target = warehouse(house)
    target.stage(house.lake, house.config, {house.day: "r1"})
    build_marts(target)
    older = house.day - timedelta(days=3)
    add_forecasts(house, older, "r0")
    house.lake.append(schemas.PUBLISHED, pointer_table([Pointer(older, "r0", datetime.now(UTC))]))
    with pytest.raises(WarehouseError, match="staged before the last publication"):
        target.publish(house.lake)


def test_a_reader_keeps_its_file_and_the_next_one_sees_the_new(house):
    publish(house, house.day, "r1")
    with duckdb.connect(str(warehouse(house).path), read_only=True) as reader:
        add_forecasts(house, house.day, "r2")
        publish(house, house.day, "r2")
        assert reader.execute("select distinct release_id from marts.forecast_latest").fetchall() == [("r1",)]
    assert ask(warehouse(house).path, "select distinct release_id from marts.forecast_latest") == [("r2",)]


def test_a_crash_while_staging_leaves_nothing_to_publish(house, monkeypatch):
    def dies(*arguments):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(DuckDBWarehouse, "_fill_live", dies)
        with pytest.raises(RuntimeError, match="killed"):
            warehouse(house).stage(house.lake, house.config, {house.day: "r1"})
    assert warehouse(house).publish(house.lake) == []
    assert publish(house, house.day, "r1")


def test_without_forecasts_nothing_is_staged(house):
    with pytest.raises(WarehouseError, match="no forecasts of release r9"):
        warehouse(house).stage(house.lake, house.config, {house.day: "r9"})
    assert warehouse(house).publish(house.lake) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("update lake.forecasts set mean = mean + 1e-9 where step = 3", "not what the lake holds"),
        ("delete from lake.forecasts where step = 3", "not what the lake holds"),
        (
            "update lake.forecast_sums set series = 2 where level = 'total'",
            "lake.forecast_sums is not what the lake holds",
        ),
        (
            "create or replace view marts.forecast_sums_latest as select * from warehouse.lake.forecast_sums where step < 9",
            "forecast_sums_latest shows 32 rows of 56",
        ),
        ("drop view marts.fleet_health", r"marts\.fleet_health is missing"),
        (
            "create or replace view marts.forecast_latest as select * from warehouse.lake.forecasts where step < 9",
            "shows 96 rows of 168",
        ),
        ("update lake.published set release_id = 'r7'", "no forecasts of release r7"),
    ],
)
def test_a_staged_file_that_differs_is_refused_and_the_live_one_stays(house, spoil, words):
    publish(house, house.day, "r1")
    add_forecasts(house, house.day, "r2")
    target = warehouse(house)
    target.stage(house.lake, house.config, {house.day: "r2"})
    build_marts(target)
    with duckdb.connect(str(target.staged)) as sql:
        sql.execute(spoil)
    with pytest.raises(WarehouseError, match=words):
        target.publish(house.lake)
    assert ask(target.path, "select distinct release_id from marts.forecast_latest") == [("r1",)]
    assert house.lake.count("ops/published") == 1


@pytest.mark.parametrize("at", ["before the pointer", "after the pointer"])
def test_a_crash_while_publishing_is_completed_by_a_repetition(house, monkeypatch, at):
    publish(house, house.day, "r1")
    add_forecasts(house, house.day, "r2")
    original = Lake.append

    def dies(self, *arguments, **named):
        if at == "after the pointer":
            original(self, *arguments, **named)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append", dies)
        with pytest.raises(RuntimeError, match="killed"):
            publish(house, house.day, "r2")
    assert ask(warehouse(house).path, "select distinct release_id from marts.forecast_latest") == [("r1",)]
    assert len(warehouse(house).publish(house.lake)) == (at == "before the pointer")
    assert ask(warehouse(house).path, "select distinct release_id from marts.forecast_latest") == [("r2",)]
    assert house.lake.count("ops/published") == 2


def test_live_accuracy_compares_with_the_actuals_that_arrived(house):
    before = house.day - timedelta(days=2)
    add_forecasts(house, before, "r0")
    publish(house, before, "r0")
    made = house.lake.read("gold/forecasts").to_pylist()
    due = [r for r in made if r["as_of"] == before and r["date"] <= house.day]
    panel = pa.table(
        {
            "series_id": [r["series_id"] for r in due],
            "date": [r["date"] for r in due],
            "target": pa.array([round(2 * r["mean"]) for r in due], pa.int64()),
        }
    )
    house.put("gold/series_panel", panel)
    publish(house, house.day, "r1")
    live = "select contender, level, segment, wape, bias, coverage_80, series, rows from lake.live_accuracy where level = 'fleet' and contender = 'all'"
    (row,) = ask(warehouse(house).path, live)
    actual, mean = [round(2 * r["mean"]) for r in due], [r["mean"] for r in due]
    assert row[:3] == ("all", "fleet", "fleet")
    assert row[3] == pytest.approx(sum(abs(a - m) for a, m in zip(actual, mean, strict=True)) / sum(actual))
    assert row[4] == pytest.approx(sum(mean) / sum(actual) - 1)
    assert row[5] < 1.0
    assert row[6:] == (12, 24)
    assert len(ask(warehouse(house).path, "select * from lake.live_accuracy where level = 'segment'")) == 3


def test_hours_and_other_intervals_are_staged_as_they_are(plain_world):
    config = ForecastConfig(series=["meter"], time="at", target="kwh", frequency="h", horizon=2, intervals=[50])
    spec, lake = forecasts_spec(config), plain_world.lake
    for back in (1, 0):
        day = plain_world.day - timedelta(days=back)
        start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        fixed = {"as_of": day, "release_id": "r", "series_id": "m", "family": "tsb"}
        numbers = {"mean": 2.0, "point": 2.0, "lo_50": 1.0, "hi_50": 3.0}
        rows = [{**fixed, **numbers, "step": step + 1, "date": start + timedelta(hours=step)} for step in range(2)]
        lake.append(spec, pa.Table.from_pylist(rows, spec.schema))
        actuals = [{"series_id": "m", "date": row["date"], "target": Decimal("2.5")} for row in rows]
        instants = pa.schema([("series_id", pa.string()), ("date", schemas.INSTANT), ("target", pa.decimal128(18, 2))])
        if back:
            plain_world.put("gold/series_panel", pa.Table.from_pylist(actuals, instants))
        target = warehouse(plain_world)
        target.stage(lake, config, {day: "r"})
        build_marts(target)
        assert target.publish(lake)
    live = "select contender, wape, bias, coverage_50, rows from lake.live_accuracy where level = 'fleet' and contender = 'all'"
    assert ask(target.path, live) == [("all", 0.2, -0.2, 1.0, 2)]
    assert ask(target.path, "select min(date) from marts.forecast_latest")[0][0] == datetime(2024, 4, 1, tzinfo=UTC)


def test_errors_and_states_are_counted(house):
    publish(house, house.day, "r1")
    errors = ask(
        warehouse(house).path, "select family, fold, series, rows, rmsse, mean_absolute_error from lake.fold_errors"
    )
    assert errors[0] == ("mean_28", 0, 12, 168, pytest.approx((14 / 14 / 4) ** 0.5), pytest.approx(10 / 14))
    states = ask(warehouse(house).path, "select state, reason, series from lake.fleet_states")
    assert states == [("fallback", "too_short", 1), ("fitted", None, 11)]


def test_duckdb_never_asks_for_an_extension(house):
    staged = warehouse(house).stage(house.lake, house.config, {house.day: "r1"})
    with _open(staged.path) as sql, pytest.raises(duckdb.Error):
        sql.execute("select * from read_xlsx('x.xlsx')").fetchall()


@pytest.mark.faults
@pytest.mark.parametrize("name", [name for name in failpoints.NAMES if name.startswith("publish.")])
def test_a_publication_that_is_killed_is_completed_by_the_next(house, name):
    """Twenty times: the process dies, readers see the old day whole or the new one whole, a repetition ends it."""
    publish(house, house.day, "r1")
    target, before = warehouse(house), "r1"
    with worker() as crew:
        for number in range(KILLS):
            new = f"k{number}"
            add_forecasts(house, house.day, new)
            target.stage(house.lake, house.config, {house.day: new})
            build_marts(target)
            assert crew.do("publish", house.home, name) == KILLED
            shown = ask(target.path, "select distinct release_id, count(*) from marts.forecast_latest group by all")
            assert shown in ([(before, 168)], [(new, 168)])
            assert crew.do("publish", house.home) == 0
            assert ask(target.path, "select distinct release_id from marts.forecast_latest") == [(new,)]
            assert house.lake.count("ops/published") == number + 2
            before = new
