"""Contract rules, which run on every row, and a suite of Great Expectations of the same contract come to the same verdict on planted faults."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from ml_platform import expectations
from ml_platform.contracts import SourceContract
from ml_platform.formats import Opened
from ml_platform.ingestion import expected
from ml_platform.rules import screen

DAY, ROWS = date(2024, 1, 5), 500
CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}.parquet",
        "format": {"type": "parquet"},
        "columns": {
            "meter": {"type": "int64", "min": 1, "max": 9_999},
            "units": {"type": "int64", "min": 0, "max": 50},
            "amount": {"type": "decimal(12,2)", "min": -5, "max": 1000},
            "kind": {"type": "string", "allowed": ["day", "night"]},
            "zone": {"type": "string", "allowed": ["A", "B", "C"]},
            "serial": {"type": "int64", "min": 0},
            "read_at": {"type": "timestamp"},
        },
        "key": ["serial"],
        "time": {"column": "read_at"},
    }
)
FAULTS = {
    "meter": [None, 0, 10_000, -1],
    "units": [None, -1, 51],
    "amount": [None, Decimal("-5.01"), Decimal("1000.01"), Decimal("99999.99")],
    "kind": [None, "dusk", "Day", ""],
    "zone": [None, "D"],
    "serial": [None, -7],
    "read_at": [None],
}
PLANTED = [(column, value) for column, values in FAULTS.items() for value in values]


def rows() -> dict[str, list[object]]:
    midnight = datetime(2024, 1, 5, tzinfo=UTC)
    return {
        "meter": [1 + n for n in range(ROWS)],
        "units": [n % 51 for n in range(ROWS)],
        "amount": [Decimal(n) / 100 for n in range(ROWS)],
        "kind": ["day", "night"] * (ROWS // 2),
        "zone": ["ABC"[n % 3] for n in range(ROWS)],
        "serial": list(range(ROWS)),
        "read_at": [midnight + timedelta(seconds=n) for n in range(ROWS)],
    }


def table(found: dict[str, list[object]]) -> pa.Table:
    return pa.table({name: pa.array(found[name], column.arrow) for name, column in CONTRACT.columns.items()})


def suite(data: pa.Table) -> bool:
    """The verdict of the whole suite on every row, with the provenance that bronze adds."""
    made = {"drop_id": ["d"] * ROWS, "row_number": list(range(ROWS))}
    given = pa.table({**{name: data[name] for name in data.column_names}, **made})
    return expectations.validate(given, expected(CONTRACT, given.column_names), ROWS).passed


def test_twenty_faults_are_planted() -> None:
    assert len(PLANTED) == 20


def test_clean_rows_pass_both() -> None:
    data = table(rows())
    assert screen(Opened(data, pa.array(range(ROWS))), CONTRACT, DAY).refused.num_rows == 0
    assert suite(data)


@pytest.mark.parametrize(("column", "value"), PLANTED)
def test_a_planted_fault_fails_both(column: str, value: object) -> None:
    found = rows()
    found[column][321] = value
    data = table(found)
    refused = screen(Opened(data, pa.array(range(ROWS))), CONTRACT, DAY).refused.to_pylist()
    assert [(row["row_number"], row["rule"].split(":")[1]) for row in refused] == [(321, column)]
    assert not suite(data)
