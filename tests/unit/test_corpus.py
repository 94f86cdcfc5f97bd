"""A corpus of broken files: each is refused, whole or row by row, for its own reason, and no row is lost.

Belongs here: files as they should not come, made small in the test. Does not belong here: columns that drift (test_drift).
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feeds import SNAPSHOT

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.formats import Limits, UnreadableError, open_drop
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.lake.ledger import LOADED, QUARANTINED
from ml_platform.lake.schemas import QUARANTINE
from ml_platform.landing import LocalLanding

YEAR = (date(2024, 1, 1), date(2024, 12, 31))
HEAD = b"meter,units,note\n"
GOOD = b"1,1.50,a\n2,2.50,b\n3,3.50,c\n"
SMALL = Limits(file_bytes=2_000_000, rows=1_000, columns=10, cell_bytes=1_000, expanded_bytes=1_000_000)
COLUMNS = {
    "meter": {"type": "int64"},
    "units": {"type": "decimal(6,2)"},
    "note": {"type": "string", "nullable": True},
}


def contract(**form: Any) -> SourceContract:
    return SourceContract.model_validate(
        {
            **SNAPSHOT,
            "format": {"type": "csv", **form},
            "columns": COLUMNS,
            "max_quarantined": 0.6,
        }
    )


def table(**changes: pa.Array) -> pa.Table:
    return pa.table({"meter": [1, 2, 3], "units": [1.5, 2.5, 3.5], "note": ["a", "b", "c"], **changes})


def parquet(data: pa.Table, damage: Callable[[bytearray], None] = lambda content: None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(data, sink, **options)
    content = bytearray(sink.getvalue().to_pybytes())
    damage(content)
    return bytes(content)


def cut(count: int) -> Callable[[bytearray], None]:
    return lambda content: content.__delitem__(slice(len(content) - count, None))


def flip(start: int, count: int) -> Callable[[bytearray], None]:
    return lambda content: content.__setitem__(slice(start, start + count), b"\xff" * count)


def lines(*objects: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in objects)


def reading(meter: int, **more: object) -> dict[str, object]:
    return {"meter": meter, "units": "1.50", "note": "a", **more}


def wide(rows: int, text: str) -> pa.Table:
    return pa.table({"meter": np.arange(rows), "units": np.ones(rows), "note": pa.repeat(text, rows)})


@dataclass(frozen=True)
class Broken:
    """A file: its content, how it is declared, and the reason; with `rows` it is loaded but for these lines and rules."""

    content: bytes
    reason: str
    text: str = ""
    form: dict[str, Any] = field(default_factory=dict)
    rows: tuple[tuple[int, str], ...] = ()
    name: str = "file"


JSONL, PARQUET, GZIP = {"type": "jsonl"}, {"type": "parquet"}, {"compression": "gzip"}
PACKED = gzip.compress(HEAD + GOOD, mtime=0)
CORPUS = {
    # CSV, refused whole
    "nothing": Broken(b"", "empty_file", "no bytes"),
    "blank lines": Broken(b"\n\n\n", "unreadable_csv", "ends within its header"),
    "a header without an end": Broken(b"meter,units,note", "unreadable_csv", "ends within its header"),
    "a header cut short": Broken(b"meter,uni\n", "missing_columns", "units"),
    "no header": Broken(GOOD, "missing_columns", "the file has"),
    "another delimiter": Broken((HEAD + GOOD).replace(b",", b";"), "unreadable_csv", "parted by ';': set `delimiter`"),
    "latin-1 as UTF-8": Broken(HEAD + "1,1.50,é\n".encode("latin-1"), "unreadable_csv", "invalid UTF8 near byte 24"),
    "UTF-8 cut in a character": Broken(HEAD + GOOD + "4,4.50,é".encode()[:-1], "unreadable_csv", "invalid UTF8"),
    "UTF-16 as UTF-8": Broken((HEAD + GOOD).decode().encode("utf-16"), "unreadable_csv", "set `encoding: utf-16`"),
    "UTF-8 as UTF-16": Broken(HEAD + GOOD[:-1], "unreadable_csv", "UTF16", {"encoding": "utf-16"}),
    "not ASCII": Broken(HEAD + "1,1.50,é\n".encode(), "unreadable_csv", "invalid ASCII", {"encoding": "ascii"}),
    "an unknown encoding": Broken(HEAD + GOOD, "unreadable_csv", "klingon", {"encoding": "klingon"}),
    "a quote that is never closed": Broken(HEAD + b'1,1.50,"a\n2,2.50,b\n', "unreadable_csv", "never closed, in row 2 or"),
    "a quote before the last byte": Broken(HEAD + GOOD + b'4,4.50,"', "unreadable_csv", "never closed, in row 5 or"),
    "a header with an open quote": Broken(b'meter,"units,note\n1,2,3\n', "unreadable_csv", "not a CSV file"),
    "a zip file": Broken(b"PK\x03\x04\x14\x00\xff\xfe" * 9, "unreadable_csv", "a ZIP archive"),
    "gzip without being declared": Broken(PACKED, "unreadable_csv", "compression: gzip"),
    "Parquet as CSV": Broken(parquet(table()), "unreadable_csv", "it is a Parquet file"),
    "Parquet as JSON lines": Broken(parquet(table()), "unreadable_jsonl", "it is a Parquet file", JSONL),
    "JSON as CSV": Broken(lines(reading(1)), "missing_columns", "the file has"),
    "a web page as CSV": Broken(b"<html>\n<body>404</body>\n</html>\n", "missing_columns", "<html>"),
    "a column twice": Broken(b"meter,units,note,note\n1,1.50,a,b\n", "unexpected_columns", "occur twice"),
    "mostly lines of another length": Broken(HEAD + b"1,2\n3\n4,4.50,a\n", "too_many_refused", "2 of 3 rows"),
    # gzip
    "gzip cut short": Broken(PACKED[:-12], "unreadable_gzip", "end-of-stream", GZIP),
    "gzip with a wrong sum": Broken(PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "unreadable_gzip", "CRC", GZIP),
    "gzip with flipped bytes": Broken(PACKED[:12] + b"\xff\xff\xff" + PACKED[15:], "unreadable_gzip", "", GZIP),
    "gzip with rubbish behind it": Broken(PACKED + b"rubbish", "unreadable_gzip", "Not a gzipped file", GZIP),
    "gzip within gzip": Broken(gzip.compress(PACKED), "unreadable_csv", "pack it once", GZIP),
    "no gzip at all": Broken(HEAD + GOOD, "unreadable_gzip", "it is not gzip", GZIP),
    "no gzip, by its name": Broken(HEAD + GOOD, "unreadable_gzip", "name it without .gz", name="file.csv.gz"),
    "gzip of nothing": Broken(gzip.compress(b""), "unreadable_csv", "ends within its header", GZIP),
    "gzip of JSON lines cut short": Broken(gzip.compress(lines(reading(1)))[:-9], "unreadable_gzip", "", JSONL | GZIP),
    # JSON lines
    "CSV as JSON lines": Broken(HEAD + GOOD, "unreadable_jsonl", "no JSON", JSONL),
    "one array instead of lines": Broken(json.dumps([reading(1)]).encode(), "unreadable_jsonl", "no JSON object", JSONL),
    "JSON over several lines": Broken(json.dumps(reading(1), indent=1).encode(), "unreadable_jsonl", "no JSON", JSONL),
    "lines without a key": Broken(b"{}\n{}\n", "unreadable_jsonl", "blank lines", JSONL),
    "blank JSON lines": Broken(b"\n \n", "unreadable_jsonl", "blank lines", JSONL),
    "a key in no line": Broken(lines({"meter": 1, "note": "a"}), "missing_columns", "units", JSONL),
    "a key too many": Broken(lines(reading(1), reading(2, size=1)), "unexpected_columns", "size", JSONL),
    "UTF-16 as JSON lines": Broken(lines(reading(1)).decode().encode("utf-16"), "unreadable_jsonl", "write it as UTF-8", JSONL),
    # Parquet
    "Parquet cut at its end": Broken(parquet(table(), cut(9)), "unreadable_parquet", "not a whole", PARQUET),
    "Parquet cut in the middle": Broken(parquet(table(), cut(700)), "unreadable_parquet", "not a whole", PARQUET),
    "Parquet with flipped pages": Broken(parquet(table(), flip(4, 30)), "unreadable_parquet", "not a whole", PARQUET),
    "CSV as Parquet": Broken(HEAD + GOOD, "unreadable_parquet", "not a whole", PARQUET),
    "magic bytes alone": Broken(b"PAR1" * 3, "unreadable_parquet", "not a whole", PARQUET),
    "Parquet of lists": Broken(parquet(table(note=[["a"], [], None])), "wrong_types", "note", PARQUET),
    "Parquet of bytes": Broken(parquet(table(note=[b"a", b"\xff", None])), "wrong_types", "note", PARQUET),
    "Parquet without a column": Broken(parquet(table().drop(["units"])), "missing_columns", "units", PARQUET),
    "Parquet without any column": Broken(parquet(pa.table({})), "missing_columns", "units", PARQUET),
    # beyond a limit, which names its setting
    "too many bytes": Broken(HEAD + b"1,1.50,aaaa\n" * 200_000, "too_many_bytes", "ML_PLATFORM_MAX_FILE_BYTES"),
    "too many rows of CSV": Broken(HEAD + b"1,1.50,a\n" * 1_001, "too_many_rows", "ML_PLATFORM_MAX_ROWS"),
    "too many rows of JSON": Broken(lines(*[reading(1)] * 1_001), "too_many_rows", "MAX_ROWS", JSONL),
    "too many rows of Parquet": Broken(parquet(wide(1_001, "a")), "too_many_rows", "MAX_ROWS", PARQUET),
    "too many columns of CSV": Broken(b"a," * 10 + b"b\n", "too_many_columns", "ML_PLATFORM_MAX_COLUMNS"),
    "too many keys": Broken(lines({str(n): 1 for n in range(11)}), "too_many_columns", "MAX_COLUMNS", JSONL),
    "too many columns of Parquet": Broken(
        parquet(pa.table({str(n): [1] for n in range(11)})), "too_many_columns", "MAX_COLUMNS", PARQUET
    ),
    "a large cell of CSV": Broken(HEAD + b"1,1.50," + b"a" * 1_001, "cell_too_large", "ML_PLATFORM_MAX_CELL_BYTES"),
    "a large cell of JSON": Broken(lines(reading(1, note="a" * 1_001)), "cell_too_large", "column 'note'", JSONL),
    "a line of JSON without an end": Broken(b'{"a": "' + b"a" * 20_000, "cell_too_large", "line 1", JSONL),
    "a large cell of Parquet": Broken(parquet(wide(2, "a" * 1_001)), "cell_too_large", "MAX_CELL_BYTES", PARQUET),
    "a gzip bomb": Broken(
        gzip.compress(HEAD + b"1,1.50,a\n" * 200_000), "expands_too_much", "ML_PLATFORM_MAX_EXPANDED_BYTES", GZIP
    ),
    "a gzip bomb of JSON": Broken(
        gzip.compress(lines(*[reading(1, note="a" * 900)]  * 999) + b"\n" * 900_000), "expands_too_much", "", JSONL | GZIP
    ),
    "a dictionary bomb": Broken(
        parquet(wide(1_000, "a" * 1_000)), "expands_too_much", "ML_PLATFORM_MAX_EXPANDED_BYTES", PARQUET
    ),
    # loaded, but for some rows
    "lines of another length": Broken(
        HEAD + b"1,1.50,a\n2,2.50\n3,3.50,c\n4,4.50,d,e\n", LOADED, "", {}, ((3, "malformed_row"), (5, "malformed_row"))
    ),
    "a last line cut short": Broken(HEAD + GOOD + b"4,4.", LOADED, "", {}, ((5, "malformed_row"),)),
    "an empty key": Broken(HEAD + GOOD + b",4.50,d\n", LOADED, "", {}, ((5, "empty:meter"),)),
    "words for numbers": Broken(HEAD + GOOD + b"4,four,d\n", LOADED, "", {}, ((5, "not_decimal(6,2):units"),)),
    "a comma for the point": Broken(
        HEAD + GOOD + b'4,"4,50",d\n', LOADED, "", {}, ((5, "not_decimal(6,2):units"),)
    ),
    "a point for the comma": Broken(
        b"meter;units;note\n1;1,50;a\n2;1.000,50;b\n3;3.50;c\n", "too_many_refused", "2 of 3",
        {"delimiter": ";", "decimal": ","},
    ),
    "NUL among digits": Broken(HEAD + GOOD + b"4\0,4.50,d\n", LOADED, "", {}, ((5, "not_int64:meter"),)),
    "NUL in a text of CSV": Broken(HEAD + GOOD + b"4,4.50,d\0e\n", LOADED, "", {}, ((5, "nul_in:note"),)),
    "NUL in a text of JSON": Broken(
        lines(reading(1, note=None), reading(2, note="\0"), reading(3)), LOADED, "", JSONL, ((2, "nul_in:note"),)
    ),
    "NUL in a text of Parquet": Broken(
        parquet(table(note=["a", "b\0", None])), LOADED, "", PARQUET, ((2, "nul_in:note"),)
    ),
    "NUL in a dictionary of Parquet": Broken(
        parquet(table(note=pa.array(["a", None, "a\0b"]).dictionary_encode())), LOADED, "", PARQUET, ((3, "nul_in:note"),)
    ),
    "a number beyond its type": Broken(
        HEAD + GOOD + b"99999999999999999999,1.50,a\n", LOADED, "", {}, ((5, "not_int64:meter"),)
    ),
    "a line of JSON cut short": Broken(
        lines(reading(1), reading(2)) + b'{"meter": 3, "un', LOADED, "", JSONL, ((3, "malformed_row"),)
    ),
    "a number among JSON lines": Broken(lines(reading(1), 5, reading(3)), LOADED, "", JSONL, ((2, "malformed_row"),)),
    "a nested value": Broken(
        lines(reading(1), reading(2, note={"a": 1}), reading(3)), LOADED, "", JSONL, ((2, "nested_value:note"),)
    ),
    "NaN in JSON": Broken(lines(reading(1), b'{"meter": NaN}'), LOADED, "", JSONL, ((2, "malformed_row"),)),
    "a key twice in a line": Broken(
        lines(reading(1), b'{"meter": 2, "meter": 3}'), LOADED, "", JSONL, ((2, "malformed_row"),)
    ),
    "half a surrogate pair": Broken(
        lines(reading(1), b'{"meter": 2, "units": 1, "note": "\\ud800"}'), LOADED, "", JSONL, ((2, "malformed_row"),)
    ),
    "nested beyond all bounds": Broken(
        lines(reading(1), b"[" * 15_000), LOADED, "", JSONL, ((2, "malformed_row"),)
    ),
    "a line of JSON that is no UTF-8": Broken(
        lines(reading(1), b'{"meter": 2, "note": "\xff"}'), LOADED, "", JSONL, ((2, "malformed_row"),)
    ),
    "floats that are no decimals": Broken(
        parquet(table(units=[1.5, 2.505, float("nan")])), "too_many_refused", "2 of 3", PARQUET
    ),
    "a null in a required column": Broken(
        parquet(table(meter=[1, None, 3])), LOADED, "", PARQUET, ((2, "empty:meter"),)
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite costs more than a file of this size, and looks at accepted rows alone."""
    monkeypatch.setattr("ml_platform.expectations._run", lambda *_: [])


@pytest.mark.parametrize("name", CORPUS)
def test_every_broken_file_meets_its_reason(tmp_path: Path, name: str) -> None:
    broken = CORPUS[name]
    path = tmp_path / "landing" / "readings" / broken.name
    path.parent.mkdir(parents=True)
    path.write_bytes(broken.content)
    source, lake = contract(**broken.form), Lake(str(tmp_path / "lake"))
    one = Ingestion(lake, LocalLanding(tmp_path / "landing"), source, "run", Calendar(*YEAR), limits=SMALL)
    (row,) = one.run(one.due(*YEAR)).rows
    refused = lake.read(QUARANTINE.name).to_pylist()
    rules = sorted((one["row_number"], one["rule"]) for one in refused if one["row_number"] is not None)
    assert row.balanced
    assert lake.count("bronze/raw_readings", pc.field("drop_id") == row.drop_id) == row.rows_loaded
    if broken.reason == LOADED:
        assert (row.state, row.reason, rules) == (LOADED, None, list(broken.rows))
        assert row.rows_quarantined == len(rules)
        assert row.rows_loaded > 0
    else:
        assert (row.state, (row.reason or "").split(":")[0]) == (QUARANTINED, broken.reason)
        assert broken.text in (row.reason or "")
        assert [(one["rule"], one["raw"]) for one in refused if one["row_number"] is None] == [
            (broken.reason, f"readings/{broken.name}")
        ]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 40


def opened(tmp_path: Path, content: bytes, limits: Limits | None = None, **form: Any) -> list[tuple[Any, ...]]:
    (tmp_path / "file").write_bytes(content)
    found = open_drop(tmp_path / "file", contract(**form), limits)
    return list(zip(found.row_numbers.to_pylist(), *(column.to_pylist() for column in found.table), strict=True))


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (HEAD + GOOD, {}),
        (b"\xef\xbb\xbf" + HEAD + GOOD, {}),
        (b"\xef\xbb\xbf" + HEAD + GOOD, {"encoding": "utf-8-sig"}),
        ((HEAD + GOOD).replace(b"\n", b"\r\n"), {}),
        (HEAD + GOOD[:-1], {}),
        (b"\n" + HEAD + b"\n" + GOOD + b"\n\n", {}),
        ((HEAD + GOOD).replace(b",", b"\t"), {"delimiter": "\t"}),
        ((HEAD + GOOD).replace(b"a\n", b"'a'\n"), {"quote": "'"}),
        ((HEAD + GOOD).decode().encode("utf-16"), {"encoding": "utf-16"}),
        (PACKED, {"compression": "gzip"}),
        (gzip.compress(HEAD, mtime=0) + gzip.compress(GOOD, mtime=0), {"compression": "gzip"}),
        (lines(*({"note": n, "units": u, "meter": m} for m, u, n in [(1, "1.50", "a"), (2, "2.50", "b"), (3, "3.50", "c")])), {"type": "jsonl"}),
        (b'\xef\xbb\xbf{"meter": 1, "units": 1.50, "note": "a"}\n\n{"meter": 2, "units": 2.50, "note": "b"}\r\n{"meter": 3, "units": 3.50, "note": "c"}', {"type": "jsonl"}),
    ],
)  # fmt: skip
def test_good_files_in_all_their_guises_give_the_same_texts(
    tmp_path: Path, content: bytes, form: dict[str, Any]
) -> None:
    texts = [one[1:] for one in opened(tmp_path, content, **form)]
    assert texts == [("1", "1.50", "a"), ("2", "2.50", "b"), ("3", "3.50", "c")]


def test_files_without_header_or_quotes_are_read_as_they_stand(tmp_path: Path) -> None:
    assert opened(tmp_path, GOOD, header=False)[0] == (1, "1", "1.50", "a")
    assert opened(tmp_path, HEAD + b'1,1.50,5" pipe\n2,2.50,"b\n', quote="") == [
        (2, "1", "1.50", '5" pipe'),
        (3, "2", "2.50", '"b'),
    ]
    (tmp_path / "file").write_bytes(b"1,1.50,a\n2,2.50\n3,3.50,c\n")
    found = open_drop(tmp_path / "file", contract(header=False))
    assert (found.row_numbers.to_pylist(), [one.row_number for one in found.malformed]) == ([1, 3], [2])


def test_a_small_parquet_file_that_unpacks_to_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """19 KB that become 136 MB: refused by rows times widths, known from the footer."""
    rows = 8_500_000
    pq.write_table(
        pa.table({"meter": pa.repeat(1, rows), "units": pa.repeat(1, rows)}),
        tmp_path / "bomb",
        row_group_size=rows,
        max_rows_per_page=rows,
    )
    assert (tmp_path / "bomb").stat().st_size < 20_000
    source = SourceContract.model_validate(
        {**contract().model_dump(), "format": PARQUET, "columns": {k: {"type": "int64"} for k in ("meter", "units")}}
    )
    limits = Limits(expanded_bytes=100_000_000)
    before = pa.total_allocated_bytes()
    with pytest.raises(
        UnreadableError, match=r"unpacks to 136,000,000 bytes .* raise ML_PLATFORM_MAX_EXPANDED_BYTES"
    ) as found:
        open_drop(tmp_path / "bomb", source, limits)
    assert (found.value.rule, found.value.rows) == ("expands_too_much", rows)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_dictionary_is_counted_before_it_is_written_out(tmp_path: Path) -> None:
    text = "a" * 900
    content = parquet(wide(1_000, text), row_group_size=100)
    assert len(content) < 60_000
    assert len(opened(tmp_path, content, Limits(expanded_bytes=950_000), type="parquet")) == 1_000
    with pytest.raises(UnreadableError, match="unpacks to"):
        opened(tmp_path, content, Limits(expanded_bytes=900_000), type="parquet")


def test_texts_of_parquet_read_the_same_with_and_without_a_count(tmp_path: Path) -> None:
    notes = pa.array([None if n % 7 == 0 else f"note {n % 13}" for n in range(1_000)])
    data = pa.table({"meter": np.arange(1_000), "units": np.ones(1_000), "note": notes})
    content = parquet(data, row_group_size=300)
    loose, tight = (
        opened(tmp_path, content, Limits(expanded_bytes=size), type="parquet") for size in (1 << 32, 40_000)
    )
    assert loose == tight == [(n + 1, n, 1.0, note) for n, note in enumerate(notes.to_pylist())]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (HEAD + GOOD + b"4,4.50,d," + b"e" * 3_000_000 + b"\n", {}),
        (lines(reading(1)) + b'{"meter": 2, "note": "' + b"e" * 3_000_000 + b"\n", JSONL),
    ],
)
def test_quarantine_keeps_the_beginning_of_a_long_line(tmp_path: Path, content: bytes, form: dict[str, Any]) -> None:
    (tmp_path / "file").write_bytes(content)
    (line,) = open_drop(tmp_path / "file", contract(**form)).malformed
    assert (line.raw[-1], len(line.raw)) == ("e", 10_000)


def test_names_of_json_lines_are_counted_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times names would be 144 million cells from a file of 600 KB."""
    monkeypatch.setattr("ml_platform.formats.jsonl_files._Lines.add", lambda *_: pytest.fail("cells were made"))
    content = lines(*(reading(n, **{f"key{n}": 1}) for n in range(12_000)))
    with pytest.raises(UnreadableError, match="the file has 2,001 columns or more") as found:
        opened(tmp_path, content, type="jsonl")
    assert found.value.rule == "too_many_columns"


def test_empty_cells_of_json_lines_count_as_unpacked_bytes(tmp_path: Path) -> None:
    content = lines(reading(0, **{f"key{n}": 1 for n in range(97)}), *[{"meter": 1}] * 19_999)
    with pytest.raises(UnreadableError, match="unpacks to 10,000,000 bytes or more") as found:
        opened(tmp_path, content, Limits(expanded_bytes=9_999_999), type="jsonl")
    assert found.value.rule == "expands_too_much"


def test_a_line_longer_than_a_block_is_named(tmp_path: Path) -> None:
    content = HEAD + b'1,1.50,"' + b"a\n" * (9 << 20)
    with pytest.raises(UnreadableError, match=r"longer than 16,777,216 bytes .* never closed") as found:
        opened(tmp_path, content)
    assert found.value.rule == "cell_too_large"


def test_bad_bytes_in_a_bad_line_are_refused_quietly(tmp_path: Path) -> None:
    """Arrow reports them where nobody can catch it."""
    with pytest.raises(UnreadableError, match="invalid UTF8"):
        opened(tmp_path, HEAD + GOOD + b"\xff\n")
