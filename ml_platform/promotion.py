"""Promotion: a candidate fleet becomes a release, is judged by the gate and, when it passes, the champion.

Belongs here: the order of the steps and their repetition after a crash. Does not belong here: rules (gate), files and MLflow (registry), rollback and approval.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.coverage import Coverage, count_coverage
from ml_platform.evaluation import FLEET
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.gate import Decision, GateConfig, decide
from ml_platform.gate.rules import NEW
from ml_platform.gate.update import BY_UPDATE, decide_update, update_of
from ml_platform.incumbents import released
from ml_platform.judging import OF_THE_FLEET, day_rows, judge_candidate, the_facts, whole_day
from ml_platform.lake import Lake, names, schemas
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.registry import Registry, Release, ReleaseContents, champion_as_of
from ml_platform.training import inputs_key

INPUTS = (names.SERIES_PANEL, names.CANDIDATE_FLEET, names.FOLD_METRICS)
OF_THE_DAY = (
    "as_of",
    "fingerprint",
    "updated_from",
    "choice",
    "settings",
    "beside",
)  # columns of a fleet that are said elsewhere in its release
METRICS = ("error", "skill", "weighted_rmsse", "wape", "wape_week", "bias")
Retrain = Callable[[Incumbent], object]


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate fleet. `recorded` and `alias_moved` are False when a repetition found everything done.

    instead_of: the verdict on the new recipe that was stopped, where the champion's choice was fitted anew in its place.
    """

    release: Release
    decision: Decision
    coverage: Coverage
    model_version: str
    recorded: bool
    alias_moved: bool
    instead_of: Decision | None = None


def release_candidate(
    lake: Lake,
    registry: Registry,
    catalogue: pa.Table,
    config: ForecastConfig,
    gate: GateConfig,
    as_of: date,
    approved_by: str = "gate",
    retrain: Retrain | None = None,
) -> Promotion:
    """Seal the candidate fleet of a day as a release, judge it and act on the verdict.

    A fleet that an update made is judged by its own rules (gate.update): it was fitted to all there is, so no fold of it is unseen. Where a new recipe is
    stopped by what it forecasts, `retrain` fits the champion's choice anew, and that is judged in its place: a fleet does not age because something
    new was tried. The steps are folder, MLflow version, rows of gold/gate_verdicts and gold/promoted_release, alias. Each finds what is done and does
    what is missing, so a repetition after a crash completes the promotion, and one after success writes nothing.
    """
    made = _release(lake, registry, catalogue, config, gate, as_of, approved_by)
    champion = champion_as_of(lake, as_of, same_day=False)
    if retrain is None or champion is None or not _worth_a_refresh(made.decision):
        return made
    incumbent = released(registry, champion)
    if incumbent.settings != _settings(lake, as_of):
        return made
    retrain(incumbent)
    judge_candidate(lake, registry, catalogue, config, as_of)
    again = _release(lake, registry, catalogue, config, gate, as_of, approved_by)
    return replace(again, instead_of=made.decision)


def _worth_a_refresh(decision: Decision) -> bool:
    """Whether a new recipe was stopped by rules that the champion's choice, fitted anew, may hold."""
    return decision.kind == NEW and bool(decision.stopped_by) and not set(decision.stopped_by) & set(OF_THE_FLEET)


def _settings(lake: Lake, as_of: date) -> str | None:
    rows = lake.read(names.CANDIDATE_FLEET, ["settings"], pc.field("as_of") == pa.scalar(as_of))
    found: str | None = rows["settings"][0].as_py()
    return found


def _release(
    lake: Lake,
    registry: Registry,
    catalogue: pa.Table,
    config: ForecastConfig,
    gate: GateConfig,
    as_of: date,
    approved_by: str,
) -> Promotion:
    fleet = whole_day(lake, names.CANDIDATE_FLEET, as_of)
    coverage, updated = count_coverage(catalogue, fleet), update_of(lake, registry, fleet, config, as_of)
    if updated is None:
        evaluation = _evaluation(lake, registry, catalogue, config, as_of)
        facts = the_facts(lake, registry, catalogue, config, as_of)
        decision, origin = decide(evaluation, coverage, gate, facts), dict[str, object](champion=_opponent(evaluation))
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
    rows, champion = whole_day(lake, names.FLEET_EVALUATION, as_of), champion_as_of(lake, as_of, same_day=False)
    if _opponent(rows) == (champion.release_id if champion else None):
        return rows
    return judge_candidate(lake, registry, catalogue, config, as_of).table


def _opponent(evaluation: pa.Table) -> str | None:
    """The release that the challenger was measured against."""
    rows = evaluation.filter(pc.equal(evaluation["contender"], "champion"))
    return next((one for one in pc.unique(rows["release_id"]).to_pylist() if one), None)


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


def _contents(
    lake: Lake,
    fleet: pa.Table,
    evaluation: pa.Table,
    config: ForecastConfig,
    as_of: date,
    evidence: Mapping[str, object],
) -> ReleaseContents:
    pools = whole_day(lake, names.FLEET_POOLS, as_of).drop_columns(["as_of"])
    return ReleaseContents(
        as_of=as_of,
        parameters=fleet.drop_columns([name for name in OF_THE_DAY if name in fleet.column_names]),
        pools=pools,
        fold_metrics=day_rows(lake, names.FOLD_METRICS, as_of).drop_columns(["as_of"]),
        evaluation=evaluation.drop_columns(["as_of"]),
        config=config,
        evidence=evidence,
        code_commit=code_commit(),
        data_versions=_data_versions(lake, as_of),
    )


def _data_versions(lake: Lake, as_of: date) -> dict[str, int]:
    """Versions of the tables that the fleet was made from, as its commit says, and of the gold tables that it lies in."""
    told = lake.last_metadata(names.CANDIDATE_FLEET, inputs_key(as_of))
    gold = {name: version for name in INPUTS if (version := lake.version(name)) is not None}
    if told:
        return {**gold, **told}
    silver = lake.last_metadata(INPUTS[0], INPUTS_KEY).get("tables", {}) if lake.exists(INPUTS[0]) else {}
    return {**gold, **{f"silver/{name}": version for name, version in silver.items()}}


def _evidence(fleet: pa.Table, coverage: Coverage, decision: Decision) -> dict[str, object]:
    prints = pc.unique(fleet["fingerprint"]).to_pylist() if "fingerprint" in fleet.column_names else []
    families = sorted(pc.value_counts(fleet["family"]).to_pylist(), key=lambda one: str(one["values"]))
    settings = fleet["settings"].drop_null().unique().to_pylist() if "settings" in fleet.column_names else []
    return {
        "promoted": decision.promoted,
        "kind": decision.kind,
        "settings": settings[0] if settings else None,
        "rules": [rule.record for rule in decision.rules],
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
        "kind": decision.kind,
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
    _record_rules(lake, release, decision)
    lake.append(spec, pa.Table.from_pylist([row], schema=spec.schema), transactions=[f"promotion:{release_id}"])
    return True


def _record_rules(lake: Lake, release: Release, decision: Decision) -> None:
    """Every rule's value, limit and verdict; before the decision, which is what counts."""
    spec, transaction = schemas.GATE_VERDICTS, f"verdicts:{release.release_id}"
    if lake.reached(spec.name, transaction) >= 0:
        return
    fixed = {
        "as_of": release.manifest.as_of,
        "release_id": release.release_id,
        "kind": decision.kind,
        "decided_at": datetime.now(UTC),
    }
    rows = [{**fixed, **row} for row in decision.rows()]
    lake.append(spec, pa.Table.from_pylist(rows, schema=spec.schema), transactions=[transaction])
