"""Rules of values: texts become typed values, and rows that break the contract are set apart with the reason.

Belongs here: parsing and the rules that need one row alone. Does not belong here: rules that need another source (preparation).
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.columns import Column
from ml_platform.contracts import SourceContract
from ml_platform.formats import Opened
from ml_platform.lake.schemas import INSTANT

REFUSED = pa.schema([("row_number", pa.int64()), ("rule", pa.string()), ("value", pa.string()), ("raw", pa.string())])
TIMESTAMP = re.compile(r"^[1-9]\d{3}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?$")
PATTERNS = {"int64": r"^[+-]?\d{1,18}$", "bool": r"^(true|false)$", "date": r"^[1-9]\d{3}-\d{2}-\d{2}$"}
ZONED = r"(Z|[+-]\d{2}:\d{2})$"
DIGITS = 18
EXACT = 1e-6
MANY = 1_000_000  # cells from which on threads pay
TYPISTS = 2


@dataclass(frozen=True)
class Screened:
    """Rows that keep the contract (its columns, `new` ones of the file, `row_number`), and those that do not (REFUSED); together every row."""

    accepted: pa.Table
    refused: pa.Table
    new: tuple[str, ...] = ()


@dataclass
class _Verdicts:
    """The first broken rule of each row, and the value that broke it."""

    rule: pa.Array
    value: pa.Array

    def add(self, broken: pa.Array, rule: str, values: pa.Array) -> None:
        if not pc.any(broken).as_py():
            return
        new = pc.and_(pc.fill_null(broken, False), pc.is_null(self.rule))
        self.rule = pc.if_else(new, rule, self.rule)
        self.value = pc.if_else(new, values.cast(pa.string()), self.value)


def screen(opened: Opened, contract: SourceContract) -> Screened:
    """Type every column of an opened file and part its rows into accepted and refused."""
    rows = opened.table.num_rows
    verdicts = _Verdicts(pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string()))
    raw = {name: opened.table[name].combine_chunks() for name in contract.columns}
    typed = {}
    for (name, column), (values, unreadable) in zip(contract.columns.items(), _all_typed(raw, contract), strict=True):
        typed[name] = values
        verdicts.add(unreadable, f"not_{column.type}:{name}", raw[name])
        _constrain(name, column, raw[name], values, verdicts)
    new = tuple(name for name in opened.table.column_names if name not in typed)
    whole = pa.table({**typed, **{name: opened.table[name] for name in new}, "row_number": opened.row_numbers})
    good = pc.is_null(verdicts.rule)
    accepted = whole if verdicts.rule.null_count == rows else whole.filter(good)
    return Screened(accepted, _refused(opened, verdicts, pc.invert(good)), new)


def _all_typed(raw: dict[str, pa.Array], contract: SourceContract) -> list[tuple[pa.Array, pa.Array]]:
    """Every column's values and mask; Arrow works outside the interpreter's lock, so that large columns share the cores."""
    timezone = contract.time.timezone if contract.time else "UTC"
    comma = contract.format.decimal == ","

    def typed(name: str) -> tuple[pa.Array, pa.Array]:
        column = contract.columns[name]
        pointed = comma and pa.types.is_decimal(column.arrow)
        return typed_values(_with_point(raw[name]) if pointed else raw[name], column, timezone)

    if sum(len(values) for values in raw.values()) < MANY:
        return [typed(name) for name in raw]
    with ThreadPoolExecutor(TYPISTS) as pool:
        return list(pool.map(typed, raw))


def _with_point(text: pa.Array) -> pa.Array:
    """Decimals with a comma as decimals with a point; a point there is no part of a number."""
    return pc.replace_substring(pc.replace_substring(text, ".", "?"), ",", ".")


def _constrain(name: str, column: Column, raw: pa.Array, typed: pa.Array, verdicts: _Verdicts) -> None:
    if not column.nullable and raw.null_count:
        verdicts.add(pc.is_null(raw), f"empty:{name}", pa.nulls(len(raw), pa.string()))
    if column.min is not None:
        verdicts.add(pc.less(typed, _bound(column.min, column, ROUND_CEILING)), f"below_minimum:{name}", raw)
    if column.max is not None:
        verdicts.add(pc.greater(typed, _bound(column.max, column, ROUND_FLOOR)), f"above_maximum:{name}", raw)
    if column.allowed:
        known = pc.is_in(typed.cast(pa.string()), value_set=pa.array(column.allowed))
        verdicts.add(pc.and_(pc.is_valid(typed), pc.invert(known)), f"not_allowed:{name}", raw)


def _bound(limit: float, column: Column, rounding: str) -> pa.Scalar:
    """A limit in the column's own type: an integer beyond 2^53 cannot be compared with a float."""
    exact = Decimal(str(limit))
    if column.arrow == pa.int64():
        return pa.scalar(int(exact.to_integral_value(rounding)), pa.int64())
    return pa.scalar(exact)


def _refused(opened: Opened, verdicts: _Verdicts, bad: pa.Array) -> pa.Table:
    if verdicts.rule.null_count == len(verdicts.rule) and not opened.malformed:
        return REFUSED.empty_table()
    rows = opened.table.filter(bad).to_pylist()
    parts = [
        pa.table(
            {
                "row_number": opened.row_numbers.filter(bad),
                "rule": verdicts.rule.filter(bad),
                "value": verdicts.value.filter(bad),
                "raw": pa.array([json.dumps(row, default=str, ensure_ascii=False) for row in rows], pa.string()),
            },
            schema=REFUSED,
        )
    ]
    lines = opened.malformed
    parts.append(
        pa.table(
            [
                [m.row_number for m in lines],
                [m.rule for m in lines],
                [m.value for m in lines],
                [m.raw for m in lines],
            ],
            schema=REFUSED,
        )
    )
    return pa.concat_tables(parts)


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


def _exact_numbers(raw: pa.Array, target: pa.DataType) -> tuple[pa.Array, pa.Array]:
    scale = target.scale if pa.types.is_decimal(target) else 0
    limit = 10.0 ** ((target.precision - scale) if pa.types.is_decimal(target) else 15)
    small = pc.less(pc.abs(raw), limit)  # false for what is no number; rounding great ones overflows
    rounded = pc.round(pc.if_else(small, raw, None).cast(pa.float64()), scale)
    noise = min(EXACT, 10.0 ** -(scale + 2))
    near = pc.and_(pc.less(pc.abs(pc.subtract(raw, rounded)), noise), pc.less(pc.abs(rounded), limit))
    exact = pc.fill_null(near, False)
    return pc.if_else(exact, rounded, None).cast(target), pc.and_(pc.is_valid(raw), pc.invert(exact))


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
