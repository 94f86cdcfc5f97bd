"""Reading the state: tables of the lake, added up.

Belongs here: one function per figure, from a table or a lake to the dataclasses of model. Does not belong here: changing anything.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.backlog import unpublished
from ml_platform.lake import Lake, ledger, names
from ml_platform.lake.announcements import DeadLetter
from ml_platform.lake.decisions import OPEN
from ml_platform.status.model import (
    Alert,
    Fate,
    FleetStatus,
    PublishedStatus,
    Refusal,
    RefusedFile,
    ReleaseStatus,
    Score,
    SourceStatus,
    Status,
    Verdict,
)

COUNTED = ("rows_in", "rows_loaded", "rows_quarantined", "rows_duplicate", "rows_erased")


def read_status(lake: Lake, target: str | None = None, drops_per_day: int = 1) -> Status:
    """Read the state of a lake; `target` names the source whose days count as complete with `drops_per_day` loaded drops."""
    drops, judged = _table(lake, names.LEDGER), releases(lake)
    complete = ledger.complete_days(lake, target, drops_per_day) if target else []
    return Status(
        sources=sources(drops),
        complete_day=complete[-1] if complete else None,
        fates=fates(_table(lake, names.ROW_FATES)),
        refusals=refusals(_table(lake, names.QUARANTINE)),
        refused_files=refused_files(drops),
        catalogue=_counts(_table(lake, names.SERIES_CATALOGUE, ["state"]), "state"),
        fleet=fleet(lake),
        scores=scores(_newest(_table(lake, names.FLEET_EVALUATION))),
        champion=next((release for release in judged if release.promoted), None),
        judged=judged[0] if judged else None,
        published=published(lake),
        missing_days=tuple(_between(complete)),
        unpublished=tuple(unpublished(lake, complete)),
        alerts=alerts(_table(lake, names.ALERTS)),
        events=_counts(_table(lake, names.STORAGE_EVENTS, ["outcome"]), "outcome"),
        dead_letters=dead_letters(_table(lake, names.DEAD_LETTERS)),
    )


def _between(complete: Sequence[date]) -> list[date]:
    """Days from the first to the last of some days that are not among them."""
    known, length = set(complete), (complete[-1] - complete[0]).days if complete else 0
    return [day for n in range(length) if (day := complete[0] + timedelta(days=n)) not in known]


def sources(ledger: pa.Table) -> tuple[SourceStatus, ...]:
    """One entry per source of ops/ledger, by name."""
    return tuple(_source(name, _where(ledger, "source", name)) for name in sorted(_values(ledger, "source")))


def _source(name: str, drops: pa.Table) -> SourceStatus:
    loaded = _where(drops, "state", "loaded")
    return SourceStatus(
        name,
        _counts(drops, "state"),
        **{column: pc.sum(drops[column]).as_py() or 0 for column in COUNTED},
        newest_day=pc.max(loaded["drop_day"]).as_py(),
        newest_arrival=pc.max(drops["settled_at"]).as_py(),
    )


def refused_files(drops: pa.Table) -> tuple[RefusedFile, ...]:
    """Drops of ops/ledger that were refused as a whole, the newest first."""
    rows = _where(drops, "state", ledger.QUARANTINED)
    found = [RefusedFile(row["path"], row["reason"] or "", row["settled_at"]) for row in rows.to_pylist()]
    return tuple(sorted(sorted(found, key=lambda one: one.path), key=lambda one: one.settled_at, reverse=True))


def alerts(rows: pa.Table) -> tuple[Alert, ...]:
    """Failed runs of ops/alerts, the newest first."""
    return tuple(sorted((Alert(**row) for row in rows.to_pylist()), key=lambda one: one.raised_at, reverse=True))


def dead_letters(rows: pa.Table) -> tuple[DeadLetter, ...]:
    """Messages of ops/dead_letters, the newest first."""
    found = [DeadLetter(**row) for row in rows.to_pylist()]
    return tuple(sorted(found, key=lambda one: (one.received_at, one.message_id), reverse=True))


def fates(row_fates: pa.Table) -> tuple[Fate, ...]:
    """Rows by source, stage, fate and rule, the largest first within a source and stage."""
    if not row_fates.num_rows:
        return ()
    keys = ["source", "stage", "fate", "rule"]
    found = [
        Fate(row["source"], row["stage"], row["fate"], row["rule"] or "", row["rows_sum"])
        for row in row_fates.group_by(keys).aggregate([("rows", "sum")]).to_pylist()
    ]
    return tuple(sorted(found, key=lambda one: (one.source, one.stage, -one.rows, one.fate, one.rule)))


def refusals(quarantine: pa.Table) -> tuple[Refusal, ...]:
    """What was refused and is not decided, by source, stage and rule, most frequent first."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    if quarantine.num_rows:
        columns = ["source", "stage", "rule", "path", "row_number", "value", "quarantined_at"]
        for row in (
            _where(quarantine, "state", OPEN).select([c for c in columns if c in quarantine.column_names]).to_pylist()
        ):
            groups.setdefault((row["source"], row["stage"], row["rule"]), []).append(row)
    found = [Refusal(*key, len(rows), _example(max(rows, key=_when))) for key, rows in groups.items()]
    return tuple(sorted(found, key=lambda one: (-one.count, one.source, one.rule)))


def refusals_at(lake: Lake, source: str, stage: str) -> tuple[Refusal, ...]:
    """The same of one source and stage; the rest of the quarantine is not read."""
    own = (pc.field("source") == source) & (pc.field("stage") == stage) & (pc.field("state") == OPEN)
    return refusals(lake.read(names.QUARANTINE, where=own)) if lake.exists(names.QUARANTINE) else ()


def _when(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return str(row["quarantined_at"]), str(row.get("path")), row["row_number"] or 0


def _example(row: Mapping[str, Any]) -> str:
    place = str(row.get("path") or "").rsplit("/", 1)[-1]
    line = f" row {row['row_number']}" if row["row_number"] is not None else ""
    return f"{place}{line}: {row['value']}" if row["value"] is not None else f"{place}{line}"


def fleet(lake: Lake) -> FleetStatus | None:
    """The newest candidate fleet; None before the first training."""
    rows = _newest(_table(lake, names.CANDIDATE_FLEET, ["as_of", "state", "reason", "family"]))
    if not rows.num_rows:
        return None
    explained = rows.filter(pc.and_(pc.is_valid(rows["reason"]), pc.not_equal(rows["state"], "fitted")))
    fitted = _where(rows, "state", "fitted")
    return FleetStatus(
        rows["as_of"][0].as_py(), _counts(rows, "state"), _counts(explained, "reason"), _counts(fitted, "family")
    )


def scores(evaluation: pa.Table) -> tuple[Score, ...]:
    """Fleet-level errors of one as-of day, the best first; families that only took part in a blend are left out."""
    if not evaluation.num_rows:
        return ()
    rows = [row for row in _where(evaluation, "level", "fleet").to_pylist() if row["weighted_rmsse"] is not None]
    floor = min((row["weighted_rmsse"] for row in rows if row["contender"].startswith("floor_")), default=None)
    shown = [row for row in rows if not row["contender"].startswith("family_")]
    return tuple(_score(row, floor) for row in sorted(shown, key=lambda row: (row["weighted_rmsse"], row["contender"])))


def _score(row: Mapping[str, Any], floor: float | None) -> Score:
    intervals = {
        name.removeprefix("coverage_"): share
        for name, share in row.items()
        if name.startswith("coverage_") and share is not None
    }
    skill = 1 - row["weighted_rmsse"] / floor if floor else None
    return Score(
        row["contender"],
        row["weighted_rmsse"],
        skill,
        row.get("wape"),
        row.get("wape_week"),
        row.get("bias"),
        intervals,
    )


def releases(lake: Lake) -> tuple[ReleaseStatus, ...]:
    """Judged releases, the newest as-of day first; within a day the newest verdict."""
    rows = _table(lake, names.PROMOTED_RELEASE).to_pylist()
    rows.sort(key=lambda row: (row["as_of"], row["decided_at"]), reverse=True)
    return tuple(
        ReleaseStatus(
            row["as_of"],
            row["release_id"],
            row["promoted"],
            row["decided_at"],
            row["approved_by"],
            verdicts(row["rules"]),
        )
        for row in rows
    )


def verdicts(rules: str | None) -> tuple[Verdict, ...]:
    """The gate's rules from their JSON."""
    return tuple(
        Verdict(**{name: rule.get(name) for name in Verdict.__dataclass_fields__}) for rule in json.loads(rules or "[]")
    )


def published(lake: Lake) -> PublishedStatus | None:
    """The newest published as-of day and how much of it there is; None before the first publication."""
    rows = _table(lake, names.PUBLISHED).to_pylist()
    if not rows:
        return None
    newest = max(rows, key=lambda row: (row["as_of"], row["published_at"]))
    where = (pc.field("as_of") == newest["as_of"]) & (pc.field("release_id") == newest["release_id"])
    ids = (
        lake.read(names.FORECASTS, ["series_id"], where)["series_id"]
        if lake.exists(names.FORECASTS)
        else pa.chunked_array([], pa.string())
    )
    return PublishedStatus(
        newest["as_of"], newest["release_id"], newest["published_at"], pc.count_distinct(ids).as_py(), len(ids)
    )


def _table(lake: Lake, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or one without rows and columns where it does not exist yet."""
    return lake.read(name, columns) if lake.exists(name) else pa.table({})


def _newest(table: pa.Table) -> pa.Table:
    return _where(table, "as_of", pc.max(table["as_of"])) if table.num_rows else table


def _where(table: pa.Table, column: str, value: Any) -> pa.Table:
    return table.filter(pc.equal(table[column], value)) if table.num_rows else table


def _values(table: pa.Table, column: str) -> list[Any]:
    values: list[Any] = pc.unique(table[column]).to_pylist() if table.num_rows else []
    return values


def _counts(table: pa.Table, column: str) -> dict[Any, int]:
    """Rows per value, the most frequent first; null values are not counted."""
    if not table.num_rows:
        return {}
    pairs = [
        (one["values"], one["counts"])
        for one in pc.value_counts(table[column]).to_pylist()
        if one["values"] is not None
    ]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], str(pair[0]))))
