"""Promotion: a candidate fleet becomes a release, is judged by the gate and, when it passes, the champion.

Belongs here: the order of the steps and their repetition after a crash. Does not belong here: rules (gate), files and MLflow (registry), rollback and approval.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import plots
from ml_platform.audit import Audit
from ml_platform.candidates import Candidate
from ml_platform.coverage import Coverage, count_coverage
from ml_platform.evaluation import FLEET
from ml_platform.failpoints import reach
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.gate import Decision, GateConfig, decide
from ml_platform.gate.rules import NEW, REFRESH
from ml_platform.gate.update import BY_UPDATE, decide_update, update_of
from ml_platform.judging import OF_THE_FLEET, judge_candidate, the_facts
from ml_platform.lake import Lake, names, schemas
from ml_platform.registry import Registry, Release, champion_as_of
from ml_platform.registry.pointer import PROMOTED, STOPPED, decision_row, seen, standings
from ml_platform.registry.pointer import decide as record
from ml_platform.registry.versions import Training
from ml_platform.sealing import contents_of, evidence_of

PARAMETERS = (
    "frequency",
    "horizon",
    "objective",
    "folds",
    "family_names",
    "segments",
    "season_lengths",
    "missing",
    "known_future",
    "reconcile",
)
MOVES = 10  # looks at decisions that others make at the same moment
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
    candidate: Candidate, gate: GateConfig, approved_by: str = "gate", retrain: Retrain | None = None
) -> Promotion:
    """Seal a candidate as a release, judge it and act on the verdict.

    A fleet that an update made is judged by its own rules (gate.update): it was fitted to all there is, so no fold of it is unseen. Where a new recipe is
    stopped by what it forecasts, `retrain` fits the champion's choice anew, and that is judged in its place: a fleet does not age because something
    new was tried. The steps are folder, MLflow version, rows of gold/gate_verdicts and gold/promoted_release, alias. Each finds what is done and does
    what is missing, so a repetition after a crash completes the promotion, and one after success writes nothing.
    """
    made = _release(candidate, gate, approved_by)
    if retrain is None or not _worth_a_refresh(made.decision):
        return made
    opponent = candidate.opponent
    if opponent is None or opponent.settings != candidate.own.settings:
        return made
    retrain(opponent)
    anew = replace(candidate)  # which reads what was trained now
    judge_candidate(anew)
    return replace(_release(anew, gate, approved_by), instead_of=made.decision)


def _worth_a_refresh(decision: Decision) -> bool:
    """Whether a new recipe was stopped by rules that the champion's choice, fitted anew, may hold."""
    return decision.kind == NEW and bool(decision.stopped_by) and not set(decision.stopped_by) & set(OF_THE_FLEET)


def _release(candidate: Candidate, gate: GateConfig, approved_by: str) -> Promotion:
    reach("promotion.begun")
    lake, registry, config = candidate.lake, candidate.registry, candidate.config
    after, coverage = seen(lake), count_coverage(candidate.catalogue, candidate.rows)
    updated = update_of(lake, registry, candidate.rows, config, candidate.as_of)
    if updated is None:
        evaluation = _evaluation(candidate)
        decision = decide(evaluation, coverage, gate, the_facts(candidate))
        origin = dict[str, object](champion=_opponent(evaluation))
        if decision.kind == REFRESH and candidate.opponent is not None:
            origin["lineage"] = candidate.opponent.lineage
    else:
        evaluation, approved_by = schemas.fleet_evaluation(config.intervals).schema.empty_table(), BY_UPDATE
        decision, origin = decide_update(updated, coverage, gate), updated.evidence
    evidence = {**evidence_of(candidate, coverage, decision), **origin}
    release = registry.build(contents_of(candidate, evaluation, decision, evidence))
    reach("promotion.sealed")
    version = _register(candidate, release, decision, evaluation, evidence)
    reach("promotion.challenged")
    recorded = _record(lake, registry.audit(lake), release, decision, approved_by, version, after)
    return Promotion(release, decision, coverage, version, recorded, move_champion(lake, registry))


def _evaluation(candidate: Candidate) -> pa.Table:
    """The stored rows of the day; judged anew where an earlier day was promoted since: a run over days evaluates all before it releases the first."""
    rows, champion = candidate.filled(names.FLEET_EVALUATION), candidate.champion
    return rows if _opponent(rows) == (champion.release_id if champion else None) else judge_candidate(candidate).table


def _opponent(evaluation: pa.Table) -> str | None:
    """The release that the challenger was measured against."""
    rows = evaluation.filter(pc.equal(evaluation["contender"], "champion"))
    return next((one for one in pc.unique(rows["release_id"]).to_pylist() if one), None)


def move_champion(lake: Lake, registry: Registry) -> bool:
    """Let the alias `champion` name the release that the newest day uses, or nothing where there is none; False where it does.

    The decisions say which that is: an older one only after a rollback, a withdrawal or a pin.
    """
    moved = False
    for _ in range(MOVES):
        newest = champion_as_of(lake, date.max, same_day=True)
        own = registry.versions
        again = own.point("champion", newest.release_id) if newest else own.lift("champion")
        moved |= again
        if not again:  # it names what the decisions say, also where somebody decided in between
            break
    reach("promotion.pointed")
    return moved


def _register(
    candidate: Candidate, release: Release, decision: Decision, evaluation: pa.Table, evidence: Mapping[str, object]
) -> str:
    manifest, registry, config = release.manifest, candidate.registry, candidate.config
    tags = {
        "as_of": manifest.as_of.isoformat(),
        "code_commit": manifest.origin.code_commit,
        "gate": "passed" if decision.promoted else "stopped",
        "kind": decision.kind,
        **{f"dagster.{name}": text for name, text in registry.run.items()},
    }
    training = Training(
        name=str(evidence.get("fingerprint") or release.release_id),
        title=f"{manifest.as_of} {decision.kind}",
        params={name: str(getattr(config, name))[:500] for name in PARAMETERS},
        metrics=_metrics(evaluation, evidence),
        tables=manifest.data_versions,
        pictures=_pictures(candidate.rows, evaluation),
    )
    version = registry.versions.register(release.release_id, release.folder, training, tags)
    reach("promotion.registered")
    if str(registry.versions.tags_of("challenger").get("as_of", "")) <= tags["as_of"]:
        registry.versions.point("challenger", release.release_id)
    return version


def _pictures(fleet: pa.Table, evaluation: pa.Table) -> dict[str, bytes]:
    """What a person would rather look at; nothing of an update, which has no figures of its own."""
    if not evaluation.num_rows:
        return {}
    drawn = {"error_by_segment": plots.error_by_segment(evaluation), "winners": plots.winners(fleet)}
    return {name: picture for name, text in drawn.items() if (picture := plots.png_of(text)) is not None}


def _metrics(evaluation: pa.Table, evidence: Mapping[str, object]) -> dict[str, float]:
    """Errors of challenger, champion and floors, and how many series are in which state."""
    rows = {row["contender"]: row for row in evaluation.to_pylist() if row["level"] == FLEET}
    judged = [name for name in rows if name in ("challenger", "champion") or name.startswith("floor_")]
    metrics = {f"{name}.{one}": rows[name][one] for name in judged for one in METRICS if rows[name][one] is not None}
    series: Any = evidence.get("series", {})
    return metrics | {f"series.{state}": float(count) for state, count in series.get("states", {}).items()}


def _record(
    lake: Lake, audit: Audit, release: Release, decision: Decision, approved_by: str, version: str, after: int
) -> bool:
    """The verdict in the lake: this commit is what makes a champion. The audit follows it, and finds what it lacks."""
    release_id = release.release_id
    told = {**release.manifest.lineage, "model_version": version, "stopped_by": list(decision.stopped_by)}
    row = decision_row(
        release.manifest.as_of, release_id, PROMOTED if decision.promoted else STOPPED, approved_by, decision.summary, told,
        used=decision.promoted, rules=decision.to_json(),
    )  # fmt: skip
    _record_rules(lake, release, decision)
    reach("promotion.judged")
    recorded = release_id not in standings(lake) and record(lake, [row], after, f"promotion:{release_id}")
    reach("promotion.decided")
    audit.follow()
    reach("promotion.audited")
    return recorded


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
