"""Sizes: bytes of values, also of those within lists and structs.

Belongs here: how large a type and a text are. Does not belong here: how large they may be (limits).
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

WIDEST_OFFSETS = 5  # bytes per cell beside its text: an offset and a share of a bitmap
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts, in any of Arrow's layouts."""
    return any(test(kind) for test in TEXTS)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes of any number, in any of Arrow's layouts."""
    return any(test(kind) for test in BYTES)


def leaf_types(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Types of the plain values that a value holds, in the order in which Parquet keeps them; a plain type's own."""
    if isinstance(kind, pa.BaseExtensionType):
        yield from leaf_types(kind.storage_type)
    elif pa.types.is_nested(kind):
        for place in range(kind.num_fields):
            yield from leaf_types(kind.field(place).type)
    else:
        yield kind


def width_of(kind: pa.DataType) -> int:
    """Bytes of one plain value in memory, without the bytes of a text itself (an offset stands for them)."""
    if pa.types.is_dictionary(kind):
        return WIDEST_OFFSETS
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return WIDEST_OFFSETS


def lengths(array: pa.Array, other: int = 0) -> np.ndarray:
    """Bytes of all texts in each row, shape (rows,); every value that is no text counts as `other`."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return lengths(array.storage, other)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(array, other)
    if pa.types.is_struct(kind):
        return sum((lengths(child, other) for child in array.flatten()), start=np.zeros(len(array), np.int64))
    if pa.types.is_nested(kind):
        return _of_lists(array, other)
    if is_text(kind) or is_bytes(kind):
        found = pc.binary_length(_plain_layout(array)).cast(pa.int64())
        return pc.fill_null(found, 0).to_numpy(zero_copy_only=False)
    return np.broadcast_to(np.int64(other), len(array))


def longest(column: pa.ChunkedArray) -> int:
    """Bytes of the longest text, or the largest list or struct of texts and values; 0 for columns of another type."""
    if isinstance(column.type, pa.BaseExtensionType):
        return longest(pa.chunked_array([one.storage for one in column.chunks], column.type.storage_type))
    if pa.types.is_dictionary(column.type):
        return max((longest(pa.chunked_array([one.dictionary])) for one in column.chunks), default=0)
    if is_text(column.type) or is_bytes(column.type):
        return max((pc.max(pc.binary_length(_plain_layout(one))).as_py() or 0 for one in column.chunks), default=0)
    if not pa.types.is_nested(column.type):
        return 0
    return max((int(lengths(one, other=1).max(initial=0)) for one in column.chunks), default=0)


def text_bytes(table: pa.Table) -> int:
    """Bytes of all texts, each as often as it stands there, also where a dictionary keeps it once."""
    columns = [column for column in table.columns if any(map(_is_long, leaf_types(column.type)))]
    return sum(int(lengths(one).sum()) for column in columns for one in column.chunks)


def _is_long(kind: pa.DataType) -> bool:
    return is_text(kind) or is_bytes(kind) or pa.types.is_dictionary(kind)


def _of_dictionary(array: pa.DictionaryArray, other: int) -> np.ndarray:
    known = np.append(lengths(array.dictionary, other), 0)  # the last one is that of a missing value
    places = pc.fill_null(array.indices.cast(pa.int64()), len(known) - 1)
    return known[places.to_numpy(zero_copy_only=False)]


def _of_lists(array: pa.Array, other: int) -> np.ndarray:
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    ends = np.concatenate([[0], np.cumsum(lengths(array.values, other))])
    offsets = array.offsets.to_numpy()
    return ends[offsets[1:]] - ends[offsets[:-1]]


def _plain_layout(array: pa.Array) -> pa.Array:
    """The same texts or bytes in a layout whose lengths Arrow can tell."""
    if pa.types.is_string_view(array.type):
        return array.cast(pa.large_string())
    return array.cast(pa.large_binary()) if pa.types.is_binary_view(array.type) else array
