"""Tests of room: a Parquet file is refused before it becomes more than its limit, and read where it does not.

Belongs here: small files that become large, in every layout. Does not belong here: other broken files (test_corpus).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feeds import SNAPSHOT

from ml_platform.contracts import SourceContract
from ml_platform.formats import Limits, UnreadableError, open_drop
from ml_platform.formats.parquet_room import Room

ROWS, TEXT = 3_000, "x" * 5_000  # 15 MB
LIMIT = 1 << 20
TIGHT, LOOSE = Limits(expanded_bytes=LIMIT), Limits()
OFFSETS = pa.array(range(ROWS + 1), pa.int32())


def contract(drift: str = "rescue", form: str = "parquet") -> SourceContract:
    return SourceContract.model_validate(
        {
            **SNAPSHOT,
            "format": {"type": form},
            "columns": {"meter": {"type": "int64"}, "note": {"type": "string", "nullable": True}},
            "drift": drift,
        }
    )


def once(text: Any = TEXT, kind: pa.DataType | None = None) -> pa.Array:
    """One text in every row, without being written out."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), pa.array([text], kind or pa.string()))


def out(kind: pa.DataType | None = None) -> pa.Array:
    return once().cast(pa.string()).cast(kind or pa.string())


def written(tmp_path: Path, name: str, column: pa.Array, **options: Any) -> Path:
    columns = {
        "meter": np.arange(len(column)),
        **({} if name == "note" else {"note": pa.nulls(len(column), pa.string())}),
    }
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({**columns, name: column}), path, compression="zstd", **options)
    return path


def encoded(leaf: str, encoding: str = "DELTA_BYTE_ARRAY") -> dict[str, Any]:
    """Each text as its difference from the one before."""
    return {"use_dictionary": False, "column_encoding": {leaf: encoding}}


POOLS: list[pa.MemoryPool] = []  # kept: memory that is given back to a pool that is gone ends the process


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """A pool that knows the most that it ever held; Arrow's threads and tracebacks may hold memory of it for longer than the block."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


BARE = {"store_schema": False}  # without Arrow's own schema a dictionary is read as what it holds
BOMBS: dict[str, tuple[str, Callable[[], pa.Array], dict[str, Any]]] = {
    "a category": ("note", once, {}),
    "a text": ("note", once, BARE),
    "a large text": ("note", lambda: out(pa.large_string()), {}),
    "a view": ("note", lambda: out(pa.string_view()), {}),
    "a text as differences": ("note", out, encoded("note")),
    "an unknown text": ("more", once, BARE),
    "unknown bytes": ("more", lambda: once(b"\xff" * 5_000, pa.binary()), BARE),
    "an unknown category of bytes": ("more", lambda: once(b"\xff" * 5_000, pa.binary()), {}),
    "bytes as differences": ("more", lambda: out(pa.binary()), encoded("more")),
    "a struct of texts": ("more", lambda: pa.StructArray.from_arrays([once()], ["f"]), BARE),
    "a struct of categories": ("more", lambda: pa.StructArray.from_arrays([once()], ["f"]), {}),
    "a struct of texts as differences": ("more", lambda: pa.StructArray.from_arrays([out()], ["f"]), encoded("more.f")),
    "lists of texts": ("more", lambda: pa.ListArray.from_arrays(OFFSETS, once()), BARE),
    "one list of texts": ("more", lambda: pa.ListArray.from_arrays(pa.array([0, ROWS], pa.int32()), once()), BARE),
    "lists of texts as differences": ("more", lambda: pa.ListArray.from_arrays(OFFSETS, out()), encoded("more.list.element")),
    "one list of texts as differences": ("more", lambda: pa.ListArray.from_arrays(pa.array([0, ROWS], pa.int32()), out()), encoded("more.list.element")),
    "maps of texts": ("more", lambda: pa.MapArray.from_arrays(OFFSETS, pa.array(["k"] * ROWS), once()), BARE),
    "structs in lists": ("more", lambda: pa.ListArray.from_arrays(OFFSETS, pa.StructArray.from_arrays([once()], ["f"])), BARE),
    "JSON": ("more", lambda: pa.ExtensionArray.from_storage(pa.json_(pa.string()), out()), {}),
    "one list of numbers": ("more", lambda: pa.ListArray.from_arrays(pa.array([0, 4_000_000], pa.int32()), pa.array(np.zeros(4_000_000, np.int64))), {}),
    "fixed bytes": ("more", lambda: once(b"x" * 5_000, pa.binary()).cast(pa.binary()).cast(pa.binary(5_000)), {}),
}  # fmt: skip


@pytest.mark.parametrize("drift", ["rescue", "evolve"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_becomes_large_is_refused_in_little_memory(tmp_path: Path, name: str, drift: str) -> None:
    column, made, options = BOMBS[name]
    values = made()
    path = written(tmp_path, column, values, **options)
    assert path.stat().st_size < 40_000
    with counted() as pool, pytest.raises(UnreadableError, match="ML_PLATFORM_MAX_EXPANDED_BYTES") as found:
        open_drop(path, contract(drift), TIGHT)
    assert (found.value.rule, found.value.rows) == ("expands_too_much", len(values))
    assert pool.max_memory() < 3 * LIMIT


TEXTS = pa.array([None if n % 7 == 0 else f"text {n % 13} {'x' * 40}" for n in range(ROWS)])
KEPT: dict[str, tuple[str, pa.Array, dict[str, Any]]] = {
    "a category": ("note", TEXTS.dictionary_encode(), {}),
    "a text": ("note", TEXTS, {}),
    "a large text": ("note", TEXTS.cast(pa.large_string()), {}),
    "a view": ("note", TEXTS.cast(pa.string_view()), {}),
    "differences": ("note", TEXTS, encoded("note")),
    "lengths": ("note", TEXTS, encoded("note", "DELTA_LENGTH_BYTE_ARRAY")),
    "an unknown text": ("more", TEXTS, {}),
    "unknown bytes": ("more", TEXTS.cast(pa.binary()), {}),
    "structs": ("more", pa.StructArray.from_arrays([TEXTS, pa.array(range(ROWS))], ["f", "g"]), {}),
    "lists": ("more", pa.ListArray.from_arrays(OFFSETS, TEXTS), {}),
    "large lists": ("more", pa.LargeListArray.from_arrays(OFFSETS.cast(pa.int64()), TEXTS), {}),
    "fixed lists": ("more", pa.FixedSizeListArray.from_arrays(TEXTS, 1), {}),
    "maps": ("more", pa.MapArray.from_arrays(OFFSETS, pa.array([f"k{n % 3}" for n in range(ROWS)]), TEXTS), {}),
    "structs as differences": ("more", pa.StructArray.from_arrays([TEXTS], ["f"]), encoded("more.f")),
    "JSON": ("more", pa.ExtensionArray.from_storage(pa.json_(pa.string()), TEXTS), {}),
}  # fmt: skip


@pytest.mark.parametrize("drift", ["rescue", "evolve"])
@pytest.mark.parametrize("name", KEPT)
def test_what_has_room_reads_the_same_however_it_is_counted(tmp_path: Path, name: str, drift: str) -> None:
    column, values, options = KEPT[name]
    path = written(tmp_path, column, values, row_group_size=700, **options)
    loose, tight = (
        open_drop(path, contract(drift), Limits(expanded_bytes=size)).table.to_pydict() for size in (1 << 32, 600_000)
    )
    assert loose == tight
    assert "text 5" in str(loose)
    with pytest.raises(UnreadableError, match="ML_PLATFORM_MAX_EXPANDED_BYTES"):
        open_drop(path, contract(drift), Limits(expanded_bytes=120_000))


def test_a_category_of_a_contract_is_a_text(tmp_path: Path) -> None:
    path = written(tmp_path, "note", TEXTS.dictionary_encode())
    assert open_drop(path, contract(), LOOSE).table["note"].cast(pa.string()).to_pylist() == TEXTS.to_pylist()
    with pytest.raises(UnreadableError) as found:
        open_drop(written(tmp_path, "note", TEXTS.cast(pa.binary()).dictionary_encode()), contract(), LOOSE)
    assert found.value.rule == "wrong_types"


@pytest.mark.parametrize(
    ("name", "values", "drift", "limit"),
    [
        ("x" * 20_000, pa.array(range(ROWS)), "rescue", LIMIT),
        ("more", pa.StructArray.from_arrays([pa.array(range(ROWS))], ["f" * 20_000]), "evolve", LIMIT),
        ("more", pa.array(range(100_000)).cast(pa.timestamp("ns", "UTC")), "evolve", 2_700_000),
        ("more", pa.array([b"\xff\x00" * 30] * ROWS), "rescue", 300_000),
    ],
)
def test_texts_that_new_columns_become_are_counted_while_they_are_made(
    tmp_path: Path, name: str, values: pa.Array, drift: str, limit: int
) -> None:
    path = written(tmp_path, name, values)
    with counted() as pool, pytest.raises(UnreadableError, match="new columns become texts of") as found:
        open_drop(path, contract(drift), Limits(expanded_bytes=limit))
    assert (found.value.rule, found.value.rows) == ("expands_too_much", len(values))
    assert pool.max_memory() < 3 * limit


def test_a_long_name_in_a_header_does_not_become_a_text_per_row(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"meter,note,{'x' * 20_000}\n" + "1,a,b\n" * ROWS)
    with pytest.raises(UnreadableError, match="new columns become texts of"):
        open_drop(tmp_path / "file", contract(form="csv"), TIGHT)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1] * 2_000]),
        pa.array([{"f": ["x" * 600, "x" * 600]}]),
        pa.array([b"x" * 2_000]),
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['"' + "x" * 2_000 + '"'])),
        pa.array([[("k", "v" * 1_000)]], pa.map_(pa.string(), pa.string())),
    ],
)
def test_a_large_cell_is_refused_before_it_becomes_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: pa.Array
) -> None:
    monkeypatch.setattr("ml_platform.formats.matching._as_texts", lambda *_: pytest.fail("a text was made"))
    with pytest.raises(UnreadableError, match="a cell of column 'more' has") as found:
        open_drop(written(tmp_path, "more", values), contract(), Limits(cell_bytes=1_000))
    assert found.value.rule == "cell_too_large"


def test_a_cell_that_is_too_large_as_a_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "more", pa.array([[1.25] * 900]))
    with pytest.raises(UnreadableError, match="a cell of column '_rescued' has") as found:
        open_drop(path, contract(), Limits(cell_bytes=1_000))
    assert found.value.rule == "cell_too_large"


def test_parts_of_a_nested_column_are_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "more", pa.array([{f"f{n}": n for n in range(10)}]))
    with pytest.raises(UnreadableError, match="the file has 12 columns or more"):
        open_drop(path, contract(), Limits(columns=10))


def test_a_leaf_that_is_a_dictionary_in_some_row_groups_alone_is_not_read_as_one(tmp_path: Path) -> None:
    path = written(tmp_path, "note", TEXTS, row_group_size=ROWS // 2)
    with pq.ParquetFile(path, read_dictionary=["note"]) as file:
        room = Room.of(file)
        assert room.packed == [1]
        assert room.stays_packed(file)
        mixed = Room((*room.chunks[:-1], replace(room.chunks[-1], packed=False, delta=True)))
        assert not mixed.stays_packed(file)
    with pq.ParquetFile(path) as file:
        assert not room.stays_packed(file)
