"""Preparation: bronze rows become typed, keyed, deduplicated silver rows, and every row gets a fate.

Belongs here: recomputing exactly the months that changed, checks and commits. Does not belong here: the rules (fates), their
counts (accounts), series and calendars (features).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import expectations
from ml_platform.accounts import UNDATED, counted_fates, erased_fates, fates_of, replaced_fates, silver_refusals, totals
from ml_platform.checks import READER_VERSION, CheckResult, reader_version, require
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.failpoints import reach
from ml_platform.fates import deduplicated, deleted, held_back, ruled
from ml_platform.lake import Lake, TableSpec, decisions, erasures, ledger
from ml_platform.lake.history import INPUTS_KEY, Commit
from ml_platform.lake.ledger import LOADED
from ml_platform.lake.schemas import LEDGER, QUARANTINE, ROW_FATES
from ml_platform.lake.staging import Staging
from ml_platform.lake.store import in_predicate, locked, source_turn
from ml_platform.spark import session
from ml_platform.touched import Touches, compared, first_build, is_dated

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MONTHS_KEY = "ml_platform.months"
LEFT_OUT = ("quarantined", "excluded", "superseded", "duplicate", "deleted")
CHECKS = ("row_fates", "unique_key", READER_VERSION, expectations.NAME)


@dataclass(frozen=True)
class PreparationReport:
    """Months made anew, rows by fate and rule in them, the table's version, and the checks (empty where nothing had changed)."""

    months: tuple[str, ...]
    fates: dict[str, int]
    version: int
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True)
class Scope:
    """What is made anew: months of the event, and days of the drops that hold their rows, by which bronze is partitioned."""

    months: tuple[str, ...]
    drop_days: tuple[str, ...]


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
    """One source on its way from bronze to silver, on one engine; `series`: key columns of the forecast's series, for what is touched."""

    lake: Lake
    contracts: Contracts
    contract: SourceContract
    engine: str
    suite_rows: int = 20_000
    progress: Callable[[str], None] = lambda text: None
    series: tuple[str, ...] = ()

    @property
    def spec(self) -> TableSpec:
        return silver_spec(self.contract, self.contracts)

    def run(self) -> PreparationReport:
        """Make the months that new or replaced drops touch, one process at a time; checks.Blocked before the commit where a check fails."""
        with locked(self.lake, erasures.LOCK, shared=True):
            return self.remake()

    def remake(self) -> PreparationReport:
        """As `run`, for an erasure, which holds the lock itself. No drop of the source is settled between two looks at bronze."""
        with (
            locked(self.lake, source_turn(self.contract.name), shared=True),
            locked(self.lake, f"make-{self.contract.silver}"),
        ):
            return self._run()

    def _run(self) -> PreparationReport:
        table = self.lake.ensure(self.spec)
        ledger.project(self.lake, self.contract.name, self.contract.bronze_spec.name)
        inputs, last = self._inputs(), self.lake.last_commit(self.spec.name, INPUTS_KEY)
        before = json.loads(last.metadata[INPUTS_KEY]) if last else {}
        if inputs == before:
            return PreparationReport((), {}, table.version())
        scope = self._touched(before, inputs)
        self.progress(f"{self.contract.silver}: {'all' if scope is None else len(scope.months)} months")
        staging = Staging.open(self.lake, self.spec)
        self._judged(scope).write.partitionBy("fate", "month").mode("overwrite").parquet(staging.path)
        reach("silver.staged")
        fates = counted_fates(staging, self.contract)
        self.progress(f"{self.contract.silver}: {pc.sum(fates['rows']).as_py() or 0:,} rows judged")
        months = sorted({*fates["period"].to_pylist(), *_months(self._known())}) if scope is None else scope.months
        checks = require(f"table {self.spec.name}", self._checks(staging, fates, self._rows(scope)))
        # projections first: a crash before the commit leaves the inputs unrecorded, so that the next run makes both anew
        self._project(fates, staging, months)
        reach("silver.accounts_written")
        touches, expected = self._touches(staging, months, last), table.version() + 1
        touches.record(self.lake, expected)
        self.progress(f"{self.contract.silver}: checked and accounted for")
        metadata = {INPUTS_KEY: json.dumps(inputs), MONTHS_KEY: json.dumps(months)}
        version = staging.commit(months, metadata, "fate=kept")
        reach("silver.committed")
        if version != expected:
            touches.record(self.lake, version)
        for other in LEFT_OUT:
            staging.discard(f"fate={other}")
        return PreparationReport(tuple(months), totals(fates), version, checks)

    def _touches(self, staging: Staging, months: Sequence[str], last: Commit | None) -> Touches:
        kept = staging.dataset("fate=kept")
        if last is None:
            return first_build(self.contract, kept.count_rows())
        known = self.lake.dataset(self.spec.name)
        rows = compared(known, kept, months, self.spec, self.series) if is_dated(self.contract) and months else ()
        return Touches(self.contract.name, last.version, rows)

    def excluded(self, columns: Sequence[str]) -> "DataFrame":
        """Distinct values of `columns` among rows that an exclusion rule left out, with the rule."""
        rows = ruled(self._bronze(None), self.contract, self._current)
        return rows.where("fate = 'excluded'").select(*columns, "rule").distinct()

    def _inputs(self) -> dict[str, Any]:
        lookups = {
            one.source: self.lake.content_version(f"silver/{self.contracts[one.source].silver}")
            for one in self.contract.lookups
        }
        return {
            "contract": self.contract.fingerprint,
            # what the ledger knows, and not the table's version: rows are visible by their ledger row
            "bronze": ledger.known_version(self.lake, self.contract.name),
            "lookups": lookups,
        }

    def _touched(self, before: dict[str, Any], inputs: dict[str, Any]) -> Scope | None:
        """Months of the drops that changed since the last commit; None for everything, where contract or lookups changed."""
        if not before or {**before, "bronze": None} != {**inputs, "bronze": None}:
            return None
        newer = ledger.of_source(self.lake, self.contract.name, after_version=int(before["bronze"] or 0))
        changed, days = [row.drop_id for row in newer], sorted({f"{row.drop_day}" for row in newer})
        if self._gone_elsewhere(changed):
            return None
        # by day first: bronze is partitioned by it, and ids prune nothing
        rows = self._dated(self._read_bronze().where(is_in("drop_day", days)).where(is_in("drop_id", changed)))
        known, own = self._known(), {row["month"] for row in rows.select("month").distinct().collect()}
        own |= _months(_among(known, "drop_id", changed)) | self._months_of_keys(rows, changed)
        months = tuple(sorted(own))
        return Scope(months, tuple(sorted({*days, *self._days(_among(known, "period", months))})))

    def _gone_elsewhere(self, drops: Sequence[str]) -> bool:
        """Whether rows of these drops had taken others out: where they are gone themselves, nothing says any more which months those lie in."""
        if not self._keys_move or not self.lake.exists(ROW_FATES.name):
            return False
        taking = ["deleted", *(["superseded"] if self.contract.duplicates.greatest else [])]
        own = (pc.field("source") == self.contract.name) & (pc.field("period") != UNDATED)
        return bool(
            self.lake.count(ROW_FATES.name, own & pc.field("drop_id").isin(drops) & pc.field("fate").isin(taking))
        )

    @property
    def _keys_move(self) -> bool:
        """Whether rows of one key can lie in several months: where the column that says when is no part of the key."""
        time, validity = self.contract.time, self.contract.validity
        dated = time.column if time else validity.start if validity else None
        return dated is not None and dated not in self.contract.key

    def _known(self) -> pa.Table:
        """Fates as the last commit left them: also of months that silver does not hold, because no row was kept."""
        return fates_of(self.lake, self.contract.name)

    def _days(self, fates: pa.Table) -> set[str]:
        """Drop days of the drops in fates."""
        drops = ledger.columns_of(self.lake, self.contract.name, ["drop_id", "drop_day"])
        here = _among(drops, "drop_id", fates["drop_id"].combine_chunks())
        return set(here["drop_day"].cast(pa.string()).unique().to_pylist())

    def _months_of_keys(self, rows: "DataFrame", drops: Sequence[str]) -> set[str]:
        """Other months with the keys of changed rows: a correction can move a row from one month to another."""
        if not self._keys_move or not drops:
            return set()
        key = self.contract.key
        before = self._table(self.spec.name)
        keys = rows.select(*key).union(before.where(is_in("drop_id", drops)).select(*key)).distinct()
        same = self._bronze(None).join(keys, list(key), "left_semi")
        return {row["month"] for row in same.select("month").distinct().collect()}

    def _rows(self, scope: Scope | None) -> int:
        """Rows that must have a fate: counted in bronze for some months, in the ledger for all."""
        if scope is not None:
            return int(self._bronze(scope).count())
        return sum(row.rows_loaded for row in ledger.of_source(self.lake, self.contract.name) if row.state == LOADED)

    def _table(self, name: str) -> "DataFrame":
        return session(self.engine).read.format("delta").load(self.lake.uri(name))

    def _read_bronze(self) -> "DataFrame":
        """Columns of the contract and provenance: what drift has added stays in bronze."""
        return self._table(self.contract.bronze_spec.name).select(*self.contract.bronze_spec.schema.names)

    def _bronze(self, scope: Scope | None) -> "DataFrame":
        """Rows of drops that the ledger calls loaded, with business date and month; a scope's drop days spare the scan of all others."""
        visible = self._table(LEDGER.name)
        visible = visible.where(f"source = '{self.contract.name}' and state = '{LOADED}'").select("drop_id")
        rows = self._read_bronze() if scope is None else self._read_bronze().where(is_in("drop_day", scope.drop_days))
        rows = self._dated(rows.join(visible, "drop_id", "left_semi"))
        return rows if scope is None else rows.where(is_in("month", scope.months))

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

    def _judged(self, scope: Scope | None) -> "DataFrame":
        """Every row of the scope with `fate` and `rule`, in the table's column order."""
        discarded = decisions.discarded_at_silver(self.lake, self.contract.name)
        found = held_back(ruled(self._with_same_keys(scope), self.contract, self._current), discarded)
        rows = deduplicated(deleted(found, self.contract), self.contract)
        rows = rows if scope is None else rows.where(is_in("month", scope.months))
        return rows.select(*(name for name in self.spec.schema.names if name != "month"), "fate", "month")

    def _with_same_keys(self, scope: Scope | None) -> "DataFrame":
        """Rows of the scope, and those of other months that have a say about them: the ones with their keys."""
        own = self._bronze(scope)
        if scope is None or not self._keys_move:
            return own
        others = self._bronze(None).where(f"not {is_in('month', scope.months)}")
        key = list(self.contract.key)
        return own.unionByName(others.join(own.select(*key).distinct(), key, "left_semi"))

    def _current(self, source: str) -> "DataFrame":
        return self._table(f"silver/{self.contracts[source].silver}")

    def _checks(self, staging: Staging, fates: pa.Table, rows: int) -> list[CheckResult]:
        counted = pc.sum(fates["rows"]).as_py() or 0
        kept = staging.dataset("fate=kept")
        doubled = staging.doubled_keys(self.contract.key, "fate=kept")
        return [
            CheckResult(
                "row_fates",
                rows == counted,
                f"{rows} rows came from bronze, {counted} have a fate",
                {"rows_from_bronze": rows, **totals(fates)},
            ),
            CheckResult(
                "unique_key",
                doubled == 0,
                f"{doubled} keys of {list(self.contract.key)} occur twice",
                {"doubled_keys": doubled},
            ),
            reader_version(self.lake.reader_version(self.spec.name), kept.schema),
            expectations.validate(
                staging.sample(self.suite_rows, "fate=kept"), self._expected(), self.suite_rows, kept.count_rows()
            ),
        ]

    def _expected(self) -> expectations.Expected:
        columns = (*self.spec.schema.names, "fate")
        return expectations.Expected.of(self.contract.columns, columns, self.contract.key, "date", "drop_id")

    def _project(self, fates: pa.Table, staging: Staging, months: Sequence[str]) -> None:
        """Row fates and quarantined rows of the months take the place of those known before."""
        known = ledger.of_source(self.lake, self.contract.name)
        months_of = (
            f"source = '{self.contract.name}' AND stage = 'silver' AND {in_predicate('period', [*months, UNDATED])}"
        )
        self.lake.replace(ROW_FATES, pa.concat_tables([fates, replaced_fates(known), erased_fates(known)]), months_of)
        refused = staging.dataset("fate=quarantined").to_table()
        if refused.num_rows or self.lake.exists(QUARANTINE.name):
            decided = decisions.of_source(self.lake, self.contract.name)
            self.lake.replace(QUARANTINE, silver_refusals(refused, self.contract, known, decided), months_of)


def _months(fates: pa.Table) -> set[str]:
    """Months in which rows have a fate."""
    return set(fates["period"].unique().to_pylist()) - {UNDATED}


def _among(rows: pa.Table, column: str, values: Sequence[str] | pa.Array) -> pa.Table:
    """Rows whose value is one of some texts, of which there may be none."""
    return rows.filter(pc.is_in(rows[column], pa.array(values, pa.string())))


def is_in(column: str, values: Sequence[str] | None) -> str:
    """A Spark SQL condition on our own ids and months, in which nothing has to be quoted away."""
    return f"`{column}` in ({', '.join(repr(value) for value in values)})" if values else "false"
