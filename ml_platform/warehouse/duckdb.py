"""The local warehouse: one DuckDB file, filled beside the live one and moved over it.

Belongs here: every call to DuckDB. Does not belong here: what is shown (contents.py), the marts' SQL (dbt/).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ml_platform.durable import put_in_place
from ml_platform.failpoints import reach
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake, schemas
from ml_platform.warehouse import contents
from ml_platform.warehouse.protocol import NOTHING_DUE, Pointer, Staged, WarehouseError

OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
MARTS = ("forecast_latest", "forecast_sums_latest", "forecast_accuracy", "fleet_health", "release_lineage")
LATEST = {"forecasts": "forecast_latest", "forecast_sums": "forecast_sums_latest"}
FINGERPRINT = "select count(*), coalesce(bit_xor(hash({columns})), 0)"
FLEET_STATES = "select * from fleet_rows order by all"
FOLD_ERRORS = """
select as_of, family, fold, count(*) as series, sum(rows)::bigint as rows,
       round(sqrt(avg(squared_error / rows / scale) filter (where scale > 0 and rows > 0)), 9) as rmsse,
       round(sum(absolute_error) / nullif(sum(rows), 0), 9) as mean_absolute_error
from folds group by all order by all
"""
LIVE_ACCURACY = """
with pairs as (
  select f.as_of, f.release_id, f.family, coalesce(c.segment, 'none') as segment, f.series_id,
         f.mean, a.target::double as actual{inside}
  from forecasts f join actuals a using (series_id, date) left join series c using (series_id)
)
select as_of, release_id, coalesce(family, 'all') as contender,
       case when grouping(segment) = 1 then 'fleet' else 'segment' end as level, coalesce(segment, 'fleet') as segment,
       round(sum(abs(mean - actual)) / nullif(sum(actual), 0), 9) as wape,
       round(sum(mean) / nullif(sum(actual), 0) - 1, 9) as bias{coverage},
       count(distinct series_id) as series, count(*) as rows
from pairs group by grouping sets ((as_of, release_id), (as_of, release_id, family), (as_of, release_id, segment))
order by all
"""
COMMENTS = {
    "published": "One row per as-of day: the release whose forecasts are shown.",
    "forecasts": "The published forecasts of the newest as-of day; every older one lies in the lake, gold/forecasts.",
    "forecast_sums": "The published forecasts of sums of the newest as-of day, with a column per key; all days lie in gold/forecast_sums.",
    "series_catalogue": "Every series: key columns, dates, state with reason, segment.",
    "fleet_states": "Series by as-of day, state, reason and family.",
    "fold_errors": "Errors by family and choosing fold on the newest as-of day; per series they lie in gold/fold_metrics.",
    "fleet_evaluation": "Contenders on the fold that chose nothing: the fleet of every day, segments of the newest day.",
    "promoted_release": "Every judged release with its verdict.",
    "releases": "The release of every published day: who let it through, from which code and tables it was made.",
    "live_accuracy": "Published forecasts against the actuals that arrived since, by family and by segment.",
}


@contextmanager
def _open(path: Path, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(path), read_only=read_only, config=OFFLINE)
    try:
        yield connection
    finally:
        connection.close()


@dataclass(frozen=True)
class DuckDBWarehouse:
    """A warehouse in the file `path`. Readers that hold the old file open keep reading it; the next connection sees the new one."""

    path: Path

    @property
    def staged(self) -> Path:
        """The file being built: the same stem, because views name the database by it."""
        return self.path.parent / "next" / self.path.name

    @property
    def build_folder(self) -> Path:
        return self.path.parent / "dbt"

    def environment(self) -> dict[str, str]:
        """What dbt's profile reads: the staged file."""
        return {"DBT_WAREHOUSE_PATH": str(self.staged)}

    def stage(self, lake: Lake, config: ForecastConfig, due: Mapping[date, str] = NOTHING_DUE) -> Staged:
        """Fill a new file with what will be shown once the releases of the `due` as-of days are published.

        Tables are empty where there is nothing yet. Raises WarehouseError where a release has no forecasts of its day.
        """
        pointers = contents.pointers_after(lake, due)
        newest = pointers[-1] if pointers else None
        filling = self.staged.with_name(
            "filling.duckdb"
        )  # a crash while filling leaves nothing that could be published
        filling.parent.mkdir(parents=True, exist_ok=True)
        for left in (self.staged, filling):
            left.unlink(missing_ok=True)
            left.with_name(left.name + ".wal").unlink(missing_ok=True)
        with _open(filling) as sql:
            sql.execute("create schema lake")
            for name, rows in _plain_tables(lake, config, pointers, newest).items():
                _fill(sql, name, f"select * from {name}_rows", **{f"{name}_rows": rows})
            _fill(sql, "fleet_states", FLEET_STATES, fleet_rows=contents.fleet_states(lake))
            _fill(sql, "fold_errors", FOLD_ERRORS, folds=contents.fold_metrics(lake, newest.as_of if newest else None))
            self._fill_live(sql, lake, config, pointers)
            sql.execute("checkpoint")
            rows = {name: _count(sql, f"lake.{name}") for name in COMMENTS}
        return Staged(filling.replace(self.staged), rows)

    def _fill_live(
        self, sql: duckdb.DuckDBPyConnection, lake: Lake, config: ForecastConfig, pointers: list[Pointer]
    ) -> None:
        made, actuals = contents.settled(lake, config, pointers)
        inside = "".join(
            f",\n         a.target between f.lo_{one} and f.hi_{one} as inside_{one}" for one in config.intervals
        )
        coverage = "".join(f",\n       round(avg(inside_{one}::int), 9) as coverage_{one}" for one in config.intervals)
        series = contents.catalogue(lake, config).select(["series_id", "segment"])
        _fill(
            sql,
            "live_accuracy",
            LIVE_ACCURACY.format(inside=inside, coverage=coverage),
            forecasts=made,
            actuals=actuals,
            series=series,
        )

    def is_staged(self) -> bool:
        """Whether a file waits to be published."""
        return self.staged.exists()

    def mart_rows(self) -> dict[str, int]:
        """Rows of every mart in the staged file."""
        with _open(self.staged) as sql:
            return {name: _count(sql, f"marts.{name}") for name in MARTS}

    def publish(self, lake: Lake) -> list[Pointer]:
        """Compare the staged file with the lake, append its new pointers to ops/published and move the file over the live one.

        A repetition after a crash between these steps completes them; without a staged file nothing is due. Returns the new
        pointers. Raises WarehouseError where the staged file is not what the lake holds.
        """
        if not self.staged.exists():
            return []
        new = self._check(lake)
        if new:
            lake.append(schemas.PUBLISHED, contents.pointer_table(new))
        reach("publish.pointer_written")
        put_in_place(self.staged, self.path)
        reach("publish.switched")
        return new

    def _check(self, lake: Lake) -> list[Pointer]:
        """Pointers that the lake does not know, once the staged file holds all others, their forecasts and the marts over them."""
        again = "materialize warehouse_forecasts and the marts again"
        with _open(self.staged) as sql:
            rows = _ask(sql, "select as_of, release_id, published_at from lake.published order by as_of")
            there, known = [Pointer(*row) for row in rows], contents.published(lake)
            new = [one for one in there if one not in known]
            if {one.as_of for one in known} - {one.as_of for one in there}:
                raise WarehouseError(f"{self.staged} was staged before the last publication: {again}")
            for pointer in new:
                contents.require_forecasts(lake, pointer)
            if there:
                newest = contents.forecast_slice(lake, there[-1])
                _require_equal(sql, newest, "forecasts", f"{self.staged}, table lake.forecasts", again)
                sums = contents.sum_slice(lake, there[-1])
                if sums is not None:  # a sum_id stands for its keys
                    wanted, where = sums.drop_columns(["keys"]), f"{self.staged}, table lake.forecast_sums"
                    _require_equal(sql, wanted, "forecast_sums", where, again)
            _require_marts(sql, again)
            sql.execute("checkpoint")
        return new


def _plain_tables(
    lake: Lake, config: ForecastConfig, pointers: list[Pointer], newest: Pointer | None
) -> dict[str, pa.Table]:
    return {
        "published": contents.pointer_table(pointers),
        "forecasts": contents.forecast_slice(lake, newest) if newest else contents.no_forecasts(config),
        "forecast_sums": contents.sums(lake, config, newest),
        "series_catalogue": contents.catalogue(lake, config),
        "fleet_evaluation": contents.evaluations(lake, config, newest.as_of if newest else None),
        "promoted_release": contents.decisions(lake),
        "releases": contents.releases(lake, pointers),
    }


def _fill(sql: duckdb.DuckDBPyConnection, name: str, query: str, **tables: pa.Table) -> None:
    for alias, rows in tables.items():
        sql.register(alias, rows)
    sql.execute(f"create table lake.{name} as {query}")
    sql.execute(f"comment on table lake.{name} is '{COMMENTS[name]}'")
    for alias in tables:
        sql.unregister(alias)


def _ask(sql: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query: a result that is not read to its end blocks the connection."""
    return sql.execute(query).fetchall()


def _count(sql: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(_ask(sql, f"select count(*) from {relation}")[0][0])


def _require_equal(sql: duckdb.DuckDBPyConnection, wanted: pa.Table, name: str, where: str, again: str) -> None:
    query = FINGERPRINT.format(columns=", ".join(f'"{one}"' for one in wanted.column_names))
    sql.register("wanted", wanted)
    lake, staged = _ask(sql, f"{query} from wanted")[0], _ask(sql, f"{query} from lake.{name}")[0]
    sql.unregister("wanted")
    if lake != staged:
        raise WarehouseError(f"{where} is not what the lake holds (rows and checksum {staged}, lake {lake}): {again}")


def _require_marts(sql: duckdb.DuckDBPyConnection, again: str) -> None:
    there = {
        row[0] for row in _ask(sql, "select table_name from information_schema.tables where table_schema = 'marts'")
    }
    for name in MARTS:
        if name not in there:
            raise WarehouseError(f"view marts.{name} is missing in the staged warehouse: {again}")
    for table, mart in LATEST.items():
        shown, wanted = _count(sql, f"marts.{mart}"), _count(sql, f"lake.{table}")
        if shown != wanted:
            raise WarehouseError(f"marts.{mart} shows {shown} rows of {wanted} staged {table}: {again}")
