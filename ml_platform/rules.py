"""Rules of values: rows that break the contract are set apart with the reason.

Belongs here: the rules that need one row alone. Does not belong here: parsing (values), rules that need another source
(preparation).
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.columns import Column
from ml_platform.contracts import EventTime, SourceContract
from ml_platform.formats import Opened
from ml_platform.values import doubles, may_hold_nul, typed_values

REFUSED = pa.schema([("row_number", pa.int64()), ("rule", pa.string()), ("value", pa.string()), ("raw", pa.string())])
IMPOSSIBLE = 10**15  # floats hold every whole number up to 9 x 10^15
MANY = 1_000_000  # cells from which on threads pay
TYPISTS = 2


@dataclass(frozen=True)
class Screened:
    """Rows that keep the contract (its columns, `new` ones of the file, `row_number`), and those that do not (REFUSED); together every row.

    `erased`: how many of each were left out, because their person was erased.
    """

    accepted: pa.Table
    refused: pa.Table
    new: tuple[str, ...] = ()
    erased: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> int:
        return self.accepted.num_rows + self.refused.num_rows + sum(self.erased)


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


def screen(opened: Opened, contract: SourceContract, day: date) -> Screened:
    """Type every column of an opened file, of drop day `day`, and part its rows into accepted and refused."""
    rows = opened.table.num_rows
    verdicts = _Verdicts(pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string()))
    raw = {name: opened.table[name].combine_chunks() for name in contract.columns}
    typed = {}
    for (name, column), (values, unreadable) in zip(contract.columns.items(), _all_typed(raw, contract), strict=True):
        typed[name] = values
        verdicts.add(unreadable, f"not_{column.type}:{name}", raw[name])
        # pandas compares texts up to a NUL: two keys would be one to it, and two to silver
        if column.type == "string" and may_hold_nul(values):
            verdicts.add(pc.match_substring(values, "\0"), f"nul_in:{name}", raw[name])
        _constrain(name, column, raw[name], values, verdicts)
        if name not in contract.identifiers:
            _measure(name, column, raw[name], values, verdicts)
    if contract.time:
        _happened_near(contract.time, day, raw[contract.time.column], typed, verdicts)
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


def _measure(name: str, column: Column, raw: pa.Array, typed: pa.Array, verdicts: _Verdicts) -> None:
    """Numbers that no float holds exactly are no measures, unless the contract's own bound allows them."""
    if column.arrow == pa.int64():
        low, high = (
            pa.scalar(int(sign * max(IMPOSSIBLE, abs(bound or 0))))
            for sign, bound in ((-1, column.min), (1, column.max))
        )
        verdicts.add(pc.or_(pc.less(typed, low), pc.greater(typed, high)), f"impossible:{name}", raw)


def _happened_near(
    time: EventTime, day: date, raw: pa.Array, typed: Mapping[str, pa.Array], verdicts: _Verdicts
) -> None:
    """One row of the year 1017 or 9999 would stretch the calendar of all series: rows far from their drop day are refused.

    A day more on both sides of instants stands for the zone of the business day.
    """
    values, zone = typed[time.column], timedelta(days=0 if pa.types.is_date(typed[time.column].type) else 1)
    first, last = day - timedelta(days=time.late_days) - zone, day + timedelta(days=time.early_days) + zone
    bounds = (pa.scalar(one, pa.date32()).cast(values.type) for one in (first, last))
    far = pc.or_(pc.less(values, next(bounds)), pc.greater(values, next(bounds)))
    verdicts.add(far, f"far_from_its_day:{time.column}", raw)


def _bound(limit: float, column: Column, rounding: str) -> pa.Scalar:
    """A limit in the column's own type: an integer beyond 2^53 cannot be compared with a float."""
    exact = Decimal(str(limit))
    if column.arrow == pa.int64():
        return pa.scalar(int(exact.to_integral_value(rounding)), pa.int64())
    return pa.scalar(exact)


def _refused(opened: Opened, verdicts: _Verdicts, bad: pa.Array) -> pa.Table:
    if verdicts.rule.null_count == len(verdicts.rule) and not opened.malformed:
        return REFUSED.empty_table()
    refused = opened.table.filter(bad)
    rows = pa.table({name: doubles(refused[name]) for name in refused.column_names}).to_pylist()
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
