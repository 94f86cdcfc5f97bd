"""Tests of the lake's store: exact schemas, transactions, predicates, whole partitions, properties of new tables.

Belongs here: behaviour of commits on real Delta tables. Does not belong here: what the tables mean.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ml_platform.lake import AlreadyCommittedError, Lake, LakeError, TableSpec
from ml_platform.lake.compaction import compact
from ml_platform.lake.staging import Staging
from ml_platform.lake.store import SCHEMA_VERSION, SCHEMA_VERSION_PROPERTY, Transactions

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
SPEC = TableSpec("silver/things", SCHEMA)
BY_MONTH = TableSpec("gold/months", pa.schema([("value", pa.int64()), ("month", pa.string())]), ("month",))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def things(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([f"n{one}" for one in ids], pa.string())})


def ids(lake: Lake) -> list[int]:
    return sorted(lake.read(SPEC.name)["id"].to_pylist())


def test_a_number_with_a_fraction_is_not_stored_as_an_integer(lake: Lake) -> None:
    data = pa.table({"id": pa.array([1.9]), "name": pa.array(["a"])})
    with pytest.raises(LakeError, match=r"silver/things.*'id': \('int64', 'double'\)"):
        lake.append(SPEC, data)
    with pytest.raises(LakeError, match="the data to replace with"):
        lake.replace(SPEC, data, "id > 0")
    assert not lake.exists(SPEC.name)


@pytest.mark.parametrize(
    ("names", "found"),
    [(["name", "id"], "in another order"), (["id"], "'name': \\('string', 'None'\\)")],
)
def test_reordered_or_missing_columns_are_refused(lake: Lake, names: list[str], found: str) -> None:
    with pytest.raises(LakeError, match=found):
        lake.append(SPEC, things(1).select(names))


def test_an_extra_column_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="'more'"):
        lake.append(SPEC, things(1).append_column("more", pa.array([True])))


def test_a_table_on_disk_with_another_schema_is_refused(lake: Lake) -> None:
    lake.append(SPEC, things(1))
    other = TableSpec(SPEC.name, pa.schema([("id", pa.string())]))
    with pytest.raises(LakeError, match="the table on disk"):
        lake.ensure(other)


def test_a_commit_carries_its_transactions(lake: Lake) -> None:
    assert lake.reached(SPEC.name, "a") == -1
    lake.append(SPEC, things(1), ["a", "b"])
    lake.replace(SPEC, things(2), "id IN (1, 2)", {"c": 7})
    assert [lake.reached(SPEC.name, one) for one in "abcd"] == [1, 1, 7, -1]
    assert ids(lake) == [2]


WAYS: dict[str, Callable[[Lake], object]] = {
    "append": lambda lake: lake.append(SPEC, things(4)),
    "replace": lambda lake: lake.replace(SPEC, things(3), "name = 'n3'"),
    "remove": lambda lake: lake.remove(SPEC, "name = 'n1'"),
    "compaction": lambda lake: compact(lake, SPEC.name, many=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [None, *WAYS])
def test_texts_are_found_whatever_wrote_their_files(lake: Lake, before: str | None, way: str) -> None:
    """delta-rs has writers whose files say string_view, with which Arrow compares no statistics."""
    for part in (things(1, 2), things(3)):
        lake.append(SPEC, part)
    for one in (before, way):
        if one:
            WAYS[one](lake)
    assert lake.read(SPEC.name, ["id"], pc.field("name") == "n2")["id"].to_pylist() == [2]
    assert lake.count(SPEC.name, pc.field("name").isin(["n2", "n3", "n9"])) == 2
    types = {pq.read_schema(path).field("name").type for path in Path(lake.uri(SPEC.name)).rglob("*.parquet")}
    assert types == {pa.string()}, "no writer of the platform leaves others"


def test_texts_are_found_in_files_that_another_writer_left(lake: Lake) -> None:
    for part, gone in ((things(1, 2), 1), (things(3, 5), 5)):
        lake.append(SPEC, part)
        lake.table(SPEC.name).delete(f"id = {gone}")
    assert {pq.read_schema(file).field("name").type for file in lake.table(SPEC.name).file_uris()} == {pa.string_view()}
    found = lake.read(SPEC.name, ["id"], pc.field("name") == "n2")
    assert (found.schema.field("id").type, found["id"].to_pylist()) == (pa.int64(), [2])
    assert lake.read(SPEC.name, where=pc.field("name") >= "n2").schema.equals(SCHEMA)
    assert lake.count(SPEC.name, pc.field("name").isin(["n1", "n2", "n3"])) == 2
    lake.replace(SPEC, things(2, 4), "id IN (2, 4)")
    lake.remove(SPEC, "name = 'n3'")
    assert ids(lake) == [2, 4]


def test_rows_without_a_value_stay_where_others_are_removed(lake: Lake) -> None:
    lake.append(SPEC, pa.table({"id": [1, 2], "name": [None, "a"]}, SCHEMA))
    lake.remove(SPEC, "name = 'a'", ["x"], {"ml_platform.note": "1"})
    assert (ids(lake), lake.reached(SPEC.name, "x"), lake.last_metadata(SPEC.name, "ml_platform.note")) == ([1], 1, 1)
    lake.remove(SPEC, "name = 'nobody'")
    assert ids(lake) == [1]


@pytest.mark.parametrize("again", [["a"], ["b", "a"], {"c": 7}, {"c": 6}])
def test_a_transaction_that_the_table_has_is_refused(lake: Lake, again: Transactions) -> None:
    lake.append(SPEC, things(1), {"a": 1, "c": 7})
    with pytest.raises(AlreadyCommittedError, match="already"):
        lake.append(SPEC, things(2), again)
    with pytest.raises(AlreadyCommittedError, match="already"):
        lake.replace(SPEC, things(1), "id = 1", again)
    assert ids(lake) == [1]
    lake.append(SPEC, things(2), {"c": 8})
    assert ids(lake) == [1, 2]


def test_a_commit_whose_answer_was_lost_is_found_and_one_that_failed_is_not(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.append(SPEC, things(1))
    real = DeltaTable.create_write_transaction

    def lost(self: DeltaTable, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        raise OSError("the connection was cut")

    def failed(self: DeltaTable, *arguments: Any, **named: Any) -> None:
        raise OSError("the connection was cut")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lost)
    assert lake.append(SPEC, things(2)) == 2
    monkeypatch.setattr(DeltaTable, "create_write_transaction", failed)
    with pytest.raises(OSError, match="cut"):
        lake.append(SPEC, things(3))
    assert ids(lake) == [1, 2]


def test_a_commit_without_rows_carries_ids_and_metadata(lake: Lake) -> None:
    lake.append(SPEC, things(1))
    version = lake.append(SPEC, things(), ["only-an-id"], {"ml_platform.note": json.dumps({"x": 1})})
    assert version == 2
    assert lake.reached(SPEC.name, "only-an-id") == 1
    assert lake.last_metadata(SPEC.name, "ml_platform.note") == {"x": 1}
    assert ids(lake) == [1]


def test_metadata_is_read_from_the_newest_commit_that_has_it(lake: Lake) -> None:
    for number in (1, 2):
        lake.append(SPEC, things(number), metadata={"ml_platform.note": json.dumps({"n": number})})
    lake.append(SPEC, things(3))
    assert lake.last_metadata(SPEC.name, "ml_platform.note") == {"n": 2}
    assert lake.last_metadata(SPEC.name, "ml_platform.other") == {}
    assert [commit.version for commit in lake.commits_after(SPEC.name, 1)] == [2, 3]
    assert lake.commits_after(SPEC.name, 3) == lake.commits_after("silver/none", 0) == []


def test_replace_takes_the_place_of_the_matching_rows_only(lake: Lake) -> None:
    lake.append(SPEC, things(1, 2, 3))
    before = lake.version(SPEC.name)
    assert lake.replace(SPEC, things(2, 20), "id IN (2, 20)") == (before or 0) + 1
    assert ids(lake) == [1, 2, 3, 20]
    lake.replace(SPEC, things(), "id = 1")
    assert ids(lake) == [2, 3, 20]
    lake.replace(SPEC, things(7), "id = 7")
    assert ids(lake) == [2, 3, 7, 20]


def test_replace_refuses_rows_outside_its_predicate(lake: Lake) -> None:
    lake.append(SPEC, things(1))
    with pytest.raises(DeltaError):
        lake.replace(SPEC, things(1, 2), "id = 1")
    assert ids(lake) == [1]


def test_every_table_has_a_schema_version_and_an_old_reader_can_read_it(lake: Lake) -> None:
    instant = TableSpec("ops/instants", pa.schema([("at", pa.timestamp("us", tz="UTC")), ("text", pa.string())]))
    for spec in (SPEC, BY_MONTH, instant):
        table = lake.ensure(spec)
        assert table.metadata().configuration == {SCHEMA_VERSION_PROPERTY: SCHEMA_VERSION}
        assert table.protocol().min_reader_version == 1
        assert not table.protocol().reader_features
    assert lake.ensure(BY_MONTH).metadata().partition_columns == ["month"]


def test_reading_names_the_table_that_is_missing(lake: Lake) -> None:
    with pytest.raises(LakeError, match="table gold/none does not exist"):
        lake.read("gold/none")
    assert lake.version("gold/none") is None
    assert lake.count("gold/none") == 0


def test_reading_columns_rows_and_older_versions(lake: Lake) -> None:
    lake.append(SPEC, things(1, 2))
    version = lake.version(SPEC.name)
    lake.append(SPEC, things(3))
    assert lake.read(SPEC.name, ["name"], pc.field("id") > 1).column_names == ["name"]
    assert lake.count(SPEC.name, pc.field("id") > 1) == 2
    assert lake.read(SPEC.name, version=version).num_rows == 2


def stage(lake: Lake, months: dict[str, list[int]]) -> Staging:
    staging = Staging.open(lake, BY_MONTH)
    for month, values in months.items():
        folder = Path(staging.path) / f"month={month}"
        folder.mkdir(parents=True)
        pa.parquet.write_table(pa.table({"value": pa.array(values, pa.int64())}), folder / "a.parquet")
    return staging


def test_adopting_files_replaces_whole_partitions_and_no_others(lake: Lake) -> None:
    stage(lake, {"2024-01": [1, 2], "2024-02": [3]}).commit(["2024-01", "2024-02"], {})
    stage(lake, {"2024-02": [30, 31], "2024-03": [4]}).commit(["2024-02", "2024-03"], {"ml_platform.x": "1"})
    assert lake.read(BY_MONTH.name).sort_by("value").to_pydict() == {
        "value": [1, 2, 4, 30, 31],
        "month": ["2024-01", "2024-01", "2024-03", "2024-02", "2024-02"],
    }
    assert lake.last_metadata(BY_MONTH.name, "ml_platform.x") == 1


def test_a_partition_without_new_files_becomes_empty_and_no_partition_touches_nothing(lake: Lake) -> None:
    stage(lake, {"2024-01": [1], "2024-02": [3]}).commit(["2024-01", "2024-02"], {})
    stage(lake, {}).commit([], {"ml_platform.x": "2"})
    assert lake.count(BY_MONTH.name) == 2
    assert lake.last_metadata(BY_MONTH.name, "ml_platform.x") == 2
    stage(lake, {}).commit(["2024-01"], {})
    assert lake.read(BY_MONTH.name)["month"].to_pylist() == ["2024-02"]


def test_columns_that_a_newer_version_adds_at_the_end_are_added_once(lake: Lake) -> None:
    newer = TableSpec(SPEC.name, SCHEMA.append(pa.field("attempt", pa.int64())))
    assert not lake.migrate(newer), "no table, nothing to do"
    lake.append(SPEC, things(1))
    assert lake.migrate(newer)
    assert not lake.migrate(newer)
    lake.append(newer, things(2).append_column("attempt", pa.array([3], pa.int64())))
    assert sorted(map(str, lake.read(SPEC.name)["attempt"].to_pylist())) == ["3", "None"]
    assert lake.reader_version(SPEC.name) == 1
