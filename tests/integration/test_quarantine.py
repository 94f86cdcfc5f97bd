"""Quarantine from the files to silver: a looked-up source that arrives later, and the job `quarantine` as the UI starts it."""

import csv
from datetime import date

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform.configuration import load_configuration
from ml_platform.settings import Settings
from sensors import build_triggers

DAY = date(2017, 3, 1)
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
LINES = {2: (1, 2), 3: (99, 2), 4: (1, -3), 5: (1, "many"), 6: (1, 1), 7: (1, 1)}  # line: product, quantity


def products(*ids: int) -> pa.Table:
    texts = {"department": "GROCERY", "brand": "National", "product_category": "SOUP", "product_type": "TINS"}
    columns = {name: [text] * len(ids) for name, text in texts.items()}
    sizes = {"product_id": list(ids), "manufacturer_id": [7] * len(ids), "package_size": ["1"] * len(ids)}
    order = ("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size")
    return pa.table({name: {**columns, **sizes}[name] for name in order})


def land(settings: Settings) -> None:
    lines = [f"1,5,{line},{product},{units},3.50,{DAY}T17:00:00Z" for line, (product, units) in LINES.items()]
    path = settings.landing / "sales" / f"sales_{DAY}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n")


def land_products(settings: Settings, *ids: int) -> None:
    path = settings.landing / "products" / "products.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(products(*ids), path)


def decide(platform, **config) -> dg.ExecuteInProcessResult:
    job = platform.defs.resolve_job_def("quarantine")
    return job.execute_in_process(
        run_config={"ops": {"decide": {"config": config}}}, instance=platform.instance, raise_on_error=False
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """Metadata that the op's output carries."""
    (event,) = [one for one in result.all_events if one.event_type == dg.DagsterEventType.STEP_OUTPUT]
    found = event.step_output_data.metadata.items()
    return {name: value.records if hasattr(value, "records") else value.value for name, value in found}


def refused(platform) -> dict[int, tuple[str, str]]:
    rows = platform.lake.read("ops/quarantine").to_pylist()
    return {row["row_number"]: (row["rule"], row["state"]) for row in rows}


def balance(platform) -> None:
    """Every line of the file is kept in silver, or refused and not released."""
    with (platform.settings.landing / "sales" / f"sales_{DAY}.csv").open(newline="") as file:
        lines = sum(1 for _ in csv.DictReader(file))
    left = [state for _, state in refused(platform).values() if state != "released"]
    assert lines == platform.lake.count("silver/sales_history") + len(left)
    (row,) = [one for one in platform.lake.read("ops/ledger").to_pylist() if one["source"] == "sales"]
    assert row["rows_in"] == lines == row["rows_loaded"] + row["rows_quarantined"]
    own = (pc.field("source") == "sales") & (pc.field("stage") == "silver")
    fates = platform.lake.read("ops/row_fates", where=own).to_pylist()
    assert sum(one["rows"] for one in fates) == row["rows_loaded"] == platform.lake.count("bronze/raw_sales")


def asks_for(platform) -> tuple[str, ...]:
    """What the drop sensor asks for now: the work, and its days."""
    settings = platform.settings
    triggers = build_triggers(settings, *load_configuration(settings.configs))
    (sensor,) = [one for one in triggers.sensors if one.name == "data_drops"]
    result = sensor(dg.build_sensor_context(instance=platform.instance))
    if not isinstance(result, dg.SensorResult) or not result.run_requests:
        return ()
    tags = result.run_requests[0].tags
    range_of = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return (tags["ml_platform/work"], *(tags[name] for name in range_of))


@pytest.fixture(scope="module")
def shop(tmp_path_factory, open_platform):
    """A home after one run of `ingest` over a file with an unknown product, a negative quantity and a quantity that is none."""
    settings = Settings(home=tmp_path_factory.mktemp("shop"), workers=1, shards=2)
    land_products(settings, 1, 2)
    land(settings)
    with open_platform(settings) as platform:
        platform.succeed("ingest", DAY)
        yield platform


def test_the_way_out_of_quarantine(shop):
    """One story, because each step needs the one before it: refused, product arrives, job releases, sensor asks, silver has it."""
    open_ = {3: ("unknown_product", "open"), 4: ("below_minimum:quantity", "open"), 5: ("not_int64:quantity", "open")}
    assert refused(shop) == open_
    balance(shop)
    assert asks_for(shop) == ()

    result = decide(shop, action="release", by="Ada", reason="hope", source="sales", rule="unknown_product")
    assert not result.success, "a run that could decide nothing is red"
    assert refused(shop) == open_

    land_products(shop.settings, 1, 2, 99)
    assert asks_for(shop)[0] == "1 drops"
    shop.succeed("ingest", DAY)
    assert refused(shop) == {line: open_[line] for line in (4, 5)}, "the product released its row by itself"
    balance(shop)
    assert asks_for(shop) == ()

    order = {"action": "release", "by": "Ada", "reason": "a typing error", "set": {"quantity": "1"}}
    result = decide(shop, **order, source="sales", rule="below_minimum:quantity")
    assert result.success
    found = shown(result)
    assert (found["decided"], found["left"], found["by"], found["columns_set"]) == (1, 0, "Ada", "quantity")
    (record,) = found["outcomes"]
    assert (record.data["place"], "it is in bronze" in record.data["outcome"]) == (
        f"row 4 of sales/sales_{DAY}.csv",
        True,
    )
    assert refused(shop)[4] == ("below_minimum:quantity", "released")
    assert asks_for(shop) == ("silver for 1 drops", DAY.isoformat(), DAY.isoformat())
    logged = " ".join(entry.user_message for entry in shop.instance.all_logs(result.run_id))
    assert "row 4 of sales" in logged
    assert "3.50" not in logged, "rows are nobody's business in a log"

    shop.succeed("score", DAY)
    assert asks_for(shop) == ()
    balance(shop)
    (row,) = [one for one in shop.lake.read("silver/sales_history").to_pylist() if one["row_number"] == 4]
    assert (row["quantity"], row["rule"]) == (1, "")

    (last,) = [one["quarantine_id"] for one in shop.lake.read("ops/quarantine").to_pylist() if one["state"] == "open"]
    assert decide(shop, action="discard", by="Ada", reason="unreadable", ids=[last[:10]]).success
    assert refused(shop)[5] == ("not_int64:quantity", "discarded")
    assert asks_for(shop) == (), "what is discarded changes nothing"
    balance(shop)
    again = decide(shop, action="discard", by="Ada", reason="unreadable", ids=[last])
    assert (again.success, shown(again)["decided"], shown(again)["decided_before"]) == (True, 0, 1)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"ids": ["zz"]}, "nothing in quarantine is meant by id 'zz'"),
        ({"source": "sales"}, "either ids, or source together with rule"),
        ({"ids": ["zz"], "reason": " "}, "without a name and a reason"),
    ],
)
def test_a_job_that_is_filled_in_unclearly_fails_in_words(shop, config, why):
    result = decide(shop, **{"action": "discard", "by": "Ada", "reason": "x", **config})
    assert not result.success
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert any(why in str(error.cause or error) for error in errors)
