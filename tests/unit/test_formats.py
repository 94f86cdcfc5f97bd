"""Tests of formats: a landed file becomes a table of the contract's columns, or is refused with the reason.

Belongs here: CSV and Parquet as they come. Does not belong here: values (rules).
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_platform.contracts import SourceContract
from ml_platform.formats import Opened, UnreadableError, open_drop


def contract(form: dict[str, Any]) -> SourceContract:
    return SourceContract.model_validate(
        {
            "name": "readings",
            "kind": "snapshot",
            "description": "Readings.",
            "owner": "team:grid",
            "path": "readings",
            "format": form,
            "columns": {"meter": {"type": "int64"}, "note": {"type": "string", "nullable": True}},
            "key": ["meter"],
        }
    )


def opened(tmp_path: Path, content: bytes, **form: Any) -> Opened:
    path = tmp_path / "file"
    path.write_bytes(content)
    return open_drop(path, contract({"type": "csv", **form}))


def rows(found: Opened) -> list[tuple[int, str | None, str | None]]:
    return list(
        zip(
            found.row_numbers.to_pylist(),
            found.table["meter"].to_pylist(),
            found.table["note"].to_pylist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("content", "form", "expected"),
    [
        (b"meter,note\n1,a\n2,b\n", {}, [(2, "1", "a"), (3, "2", "b")]),
        (b"note,meter\na,1", {}, [(2, "1", "a")]),
        (b"meter,note\r\n1,a\r\n", {}, [(2, "1", "a")]),
        (b"\xef\xbb\xbfmeter,note\n1,a\n", {}, [(2, "1", "a")]),
        (b"meter;note\n1;a,b\n", {"delimiter": ";"}, [(2, "1", "a,b")]),
        ("meter,note\n1,é\n".encode("latin-1"), {"encoding": "latin-1"}, [(2, "1", "é")]),
        (b'"meter","note"\n"1","a,""b""\nc"\n2,d\n', {}, [(2, "1", 'a,"b"\nc'), (3, "2", "d")]),
        (b'meter,note\n1,\n2,""\n', {}, [(2, "1", None), (3, "2", "")]),
        (b"meter,note\n1,NULL\n007,NA\n", {}, [(2, "1", "NULL"), (3, "007", "NA")]),
        (b"meter,note\n", {}, []),
    ],
)
def test_csv_files_are_read_as_texts(tmp_path: Path, content: bytes, form: dict[str, Any], expected: list[Any]) -> None:
    found = opened(tmp_path, content, **form)
    assert rows(found) == expected
    assert found.table.column_names == ["meter", "note"]
    assert set(found.table.schema.types) == {pa.string()}
    assert found.malformed == ()


def test_lines_with_another_number_of_fields_are_left_out_with_their_number(tmp_path: Path) -> None:
    found = opened(tmp_path, b"meter,note\n1,a\n2\n3,c\n4,d,e\n5,f\n")
    assert rows(found) == [(2, "1", "a"), (4, "3", "c"), (6, "5", "f")]
    assert [(one.row_number, one.raw, one.value) for one in found.malformed] == [
        (3, "2", "1 fields, the header has 2"),
        (5, "4,d,e", "3 fields, the header has 2"),
    ]


def test_row_numbers_hold_beyond_the_first_block(tmp_path: Path) -> None:
    lines = [f"{number},{'x' * 400}" for number in range(2, 50_000)]
    lines[40_000 - 2] = "broken"
    found = opened(tmp_path, ("meter,note\n" + "\n".join(lines)).encode())
    assert [one.row_number for one in found.malformed] == [40_000]
    assert found.row_numbers.to_pylist() == [int(one) for one in found.table["meter"].to_pylist()]


@pytest.mark.parametrize(
    ("content", "rule", "text"),
    [
        (b"", "empty_file", "no bytes"),
        (b"meter,note", "unreadable_csv", "not a CSV file in utf-8"),
        (b"\n\n", "unreadable_csv", "not a CSV file in utf-8"),
        ("meter,note\n1,é\n".encode("latin-1"), "unreadable_csv", "invalid UTF8"),
        (b"PK\x03\x04\x00\x00\xff\xfe", "unreadable_csv", "a ZIP archive"),
        (b"meter\n1\n", "missing_columns", r"columns \['note'\] are missing; the file has \['meter'\]"),
        (b"1,a\n2,b\n", "missing_columns", "the file has"),
        (b"meter;note\n1;a\n", "unreadable_csv", "parted by"),
        (
            b"meter,note,more\n1,a,z\n",
            "unexpected_columns",
            r"columns \['more'\] are not in the contract of 'readings'",
        ),
        (b"meter,note,note\n1,a,b\n", "unexpected_columns", "occur twice"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, rule: str, text: str) -> None:
    with pytest.raises(UnreadableError, match=text) as found:
        opened(tmp_path, content)
    assert found.value.rule == rule
    assert found.value.rows == content.count(b"\n") - 1 if rule.endswith("columns") else found.value.rows == 0


def test_an_unknown_encoding_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="klingon"):
        opened(tmp_path, b"meter,note\n1,a\n", encoding="klingon")


def parquet(tmp_path: Path, table: pa.Table, cut: int = 0, flip: int = 0) -> Opened:
    path = tmp_path / "file.parquet"
    pq.write_table(table, path, compression="none")
    content = bytearray(path.read_bytes())
    if flip:
        content[4 : 4 + flip] = b"\xff" * flip
    path.write_bytes(content[: len(content) - cut])
    return open_drop(path, contract({"type": "parquet"}))


TABLE = pa.table({"note": ["a", "b"], "meter": pa.array([1, 2], pa.int64())})


def test_parquet_keeps_its_types_and_counts_rows_from_one(tmp_path: Path) -> None:
    found = parquet(tmp_path, TABLE)
    assert found.row_numbers.to_pylist() == [1, 2]
    assert found.table.schema.names == ["meter", "note"]
    assert found.table["meter"].type == pa.int64()
    assert parquet(tmp_path, TABLE.slice(0, 0)).table.num_rows == 0


@pytest.mark.parametrize(
    ("table", "damage", "rule"),
    [
        (TABLE, {"cut": 20}, "unreadable_parquet"),
        (TABLE, {"cut": 4}, "unreadable_parquet"),
        (TABLE, {"flip": 12}, "unreadable_parquet"),
        (TABLE.drop_columns(["note"]), {}, "missing_columns"),
        (TABLE.append_column("more", TABLE["note"]), {}, "unexpected_columns"),
        (TABLE.append_column("note", TABLE["note"]), {}, "unexpected_columns"),
        (TABLE.set_column(0, "note", pa.array([["a"], ["b"]])), {}, "wrong_types"),
        (TABLE.set_column(0, "note", pa.array([b"\xff", b"b"])), {}, "wrong_types"),
        (TABLE.set_column(0, "note", pa.array([{"a": 1}, None])), {}, "wrong_types"),
    ],
)
def test_broken_and_other_parquet_is_refused(
    tmp_path: Path, table: pa.Table, damage: dict[str, int], rule: str
) -> None:
    with pytest.raises(UnreadableError) as found:
        parquet(tmp_path, table, **damage)
    assert found.value.rule == rule
    assert found.value.rows == (0 if rule == "unreadable_parquet" else 2)


def test_a_csv_file_is_no_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"meter,note\n1,a\n")
    with pytest.raises(UnreadableError, match="not a whole Parquet file"):
        open_drop(tmp_path / "file", contract({"type": "parquet"}))
