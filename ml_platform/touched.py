"""Touched: the dates and series whose kept rows a commit of silver changed.

Belongs here: comparing kept rows before and after, and the log of what differs. Does not belong here: which months are made anew (preparation),
what a later stage does about it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ml_platform.contracts import PROVENANCE, SourceContract
from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.schemas import TOUCHED
from ml_platform.lake.store import in_predicate
from ml_platform.series import series_id

ALL = "all"
NO_VALUES = (*PROVENANCE, "rule", "month", "date")


@dataclass(frozen=True)
class Touches:
    """What one commit of silver is going to change; `after` is the last one before it, -1 where there is none."""

    source: str
    after: int
    rows: tuple[dict[str, Any], ...]

    def record(self, lake: Lake, version: int) -> None:
        """Write them under the version that the commit has, in the place of what a run wrote that never came to its commit."""
        stamp = {"source": self.source, "silver_version": version, "touched_at": datetime.now(UTC)}
        data = pa.Table.from_pylist([{**row, **stamp} for row in self.rows], schema=TOUCHED.schema)
        left = (pc.field("source") == self.source) & (pc.field("silver_version") > self.after)
        if lake.count(TOUCHED.name, left):
            lake.replace(TOUCHED, data, f"source = '{self.source}' AND silver_version > {self.after}")
        elif self.rows:
            lake.append(TOUCHED, data)


def touched_since(lake: Lake, source: SourceContract, version: int) -> pa.Table:
    """Rows of ops/touched (TOUCHED) of the commits of a source's silver table after `version`; one with change `all` means everything."""
    last = lake.last_commit(f"silver/{source.silver}", INPUTS_KEY)
    if last is None or not lake.exists(TOUCHED.name):
        return TOUCHED.schema.empty_table()
    # beyond the last commit lies what a run wrote that has not come to its own
    versions = (pc.field("silver_version") > version) & (pc.field("silver_version") <= last.version)
    return lake.read(TOUCHED.name, where=(pc.field("source") == source.name) & versions)


def first_build(contract: SourceContract, kept: int) -> Touches:
    """Everything is new: one row says so."""
    return Touches(contract.name, -1, ({"change": ALL, "rows": kept},) if is_dated(contract) else ())


def is_dated(contract: SourceContract) -> bool:
    """Whether rows have a date of their own; a snapshot's changes reach others by their lookups, and are seen there."""
    return contract.time is not None or contract.validity is not None


def compared(
    before: ds.Dataset, staged: ds.Dataset, months: Sequence[str], spec: TableSpec, series: Sequence[str]
) -> tuple[dict[str, Any], ...]:
    """Dates and series (`series`: their key columns, as far as the table has them) whose rows differ in the months: date, key, change, rows.

    Rows are compared by their values, without provenance; each side may hold a row several times.
    """
    key = [name for name in series if name in spec.schema.names]
    names = [name for name in spec.schema.names if name not in NO_VALUES]
    pair, content = _listed(["date", *key]), _listed(names)
    with duckdb.connect() as sql:
        sql.register("staged", staged)
        sql.register("known", before)
        found = sql.sql(
            f"""
            with both_sides as (
                select {pair}, hash({content}) as content, 1 as n from staged
                union all
                select {pair}, hash({content}) as content, -1 as n from known where {in_predicate("month", months)}
            ),
            apart as (select {pair}, content, sum(n) as n from both_sides group by all having sum(n) <> 0)
            select {pair}, sum(greatest(n, 0))::bigint as came, sum(greatest(-n, 0))::bigint as went from apart group by all
            """
        ).to_arrow_table()
    return tuple(_touch(row, key, whole=len(key) == len(series)) for row in found.to_pylist())


def _touch(row: dict[str, Any], key: Sequence[str], *, whole: bool) -> dict[str, Any]:
    values = {name: row[name] for name in key}
    return {
        "date": row["date"],
        "series_id": series_id(list(values.values())) if key and whole else None,
        "key": json.dumps(values, default=str, ensure_ascii=False),
        "change": "changed" if row["came"] and row["went"] else "added" if row["came"] else "removed",
        "rows": max(row["came"], row["went"]),
    }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
