"""Promotion: a candidate fleet becomes a release, is judged by the gate and, when it passes, the champion.

Belongs here: the order of the steps and their repetition after a crash. Does not belong here: rules (gate), files and MLflow (registry), rollback and approval.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.coverage import Coverage, count_coverage
from ml_platform.evaluation import FLEET, evaluate, store_evaluation
from ml_platform.forecasting import ForecastConfig
from ml_platform.gate import Decision, GateConfig, decide
from ml_platform.gate_update import BY_UPDATE, decide_update, update_of
from ml_platform.lake import Lake, LakeError, names, schemas
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.registry import Champion, Registry, Release, ReleaseContents, champion_as_of

INPUTS = ("gold/series_panel", names.CANDIDATE_FLEET, names.FOLD_METRICS)
OF_THE_DAY = ("as_of", "fingerprint", "updated_from")  # columns of a fleet that are said elsewhere in its release
METRICS = ("weighted_rmsse", "wape", "wape_week", "bias")


@dataclass(frozen=True)
class Evaluation:
    """Rows of gold/fleet_evaluation of one day, the champion they were measured against, and whether they were written now."""

    table: pa.Table
    champion: Champion | None
    written: bool

    def fleet(self, contender: str) -> dict[str, object]:
        """The fleet row of a contender; empty where it was not judged."""
        return next(
            (row for row in self.table.to_pylist() if row["level"] == FLEET and row["contender"] == contender), {}
        )


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate fleet. `recorded` and `alias_moved` are False when a repetition found everything done."""

    release: Release
    decision: Decision
    coverage: Coverage
    model_version: str
    recorded: bool
    alias_moved: bool


def judge_candidate(
    lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date
) -> Evaluation:
    """Measure the candidate fleet of a day and the champion before that day on the fold that chose nothing; store the rows."""
    _whole_day(lake, names.CANDIDATE_FLEET, as_of)
    champion = champion_as_of(lake, as_of, same_day=False)
    fleet = registry.load(champion.release_id) if champion else None
    fold = _day(lake, names.JUDGED_FOLD, as_of)
    table = evaluate(fold, catalogue, config, as_of, fleet, champion.release_id if champion else None)
    return Evaluation(table, champion, store_evaluation(lake, table, config, as_of))


def release_candidate(
    lake: Lake,
    registry: Registry,
    catalogue: pa.Table,
    config: ForecastConfig,
    gate: GateConfig,
    as_of: date,
    approved_by: str = "gate",
) -> Promotion:
    """Seal the candidate fleet of a day as a release, judge it and act on the verdict.

    A fleet that an update made is judged by its own rules (gate_update): it was fitted to all there is, so no fold of it is unseen.
    The steps are folder, MLflow version, row of gold/promoted_release, alias. Each finds what is done and does what is missing, so a repetition after
    a crash completes the promotion, and one after success writes nothing.
    """
    fleet = _whole_day(lake, names.CANDIDATE_FLEET, as_of)
    coverage, updated = count_coverage(catalogue, fleet), update_of(lake, registry, fleet, config, as_of)
    if updated is None:
        evaluation = _evaluation(lake, registry, catalogue, config, as_of)
        decision, origin = decide(evaluation, coverage, gate), dict[str, object](champion=_opponent(evaluation))
    else:
        evaluation, approved_by = schemas.fleet_evaluation(config.intervals).schema.empty_table(), BY_UPDATE
        decision, origin = decide_update(updated, coverage, gate), updated.evidence
    evidence = {**_evidence(fleet, coverage, decision), **origin}
    release = registry.build(_contents(lake, fleet, evaluation, config, as_of, evidence))
    version = _register(registry, release, decision, evaluation, config)
    recorded = _record(lake, release, decision, approved_by, version)
    return Promotion(release, decision, coverage, version, recorded, move_champion(lake, registry))


def _evaluation(lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> pa.Table:
    """The stored rows of the day; judged anew where an earlier day was promoted since: a run over days evaluates all before it releases the first."""
    rows, champion = _whole_day(lake, names.FLEET_EVALUATION, as_of), champion_as_of(lake, as_of, same_day=False)
    if _opponent(rows) == (champion.release_id if champion else None):
        return rows
    return judge_candidate(lake, registry, catalogue, config, as_of).table


def _opponent(evaluation: pa.Table) -> str | None:
    """The release that the challenger was measured against."""
    return next((one for one in pc.unique(evaluation["release_id"]).to_pylist() if one), None)


def move_champion(lake: Lake, registry: Registry) -> bool:
    """Let the alias `champion` name the newest promoted release, never an older day than it names; False where nothing moved."""
    newest = champion_as_of(lake, date.max, same_day=True)
    if newest is None or str(registry.versions.tags_of("champion").get("as_of", "")) > newest.as_of.isoformat():
        return False
    return registry.versions.point("champion", newest.release_id)


def code_commit(folder: Path = Path(__file__).parent) -> str:
    """The git commit of the code, with `-dirty` when files differ from it; `unknown` outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _day(lake: Lake, name: str, as_of: date) -> pa.Table:
    return lake.read(name, where=pc.field("as_of") == pa.scalar(as_of)).combine_chunks()


def _whole_day(lake: Lake, name: str, as_of: date) -> pa.Table:
    rows = _day(lake, name, as_of)
    if not rows.num_rows:
        raise LakeError(
            f"table {name} has no rows of {as_of}: materialize candidate_fleet and fleet_evaluation of that day first"
        )
    return rows


def _contents(
    lake: Lake,
    fleet: pa.Table,
    evaluation: pa.Table,
    config: ForecastConfig,
    as_of: date,
    evidence: Mapping[str, object],
) -> ReleaseContents:
    pools = _whole_day(lake, names.FLEET_POOLS, as_of).drop_columns(["as_of"])
    return ReleaseContents(
        as_of=as_of,
        parameters=fleet.drop_columns([name for name in OF_THE_DAY if name in fleet.column_names]),
        pools=pools,
        fold_metrics=_day(lake, names.FOLD_METRICS, as_of).drop_columns(["as_of"]),
        evaluation=evaluation.drop_columns(["as_of"]),
        config=config,
        evidence=evidence,
        code_commit=code_commit(),
        data_versions=_data_versions(lake),
    )


def _data_versions(lake: Lake) -> dict[str, int]:
    """Versions of the gold tables, and of the silver ones that the panel was made from, by its own record."""
    silver = lake.last_metadata(INPUTS[0], INPUTS_KEY).get("tables", {}) if lake.exists(INPUTS[0]) else {}
    gold = {name: version for name in INPUTS if (version := lake.version(name)) is not None}
    return {**gold, **{f"silver/{name}": version for name, version in silver.items()}}


def _evidence(fleet: pa.Table, coverage: Coverage, decision: Decision) -> dict[str, object]:
    prints = pc.unique(fleet["fingerprint"]).to_pylist() if "fingerprint" in fleet.column_names else []
    families = sorted(pc.value_counts(fleet["family"]).to_pylist(), key=lambda one: str(one["values"]))
    return {
        "promoted": decision.promoted,
        "rules": [asdict(rule) for rule in decision.rules],
        "series": {"expected": coverage.expected, "states": dict(coverage.states), "missing": len(coverage.missing)},
        "families": {str(one["values"]): one["counts"] for one in families},
        "fingerprint": prints[0] if prints else None,
    }


def _register(
    registry: Registry, release: Release, decision: Decision, evaluation: pa.Table, config: ForecastConfig
) -> str:
    rows = {row["contender"]: row for row in evaluation.to_pylist() if row["level"] == FLEET}
    judged = [name for name in rows if name in ("challenger", "champion") or name.startswith("floor_")]
    metrics = {
        f"{name}.{metric}": rows[name][metric]
        for name in judged
        for metric in METRICS
        if rows[name][metric] is not None
    }
    params = {
        name: str(getattr(config, name))[:500]
        for name in ("frequency", "horizon", "objective", "folds", "family_names", "segments")
    }
    manifest = release.manifest
    tags = {
        "as_of": manifest.as_of.isoformat(),
        "code_commit": manifest.code_commit,
        "gate": "passed" if decision.promoted else "stopped",
    }
    version = registry.versions.register(release.release_id, release.folder, params, metrics, tags)
    if str(registry.versions.tags_of("challenger").get("as_of", "")) <= tags["as_of"]:
        registry.versions.point("challenger", release.release_id)
    return version


def _record(lake: Lake, release: Release, decision: Decision, approved_by: str, version: str) -> bool:
    spec, release_id = schemas.PROMOTED_RELEASE, release.release_id
    if lake.count(spec.name, pc.field("release_id") == release_id):
        return False
    row = {
        "as_of": release.manifest.as_of,
        "release_id": release_id,
        "promoted": decision.promoted,
        "decided_at": datetime.now(UTC),
        "approved_by": approved_by,
        "rules": decision.to_json(),
        "evidence": json.dumps({"model_version": version, "summary": decision.summary}, ensure_ascii=False),
    }
    lake.append(spec, pa.Table.from_pylist([row], schema=spec.schema), transactions=[f"promotion:{release_id}"])
    return True
