"""Tests of staging: files that an engine wrote are checked, described and only then committed.

Belongs here: schemas and statistics of staged files. Does not belong here: engines.
"""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform.lake import Lake, LakeError, TableSpec
from ml_platform.lake.staging import Staging

INSTANT = pa.timestamp("us", tz="UTC")
SPEC = TableSpec(
    "silver/rows",
    pa.schema(
        [
            ("id", pa.int64()),
            ("name", pa.string()),
            ("at", INSTANT),
            ("on", pa.date32()),
            ("money", pa.decimal128(12, 2)),
            ("month", pa.string()),
        ]
    ),
    ("month",),
)
NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)


def rows(*numbers: int) -> pa.Table:
    count = len(numbers)
    columns = {
        "id": list(numbers),
        "name": [f"n{one}" for one in numbers],
        "at": [NOON] * count,
        "on": [date(2024, 1, one) for one in numbers],
        "money": [Decimal("1.50")] * count,
    }
    return pa.table(columns, pa.schema([f for f in SPEC.schema if f.name != "month"]))


def staged(tmp_path: Path, tables: dict[str, pa.Table]) -> Staging:
    staging = Staging.open(Lake(str(tmp_path)), SPEC)
    for place, table in tables.items():
        path = Path(staging.path) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return staging


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.set_column(0, "id", t["id"].cast(pa.int32())), "'id': 'int32'"),
        (lambda t: t.drop_columns(["name"]), "'name': 'missing'"),
        (lambda t: t.append_column("more", t["id"]), "'more': 'int64'"),
        (lambda t: t.set_column(2, "at", t["at"].cast(pa.timestamp("us"))), "'at': 'timestamp"),
    ],
)
def test_a_file_with_another_schema_is_refused_before_the_commit(tmp_path: Path, change, named: str) -> None:
    staging = staged(tmp_path, {"fate=kept/month=2024-01/a.parquet": change(rows(1))})
    with pytest.raises(LakeError, match=f"a.parquet does not have the schema of silver/rows.*{named}"):
        staging.commit(["2024-01"], {}, "fate=kept")
    assert staging.lake.count(SPEC.name) == 0


def test_columns_may_come_in_another_order_and_read_back_right(tmp_path: Path) -> None:
    data = rows(1, 2)
    staging = staged(tmp_path, {"month=2024-01/a.parquet": data.select(data.column_names[::-1])})
    staging.commit(["2024-01"], {})
    assert staging.lake.read(SPEC.name).sort_by("id").select(data.column_names).equals(data)


def test_only_the_named_part_is_committed_and_the_rest_can_be_discarded(tmp_path: Path) -> None:
    staging = staged(
        tmp_path, {"fate=kept/month=2024-01/a.parquet": rows(1), "fate=excluded/month=2024-01/a.parquet": rows(2)}
    )
    assert staging.dataset().count_rows() == 2
    assert staging.dataset().to_table(["fate", "month"]).num_rows == 2
    staging.commit(["2024-01"], {}, "fate=kept")
    staging.discard("fate=excluded")
    assert [path.parent.parent.name for path in staging.files()] == ["fate=kept"]
    assert staging.lake.read(SPEC.name)["id"].to_pylist() == [1]


def test_files_without_rows_are_no_files(tmp_path: Path) -> None:
    staging = staged(tmp_path, {"month=2024-01/a.parquet": rows()})
    assert staging.files() == []
    assert staging.actions() == []
    assert staging.dataset().to_table(columns=["id", "fate", "month"]).num_rows == 0


def test_an_encoded_partition_value_is_read(tmp_path: Path) -> None:
    staging = staged(tmp_path, {"month=2024%2F01/a.parquet": rows(1)})
    assert staging.actions()[0].partition_values == {"month": "2024/01"}


def test_statistics_are_the_bounds_of_the_file(tmp_path: Path) -> None:
    data = pa.concat_tables([rows(3, 9), rows(5).set_column(1, "name", pa.nulls(1, pa.string()))])
    stats = json.loads(staged(tmp_path, {"month=2024-01/a.parquet": data}).actions()[0].stats)
    assert stats["numRecords"] == 3
    assert stats["minValues"] == {
        "id": 3,
        "name": "n3",
        "at": "2024-01-05T12:00:00.000000Z",
        "on": "2024-01-03",
        "money": 1.5,
    }
    assert stats["maxValues"] == {
        "id": 9,
        "name": "n9",
        "at": "2024-01-05T12:00:00.000000Z",
        "on": "2024-01-09",
        "money": 1.5,
    }
    assert stats["nullCount"] == {"id": 0, "name": 1, "at": 0, "on": 0, "money": 0}


def test_statistics_prune_files_and_lose_no_row(tmp_path: Path) -> None:
    """A file whose bounds exclude the question is not opened: it may even be gone."""
    staging = staged(tmp_path, {"month=2024-01/a.parquet": rows(1, 2), "month=2024-01/b.parquet": rows(8, 9)})
    staging.commit(["2024-01"], {})
    lake = staging.lake
    for where, found in [
        (pc.field("id") > 7, [8, 9]),
        (pc.field("on") <= date(2024, 1, 1), [1]),
        (pc.field("money") > Decimal("1.49"), [1, 2, 8, 9]),
    ]:
        assert sorted(lake.read(SPEC.name, ["id"], where)["id"].to_pylist()) == found
    staging.files()[0].unlink()
    assert sorted(lake.read(SPEC.name, ["id"], pc.field("id") > 7)["id"].to_pylist()) == [8, 9]


def test_bounds_hold_for_long_texts_great_decimals_and_truths(tmp_path: Path) -> None:
    """delta-rs takes a column without bounds for one without values: every value must lie within them."""
    spec = TableSpec(
        "silver/odd",
        pa.schema(
            [("text", pa.string()), ("money", pa.decimal128(38, 2)), ("yes", pa.bool_()), ("month", pa.string())]
        ),
        ("month",),
    )
    staging = Staging.open(Lake(str(tmp_path)), spec)
    great = [Decimal("-12345678901234567890.12"), Decimal("0.07"), Decimal("98765432109876543210.98")]
    texts = ["a" * 40, "b", "z" * 40]
    data = pa.table([texts, great, [True, False, True]], pa.schema(list(spec.schema)[:3]))
    file = Path(staging.path) / "month=2024-01" / "a.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(data, file)
    staging.lake.adopt(spec, staging.actions(), ["2024-01"])
    for column, values in (("money", great), ("text", texts)):
        for value in values:
            assert staging.lake.read(spec.name, [column], pc.field(column) == value).num_rows == 1, value
    assert staging.lake.count(spec.name, pc.field("yes")) == 2


def test_bytes_not_a_number_and_missing_statistics_have_no_bounds(tmp_path: Path) -> None:
    spec = TableSpec("silver/odd", pa.schema([("raw", pa.binary()), ("x", pa.float64()), ("n", pa.int64())]))
    staging = Staging.open(Lake(str(tmp_path)), spec)
    Path(staging.path).mkdir(parents=True)
    data = pa.table({"raw": [b"a"], "x": [float("nan")], "n": [1]})
    pq.write_table(data, Path(staging.path) / "a.parquet", write_statistics=["raw", "x"])
    stats = json.loads(staging.actions()[0].stats)
    assert stats == {"numRecords": 1, "minValues": {}, "maxValues": {}, "nullCount": {"raw": 0, "x": 0}}
