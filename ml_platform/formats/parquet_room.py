"""Room: what a Parquet file will need in memory, from its footer alone.

Belongs here: bytes per row group and leaf, and where a text is kept once for many values. Does not belong here: reading pages
(parquet_files), bytes of values in memory (sizes).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.formats.sizes import WIDEST_OFFSETS, leaf_types, width_of

PLAIN = {"PLAIN", "RLE", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}  # encodings that write every text out
DELTAS = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}  # encodings that Arrow cannot read as a dictionary


@dataclass(frozen=True)
class Chunk:
    """The values of one leaf (a column, or a part of a nested one) in one row group.

    `pages`: their bytes in the file, unpacked. `width`: bytes of a value in memory, without those of a text. `packed`: a text
    may stand there once for many values. `delta`: it is not written as Arrow's dictionaries are.
    """

    group: int
    leaf: int
    rows: int
    values: int
    pages: int
    width: int
    is_text: bool
    packed: bool
    delta: bool

    @property
    def texts(self) -> int:
        """Bytes of its texts, if each were as long as all pages where they are packed."""
        return self.pages * (self.values if self.packed else self.is_text)

    @property
    def longest_row(self) -> int:
        """Bytes of texts in one row, likewise: every row but one may hold one value, and that one all others."""
        return self.pages * (1 + self.values - self.rows) if self.packed else 0


@dataclass(frozen=True)
class Room:
    """All chunks of a file."""

    chunks: tuple[Chunk, ...]

    @classmethod
    def of(cls, file: pq.ParquetFile) -> "Room":
        return cls(tuple(_chunks(file)))

    @property
    def fixed(self) -> int:
        """Bytes in memory without those of texts: known exactly."""
        return sum(one.values * one.width for one in self.chunks)

    @property
    def pages(self) -> int:
        return sum(one.pages for one in self.chunks)

    @property
    def at_most(self) -> int:
        return self.fixed + sum(one.texts for one in self.chunks)

    @property
    def packed(self) -> list[int]:
        """Leaves whose texts may be packed in some row group."""
        return sorted({one.leaf for one in self.chunks if one.packed})

    def stays_packed(self, file: pq.ParquetFile) -> bool:
        """Whether a file that was opened with dictionaries for the packed leaves writes out none of their texts."""
        kinds, packed = _kinds(file), set(self.packed)
        readable = not any(one.delta for one in self.chunks if one.leaf in packed)
        return readable and all(pa.types.is_dictionary(kinds[leaf]) for leaf in packed)

    def longest_row(self, group: int) -> int:
        return sum(one.longest_row for one in self.chunks if one.group == group)


def _kinds(file: pq.ParquetFile) -> list[pa.DataType]:
    """Types of all leaves."""
    return [kind for field in file.schema_arrow for kind in leaf_types(field.type)]


def _chunks(file: pq.ParquetFile) -> Iterator[Chunk]:
    meta = file.metadata
    leaves = [meta.schema.column(place) for place in range(meta.num_columns)]
    # a list has offsets, too, and each of its values the bytes of all levels above it
    widths = [
        width_of(kind) + WIDEST_OFFSETS * leaf.max_repetition_level
        for kind, leaf in zip(_kinds(file), leaves, strict=True)
    ]
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        for place, width in enumerate(widths):
            yield _chunk(number, group.num_rows, place, group.column(place), width)


def _chunk(group: int, rows: int, leaf: int, found: pq.ColumnChunkMetaData, width: int) -> Chunk:
    encodings, is_text = set(found.encodings), found.physical_type == "BYTE_ARRAY"
    return Chunk(
        group=group,
        leaf=leaf,
        rows=rows,
        values=max(found.num_values, rows),
        pages=found.total_uncompressed_size,
        width=width,
        is_text=is_text,
        packed=is_text and (found.has_dictionary_page or not encodings <= PLAIN),
        delta=bool(encodings & DELTAS),
    )
