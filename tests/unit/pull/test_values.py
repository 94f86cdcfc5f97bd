"""Values on their way from a database into bronze: types, odd texts, values that no type can hold.

Belongs here: exactness. Does not belong here: which rows are read (test_pull).
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_platform.columns import Column
from ml_platform.lake.schemas import QUARANTINE
from ml_platform.pull import database
from ml_platform.pull.typed import array_of

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
NAIVE = AT.replace(tzinfo=None)
TEXTS = ["", "null", "NaN", "\\x00 \\N", "a'b\"c;--", "tab\tline\nend", "é 漢字 🧺 \u202e", "%s %(x)s :x", " "]


def test_values_come_as_the_contract_has_them(shop: Any) -> None:
    rows = [{"id": n, "note": text, "day": date(2024, 3, 1 + n)} for n, text in enumerate(TEXTS)]
    shop.sql(
        "insert into {table} values (:id, '2024-03-01T13:00:00.123456+01', 9999999999.99, :day, :id % 2 = 0, :note)",
        *rows,
    )
    shop.sql("insert into {table} values (100, '2024-03-01T12:30:00Z', null, null, null, null)")
    shop.pull()
    landed = shop.landed()
    assert landed.schema.types == [column.arrow for column in shop.contract.columns.values()]
    found = landed.sort_by("order_id").to_pylist()
    assert [row["note"] for row in found] == [*TEXTS, None]
    assert found[0] == {
        "order_id": 0,
        "changed_at": datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
        "amount": Decimal("9999999999.99"),
        "due": date(2024, 3, 1),
        "paid": True,
        "note": "",
    }
    shop.ingest()
    bronze = shop.lake.read("bronze/raw_orders", list(shop.contract.columns)).sort_by("order_id")
    assert [tuple(row.values()) for row in bronze.to_pylist()] == shop.of_table()


def test_a_value_that_no_type_holds_is_refused_with_its_row_and_the_others_are_loaded(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BATCH", 3)
    shop.sql("alter table {table} alter column amount type numeric")
    shop.insert(*range(1, 11))
    shop.sql("update {table} set amount = 1.125 where order_id = 6")
    shop.sql("update {table} set amount = 'NaN' where order_id = 7")
    shop.pull()
    shop.ingest()
    refused = shop.lake.read(QUARANTINE.name).to_pylist()
    assert {(row["rule"], row["value"]) for row in refused} == {
        ("not_decimal(12,2):amount", "1.125"),
        ("not_decimal(12,2):amount", "NaN"),
    }
    amounts = shop.lake.read("bronze/raw_orders").sort_by("order_id")["amount"].to_pylist()
    assert amounts == [Decimal("1.10") * n for n in (1, 2, 3, 4, 5, 8, 9, 10)]
    assert shop.pull().files == ()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("int64", [1, None], [1, None]),
        ("int64", [Decimal(5)], [5]),
        ("int64", [2**70], [str(2**70)]),
        ("int64", [1.5], ["1.5"]),
        ("int64", [True], ["true"]),
        ("decimal(6,2)", [Decimal("1E+2"), Decimal("0.1")], [Decimal("100.00"), Decimal("0.10")]),
        ("decimal(6,2)", [1.25, 2.0], [Decimal("1.25"), Decimal("2.00")]),
        ("decimal(6,2)", [Decimal("1.999")], ["1.999"]),
        ("decimal(12,9)", [Decimal("1E-9"), Decimal("1E-10")], ["0.000000001", "0.0000000001"]),
        ("date", [date(2024, 3, 1)], [date(2024, 3, 1)]),
        ("date", [NAIVE], ["2024-03-01T12:00:00"]),
        ("timestamp", ["2024-03-01 12:00:00.000000"], [AT]),
        ("timestamp", [NAIVE, None], [AT, None]),
        ("timestamp", [date(2024, 3, 1)], ["2024-03-01"]),
        ("bool", [True, None], [True, None]),
        ("bool", [1], ["1"]),
        ("string", [7], ["7"]),
        ("string", [UUID(int=1)], [str(UUID(int=1))]),
        ("string", [{"a": ["é"]}, None], ['{"a": ["é"]}', None]),
        ("string", ["a", 1], ["a", "1"]),
        ("string", ["\ud800"], ["\\ud800"]),
        ("string", [memoryview(b"\x00\xff")], ["00ff"]),
        ("string", [None], [None]),
    ],
)
def test_values_of_drivers(kind: str, values: list[Any], expected: list[Any]) -> None:
    assert array_of(values, Column(type=kind), "UTC").to_pylist() == expected


def test_times_without_a_zone_are_in_that_of_the_contract() -> None:
    values = [NAIVE.replace(month=7), NAIVE.replace(month=1)]
    found = array_of(values, Column(type="timestamp"), "Europe/Berlin").to_pylist()
    assert [one.hour for one in found] == [10, 11]


def test_a_watermark_without_a_zone_is_compared_in_that_of_the_contract(shop: Any) -> None:
    """The session of the database has a zone of its own, which must not move the bounds."""
    shop.sql("alter table {table} alter column changed_at type timestamp")
    given = shop.contract.model_dump(mode="json")
    given["time"]["timezone"] = "Asia/Tokyo"
    given["pull"]["overlap"] = 0
    object.__setattr__(shop, "contract", type(shop.contract).model_validate(given))
    shop.sql("insert into {table} (order_id, changed_at) values (1, '2024-03-01 12:00'), (2, '2024-03-01 12:01')")
    shop.pull()
    shop.sql("insert into {table} (order_id, changed_at) values (3, '2024-03-01 12:02')")
    shop.pull()
    assert shop.ids() == [1, 2, 3]
    assert shop.landed().sort_by("order_id")["changed_at"][0].as_py() == datetime(2024, 3, 1, 3, tzinfo=UTC)


def test_numbers_as_watermark_of_another_database(small_shop: Any) -> None:
    """SQLite, a watermark without time: the drop day is the business day of what happened, and never runs backwards."""
    insert = "insert into {table} values (:id, :version, :at, :amount, :note)"
    row = {"amount": 1.25, "note": "a"}
    small_shop.sql(insert, *({"id": n, "version": n, "at": f"2024-03-0{n} 10:00:00.000000", **row} for n in (1, 2, 3)))
    small_shop.pull()
    assert [name[:17] for name in small_shop.names()] == ["orders_2024-03-01", "orders_2024-03-02", "orders_2024-03-03"]
    small_shop.sql(insert, {"id": 1, "version": 4, "at": "2024-03-01 10:00:00.000000", **row, "note": "newer"})
    (one,) = small_shop.pull().files
    assert one.path.startswith("orders/orders_2024-03-03_3_4_")
    assert small_shop.landed().schema.field("amount").type == pa.decimal128(12, 2)
    assert sorted(small_shop.landed()["version"].to_pylist()) == [1, 2, 3, 4]
    assert small_shop.pull().files == ()


def test_an_event_far_in_the_future_does_not_date_the_file(small_shop: Any) -> None:
    insert = "insert into {table} values (:id, :version, :at, 1, 'a')"
    small_shop.sql(insert, {"id": 1, "version": 1, "at": "2999-01-01 00:00:00.000000"})
    small_shop.sql(insert, {"id": 2, "version": 2, "at": "no time at all"})
    small_shop.pull()
    today = datetime.now(UTC).date()
    assert {name.split("_")[1] for name in small_shop.names()} <= {
        today.isoformat(),
        date.fromordinal(today.toordinal() - 1).isoformat(),
    }
    assert pq.read_table(small_shop.landing / "orders" / small_shop.names()[0]).num_rows == 2
