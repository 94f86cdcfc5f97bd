"""Broken files among good ones: they are refused with file, row, rule and value, and the good ones arrive."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform import expectations
from ml_platform.checks import CheckResult
from ml_platform.settings import Settings
from sensors.alerts import run_failures

DAY = date(2017, 3, 1)
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
PRODUCTS = pa.table(
    {
        "product_id": [1, 2],
        "manufacturer_id": [7, 7],
        "department": ["GROCERY", "GROCERY"],
        "brand": ["National", "Private"],
        "product_category": ["SOUP", "CHEESE"],
        "product_type": ["TINS", "HARD"],
        "package_size": ["1", "1"],
    }
)
BROKEN_FILES = {  # name: content, reason in the ledger, rows it is known to hold
    "sales_2017-03-02_extra.csv": (f"{HEADER}\n1,5,9,1,1,2.00,2017-03-02T17:00:00Z\n", "unknown_format"),
    "notes.txt": ("hello\n", "unknown_format"),
    "sales_2017-03-03.csv": ("a,b\n1,2\n", "missing_columns"),
    "sales_2017-03-04.csv": ("", "empty_file"),
    "sales_2017-03-05.csv": (f"{HEADER},colour\n1,5,9,1,1,2.00,2017-03-05T17:00:00Z,red\n", "unexpected_columns"),
}


def good(day: date, basket: int = 1, units: object = 2, product: int = 1) -> str:
    return f"1,5,{10 * day.toordinal() + basket},{product},{units},3.50,{day}T17:00:00Z"


def write(settings: Settings, name: str, text: str) -> None:
    path = settings.landing / "sales" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def land_good(settings: Settings, day: date, *more: str) -> None:
    write(settings, f"sales_{day}.csv", "\n".join([HEADER, *(good(day, basket) for basket in (1, 2, 3)), *more]) + "\n")


def land_products(settings: Settings, table: pa.Table = PRODUCTS, name: str = "products.parquet") -> Path:
    path = settings.landing / "products" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, open_platform):
    """A home after one run of `score` over good files, broken files and good files with broken rows."""
    settings = Settings(home=tmp_path_factory.mktemp("bad"), workers=1, shards=2)
    whole = land_products(settings)
    (settings.landing / "products" / "older_products.parquet").write_bytes(whole.read_bytes()[:300])
    plan = settings.landing / "promotions" / f"promotions_{DAY}_week_09.parquet"
    plan.parent.mkdir(parents=True)
    plan.write_bytes(b"PAR1" + b"\0" * 300)
    for name, (text, _) in BROKEN_FILES.items():
        write(settings, name, text)
    land_good(settings, DAY)
    rows = [good(DAY, 4, -1), good(DAY, 5, "many"), good(DAY, 6, product=99), "1,5,7", good(DAY, 8, "")]
    land_good(settings, DAY + timedelta(days=1), *rows)
    with open_platform(settings) as platform:
        yield platform, platform.succeed("score", DAY, DAY + timedelta(days=9))


def ledger(platform) -> dict[str, dict[str, object]]:
    return {Path(row["path"]).name: row for row in platform.lake.read("ops/ledger").to_pylist()}


def refused(platform) -> dict[tuple[str, int | None], dict[str, object]]:
    rows = platform.lake.read("ops/quarantine").to_pylist()
    return {(Path(row["path"]).name, row["row_number"]): row for row in rows}


def test_before_a_day_is_complete_a_run_ends_well_and_forecasts_nothing(tmp_path, open_platform):
    """First, because two homes cannot be open at once."""
    settings = Settings(home=tmp_path, workers=1, shards=2)
    write(settings, "notes.txt", "nothing yet")
    with open_platform(settings) as platform:
        run = platform.succeed("score", DAY)
        assert any(
            "no day of source 'sales' is complete" in text for text in platform.messages(run, "series_catalogue")
        )
        made = set(platform.materialized(run))
        assert {"raw_sales", "sales_history"} <= made
        assert not made & {"series_catalogue", "series_panel", "forecasts", "warehouse_forecasts", "forecast_latest"}


def test_the_run_succeeds_and_good_rows_arrive(mixed):
    platform, _ = mixed
    assert platform.lake.count("silver/sales_history") == 6
    assert sum(platform.lake.read("gold/series_panel")["target"].drop_null().to_pylist()) == 12
    assert {name for name, row in ledger(platform).items() if row["state"] == "loaded"} == {
        "products.parquet",
        "sales_2017-03-01.csv",
        "sales_2017-03-02.csv",
    }


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, (_, reason) in BROKEN_FILES.items()])
def test_a_broken_file_is_refused_as_a_whole(mixed, name, reason):
    row, kept = ledger(mixed[0])[name], refused(mixed[0])[name, None]
    assert row["state"] == "quarantined"
    assert row["reason"].startswith(f"{reason}: ")
    assert (kept["rule"], kept["stage"], kept["state"], kept["source"]) == (reason, "bronze", "open", "sales")
    assert kept["raw"] == f"sales/{name}"


def test_truncated_parquet_is_refused(mixed):
    row = ledger(mixed[0])[f"promotions_{DAY}_week_09.parquet"]
    assert row["state"] == "quarantined"
    assert row["reason"].startswith("unreadable_parquet: ")
    assert ledger(mixed[0])["older_products.parquet"]["state"] == "quarantined"


@pytest.mark.parametrize(
    ("row", "stage", "rule", "value"),
    [
        (5, "bronze", "below_minimum:quantity", "-1"),
        (6, "bronze", "not_int64:quantity", "many"),
        (7, "silver", "unknown_product", "99"),
        (8, "bronze", "malformed_row", "3 fields, the header has 7"),
        (9, "bronze", "empty:quantity", None),
    ],
)
def test_a_broken_row_is_refused_with_place_rule_and_value(mixed, row, stage, rule, value):
    found = refused(mixed[0])["sales_2017-03-02.csv", row]
    assert (found["stage"], found["rule"], found["value"]) == (stage, rule, value)
    assert found["raw"]


def test_nothing_is_lost(mixed):
    row = ledger(mixed[0])["sales_2017-03-02.csv"]
    assert (row["rows_in"], row["rows_loaded"], row["rows_quarantined"]) == (8, 4, 4)
    fates = mixed[0].lake.read("ops/row_fates").filter(pc.field("drop_id") == row["drop_id"]).to_pylist()
    assert {(one["fate"], one["rule"]): one["rows"] for one in fates} == {
        ("kept", ""): 3,
        ("quarantined", "unknown_product"): 1,
    }
    assert len(refused(mixed[0])) == len(BROKEN_FILES) + 2 + 5


def test_the_asset_says_so(mixed):
    platform, run = mixed
    shown = platform.materialized(run)["raw_sales"]
    sales = [row for row in ledger(platform).values() if row["source"] == "sales"]
    assert shown["rows_quarantined"].value == sum(row["rows_quarantined"] for row in sales) >= 4
    for name, (_, reason) in BROKEN_FILES.items():
        assert f"{name}: {reason}" in shown["refused_files"].value
    counted = {record.data["what"]: record.data["rows"] for record in shown["drops_by_state"].records}
    assert counted == {"loaded": 2, "quarantined": len(BROKEN_FILES)}


def test_without_a_champion_the_marts_are_there_and_empty(mixed):
    platform, run = mixed
    assert "promoted" in platform.materialized(run)["forecasts"]["reason"].value
    assert platform.sql("select count(*) from marts.forecast_latest") == [(0,)]
    assert not platform.lake.exists("ops/published")


def test_a_batch_that_is_blocked_leaves_an_alert(mixed, monkeypatch):
    """Last, because it leaves its file behind."""
    platform, day = mixed[0], DAY + timedelta(days=10)
    before = platform.versions()
    write(platform.settings, f"sales_{day}.csv", "\n".join([HEADER, good(day, 1)]) + "\n")
    monkeypatch.setattr(expectations, "validate", lambda *_: CheckResult("expectations", False, "planted"))
    run = platform.run("score", day)
    assert run.status == dg.DagsterRunStatus.FAILURE
    check = platform.checks(run)["raw_sales", "expectations"]
    assert not check.passed
    assert "planted" in check.description
    assert "raw_sales" not in platform.materialized(run)
    assert platform.versions() == before
    assert f"sales_{day}.csv" not in ledger(platform)
    raise_alerts(platform, run)
    (alert,) = platform.lake.read("ops/alerts").to_pylist()
    assert (alert["job"], alert["run_id"], alert["steps"]) == ("score", run.run_id, "raw_sales")
    assert "raw_sales" in alert["message"]


def raise_alerts(platform, run):
    """What the daemon does with the failure."""
    (failure,) = [event for event in platform.events(run) if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    sensor = run_failures(platform.settings)
    context = dg.build_run_status_sensor_context(sensor.name, failure, platform.instance, run)
    sensor(context.for_run_failure())
