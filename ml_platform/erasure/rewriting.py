"""Rewriting: a landed file's bytes without the rows of a person, every other byte of text as it was.

Belongs here: parting the records of a format. Does not belong here: proving that nothing else is lost, and the file on disk (landed).
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_platform.erasure.persons import Persons
from ml_platform.values import typed_values


def rewritten(path: Path, persons: Persons) -> bytes:
    """The content of a file that can be read, in its format, without the rows of the persons."""
    form = persons.contract.format
    if form.type == "parquet":
        return _parquet(path, persons)
    packed = form.is_gzip(path.name)
    raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    made = REWRITERS[form.type](raw, persons)
    # without a time in it: two files with the same bytes stay two files with the same bytes
    return gzip.compress(made, mtime=0) if packed else made


def _csv(raw: bytes, persons: Persons) -> bytes:
    form = persons.contract.format
    text = raw.decode(form.encoding)
    width, places, kept = 0, dict[str, int](), list[str]()
    for fields, record in _records(text, persons):
        first = fields and not width
        if first:
            width = len(fields)
            names = [name.lstrip("\ufeff") for name in fields] if form.header else list(persons.contract.columns)
            places = {name: names.index(name) for name in persons.digests if name in names}
        if not fields or (first and form.header) or not _gone(fields, record, width, places, persons):
            kept.append(record)
    return "".join(kept).encode(form.encoding)


def _gone(fields: list[str], record: str, width: int, places: dict[str, int], persons: Persons) -> bool:
    if len(fields) != width:
        return persons.in_line(record.rstrip("\r\n"))
    return any(place < width and persons.is_key(name, fields[place]) for name, place in places.items())


def _records(text: str, persons: Persons) -> Iterator[tuple[list[str], str]]:
    """Fields of every record, and the lines that it was written in."""
    form, lines = persons.contract.format, list[str]()

    def feed() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line

    reader = csv.reader(
        feed(),
        delimiter=form.delimiter,
        quotechar=form.quote or None,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
    )
    for fields in reader:
        yield fields, "".join(lines)
        lines.clear()


def _jsonl(raw: bytes, persons: Persons) -> bytes:
    lines = io.BytesIO(raw).readlines()
    return b"".join(one for one in lines if not persons.in_row(one.decode(errors="replace").strip().lstrip("\ufeff")))


REWRITERS: dict[str, Callable[[bytes, Persons], bytes]] = {"csv": _csv, "jsonl": _jsonl}


def _parquet(path: Path, persons: Persons) -> bytes:
    with pq.ParquetFile(path) as file:
        table, meta = file.read(), file.metadata
        codec = meta.row_group(0).column(0).compression if meta.num_row_groups else "SNAPPY"
    gone = pa.repeat(pa.scalar(value=False), table.num_rows)
    for name in persons.digests:
        typed, _ = typed_values(table[name].combine_chunks(), persons.contract.columns[name], "UTC")
        gone = pc.or_(gone, pc.or_(persons.in_values(name, typed), persons.in_values(name, table[name])))
    sink = io.BytesIO()
    pq.write_table(table.filter(pc.invert(gone)), sink, compression=codec if codec != "UNCOMPRESSED" else "NONE")
    return sink.getvalue()
