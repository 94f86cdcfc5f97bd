"""What the warehouse shows: the published slices of the lake as Arrow tables.

Belongs here: reading and cutting lake tables for SQL. Does not belong here: a database's own code (duckdb.py), marts (dbt/).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.evaluation import FLEET, segment_labels
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake, names, schemas
from ml_platform.registry.pointer import PROMOTED, REINSTATED, standings
from ml_platform.warehouse.protocol import Pointer, WarehouseError

STATES_SCHEMA = pa.schema(
    [
        ("as_of", pa.date32()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("family", pa.string()),
        ("series", pa.int64()),
    ]
)
FOLD_SCHEMA = pa.schema(
    [
        ("as_of", pa.date32()),
        ("series_id", pa.string()),
        ("family", pa.string()),
        ("fold", pa.int32()),
        ("squared_error", pa.float64()),
        ("scale", pa.float64()),
        ("absolute_error", pa.float64()),
        ("rows", pa.int64()),
    ]
)

DECISION = ("decision", "decided_by", "decided_at", "reason")
ORIGIN = ("kind", "model_version", "code_commit", "kernel", "lock_sha256", "sealed_by", "sealed_at")
RELEASE_SCHEMA = pa.schema(
    [
        ("as_of", pa.date32()),
        ("release_id", pa.string()),
        ("trained_as_of", pa.date32()),
        *((name, schemas.INSTANT if name == "decided_at" else pa.string()) for name in (*DECISION, *ORIGIN)),
        ("input_tables", pa.string()),
    ]
)


def published(lake: Lake) -> list[Pointer]:
    """The newest pointer of every as-of day, oldest day first."""
    if not lake.exists(schemas.PUBLISHED.name):
        return []
    rows = sorted(lake.read(schemas.PUBLISHED.name).to_pylist(), key=lambda row: (row["as_of"], row["published_at"]))
    return [Pointer(**row) for row in {row["as_of"]: row for row in rows}.values()]


def pointers_after(lake: Lake, due: Mapping[date, str]) -> list[Pointer]:
    """The pointers as they will be once the releases of the `due` as-of days are published; a pointer that stands keeps its time."""
    standing = {one.as_of: one for one in published(lake)}
    for as_of, release_id in due.items():
        if as_of not in standing or standing[as_of].release_id != release_id:
            standing[as_of] = Pointer(as_of, release_id, datetime.now(UTC))
    return sorted(standing.values(), key=lambda one: one.as_of)


def pointer_table(pointers: Sequence[Pointer]) -> pa.Table:
    """Pointers as rows of ops/published."""
    rows = [{"as_of": one.as_of, "release_id": one.release_id, "published_at": one.published_at} for one in pointers]
    return pa.Table.from_pylist(rows, schema=schemas.PUBLISHED.schema)


def forecast_type(config: ForecastConfig) -> pa.DataType:
    """Arrow type of `date`: a day, or an instant where a step is shorter than a day."""
    return schemas.INSTANT if config.subdaily else pa.date32()


def no_forecasts(config: ForecastConfig) -> pa.Table:
    """The forecast table without rows, for a warehouse before the first publication."""
    return schemas.forecasts(config.interval_columns, forecast_type(config)).schema.empty_table()


def forecast_slice(lake: Lake, pointer: Pointer) -> pa.Table:
    """The forecasts that a pointer names; WarehouseError where the lake holds none."""
    require_forecasts(lake, pointer)
    return lake.read(names.FORECASTS, where=_named(pointer))


def require_forecasts(lake: Lake, pointer: Pointer) -> None:
    """WarehouseError where the lake holds no forecasts of a pointer."""
    if not lake.count(names.FORECASTS, _named(pointer)):
        raise WarehouseError(
            f"{names.FORECASTS} has no forecasts of release {pointer.release_id} as of {pointer.as_of}: "
            "materialize `forecasts` of that day first"
        )


def sum_slice(lake: Lake, pointer: Pointer | None) -> pa.Table | None:
    """The forecasts of sums that a pointer names; None where no sums were ever made, no rows where the release was made without them."""
    if pointer is None or not lake.exists(names.FORECAST_SUMS):
        return None
    return lake.read(names.FORECAST_SUMS, where=_named(pointer)).combine_chunks()


def sums(lake: Lake, config: ForecastConfig, pointer: Pointer | None) -> pa.Table:
    """The forecasts of sums that a pointer names, with a column for each key that the configuration sums by, of the type that the catalogue has."""
    spec = schemas.forecast_sums(config.interval_columns, forecast_type(config))
    rows = sum_slice(lake, pointer)
    rows = spec.schema.empty_table() if rows is None else rows
    known = lake.dataset(names.SERIES_CATALOGUE).schema if lake.exists(names.SERIES_CATALOGUE) else pa.schema([])
    for place, name in enumerate(config.sum_columns):
        texts = pa.array([json.loads(one).get(name) for one in rows["keys"].to_pylist()], pa.string())
        kind = known.field(name).type if name in known.names else pa.string()
        rows = rows.add_column(rows.column_names.index("keys") + 1 + place, name, texts.cast(kind))
    return rows.drop_columns(["keys"])


def _named(pointer: Pointer) -> pc.Expression:
    return (pc.field("as_of") == pa.scalar(pointer.as_of)) & (pc.field("release_id") == pointer.release_id)


def catalogue(lake: Lake, config: ForecastConfig) -> pa.Table:
    """The newest series catalogue with the segment of every series; empty before the first catalogue."""
    if lake.exists(names.SERIES_CATALOGUE):
        rows = lake.read(names.SERIES_CATALOGUE)
        labels = segment_labels(rows, config)
        return rows.append_column(
            "segment", pa.array([labels[one] for one in rows["series_id"].to_pylist()], pa.string())
        )
    columns = dict.fromkeys(["series_id", *config.series, "state", "reason", *config.static, "segment"])
    return pa.schema([(name, pa.string()) for name in columns]).empty_table()


def fleet_states(lake: Lake) -> pa.Table:
    """as_of, state, reason, family and series, counted: of every fleet that was trained here, or whose release came from another environment."""
    found = [STATES_SCHEMA.empty_table()]
    if lake.exists(names.CANDIDATE_FLEET):
        keys = STATES_SCHEMA.names[:-1]
        rows = lake.read(names.CANDIDATE_FLEET, keys).group_by(keys).aggregate([([], "count_all")])
        found.append(rows.rename_columns(STATES_SCHEMA.names).cast(STATES_SCHEMA))
    carried = {row["as_of"]: fleet for row in decisions(lake).to_pylist() if (fleet := _told(row).get("fleet"))}
    told = [{**one, "as_of": as_of} for as_of, fleet in carried.items() for one in fleet]
    return pa.concat_tables([*found, pa.Table.from_pylist(told, STATES_SCHEMA)])


def fold_metrics(lake: Lake, as_of: date | None) -> pa.Table:
    """Errors per series, family and fold of one day, as selection saw them."""
    if as_of is None or not lake.exists(names.FOLD_METRICS):
        return FOLD_SCHEMA.empty_table()
    return lake.read(names.FOLD_METRICS, FOLD_SCHEMA.names, pc.field("as_of") == pa.scalar(as_of))


def evaluations(lake: Lake, config: ForecastConfig, as_of: date | None) -> pa.Table:
    """Fleet rows of every judged day, segment rows of `as_of` only."""
    spec = schemas.fleet_evaluation(config.intervals)
    if as_of is None or not lake.exists(spec.name):
        return spec.schema.empty_table()
    return lake.read(spec.name, where=(pc.field("level") == FLEET) | (pc.field("as_of") == pa.scalar(as_of)))


def decisions(lake: Lake) -> pa.Table:
    """Every judged release: the verdict with its rules."""
    spec = schemas.PROMOTED_RELEASE
    return lake.read(spec.name) if lake.exists(spec.name) else spec.schema.empty_table()


def releases(lake: Lake, pointers: Sequence[Pointer]) -> pa.Table:
    """Of the release of every published day: who let it through, and from which code and tables it was made."""
    known, origins, rows_of = standings(lake), dict[str, dict[str, object]](), decisions(lake).to_pylist()
    for row in decisions(lake).select(["release_id", "evidence"]).to_pylist():
        told = _told(row)
        if "code_commit" in told:
            origins[row["release_id"]] = told
    rows = [
        {
            **{name: origins.get(one.release_id, {}).get(name) for name in ORIGIN},
            "as_of": one.as_of,
            "release_id": one.release_id,
            "input_tables": _versions(origins.get(one.release_id, {}).get("tables")),
            **_let_through(rows_of, one),
            "trained_as_of": known[one.release_id].as_of if one.release_id in known else None,
        }
        for one in pointers
    ]
    return pa.Table.from_pylist(rows, RELEASE_SCHEMA)


def _let_through(rows: Sequence[Mapping[str, Any]], pointer: Pointer) -> dict[str, Any]:
    """The decision by which a release was used when it was published; what is decided about it later does not change that."""
    own = [
        row
        for row in rows
        if row["release_id"] == pointer.release_id and (row.get("decision") or PROMOTED) in (PROMOTED, REINSTATED)
    ]
    before = [row for row in own if row["decided_at"] <= pointer.published_at] or own[:1]
    if not before:
        return {}
    newest = max(before, key=lambda row: row["decided_at"])
    return {
        "decision": newest.get("decision") or PROMOTED,
        "decided_by": newest["approved_by"],
        "decided_at": newest["decided_at"],
        "reason": newest.get("reason"),
    }


def _told(decision: Mapping[str, str]) -> dict[str, Any]:
    """The evidence of a decision; tables of an earlier version of the platform have none for some."""
    found: dict[str, Any] = json.loads(decision["evidence"] or "{}")
    return found


def _versions(tables: object) -> str | None:
    return ", ".join(f"{name} {version}" for name, version in tables.items()) if isinstance(tables, Mapping) else None


def settled(lake: Lake, config: ForecastConfig, pointers: Sequence[Pointer]) -> tuple[pa.Table, pa.Table]:
    """Published forecasts whose dates may have actuals, and those actuals (series_id, date, target): of the newest days, at most two horizons."""
    past = pointers[-2 * config.horizon - 1 : -1]
    if past and lake.exists(names.SERIES_PANEL):
        first = _instant(past[0].as_of) if config.subdaily else pa.scalar(past[0].as_of)
        actuals = lake.read(
            names.SERIES_PANEL,
            ["series_id", "date", "target"],
            (pc.field("date") > first) & pc.field("target").is_valid(),
        )
        if actuals.num_rows:
            return pa.concat_tables([forecast_slice(lake, one) for one in past]), actuals
    none = pa.schema([("series_id", pa.string()), ("date", forecast_type(config)), ("target", pa.int64())])
    return no_forecasts(config), none.empty_table()


def _instant(day: date) -> pa.Scalar:
    return pa.scalar(datetime(day.year, day.month, day.day, tzinfo=UTC), schemas.INSTANT)
