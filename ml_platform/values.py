"""Values: texts and the types of Parquet become values of a contract's columns, exactly or not at all.

Belongs here: parsing, the whole column at once where it is clean. Does not belong here: bounds and other rules (rules).
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.columns import Column
from ml_platform.lake.schemas import INSTANT

TIMESTAMP = re.compile(r"^[1-9]\d{3}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?$")
PATTERNS = {"int64": r"^[+-]?\d{1,18}$", "bool": r"^(true|false)$", "date": r"^[1-9]\d{3}-\d{2}-\d{2}$"}
ZONED = r"(Z|[+-]\d{2}:\d{2})$"
DIGITS = 18
Values = TypeVar("Values", pa.Array, pa.ChunkedArray)
WIDE = Context(prec=400)  # digits of any float
CERTAIN = 2.0**50  # up to here the nearest whole number of a product is the one that was meant


def typed_values(raw: pa.Array, column: Column, timezone: str) -> tuple[pa.Array, pa.Array]:
    """Values in the column's type, null where they cannot be read, and a mask of those; nothing is rounded or cut."""
    target = column.arrow
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if raw.type == target:
        return raw, pa.repeat(pa.scalar(False), len(raw))
    if pa.types.is_floating(raw.type) and (target == pa.int64() or pa.types.is_decimal(target)):
        return _exact_numbers(raw, target)
    if pa.types.is_timestamp(raw.type) and target == INSTANT:
        aware = raw if raw.type.tz else _in_zone(raw, timezone)
        instants = aware.cast(INSTANT, safe=False)
        cut = pc.fill_null(pc.not_equal(instants.cast(aware.type, safe=False), aware), False)
        return pc.if_else(cut, None, instants), cut
    return _from_text(raw.cast(pa.string()), column, timezone)


def doubles(column: Values) -> Values:
    """Floats at 64 bits, those of 32 as their shortest text says: 1234.56 is 1234.56, and not 1234.56005859375; other types as they are."""
    short = pa.types.is_floating(column.type) and column.type != pa.float64()
    return column.cast(pa.string()).cast(pa.float64()) if short else column


def _exact_numbers(raw: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """Floats that are the nearest ones to a value of the type, as that value: written as a float again it is the same."""
    digits, scale = (target.precision, target.scale) if pa.types.is_decimal(target) else (15, 0)
    number = doubles(raw)
    units = pc.round(pc.multiply(number, 10.0**scale))
    certain = pc.less(pc.abs(units), min(10.0**digits, CERTAIN))
    # both are held exactly, so that their quotient is the nearest float there is; Arrow's own cast of a decimal is not
    exact = pc.fill_null(pc.and_(certain, pc.equal(pc.divide(units, 10.0**scale), number)), False)
    whole = pc.if_else(exact, units, None).cast(pa.int64())
    values = _with_scale(whole, target) if pa.types.is_decimal(target) else whole
    if digits > 15 and pc.any(pc.greater_equal(pc.abs(units), CERTAIN)).as_py():
        values = pc.coalesce(values, pa.array([_great_decimal(one, target) for one in number.to_pylist()], target))
    return values, pc.and_(pc.is_valid(raw), pc.is_null(values))


def _great_decimal(number: float | None, target: pa.DataType) -> Decimal | None:
    """The shortest decimal whose nearest float this is, where the type holds it and it has too many digits to be certain otherwise."""
    if number is None or not CERTAIN <= abs(number) * 10.0**target.scale < 10.0**target.precision:
        return None
    found = Decimal(repr(number))
    return found if found == found.quantize(Decimal(1).scaleb(-target.scale), context=WIDE) else None


def _with_scale(numbers: pa.Array, target: pa.DataType) -> pa.Array:
    """Whole numbers as the digits of decimals: 1234 is 12.34 where the scale is 2."""
    validity, digits = numbers.cast(pa.decimal128(19, 0)).buffers()
    return pa.Array.from_buffers(target, len(numbers), [validity, digits])


def _from_text(text: pa.Array, column: Column, timezone: str) -> tuple[pa.Array, pa.Array]:
    """The whole array at once where every value is clean, else value by value: both give the same."""
    try:
        fast = _cast(text, column, timezone)
    except pa.ArrowInvalid:
        fast = None
    if fast is not None:
        return fast, pa.repeat(pa.scalar(False), len(text))
    read = reader(column, timezone)
    values = [None if one is None else read(one) for one in text.to_pylist()]
    typed = pa.array(values, column.arrow)
    return typed, pc.and_(pc.is_valid(text), pc.is_null(typed))


def _cast(text: pa.Array, column: Column, timezone: str) -> pa.Array | None:
    """Arrow's own cast, or None where it would accept more than the contract does."""
    if column.type == "string":
        return text
    if pa.types.is_decimal(column.arrow) and (found := _uniform_decimals(text, column.arrow)) is not None:
        return found
    if not _plainly_fits(text, column) and not _fits(text, _pattern(column)):
        return None
    if column.type == "date":
        return _not_before_1000(text.cast(pa.date32()))
    if column.type != "timestamp":
        return text.cast(column.arrow)
    return _not_before_1000(_cast_times(text, timezone))


def _cast_times(text: pa.Array, timezone: str) -> pa.Array | None:
    if pc.all(pc.ends_with(text, "Z"), min_count=0).as_py() or _fits(text, ZONED):
        return text.cast(INSTANT)
    if pc.any(pc.match_substring_regex(text, ZONED), min_count=0).as_py():
        return None
    return _in_zone(text.cast(pa.timestamp("us")), timezone).cast(INSTANT)


def _fits(text: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(text, pattern), min_count=0).as_py())


def _plainly_fits(text: pa.Array, column: Column) -> bool:
    """Whether every value is written in the usual way: a tenth of the cost of the pattern. False says nothing."""
    lengths = pc.min_max(pc.binary_length(text))
    shortest, longest = lengths["min"].as_py() or 0, lengths["max"].as_py() or 0
    if column.type == "int64":
        return longest <= DIGITS and bool(pc.all(pc.ascii_is_decimal(text), min_count=0).as_py())
    if column.type == "timestamp":  # with seconds, and Z or no zone: what Arrow takes at these lengths is nothing else
        zone = pc.all(pc.ends_with(text, "Z")).as_py()
        return shortest == longest == (20 if zone else 19)
    if column.type == "date":
        return shortest == longest == 10
    return False


def _not_before_1000(values: pa.Array | None) -> pa.Array | None:
    """None where a year has fewer than four digits or begins with 0: Arrow reads them, the contract does not."""
    if values is None or not len(values):
        return values
    first = pc.min(values.cast(pa.date32()) if pa.types.is_timestamp(values.type) else values)
    return values if not first.is_valid or first.as_py() >= date(1000, 1, 2) else None


def _in_zone(naive: pa.Array | pa.Scalar, timezone: str) -> pa.Array | pa.Scalar:
    """Local times as instants: the first of two where clocks go back, the end of the gap where they go forward."""
    return pc.assume_timezone(naive, timezone, ambiguous="earliest", nonexistent="latest")


def _pattern(column: Column) -> str:
    if pa.types.is_decimal(column.arrow):
        scale = column.arrow.scale
        fraction = rf"(\.\d{{1,{scale}}})?" if scale else ""
        return rf"^[+-]?\d{{1,{column.arrow.precision - scale}}}{fraction}$"
    return TIMESTAMP.pattern if column.type == "timestamp" else PATTERNS[column.type]


def reader(column: Column, timezone: str) -> Callable[[str], Any]:
    """A function from one text to its value, or to None where the text is no such value."""
    pattern = re.compile(_pattern(column) if column.type != "string" else "(?s).*", re.ASCII)
    known: dict[str, Callable[[str], Any]] = {
        "int64": int,
        "bool": lambda text: text == "true",
        "date": date.fromisoformat,
        "timestamp": lambda text: _instant(text, timezone),
        "string": str,
    }
    convert = known.get(column.type, Decimal)

    def read(text: str) -> Any:
        try:
            return convert(text) if pattern.fullmatch(text) else None
        except (ValueError, InvalidOperation, OverflowError):
            return None

    return read


def _instant(text: str, timezone: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else _in_zone(pa.scalar(found, pa.timestamp("us")), timezone).cast(INSTANT).as_py()


def may_hold_nul(text: pa.StringArray) -> bool:
    """Whether a NUL stands among the bytes of the texts, looked at all at once; only False is certain."""
    if not len(text) or text.null_count == len(text):
        return False
    _, content = _buffers(text)
    return bool(content.size) and not content.min()


def _buffers(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of texts, one more than there are, and the bytes of all of them."""
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    return offsets, np.frombuffer(text.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]


def _uniform_decimals(text: pa.Array, target: pa.DataType) -> pa.Array | None:
    """Decimals that all have every digit after their point, as feeds write money: as integers, at half the cost; else None."""
    if not target.scale or text.null_count or not len(text) or text.type != pa.string():
        return None
    offsets, content = _buffers(text)
    starts = offsets - offsets[0]
    lengths = np.diff(starts)
    if lengths.min() < target.scale + 2 or lengths.max() > min(DIGITS, target.precision) + 1:
        return None
    points = starts[1:] - target.scale - 1
    digits = np.delete(content, points)
    if (content[points] != ord(".")).any() or ((digits - ord("0")) > 9).any():
        return None
    shorter = (starts - np.arange(len(starts), dtype=np.int32)).astype(np.int32)
    whole = pa.Array.from_buffers(pa.string(), len(text), [None, pa.py_buffer(shorter), pa.py_buffer(digits)])
    return _with_scale(whole.cast(pa.int64()), target)
