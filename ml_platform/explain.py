"""Why is this number what it is, and why did it change? From a forecast back to release, model, folds, data and drops.

Belongs here: following the trail through the lake's tables. Does not belong here: how it is shown (console_explain).

What is read is pruned: partitions of as-of days within a horizon, months of history within four weeks, one series. No Spark, no MLflow.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.config import days_per_step
from ml_platform.lake import Lake, LakeError, names
from ml_platform.registry import Manifest, Registry
from ml_platform.registry.pointer import Standing, standings
from ml_platform.series import series_id
from ml_platform.warehouse.contents import published

LOOK_BACK = timedelta(days=28)  # of history whose drops are named
MOST = 12  # drops, corrections


class ExplainError(LakeError):
    """A number that cannot be found; names what was looked for and what is there."""


@dataclass(frozen=True)
class Number:
    """One forecast of a series and date: when and by which release it was made, and whether it is what is published."""

    as_of: date
    release_id: str
    step: int
    mean: float
    bounds: Mapping[str, float]
    family: str
    published: bool


@dataclass(frozen=True)
class Model:
    """How a release forecasts the series: state with reason, weights of families, and the errors of its family by fold."""

    state: str
    reason: str | None
    family: str | None
    weights: Mapping[str, float]
    folds: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Explanation:
    """The trail of one number; `before` is what was published for the same date by the as-of day before, `changed` says what is different since."""

    series: str
    key: Mapping[str, Any]
    day: Any
    number: Number
    before: Number | None
    changed: tuple[str, ...]
    standing: Standing | None
    manifest: Manifest
    model: Model
    lately: Mapping[str, Any]
    drops: tuple[Mapping[str, Any], ...]
    corrections: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Question:
    """A series by its id or by the values of its key, a date of its forecasts, and the as-of day (None: the newest that forecast it)."""

    series: str
    day: Any
    as_of: date | None = None
    release_id: str | None = None


def explain(
    lake: Lake, registry: Registry, contracts: Contracts, config: ForecastConfig, asked: Question
) -> Explanation:
    """Follow one forecast back; ExplainError where there is none, ReleaseError where the release's bytes were changed."""
    series, key = find_series(lake, config, asked.series)
    numbers = _numbers(lake, config, series, asked.day)
    if not numbers:
        raise ExplainError(
            f"series {series} has no forecast of {asked.day}: gold/forecasts holds {_span(lake, series)}"
        )
    chosen = _chosen(numbers, asked)
    before = _shown_before(lake, numbers, chosen)
    sealed = registry.open(chosen.release_id)
    model = _model(sealed.parameters, sealed.fold_metrics, series)
    known = standings(lake)
    return Explanation(
        series=series,
        key=key,
        day=asked.day,
        number=chosen,
        before=before,
        changed=_changed(registry, chosen, before, model, series, known),
        standing=known.get(chosen.release_id),
        manifest=sealed.manifest,
        model=model,
        lately=_lately(lake, series, chosen.as_of),
        drops=_drops(lake, contracts.target, config, key, chosen.as_of),
        corrections=_corrections(lake, series, before, chosen),
    )


def find_series(lake: Lake, config: ForecastConfig, text: str) -> tuple[str, dict[str, Any]]:
    """The series of an id, or of key values parted by `/` in the order of the key columns; with its key."""
    if not lake.exists(names.SERIES_CATALOGUE):
        raise ExplainError("there is no series yet: ml-platform run ingest && ml-platform run retrain")
    columns = ["series_id", *config.series]
    found = lake.read(names.SERIES_CATALOGUE, columns, pc.field("series_id") == text.strip()).to_pylist()
    values = [one.strip() for one in text.split("/")]
    if not found and len(values) == len(config.series):
        found = lake.read(names.SERIES_CATALOGUE, columns, pc.field("series_id") == series_id(values)).to_pylist()
    if not found:
        shape = "/".join(name.upper() for name in config.series)
        raise ExplainError(
            f"'{text}' is no series: give its id, or {shape}, as silver/series_catalogue and marts.forecast_latest have them"
        )
    return found[0]["series_id"], {name: found[0][name] for name in config.series}


def _numbers(lake: Lake, config: ForecastConfig, series: str, day: Any) -> list[Number]:
    """Every forecast of the date, the newest as-of day first, the published one of a day before the others."""
    if not lake.exists(names.FORECASTS):
        return []
    last = day.date() if hasattr(day, "date") else day
    reach = timedelta(days=int(config.horizon * days_per_step(config.frequency)) + 1)
    within = (pc.field("as_of") >= pa.scalar(last - reach)) & (pc.field("as_of") <= pa.scalar(last))
    where = within & (pc.field("series_id") == series) & (pc.field("date") == pa.scalar(day))
    shown = {one.as_of: one.release_id for one in published(lake)}
    rows = lake.read(names.FORECASTS, where=where).to_pylist()
    told = [
        Number(
            row["as_of"],
            row["release_id"],
            row["step"],
            row["mean"],
            {name: row[name] for name in config.interval_columns},
            row["family"],
            shown.get(row["as_of"]) == row["release_id"],
        )
        for row in rows
    ]
    return sorted(told, key=lambda one: (one.as_of, one.published, one.release_id), reverse=True)


def _chosen(numbers: list[Number], asked: Question) -> Number:
    fitting = [
        one
        for one in numbers
        if (asked.as_of in (None, one.as_of))
        and (asked.release_id is None or one.release_id.startswith(asked.release_id))
    ]
    if not fitting:
        there = ", ".join(f"{one.as_of} by {one.release_id}" for one in numbers[:5])
        raise ExplainError(f"no forecast of {asked.day} was made as asked; there are those as of {there}")
    return next((one for one in fitting if one.published), fitting[0])


def _shown_before(lake: Lake, numbers: list[Number], chosen: Number) -> Number | None:
    """What was published in the place of this number before it: by another release on the same day, else as of the day before."""
    order = [row["release_id"] for row in _pointers(lake, chosen.as_of)]
    if chosen.release_id in order:
        last = len(order) - 1 - order[::-1].index(chosen.release_id)
        for release_id in reversed(order[:last]):
            same = [one for one in numbers if one.as_of == chosen.as_of and one.release_id == release_id]
            if same and release_id != chosen.release_id:
                return same[0]
    return next((one for one in numbers if one.as_of < chosen.as_of and one.published), None)


def _pointers(lake: Lake, as_of: date) -> list[dict[str, Any]]:
    """Every release that was published for a day, the first one first."""
    if not lake.exists(names.PUBLISHED):
        return []
    rows = lake.read(names.PUBLISHED, where=pc.field("as_of") == pa.scalar(as_of)).to_pylist()
    return sorted(rows, key=lambda row: row["published_at"])


def _span(lake: Lake, series: str) -> str:
    if not lake.exists(names.FORECASTS):
        return "nothing yet"
    rows = lake.read(names.FORECASTS, ["date"], pc.field("series_id") == series)
    found = pc.min_max(rows["date"]).as_py()
    return f"dates from {found['min']} to {found['max']} of it" if rows.num_rows else "none of it"


def _model(parameters: pa.Table, folds: pa.Table, series: str) -> Model:
    rows = parameters.filter(pc.equal(parameters["series_id"], series)).to_pylist()
    if not rows:
        return Model("new_since_training", "it came after the training: its segment's values", None, {}, ())
    (row,) = rows
    own = folds.filter(pc.equal(folds["series_id"], series)) if "series_id" in folds.column_names else folds
    errors = [one for one in own.sort_by("fold").to_pylist() if one["family"] == row["family"]] if own.num_rows else []
    weights = json.loads(row["parameters"] or "{}").get("weights", {})
    return Model(row["state"], row["reason"], row["family"], weights, tuple(errors))


def _changed(
    registry: Registry,
    now: Number,
    before: Number | None,
    model: Model,
    series: str,
    known: Mapping[str, Standing],
) -> tuple[str, ...]:
    """What is different since the forecast before."""
    if before is None:
        return ("no earlier forecast of this date was published",)
    earlier = f"as of {before.as_of}" if before.as_of != now.as_of else f"by {before.release_id}"
    words = [f"{before.mean:.4g} {earlier}, {now.mean:.4g} as of {now.as_of}: {now.mean - before.mean:+.4g}"]
    if now.release_id == before.release_id:
        words.append(
            "the same release: what is new is the history up to the as-of day, and covariates that came with it"
        )
        return tuple(words)
    older = registry.open(before.release_id)
    theirs = _model(older.parameters, older.fold_metrics, series)
    decision = known.get(now.release_id)
    why = f" ({decision.decision} by {decision.decided_by})" if decision else ""
    words.append(f"another release: {now.release_id} in the place of {before.release_id}{why}")
    if theirs.weights == model.weights:
        older_data = now.release_id < before.release_id
        words.append(f"the same families with the same weights, fitted to {'older' if older_data else 'newer'} data")
    else:
        words.append(f"other weights: {_told(theirs.weights)} before, {_told(model.weights)} now")
    return tuple(words)


def _told(weights: Mapping[str, float]) -> str:
    ordered = sorted(weights.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in ordered[:3]) or "none of its own"


def _lately(lake: Lake, series: str, as_of: date) -> dict[str, Any]:
    """What the series was like up to the as-of day: dates in the catalogue, and its mean over the last four weeks and the four before."""
    columns = ["first_date", "last_date", "active_days", "state"]
    (known,) = lake.read(names.SERIES_CATALOGUE, columns, pc.field("series_id") == series).to_pylist()
    means = {
        label: _mean(lake, series, as_of - LOOK_BACK * (back + 1), as_of - LOOK_BACK * back)
        for back, label in enumerate(("mean of the last four weeks", "mean of the four weeks before"))
    }
    return {**known, **means}


def _mean(lake: Lake, series: str, after: date, until: date) -> float | None:
    moment = lake.dataset(names.SERIES_PANEL).schema.field("date").type
    bounds = [pa.scalar(one, pa.date32()).cast(moment) for one in (after, until)]
    where = (pc.field("series_id") == series) & (pc.field("date") > bounds[0]) & (pc.field("date") <= bounds[1])
    months = sorted({f"{one:%Y-%m}" for one in (after, after + LOOK_BACK / 2, until)})
    rows = lake.read(names.SERIES_PANEL, ["target"], where & pc.field("month").isin(months))
    found: float | None = pc.mean(rows["target"].cast(pa.float64())).as_py() if rows.num_rows else None
    return found


def _drops(
    lake: Lake, target: SourceContract, config: ForecastConfig, key: Mapping[str, Any], as_of: date
) -> tuple[Mapping[str, Any], ...]:
    """The drops whose rows are in the last four weeks of the series, the newest first, with how many."""
    table = f"silver/{target.silver}"
    if not lake.exists(table):
        return ()
    known = lake.dataset(table).schema
    own = [name for name in config.series if name in known.names]
    start = as_of - LOOK_BACK
    where = (pc.field("date") > pa.scalar(start)) & (pc.field("date") <= pa.scalar(as_of))
    if "month" in known.names:
        where &= pc.field("month").isin(sorted({f"{start:%Y-%m}", f"{as_of:%Y-%m}"}))
    for name in own:
        where &= pc.field(name) == pa.scalar(key[name], known.field(name).type)
    rows = lake.read(table, ["drop_id", "date"], where)
    counted = (
        rows.group_by("drop_id").aggregate([("date", "count"), ("date", "max")]).sort_by([("date_max", "descending")])
    )
    paths = lake.read(
        names.LEDGER, ["drop_id", "path", "settled_at"], pc.field("drop_id").isin(counted["drop_id"].combine_chunks())
    ).to_pylist()
    by_drop = {one["drop_id"]: one for one in paths}
    return tuple(
        {
            "drop_id": one["drop_id"],
            "rows": one["date_count"],
            "newest": one["date_max"],
            "path": by_drop.get(one["drop_id"], {}).get("path"),
            "settled_at": by_drop.get(one["drop_id"], {}).get("settled_at"),
        }
        for one in counted.to_pylist()[:MOST]
    )


def _corrections(lake: Lake, series: str, before: Number | None, now: Number) -> tuple[Mapping[str, Any], ...]:
    """Dates of the series that were known at the forecast before, and that a commit changed between the two publications."""
    if not lake.exists(names.TOUCHED):
        return ()
    since = before.as_of if before else now.as_of - LOOK_BACK
    columns = ["source", "date", "change", "rows", "touched_at"]
    where = (pc.field("series_id") == series) & (pc.field("date") <= pa.scalar(since))
    ends = [_published_at(lake, one) if one else None for one in (before, now)]
    where = where & (pc.field("touched_at") > pa.scalar(ends[0])) if ends[0] else where
    where = where & (pc.field("touched_at") <= pa.scalar(ends[1])) if ends[1] else where
    rows = lake.read(names.TOUCHED, columns, where).sort_by([("touched_at", "descending")])
    return tuple(rows.slice(0, MOST).to_pylist())


def _published_at(lake: Lake, number: Number) -> datetime | None:
    found = [row["published_at"] for row in _pointers(lake, number.as_of) if row["release_id"] == number.release_id]
    return found[-1] if found else None
