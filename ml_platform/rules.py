"""Rules of values: texts become typed values, and rows that break the contract are set apart with the reason.

Belongs here: parsing and the rules that need one row alone. Does not belong here: rules that need another source (preparation).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.columns import Column
from ml_platform.contracts import EventTime, SourceContract
from ml_platform.formats import Opened
from ml_platform.lake.schemas import INSTANT

REFUSED = pa.schema([("row_number", pa.int64()), ("rule", pa.string()), ("value", pa.string()), ("raw", pa.string())])
TIMESTAMP = re.compile(r"^[1-9]\d{3}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?$")
PATTERNS = {"int64": r"^[+-]?\d{1,18}$", "bool": r"^(true|false)$", "date": r"^[1-9]\d{3}-\d{2}-\d{2}$"}
EXACT = 1e-6
IMPOSSIBLE = 10**15  # floats hold every whole number up to 9 x 10^15


@dataclass(frozen=True)
class Screened:
    """Rows that keep the contract (its columns and `row_number`), and those that do not (REFUSED); together every row of the file."""

    accepted: pa.Table
    refused: pa.Table


@dataclass
class _Verdicts:
    """The first broken rule of each row, and the value that broke it."""

    rule: pa.Array
    value: pa.Array

    def add(self, broken: pa.Array, rule: str, values: pa.Array) -> None:
        new = pc.and_(pc.fill_null(broken, False), pc.is_null(self.rule))
        if pc.any(new).as_py():
            self.rule = pc.if_else(new, rule, self.rule)
            self.value = pc.if_else(new, values.cast(pa.string()), self.value)


def screen(opened: Opened, contract: SourceContract, day: date) -> Screened:
    """Type every column of an opened file, of drop day `day`, and part its rows into accepted and refused."""
    rows = opened.table.num_rows
    verdicts = _Verdicts(pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string()))
    timezone = contract.time.timezone if contract.time else "UTC"
    typed = {}
    for name, column in contract.columns.items():
        raw = opened.table[name].combine_chunks()
        typed[name], unreadable = typed_values(raw, column, timezone)
        verdicts.add(unreadable, f"not_{column.type}:{name}", raw)
        _constrain(name, column, raw, typed[name], verdicts)
        if name not in contract.identifiers:
            _measure(name, column, raw, typed[name], verdicts)
    if contract.time:
        _happened_near(contract.time, day, opened.table[contract.time.column], typed, verdicts)
    good = pc.is_null(verdicts.rule)
    accepted = pa.table({**typed, "row_number": opened.row_numbers}).filter(good)
    return Screened(accepted, _refused(opened, verdicts, pc.invert(good)))


def _constrain(name: str, column: Column, raw: pa.Array, typed: pa.Array, verdicts: _Verdicts) -> None:
    if not column.nullable:
        verdicts.add(pc.is_null(raw), f"empty:{name}", pa.nulls(len(raw), pa.string()))
    if column.min is not None:
        verdicts.add(pc.less(typed, _bound(column.min, column, ROUND_CEILING)), f"below_minimum:{name}", raw)
    if column.max is not None:
        verdicts.add(pc.greater(typed, _bound(column.max, column, ROUND_FLOOR)), f"above_maximum:{name}", raw)
    if column.allowed:
        known = pc.is_in(typed.cast(pa.string()), value_set=pa.array(column.allowed))
        verdicts.add(pc.and_(pc.is_valid(typed), pc.invert(known)), f"not_allowed:{name}", raw)


def _measure(name: str, column: Column, raw: pa.Array, typed: pa.Array, verdicts: _Verdicts) -> None:
    """Numbers that no float holds exactly are no measures, unless the contract's own bound allows them."""
    if column.arrow == pa.int64():
        low, high = (
            pa.scalar(int(sign * max(IMPOSSIBLE, abs(bound or 0))))
            for sign, bound in ((-1, column.min), (1, column.max))
        )
        verdicts.add(pc.or_(pc.less(typed, low), pc.greater(typed, high)), f"impossible:{name}", raw)


def _happened_near(
    time: EventTime, day: date, raw: pa.ChunkedArray, typed: Mapping[str, pa.Array], verdicts: _Verdicts
) -> None:
    """One row of the year 1017 or 9999 would stretch the calendar of all series: rows far from their drop day are refused.

    A day more on both sides of instants stands for the zone of the business day.
    """
    values, zone = typed[time.column], timedelta(days=0 if pa.types.is_date(typed[time.column].type) else 1)
    first, last = day - timedelta(days=time.late_days) - zone, day + timedelta(days=time.early_days) + zone
    bounds = (pa.scalar(one, pa.date32()).cast(values.type) for one in (first, last))
    far = pc.or_(pc.less(values, next(bounds)), pc.greater(values, next(bounds)))
    verdicts.add(far, f"far_from_its_day:{time.column}", raw.combine_chunks())


def _bound(limit: float, column: Column, rounding: str) -> pa.Scalar:
    """A limit in the column's own type: an integer beyond 2^53 cannot be compared with a float."""
    exact = Decimal(str(limit))
    if column.arrow == pa.int64():
        return pa.scalar(int(exact.to_integral_value(rounding)), pa.int64())
    return pa.scalar(exact)


def _refused(opened: Opened, verdicts: _Verdicts, bad: pa.Array) -> pa.Table:
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
                ["malformed_row"] * len(lines),
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
    pattern = _pattern(column)
    if not pc.all(pc.match_substring_regex(text, pattern), min_count=0).as_py():
        return None
    if column.type != "timestamp":
        return text.cast(column.arrow)
    zoned = pc.match_substring_regex(text, r"(Z|[+-]\d{2}:\d{2})$")
    if pc.all(zoned, min_count=0).as_py():
        return text.cast(INSTANT)
    if pc.any(zoned, min_count=0).as_py():
        return None
    return _in_zone(text.cast(pa.timestamp("us")), timezone).cast(INSTANT)


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
