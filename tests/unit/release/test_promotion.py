"""From candidate to champion: order of the steps, repetition, crashes, replays of older days."""

from datetime import date, timedelta

import pytest

from ml_platform.candidates import Candidate
from ml_platform.judging import judge_candidate
from ml_platform.lake import Lake, LakeError, TableSpec
from ml_platform.promotion import release_candidate
from ml_platform.registry import champion_as_of
from ml_platform.registry.versions import ModelVersions
from ml_platform.sealing import code_commit


def run(world, as_of=None, **training):
    as_of = as_of or world.day
    if training or not world.lake.count("gold/candidate_fleet"):
        world.train(as_of, **training)
    candidate = Candidate(world.lake, world.registry, world.catalogue, world.config, as_of)
    judge_candidate(candidate)
    return release_candidate(candidate, world.gate)


def state(world):
    """Everything a promotion writes: lake versions, release folders, MLflow versions and aliases."""
    model = world.registry.versions.client.get_registered_model("fleet")
    tables = ("gold/fleet_evaluation", "gold/promoted_release")
    runs = world.registry.versions.client.search_runs([world.registry.versions._experiment()])
    return (
        {name: world.lake.version(name) for name in tables},
        sorted(p.name for p in world.registry.root.iterdir()),
        dict(model.aliases),
        len(world.registry.versions.client.search_model_versions("name = 'fleet'")),
        len(runs),
    )


def test_a_good_fleet_becomes_champion(world):
    promotion = run(world)
    assert promotion.decision.promoted
    assert promotion.recorded
    assert promotion.alias_moved
    champion = champion_as_of(world.lake, world.day, same_day=True)
    assert champion.release_id == promotion.release.release_id
    assert world.registry.versions.tags_of("champion")["release_id"] == promotion.release.release_id
    row = world.lake.read("gold/promoted_release").to_pylist()[0]
    assert (row["promoted"], row["approved_by"]) == (True, "gate")
    run_id = world.registry.versions.find(promotion.release.release_id).run_id
    metrics = world.registry.versions.client.get_run(run_id).data.metrics
    assert metrics["challenger.weighted_rmsse"] < metrics["floor_mean_28.weighted_rmsse"]
    evidence = world.registry.evidence(promotion.release.release_id)
    assert evidence["fingerprint"] == "f" * 64
    assert evidence["families"] == {"tsb": world.count}


def test_a_bad_fleet_is_released_but_never_champion(world):
    promotion = run(world, error=1.4)
    assert not promotion.decision.promoted
    assert champion_as_of(world.lake, world.day, same_day=True) is None
    assert world.registry.versions.tags_of("champion") == {}
    assert world.registry.versions.tags_of("challenger")["release_id"] == promotion.release.release_id
    assert world.lake.read("gold/promoted_release").to_pylist()[0]["promoted"] is False


def test_a_repetition_writes_nothing(world):
    first = run(world)
    before = state(world)
    again = run(world)
    assert state(world) == before
    assert (again.release.release_id, again.recorded, again.alias_moved) == (first.release.release_id, False, False)
    assert again.model_version == first.model_version


def test_a_day_meets_the_champion_before_it_never_itself(world):
    yesterday = world.day - timedelta(days=1)
    first = run(world, yesterday, error=0.5)
    second = run(world, world.day, error=0.5)
    evaluation = judge_candidate(Candidate(world.lake, world.registry, world.catalogue, world.config, world.day))
    assert evaluation.champion.release_id == first.release.release_id
    assert evaluation.fleet("champion")["weighted_rmsse"] == pytest.approx(
        evaluation.fleet("challenger")["weighted_rmsse"]
    )
    assert evaluation.fleet("nobody") == {}
    assert not evaluation.written
    assert champion_as_of(world.lake, world.day, same_day=False).release_id == first.release.release_id
    assert champion_as_of(world.lake, world.day, same_day=True).release_id == second.release.release_id
    assert champion_as_of(world.lake, yesterday, same_day=False) is None


def test_a_worse_fleet_does_not_replace_the_champion(world):
    first = run(world, world.day - timedelta(days=1), error=0.5)
    # the champion's recipe is all `tsb`, which errs little on the new fold as well; the new blend is spoiled
    world.train(world.day, error=0.5)
    fold = world.fold_of(world.count, world.day, error=0.5)
    spoiled = fold.set_column(fold.column_names.index("mean"), "mean", fold["family_mean_28"])
    world.lake.replace(TableSpec("gold/judged_fold", spoiled.schema), spoiled, f"as_of = '{world.day}'")
    second = run(world)
    assert second.decision.stopped_by == (
        "error_against_champion",
        "error_against_floor",
        "worst_segment",
        "recomputed",
    )
    assert world.registry.versions.tags_of("champion")["release_id"] == first.release.release_id


def test_the_alias_never_moves_to_an_older_day(world):
    newest = run(world, world.day, error=0.5)
    older = run(world, world.day - timedelta(days=7), error=0.6)
    assert older.decision.promoted
    assert not older.alias_moved
    assert world.registry.versions.tags_of("champion")["release_id"] == newest.release.release_id
    assert world.registry.versions.tags_of("challenger")["release_id"] == newest.release.release_id
    assert (
        champion_as_of(world.lake, world.day - timedelta(days=3), same_day=True).release_id == older.release.release_id
    )


class CrashError(RuntimeError):
    """Stands for a process that dies."""


@pytest.mark.parametrize(
    ("owner", "step"),
    [(ModelVersions, "_ensure_model"), (ModelVersions, "_run"), (ModelVersions, "point"), (Lake, "append")],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_step_is_completed_by_a_repetition(world, monkeypatch, owner, step, when):
    world.train(world.day)
    judge_candidate(Candidate(world.lake, world.registry, world.catalogue, world.config, world.day))
    original = getattr(owner, step)

    def dies(self, *arguments, **named):
        if when == "after":
            original(self, *arguments, **named)
        raise CrashError(step)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dies)
        with pytest.raises(CrashError):
            run(world)
    promotion = run(world)
    assert promotion.decision.promoted
    tables, folders, aliases, versions, runs = state(world)
    assert (tables["gold/promoted_release"], len(folders), versions, runs) == (1, 1, 1, 1)
    assert aliases == {"champion": 1, "challenger": 1}
    assert world.lake.count("gold/promoted_release") == 1


def test_a_day_without_a_fleet_says_what_to_do(world):
    world.train(world.day)
    with pytest.raises(LakeError, match="2020-01-01: materialize candidate_fleet"):
        judge_candidate(Candidate(world.lake, world.registry, world.catalogue, world.config, date(2020, 1, 1)))


def test_the_code_has_a_commit_and_a_folder_outside_git_has_none(tmp_path):
    assert len(code_commit().removesuffix("-dirty")) == 40
    assert code_commit(tmp_path) == "unknown"
