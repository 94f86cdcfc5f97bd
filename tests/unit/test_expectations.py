"""Tests of generated suites: every kind of expectation fails on a planted fault, and the sample is bounded.

Belongs here: suites on tables in memory. Does not belong here: which suites a table gets (ingestion, preparation, features).
"""

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ml_platform.checks import Blocked, CheckResult, merged, require
from ml_platform.expectations import NAME, Expected, _spaced, validate

EXPECTED = Expected(
    columns=("id", "on", "money", "kind", "part"),
    not_null=("id", "on"),
    unique=("id", "part"),
    minimum={"money": 0},
    maximum={"money": 100, "part": 9},
    allowed={"kind": ("in", "out")},
)
GOOD: dict[str, list[Any]] = {
    "id": [1, 1, 2],
    "on": [date(2024, 1, 1)] * 3,
    "money": [Decimal("0.00"), Decimal("99.99"), None],
    "kind": ["in", "out", None],
    "part": [1, 2, 1],
}


def table(**changes: list[Any]) -> pa.Table:
    return pa.table({**GOOD, **changes})


def test_good_data_passes_and_says_what_was_looked_at() -> None:
    found = validate(table(), EXPECTED, 100)
    assert (found.name, found.passed) == (NAME, True)
    assert found.figures == {"expectations": 7, "failed": 0, "rows_looked_at": 3, "rows_staged": 3}
    assert found.description == "7 expectations hold on 3 of 3 staged rows"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (table(id=[1, None, 2]), "expect_column_values_to_not_be_null {'column': 'id'}"),
        (
            table(money=[Decimal("-0.01"), None, None]),
            "to_be_between {'column': 'money', 'min_value': 0.0, 'max_value': 100.0}: found [Decimal('-0.01')]",
        ),
        (table(part=[1, 2, 10]), "to_be_between {'column': 'part'"),
        (table(kind=["in", "sideways", "out"]), "to_be_in_set {'column': 'kind'}: found ['sideways']"),
        (table(part=[1, 1, 1]), "compound_columns_to_be_unique"),
        (table(more=[1, 2, 3]), "expect_table_columns_to_match_set"),
        (table().drop_columns(["kind"]), "expect_table_columns_to_match_set"),
    ],
)
def test_a_planted_fault_fails_and_is_named(data: pa.Table, sentence: str) -> None:
    found = validate(data, EXPECTED, 100)
    assert not found.passed
    assert sentence in found.description.replace("'min_value': 0,", "'min_value': 0.0,").replace(
        "'max_value': 100}", "'max_value': 100.0}"
    )
    assert found.figures["failed"] >= 1


def test_a_single_unique_column_is_checked() -> None:
    expected = Expected(columns=("id",), unique=("id",))
    assert validate(pa.table({"id": [1, 2]}), expected, 10).passed
    assert "expect_column_values_to_be_unique" in validate(pa.table({"id": [1, 1]}), expected, 10).description


def test_no_rows_pass() -> None:
    assert validate(table().slice(0, 0), EXPECTED, 10).passed


def test_the_sample_is_bounded_and_evenly_spaced() -> None:
    data = pa.table({"id": range(1001)})
    assert _spaced(data, 5)["id"].to_pylist() == [0, 250, 500, 750, 1000]
    assert _spaced(data, 2000) is data
    found = validate(data, Expected(columns=("id",), maximum={"id": 500}), 11)
    assert (found.figures["rows_looked_at"], found.figures["rows_staged"]) == (11, 1001)
    assert not found.passed


def result(passed: bool, **figures: Any) -> CheckResult:
    return CheckResult("one", passed, "good" if passed else "bad", figures)


def test_what_fails_blocks_and_says_why() -> None:
    assert require("here", iter([result(True)])) == (result(True),)
    with pytest.raises(
        Blocked, match="here: nothing was committed, because a blocking check failed: one: bad"
    ) as found:
        require("here", [result(True), result(False)])
    assert len(found.value.results) == 2


def test_results_of_batches_are_one_result() -> None:
    (found,) = merged(
        [result(True, rows=2, share=0.5), result(False, rows=3, share=0.7), result(True, rows=1, share=0.1)]
    )
    assert (found.passed, found.description, found.figures) == (False, "bad", {"rows": 6, "share": 0.1})
