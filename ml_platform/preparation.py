"""Preparation: bronze rows become typed, keyed, deduplicated silver rows, and every row gets a fate.

Belongs here: lookups, exclusion rules, duplicates, and recomputing exactly the months that changed. Does not belong here:
series, calendars and covariates (features).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import expectations
from ml_platform.checks import CheckResult, require
from ml_platform.contracts import Condition, Contracts, Lookup, SourceContract
from ml_platform.lake import Lake, TableSpec, ledger
from ml_platform.lake.ledger import LOADED, REPLACED
from ml_platform.lake.schemas import LEDGER, QUARANTINE, ROW_FATES
from ml_platform.lake.staging import Staging
from ml_platform.spark import session

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

INPUTS_KEY = "ml_platform.inputs"
MONTHS_KEY = "ml_platform.months"
UNDATED = "undated"
CHECKS = ("row_fates", "unique_key", expectations.NAME)


@dataclass(frozen=True)
class PreparationReport:
    """Months made anew, rows by fate and rule in them, the table's version, and the checks (empty where nothing had changed)."""

    months: tuple[str, ...]
    fates: dict[str, int]
    version: int
    checks: tuple[CheckResult, ...] = ()


def silver_spec(contract: SourceContract, contracts: Contracts) -> TableSpec:
    """Contract columns, provenance, columns taken by lookups, business date, the notice that a kept row carries, and the month."""
    taken = {name: contracts[one.source].columns[name].arrow for one in contract.lookups for name in one.take}
    columns = {f.name: f.type for f in contract.bronze_spec.schema}
    schema = pa.schema(
        list({**columns, **taken, "date": pa.date32(), "rule": pa.string(), "month": pa.string()}.items())
    )
    return TableSpec(
        f"silver/{contract.silver}", schema, ("month",), f"{contract.description} Typed, keyed, deduplicated."
    )


@dataclass(frozen=True)
class Preparation:
    """One source on its way from bronze to silver, on one engine."""

    lake: Lake
    contracts: Contracts
    contract: SourceContract
    engine: str
    suite_rows: int = 100_000
    progress: Callable[[str], None] = lambda text: None

    @property
    def spec(self) -> TableSpec:
        return silver_spec(self.contract, self.contracts)

    def run(self) -> PreparationReport:
        """Make the months that new or replaced drops touch; checks.Blocked before the commit where a check fails."""
        table = self.lake.ensure(self.spec)
        ledger.project(self.lake, self.contract.name, self.contract.bronze_spec.name)
        inputs, before = self._inputs(), self.lake.last_metadata(self.spec.name, INPUTS_KEY)
        if inputs == before:
            return PreparationReport((), {}, table.version())
        touched = self._touched(before, inputs)
        self.progress(f"{self.contract.silver}: {'all' if touched is None else len(touched)} months")
        staging = Staging.open(self.lake, self.spec)
        self._judged(touched).write.partitionBy("fate", "month").mode("overwrite").parquet(staging.path)
        fates = _fates(staging, self.contract)
        months = sorted({*fates["period"].to_pylist(), *self._known_months(None)}) if touched is None else touched
        checks = require(f"table {self.spec.name}", self._checks(staging, fates, self._rows(touched)))
        # projections first: a crash before the commit leaves the inputs unrecorded, so that the next run makes both anew
        self._project(fates, staging, months)
        metadata = {INPUTS_KEY: json.dumps(inputs), MONTHS_KEY: json.dumps(months)}
        version = staging.commit(months, metadata, "fate=kept")
        for other in ("fate=quarantined", "fate=excluded", "fate=superseded", "fate=duplicate"):
            staging.discard(other)
        return PreparationReport(tuple(months), _totals(fates), version, checks)

    def excluded(self, columns: Sequence[str]) -> "DataFrame":
        """Distinct values of `columns` among rows that an exclusion rule left out, with the rule."""
        rows = self._ruled(self._bronze(None))
        return rows.where("fate = 'excluded'").select(*columns, "rule").distinct()

    def _inputs(self) -> dict[str, Any]:
        lookups = {
            one.source: self.lake.version(f"silver/{self.contracts[one.source].silver}")
            for one in self.contract.lookups
        }
        return {
            "contract": self.contract.fingerprint,
            # what the ledger knows, and not the table's version: rows are visible by their ledger row
            "bronze": max((row.table_version for row in ledger.of_source(self.lake, self.contract.name)), default=-1),
            "lookups": lookups,
        }

    def _touched(self, before: dict[str, Any], inputs: dict[str, Any]) -> list[str] | None:
        """Months of the drops that changed since the last commit; None for all, where contract or lookups changed."""
        if not before or {**before, "bronze": None} != {**inputs, "bronze": None}:
            return None
        changed = self._changed_drops(int(before["bronze"] or 0))
        rows = self._dated(self._read_bronze()).where(is_in("drop_id", changed))
        months = {row["month"] for row in rows.select("month").distinct().collect()} | self._known_months(changed)
        return sorted(months | self._months_of_keys(rows, changed))

    def _known_months(self, drops: Sequence[str] | None) -> set[str]:
        """Months in which rows (of some drops) have a fate: also those that silver does not hold, because none was kept."""
        if not self.lake.exists(ROW_FATES.name):
            return set()
        own = (pc.field("source") == self.contract.name) & (pc.field("stage") == "silver")
        known = self.lake.read(ROW_FATES.name, ["drop_id", "period"], own).to_pylist()
        return {row["period"] for row in known if drops is None or row["drop_id"] in drops} - {UNDATED}

    def _months_of_keys(self, rows: "DataFrame", drops: Sequence[str]) -> set[str]:
        """Other months with the keys of changed rows: a correction can move a row from one month to another."""
        time = self.contract.time.column if self.contract.time else None
        if time is None or time in self.contract.key or not drops:
            return set()
        key = self.contract.key
        before = session(self.engine).read.format("delta").load(self.lake.uri(self.spec.name))
        keys = rows.select(*key).union(before.where(is_in("drop_id", drops)).select(*key)).distinct()
        same = self._bronze(None).join(keys, list(key), "left_semi")
        return {row["month"] for row in same.select("month").distinct().collect()}

    def _rows(self, months: Sequence[str] | None) -> int:
        """Rows that must have a fate: counted in bronze for some months, in the ledger for all."""
        if months is not None:
            return int(self._bronze(months).count())
        return sum(row.rows_loaded for row in ledger.of_source(self.lake, self.contract.name) if row.state == LOADED)

    def _changed_drops(self, bronze_version: int) -> list[str]:
        return [
            row.drop_id for row in ledger.of_source(self.lake, self.contract.name) if row.table_version > bronze_version
        ]

    def _read_bronze(self) -> "DataFrame":
        return session(self.engine).read.format("delta").load(self.lake.uri(self.contract.bronze_spec.name))

    def _bronze(self, months: Sequence[str] | None) -> "DataFrame":
        """Rows of drops that the ledger calls loaded, with business date and month."""
        visible = session(self.engine).read.format("delta").load(self.lake.uri(LEDGER.name))
        visible = visible.where(f"source = '{self.contract.name}' and state = '{LOADED}'").select("drop_id")
        rows = self._dated(self._read_bronze().join(visible, "drop_id", "left_semi"))
        return rows if months is None else rows.where(is_in("month", months))

    def _dated(self, rows: "DataFrame") -> "DataFrame":
        import pyspark.sql.functions as F

        if self.contract.time:
            rows = rows.withColumn(
                "date", F.to_date(F.from_utc_timestamp(self.contract.time.column, self.contract.time.business_timezone))
            )
        elif self.contract.validity:
            rows = rows.withColumn("date", F.col(self.contract.validity.start))
        else:
            rows = rows.withColumn("date", F.col("drop_day"))
        return rows.withColumn("month", F.date_format("date", "yyyy-MM"))

    def _judged(self, months: Sequence[str] | None) -> "DataFrame":
        """Every row of the months with `fate` and `rule`, in the table's column order."""
        ruled = self._ruled(self._bronze(months))
        columns = [name for name in self.spec.schema.names if name != "month"]
        return _deduplicated(ruled, self.contract).select(*columns, "fate", "month")

    def _ruled(self, rows: "DataFrame") -> "DataFrame":
        """Rows with the fate that lookups and exclusion rules give them, in the contract's order: the first rule that fits."""
        import pyspark.sql.functions as F

        rows = reduce(self._looked_up, self.contract.lookups, rows)
        cases = [(f"not {_found(one)}", "quarantined", one.missing) for one in self.contract.lookups]
        cases += [(_sql(one), "excluded", one.rule) for one in self.contract.exclude]
        fate, rule = F.lit("kept"), _notice(self.contract.notice)
        for condition, name, why in reversed(cases):
            fate = F.when(F.expr(condition), F.lit(name)).otherwise(fate)
            rule = F.when(F.expr(condition), F.lit(why)).otherwise(rule)
        return rows.withColumn("fate", fate).withColumn("rule", rule)

    def _looked_up(self, rows: "DataFrame", lookup: Lookup) -> "DataFrame":
        import pyspark.sql.functions as F

        other = (
            session(self.engine)
            .read.format("delta")
            .load(self.lake.uri(f"silver/{self.contracts[lookup.source].silver}"))
        )
        found = other.select(*lookup.match, *lookup.take).withColumn(_mark(lookup), F.lit(True))
        return rows.join(found, list(lookup.match), "left").withColumn(
            _mark(lookup), F.coalesce(_mark(lookup), F.lit(False))
        )

    def _checks(self, staging: Staging, fates: pa.Table, rows: int) -> list[CheckResult]:
        counted = pc.sum(fates["rows"]).as_py() or 0
        kept = staging.dataset("fate=kept")
        doubled = doubled_keys(kept, [*self.contract.key, "month"])
        return [
            CheckResult(
                "row_fates",
                rows == counted,
                f"{rows} rows came from bronze, {counted} have a fate",
                {"rows_from_bronze": rows, **_totals(fates)},
            ),
            CheckResult(
                "unique_key",
                doubled == 0,
                f"{doubled} keys of {list(self.contract.key)} occur twice",
                {"doubled_keys": doubled},
            ),
            expectations.validate(kept.head(self.suite_rows * 4), self._expected(), self.suite_rows),
        ]

    def _expected(self) -> expectations.Expected:
        columns = self.contract.columns.items()
        required = [name for name, column in columns if not column.nullable]
        return expectations.Expected(
            columns=(*self.spec.schema.names, "fate"),
            not_null=(*required, "date", "drop_id"),
            unique=self.contract.key,
            minimum={name: column.min for name, column in columns if column.min is not None},
        )

    def _project(self, fates: pa.Table, staging: Staging, months: Sequence[str]) -> None:
        """Row fates and quarantined rows of the months take the place of those known before."""
        months_of = f"source = '{self.contract.name}' AND stage = 'silver' AND {ledger.in_predicate('period', [*months, UNDATED])}"
        self.lake.replace(ROW_FATES, pa.concat_tables([fates, self._replaced_fates()]), months_of)
        refused = staging.dataset("fate=quarantined").to_table()
        if refused.num_rows or self.lake.exists(QUARANTINE.name):
            self.lake.replace(QUARANTINE, self._refusals(refused), months_of)

    def _replaced_fates(self) -> pa.Table:
        """Rows of drops that another drop replaced: they were loaded once and are superseded as a whole."""
        gone = [
            row for row in ledger.of_source(self.lake, self.contract.name) if row.state == REPLACED and row.rows_loaded
        ]
        rows = [
            _fate(self.contract.name, row.drop_id, UNDATED, "superseded", "replaced_drop", row.rows_loaded)
            for row in gone
        ]
        return pa.Table.from_pylist(rows, schema=ROW_FATES.schema)

    def _refusals(self, refused: pa.Table) -> pa.Table:
        paths = {row.drop_id: row.path for row in ledger.of_source(self.lake, self.contract.name)}
        matches = {one.missing: one.match for one in self.contract.lookups}
        now = datetime.now(UTC)
        rows = [
            {
                "source": self.contract.name,
                "drop_id": row["drop_id"],
                "path": paths[row["drop_id"]],
                "stage": "silver",
                "row_number": row["row_number"],
                "rule": row["rule"],
                "value": ", ".join(str(row[name]) for name in matches[row["rule"]]),
                "raw": json.dumps({name: row[name] for name in self.contract.columns}, default=str, ensure_ascii=False),
                "state": "open",
                "period": row["month"],
                "quarantined_at": now,
            }
            for row in refused.to_pylist()
        ]
        return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)


def _deduplicated(rows: "DataFrame", contract: SourceContract) -> "DataFrame":
    """One kept row per key: the newest; equal rows are duplicates, other ones superseded.

    Only the rows of keys that occur twice go through a window: it costs thirty times the rest. What it finds travels as a
    small local table, which every engine joins in one pass and without a shuffle.
    """
    import pyspark.sql.functions as F

    key, greatest = list(contract.key), contract.duplicates.greatest
    counted = rows.where("fate = 'kept'").groupBy(*key).agg(F.count(F.lit(1)).alias("_times"))
    repeated = counted.where("_times > 1").select(*key).toPandas()
    if repeated.empty:
        return rows
    local = rows.sparkSession.createDataFrame
    newest = _newest(
        rows.join(F.broadcast(local(repeated)), key, "left_semi").where("fate = 'kept'"), contract
    ).toPandas()
    joined = rows.join(F.broadcast(local(newest)), key, "left")
    again = F.col("_drop_id").isNotNull() & (F.col("fate") == "kept")
    first = (F.col("drop_id") == F.col("_drop_id")) & (F.col("row_number") == F.col("_row_number"))
    for name in greatest:
        joined = joined.withColumn(name, F.when(again & first, F.col(f"_greatest_{name}")).otherwise(F.col(name)))
    lost = F.when(_text(contract) == F.col("_text"), "duplicate").otherwise("superseded")
    fate = F.when(again & ~first, lost).otherwise(F.col("fate"))
    rule = F.when(again & ~first, F.lit("key_occurs_again")).otherwise(F.col("rule"))
    return joined.withColumns({"fate": fate, "rule": rule})


def _newest(rows: "DataFrame", contract: SourceContract) -> "DataFrame":
    """Per key: which row is the newest, its values as text, and the greatest values of the key where the contract wants them."""
    import pyspark.sql.functions as F
    from pyspark.sql import Window

    of_key = Window.partitionBy(*contract.key)
    rank = F.row_number().over(of_key.orderBy(F.desc("drop_day"), F.desc("ingested_at"), F.desc("row_number")))
    greatest = {f"_greatest_{name}": F.max(name).over(of_key) for name in contract.duplicates.greatest}
    found = rows.withColumns({"_rank": rank, "_text": _text(contract), **greatest}).where("_rank = 1")
    own = [F.col("drop_id").alias("_drop_id"), F.col("row_number").alias("_row_number")]
    return found.select(*contract.key, *own, "_text", *greatest)


def _text(contract: SourceContract) -> "Column":
    import pyspark.sql.functions as F

    return F.to_json(F.struct(*(name for name in contract.columns if name not in contract.key)))


def _fates(staging: Staging, contract: SourceContract) -> pa.Table:
    """Rows by drop, month, fate and rule (ROW_FATES), counted from what was staged."""
    parts = list(staging.dataset().to_batches(columns=["drop_id", "month", "fate", "rule"]))
    counted = (
        pa.Table.from_batches(parts, schema=parts[0].schema)
        if parts
        else staging.dataset().to_table(columns=["drop_id", "month", "fate"])
    )
    if not counted.num_rows:
        return ROW_FATES.schema.empty_table()
    grouped = counted.group_by(["drop_id", "month", "fate", "rule"]).aggregate([([], "count_all")])
    rows = [
        _fate(contract.name, row["drop_id"], row["month"], row["fate"], row["rule"], row["count_all"])
        for row in grouped.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=ROW_FATES.schema)


def _fate(source: str, drop_id: str, period: str, fate: str, rule: str | None, rows: int) -> dict[str, object]:
    return {
        "source": source,
        "drop_id": drop_id,
        "stage": "silver",
        "period": period,
        "fate": fate,
        "rule": rule or "",
        "rows": rows,
    }


def _totals(fates: pa.Table) -> dict[str, int]:
    """Rows by fate, and by fate(rule) where a rule was named."""
    totals: dict[str, int] = {}
    for row in fates.to_pylist():
        name = f"{row['fate']}({row['rule']})" if row["rule"] else str(row["fate"])
        totals[name] = totals.get(name, 0) + row["rows"]
    return dict(sorted(totals.items()))


def doubled_keys(staged: Any, key: Sequence[str]) -> int:
    """Keys that occur more than once, over all staged rows."""
    names = ", ".join(f'"{name}"' for name in key)
    query = "select count(*) from (select 1 from staged group by {} having count(*) > 1)"
    with duckdb.connect() as sql:
        sql.register("staged", staged)
        # hashes first, at half the cost: where no hash occurs twice no key does
        alike = sql.execute(query.format(f"hash({names})")).fetchone()
        found = sql.execute(query.format(names)).fetchone() if alike and alike[0] else (0,)
    return int(found[0]) if found else 0


def _mark(lookup: Lookup) -> str:
    return f"_in_{lookup.source}"


def _found(lookup: Lookup) -> str:
    return f"`{_mark(lookup)}`"


def _sql(condition: Condition) -> str:
    """A condition as Spark SQL; values come from a checked contract, quotes in them are doubled."""
    parts = [f"`{condition.column}` is null"] if condition.null else []
    if condition.values:
        values = ", ".join(
            str(v) if isinstance(v, int) else "'" + v.replace("\\", "\\\\").replace("'", "\\'") + "'"
            for v in condition.values
        )
        parts.append(f"coalesce(`{condition.column}` in ({values}), false)")
    return " or ".join(parts) or "false"


def _notice(conditions: Sequence[Condition]) -> "Column":
    import pyspark.sql.functions as F

    rule = F.lit("")
    for condition in reversed(conditions):
        rule = F.when(F.expr(_sql(condition)), F.lit(condition.rule)).otherwise(rule)
    return rule


def is_in(column: str, values: Sequence[str] | None) -> str:
    """A condition in Spark SQL; values are our own ids and months."""
    """A Spark SQL condition on our own ids and months, in which nothing has to be quoted away."""
    return f"`{column}` in ({', '.join(repr(value) for value in values)})" if values else "false"
