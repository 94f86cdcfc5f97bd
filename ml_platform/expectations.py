"""Great Expectations suites, generated from a table's declared columns.

Belongs here: building a suite and running it on staged data. Does not belong here: rules that run on every row of every
increment (rules, preparation): a suite looks at a bounded sample.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ml_platform.checks import CheckResult
from ml_platform.columns import Column

NAME = "expectations"


@dataclass(frozen=True)
class Expected:
    """What a suite is generated from: columns without nulls, unique keys, bounds and allowed values."""

    columns: tuple[str, ...]
    not_null: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    minimum: Mapping[str, float] = field(default_factory=dict)
    maximum: Mapping[str, float] = field(default_factory=dict)
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, declared: Mapping[str, Column], columns: Iterable[str], unique: Iterable[str], *filled: str
    ) -> "Expected":
        """What `declared` columns promise of a table with `columns`; those of `filled` have values, too."""
        return cls(
            columns=tuple(columns),
            not_null=(*(name for name, column in declared.items() if not column.nullable), *filled),
            unique=tuple(unique),
            minimum={name: column.min for name, column in declared.items() if column.min is not None},
            maximum={name: column.max for name, column in declared.items() if column.max is not None},
            allowed={name: column.allowed for name, column in declared.items() if column.allowed},
        )


def validate(data: pa.Table, expected: Expected, rows: int, staged: int | None = None) -> CheckResult:
    """Run the suite on at most `rows` evenly spaced rows of `data`; the description names the expectations that failed.

    `staged`: how many rows there are, where `data` is itself a sample of them.
    """
    total = data.num_rows if staged is None else staged
    sample = _spaced(data, rows)
    results = _run(sample, _suite(expected))
    failed = [_sentence(one) for one in results if not one.success]
    figures = {
        "expectations": len(results),
        "failed": len(failed),
        "rows_looked_at": sample.num_rows,
        "rows_staged": total,
    }
    text = (
        "; ".join(failed) if failed else f"{len(results)} expectations hold on {sample.num_rows} of {total} staged rows"
    )
    return CheckResult(NAME, not failed, text, figures)


def _spaced(data: pa.Table, rows: int) -> pa.Table:
    if data.num_rows <= rows:
        return data
    return data.take(np.linspace(0, data.num_rows - 1, rows).astype(np.int64))


def _suite(expected: Expected) -> list[Any]:
    import_great_expectations()
    import great_expectations.expectations as gxe

    suite: list[Any] = [gxe.ExpectTableColumnsToMatchSet(column_set=list(expected.columns), exact_match=True)]
    suite += [gxe.ExpectColumnValuesToNotBeNull(column=name) for name in expected.not_null]
    bounded = sorted(expected.minimum.keys() | expected.maximum.keys())
    suite += [
        gxe.ExpectColumnValuesToBeBetween(
            column=name, min_value=expected.minimum.get(name), max_value=expected.maximum.get(name)
        )
        for name in bounded
    ]
    suite += [
        gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(values))
        for name, values in expected.allowed.items()
    ]
    if len(expected.unique) > 1:
        suite.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(expected.unique)))
    elif expected.unique:
        suite.append(gxe.ExpectColumnValuesToBeUnique(column=expected.unique[0]))
    return suite


def _run(sample: pa.Table, expectations: list[Any]) -> list[Any]:
    gx = import_great_expectations()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the library, not ours to mend
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = gx.data_context.types.base.ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("staged").add_dataframe_asset("staged")
        batch = asset.add_batch_definition_whole_dataframe("staged").get_batch(
            {"dataframe": sample.to_pandas(date_as_object=False)}
        )
        suite = gx.ExpectationSuite("staged", expectations=expectations)
        found = batch.validate(suite, result_format="BOOLEAN_ONLY")  # half the time: only failures tell what was seen
        return list((found if found.success else batch.validate(suite)).results)


def import_great_expectations() -> Any:
    """Great Expectations takes seconds to import and phones home unless told otherwise."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
    return gx


def _sentence(result: Any) -> str:
    config = result.expectation_config
    what = {
        k: v for k, v in config.kwargs.items() if k not in ("batch_id", "value_set", "column_set") and v is not None
    }
    seen = (
        result.result.get("partial_unexpected_list")
        or result.result.get("observed_value")
        or (result.exception_info or {}).get("exception_message")
    )
    return f"{config.type} {what}: found {str(seen)[:120]}"
