"""Rows of a database as Arrow: the contract's types, exactly or as texts that the contract's rules will refuse.

Belongs here: values of drivers. Does not belong here: texts to values (ml_platform.values), SQL (database).
"""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.columns import Column
from ml_platform.contracts import SourceContract
from ml_platform.values import typed_values

OWN = {"int64": int, "string": str, "bool": bool, "date": date}  # taken as they are, decimals too
UNFIT = (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError)


def table_of(rows: Sequence[Sequence[Any]], contract: SourceContract) -> pa.Table:
    """Rows in the order of the contract's columns. A column with a value that its type cannot hold consists of texts.

    So one odd value stops no pull: ingestion refuses its row, with the value, and loads the others.
    """
    timezone = contract.time.timezone if contract.time else "UTC"
    columns = zip(*rows, strict=True) if rows else (() for _ in contract.columns)
    named = zip(contract.columns.items(), columns, strict=True)
    return pa.table({name: array_of(values, column, timezone) for (name, column), values in named})


def array_of(values: Sequence[Any], column: Column, timezone: str) -> pa.Array:
    """Values in the column's type, or all of them as texts; times without a zone are in `timezone`."""
    own = Decimal if pa.types.is_decimal(column.arrow) else OWN.get(column.type)
    try:
        if {type(one) for one in values} <= {own, type(None)}:
            return pa.array(values, column.arrow)
        if column.type == "string":
            return texts(values)
        found, unfit = typed_values(pa.array(values), column, timezone)
        if not pc.any(unfit).as_py():
            return found
    except UNFIT:
        pass
    return texts(values)


def texts(values: Sequence[Any]) -> pa.Array:
    """Values as texts, as a CSV file of the contract would have them."""
    return pa.array([None if one is None else _text(one) for one in values], pa.string())


def _text(value: Any) -> str:
    known: dict[type, Callable[[Any], str]] = {
        bool: lambda one: str(one).lower(),
        Decimal: lambda one: format(one, "f"),
        datetime: datetime.isoformat,
        bytes: bytes.hex,
        memoryview: lambda one: bytes(one).hex(),
        dict: _json,
        list: _json,
    }
    text = known.get(type(value), str)(value)
    return text.encode(errors="backslashreplace").decode()


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
