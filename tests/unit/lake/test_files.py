"""Tests of data files: what Arrow writes and delta-rs commits reads back whole, partition by partition, and prunes.

Belongs here: files of an append. Does not belong here: files of an engine (test_staging).
"""

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.lake import Lake, TableSpec, files

SPEC = TableSpec(
    "bronze/rows", pa.schema([("id", pa.int64()), ("on", pa.date32()), ("due", pa.date32())]), ("on", "due")
)
ODD = TableSpec("bronze/odd", pa.schema([("id", pa.int64()), ("name", pa.string())]), ("name",))
A, B = date(2024, 1, 1), date(2024, 2, 29)


def rows(due: list[date | None], days: int = 1) -> pa.Table:
    count = len(due) * days
    on = [date(2024, 1, 1 + n % days) for n in range(count)]
    return pa.table({"id": range(count), "on": on, "due": due * days}, schema=SPEC.schema)


@pytest.fixture(params=["", "file://"])
def lake(tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    """A folder, and an address, below which delta-rs writes itself."""
    return Lake(f"{request.param}{tmp_path}")


def test_texts_of_partitions_survive_whatever_they_hold(lake: Lake) -> None:
    data = pa.table({"id": range(4), "name": ["a/b", "50 %", "x=y", "é?#&"]}, schema=ODD.schema)
    lake.append(ODD, data, files=lake.write(ODD, data))
    assert lake.read(ODD.name).sort_by("id").select(ODD.schema.names).equals(data)
    for name in data["name"].to_pylist():
        assert lake.read(ODD.name, ["id"], pc.field("name") == name).num_rows == 1


@pytest.mark.parametrize("most", [0, 100])
def test_rows_in_any_order_find_their_partition(lake: Lake, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(files, "MOST_RUNS", most)
    monkeypatch.setattr(files, "FILE_ROWS", 2)
    data = rows([B, A, None, B], days=3)
    lake.append(SPEC, data)
    assert lake.read(SPEC.name).sort_by("id").select(SPEC.schema.names).equals(data)
    assert lake.read(SPEC.name, ["id"], pc.field("due").is_null()).num_rows == 3
    assert sorted(lake.read(SPEC.name, ["id"], pc.field("on") == date(2024, 1, 2))["id"].to_pylist()) == [1, 4, 7, 10]


def test_files_are_pruned_by_their_bounds_and_read_by_others(tmp_path: Path) -> None:
    lake, spec = (
        Lake(str(tmp_path)),
        TableSpec("gold/rows", pa.schema([("id", pa.int64()), ("money", pa.decimal128(12, 2))])),
    )
    for low in (0, 100):
        money = [Decimal(n) for n in range(low, low + 100)]
        lake.append(spec, pa.table({"id": range(low, low + 100), "money": money}, schema=spec.schema))
    assert len(list(lake.dataset(spec.name).get_fragments(pc.field("id") > 150))) == 1
    assert lake.read(spec.name, ["id"], pc.field("money") == pa.scalar(Decimal(120), pa.decimal128(12, 2)))[
        "id"
    ].to_pylist() == [120]
    table = lake.table(spec.name)
    with duckdb.connect() as sql:
        found = sql.execute(f"select count(*), sum(money) from read_parquet({table.file_uris()})").fetchone()
    assert found == (200, sum(range(200)))


def test_files_that_no_commit_names_are_seen_by_nobody_and_can_be_removed(tmp_path: Path) -> None:
    lake, data = Lake(str(tmp_path)), rows([A, None])
    lake.ensure(SPEC)
    made = lake.write(SPEC, data)
    assert lake.count(SPEC.name) == 0
    lake.discard(SPEC, made)
    assert not list(tmp_path.rglob("*.parquet"))
    lake.append(SPEC, data, files=lake.write(SPEC, data))
    assert lake.count(SPEC.name) == 2
