"""The way of a release: dev to qa to prod with an approval, and back again."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from installation import ROWS, Installation, actions, champion, digests
from ten_items import CONFIG, TRAINED, catalogue_of, day

from ml_platform import takeback
from ml_platform.approvals import ApprovalError, answer, ask, carry_approved, lapse, open_request, requests
from ml_platform.comparison import compare
from ml_platform.environments import ApprovalRule, Environment, StageError, carry, load_rules
from ml_platform.lake import schemas
from ml_platform.registry import ConflictError, ReleaseError, champion_as_of
from ml_platform.registry.pointer import pinned, seen
from ml_platform.scoring import score
from ml_platform.warehouse import contents
from ml_platform.warehouse.protocol import Pointer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, blank_mlflow: Path) -> tuple[Path, list[str]]:
    """Dev with two releases of two days; qa and prod with data and nothing else."""
    made = Installation(tmp_path_factory.mktemp("installation"))
    made.settle(blank_mlflow)
    return made.folder, [made.release(0), made.release(7)]


@pytest.fixture
def place(trained: tuple[Path, list[str]], tmp_path: Path) -> Installation:
    shutil.copytree(trained[0], tmp_path / "own")
    return Installation(tmp_path / "own")


@pytest.fixture
def ids(trained: tuple[Path, list[str]]) -> list[str]:
    return trained[1]


def test_the_same_bytes_go_from_dev_to_qa_to_prod_and_back(place: Installation, ids: list[str]) -> None:
    older, newer = ids
    assert champion(place.dev) == newer

    for release_id in ids:
        found = ask(place.dev, place.qa, release_id, "ada", "weekly release")
        assert found.state == "approved", "qa asks nobody"
        done = carry_approved(place.dev, place.qa, found)
        assert done.smoke["scored"] + done.smoke["new_since_training"] == 10
        assert done.received
    assert champion(place.qa) == newer

    for release_id in ids:
        assert ask(place.qa, place.prod, release_id, "ada", "go live").state == "pending"
    assert champion(place.prod) is None, "nothing is used that nobody approved"
    assert not place.prod.registry.root.exists()
    with pytest.raises(ApprovalError, match="is pending, not approved"):
        carry_approved(place.qa, place.prod, open_request(place.prod, newer))
    for release_id in ids:
        found = answer(place.prod, release_id, "grace", "looked at the card", approve=True)
        assert (found.state, found.approved_by) == ("approved", ("grace",))
        carry_approved(place.qa, place.prod, found)
    assert champion(place.prod) == newer
    assert [one.state for one in requests(place.prod)] == ["promoted", "promoted"]
    for here in (place.qa, place.prod):
        assert digests(here.registry.root / newer) == digests(place.dev.registry.root / newer)

    moved = takeback.rollback(place.prod, "grace", "bias since Tuesday")
    assert (moved.before, moved.after, moved.withdrawn) == (newer, older, (newer,))
    assert champion(place.prod) == older
    assert champion(place.qa) == newer, "other environments are not touched"
    made = score(place.prod.lake, place.prod.registry, catalogue_of(ROWS, day(7)), CONFIG, day(7))
    assert (made.release_id, made.written) == (older, True)
    states = contents.fleet_states(place.prod.lake)
    assert {
        row["as_of"]: row["series"]
        for row in states.group_by("as_of")
        .aggregate([("series", "sum")])
        .rename_columns(["as_of", "series"])
        .to_pylist()
    } == {day(0): 9, day(7): 10}
    shown = contents.releases(place.prod.lake, [Pointer(day(7), older, dt.datetime.now(dt.UTC))]).to_pylist()
    origin = place.prod.registry.verify(older).origin
    assert [(one["decided_by"], one["sealed_by"], one["code_commit"]) for one in shown] == [
        ("grace", "ada", origin.code_commit)
    ]

    assert actions(place.prod) == [
        *(("request", one, "ada") for one in ids),
        *(step for one in ids for step in (("approve", one, "grace"), ("promote", one, "grace"))),
        ("rollback", older, "grace"),
    ]
    for here in (place.dev, place.qa, place.prod):
        assert here.audit.verify() == []


def test_only_what_is_used_before_goes_further(place: Installation, ids: list[str]) -> None:
    with pytest.raises(StageError, match=f"release {ids[1]} was never decided about in qa"):
        ask(place.qa, place.prod, ids[1], "ada", "hurry")
    takeback.withdraw(place.dev, ids[1], "ada", "wrong")
    with pytest.raises(StageError, match=r"is withdrawn in dev \(wrong\)"):
        ask(place.dev, place.qa, ids[1], "ada", "hurry")
    with pytest.raises(StageError, match="dev takes no releases over: it trains its own"):
        place.dev.before  # noqa: B018 - it raises


def test_a_release_is_named_by_its_first_letters_if_there_is_one_such(place: Installation, ids: list[str]) -> None:
    assert [place.dev.named(one) for one in (ids[0], ids[1][:12], f" {ids[1]} ")] == [ids[0], ids[1], ids[1]]
    with pytest.raises(StageError, match=f"'2022' fits 2 releases, such as {ids[0]}, {ids[1]} of dev"):
        place.dev.named("2022")
    for nothing in ("", " ", "x", "../../etc"):
        with pytest.raises(StageError, match="is no release of dev: ml-platform releases list --in dev"):
            place.dev.named(nothing)


def test_an_environment_without_data_tries_nothing_and_moves_nothing(place: Installation, ids: list[str]) -> None:
    shutil.rmtree(place.folder / "qa" / "lake")
    with pytest.raises(StageError, match="ML_PLATFORM_ENVIRONMENT=qa ml-platform run score"):
        carry(place.dev, place.qa, ids[1], "ada", "weekly")
    assert champion(place.qa) is None


def test_a_flipped_byte_goes_nowhere(place: Installation, ids: list[str]) -> None:
    path = place.dev.registry.root / ids[1] / "parameters.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"parameters\.parquet does not have the sha256"):
        carry(place.dev, place.qa, ids[1], "ada", "weekly")
    assert champion(place.qa) is None
    assert not (place.qa.registry.root / ids[1]).exists()
    with pytest.raises(ReleaseError, match=r"parameters\.parquet"):
        takeback.rollback(place.dev, "ada", "back to it", to=ids[1])


@pytest.mark.parametrize(
    ("rule", "actor", "words"),
    [
        ({}, "ada", "was sealed in the name of ada"),
        ({"own_training": True}, " Ada ", "Ada  asked for release"),
        ({"approvers": ("grace",)}, "linus", "linus may not approve for prod: grace may"),
        ({}, " ", r"a decision needs a name \(--by\)"),
    ],
)
def test_the_rule_says_who_may_approve(place: Installation, ids: list[str], rule: dict, actor: str, words: str) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    prod = place.open("prod", **rule)
    ask(place.qa, prod, ids[1], "ada", "go live")
    with pytest.raises(ApprovalError, match=words):
        answer(prod, ids[1], actor, "fine", approve=True)
    assert open_request(prod, ids[1]).approved_by == ()


def test_a_name_is_the_same_with_letters_that_nobody_sees(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    ask(place.qa, place.prod, ids[1], "linus", "go live")
    for name in ("ada\u200b", "\uff41da", " A\u200dda "):
        with pytest.raises(ApprovalError, match="was sealed in the name of"):
            answer(place.prod, ids[1], name, "fine", approve=True)
    with pytest.raises(ApprovalError, match="a decision needs a reason"):
        answer(place.prod, ids[1], "grace", "\u200b", approve=True)


def test_a_rule_that_is_loosened_is_for_later_requests(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    ask(place.qa, place.open("prod", approvals=2), ids[1], "ada", "go live")
    assert answer(place.prod, ids[1], "grace", "fine", approve=True).state == "pending"
    loose = place.open("prod", approvals=0)
    with pytest.raises(ApprovalError, match="is pending, not approved"):
        carry_approved(place.qa, loose, open_request(loose, ids[1]))


def test_what_was_rejected_meanwhile_is_not_carried(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    ask(place.qa, place.prod, ids[1], "ada", "go live")
    found = answer(place.prod, ids[1], "grace", "fine", approve=True)
    answer(place.prod, ids[1], "linus", "not this week", approve=False)
    with pytest.raises(ApprovalError, match="is rejected, not approved"):
        carry_approved(place.qa, place.prod, found)
    with pytest.raises(StageError, match=r"prod asks for 1 approvals, release .* has 0"):
        carry(place.qa, place.prod, ids[1], "ada", "past the request")
    assert champion(place.prod) is None


def test_of_two_answers_at_once_one_is_refused(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ml_platform.approvals as module

    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    ask(place.qa, place.prod, ids[1], "ada", "go live")
    original = module._require_may_approve

    def slow(target: Environment, found: object, actor: str) -> None:
        monkeypatch.setattr(module, "_require_may_approve", original)
        answer(place.prod, ids[1], "linus", "not this week", approve=False)
        original(target, found, actor)

    monkeypatch.setattr(module, "_require_may_approve", slow)
    with pytest.raises(ConflictError, match="somebody else decided about a request of prod"):
        answer(place.prod, ids[1], "grace", "fine", approve=True)
    assert requests(place.prod)[0].state == "rejected"


def test_what_was_taken_back_does_not_come_back_by_a_request_that_was_cut_off(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer had moved, and the request did not know it yet."""
    import ml_platform.approvals as module

    for release_id in ids:
        carry(place.dev, place.qa, release_id, "ada", "weekly")
    ask(place.qa, place.prod, ids[0], "ada", "go live")
    carry_approved(place.qa, place.prod, answer(place.prod, ids[0], "grace", "fine", approve=True))
    ask(place.qa, place.prod, ids[1], "ada", "go live")
    found = answer(place.prod, ids[1], "grace", "fine", approve=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "carry", lambda *args, **more: carry(*args, **more) and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            carry_approved(place.qa, place.prod, found)
    assert champion(place.prod) == ids[1]
    with pytest.raises(ApprovalError, match="is being carried over to prod already"):
        answer(place.prod, ids[1], "linus", "too late", approve=False)
    takeback.rollback(place.prod, "grace", "bias")
    assert champion(place.prod) == ids[0]
    done = carry_approved(place.qa, place.prod, open_request(place.prod, ids[1]))
    assert (done.decided, champion(place.prod)) == (False, ids[0])
    assert [one.state for one in requests(place.prod)] == ["promoted", "promoted"]


def test_two_have_to_agree_and_nobody_twice(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    prod = place.open("prod", approvals=2)
    ask(place.qa, prod, ids[1], "ada", "go live")
    assert answer(prod, ids[1], "grace", "fine", approve=True).state == "pending"
    with pytest.raises(ApprovalError, match="Grace has approved release"):
        answer(prod, ids[1], "Grace", "twice", approve=True)
    assert answer(prod, ids[1], "linus", "fine", approve=True).state == "approved"


def test_what_is_rejected_or_lapsed_has_to_be_asked_for_again(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    first = ask(place.qa, place.prod, ids[1], "ada", "go live")
    assert ask(place.qa, place.prod, ids[1], "ada", "again").request_id == first.request_id
    with pytest.raises(ApprovalError, match="reason"):
        answer(place.prod, ids[1], "grace", "", approve=False)
    assert answer(place.prod, ids[1], "grace", "promotion week", approve=False).state == "rejected"
    with pytest.raises(ApprovalError, match=r"no open request in prod \(the last one is rejected\)"):
        answer(place.prod, ids[1], "grace", "yes after all", approve=True)
    hasty = place.open("prod", expires_days=1e-9)
    second = ask(place.qa, replace(place.prod, rule=ApprovalRule(approvals=1)), ids[1], "ada", "go live")
    assert second.request_id != first.request_id
    late = second.expires_at + dt.timedelta(seconds=1)
    assert requests(place.prod, now=late)[-1].state == "expired"
    assert lapse(hasty) == []


def test_a_lapsed_request_is_written_down_once(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    prod = place.open("prod", expires_days=1e-9)
    with pytest.raises(AssertionError):
        ask(place.qa, prod, ids[1], "ada", "go live")
    assert [one.state for one in lapse(prod)] == ["expired"]
    assert lapse(prod) == []
    assert actions(prod)[-1] == ("expire", ids[1], "platform")


def test_a_repetition_changes_nothing(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    before = (seen(place.qa.lake), len(actions(place.qa)), digests(place.qa.registry.root / ids[1]))
    again = carry(place.dev, place.qa, ids[1], "ada", "weekly")
    assert (again.received, again.decided, again.alias_moved) == (False, False, False)
    assert (seen(place.qa.lake), len(actions(place.qa)), digests(place.qa.registry.root / ids[1])) == before


def test_asking_again_for_what_is_used_asks_nobody(place: Installation, ids: list[str]) -> None:
    first = carry_approved(place.dev, place.qa, ask(place.dev, place.qa, ids[1], "ada", "weekly"))
    again = ask(place.dev, place.qa, ids[1], "grace", "weekly, too")
    assert (first.decided, again.state, again.asked_by, len(requests(place.qa))) == (True, "promoted", "ada", 1)
    takeback.withdraw(place.qa, ids[1], "ada", "bias")
    assert again.closed.startswith("promoted by ada")
    assert ask(place.dev, place.qa, ids[1], "grace", "mended").state == "approved"


def test_of_two_at_once_one_wins_and_the_other_says_so(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one decides between this one's look at what stands and its own commit."""
    import ml_platform.environments as module

    original = module.smoke_score

    def slow(target: Environment, release_id: str) -> dict:
        if release_id == ids[0]:
            monkeypatch.setattr(module, "smoke_score", original)
            carry(place.dev, place.qa, ids[1], "grace", "first")
        return original(target, release_id)

    monkeypatch.setattr(module, "smoke_score", slow)
    with pytest.raises(ConflictError, match=f"another decision came first: release {ids[1]} was promoted"):
        carry(place.dev, place.qa, ids[0], "ada", "second")
    assert champion(place.qa) == ids[1]
    assert carry(place.dev, place.qa, ids[0], "ada", "second").decided
    assert champion(place.qa) == ids[1], "a release of an older day does not take the place of a newer one's"


RIVAL = """
import sys, time
from pathlib import Path
from installation import Installation
import ml_platform.environments as module
from ml_platform.registry import ConflictError

folder, release_id, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
original = module.smoke_score

def meet(target, release):
    (folder / f"{name}.ready").touch()
    while not all((folder / f"{one}.ready").exists() for one in ("ada", "grace")):
        time.sleep(0.001)
    return original(target, release)

module.smoke_score = meet
place = Installation(folder)
try:
    module.carry(place.dev, place.qa, release_id, name, "weekly")
except ConflictError as error:
    sys.exit(f"conflict: {error}")
"""


def test_of_two_processes_at_once_one_wins_and_the_other_says_so(place: Installation, ids: list[str]) -> None:
    """Both have looked at what stands before either of them decides."""
    support = Path(__file__).parents[2] / "support"
    paths = os.pathsep.join([str(support), str(support.parents[1])])
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(place.folder), release_id, name],
            env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True,
        )
        for release_id, name in zip(ids, ("ada", "grace"), strict=True)
    ]  # fmt: skip
    told = [one.communicate(timeout=120)[1] for one in pair]
    assert sorted(one.returncode for one in pair) == [0, 1], told
    winner = ids[[one.returncode for one in pair].index(0)]
    assert f"conflict: another decision came first: release {winner} was promoted" in "".join(told)
    assert champion(place.qa) == winner
    assert [one[:2] for one in actions(place.qa)] == [("promote", winner)]
    assert place.qa.audit.verify() == []


def test_without_a_release_the_alias_names_nothing_and_there_is_no_way_back(
    place: Installation, ids: list[str]
) -> None:
    for release_id in ids:
        takeback.withdraw(place.dev, release_id, "ada", "both are wrong")
    assert champion(place.dev) is None
    before = place.dev.audit.rows()
    with pytest.raises(StageError, match="dev has no champion to go back from: name a release with --to, or train"):
        takeback.rollback(place.dev, "ada", "bias")
    assert place.dev.audit.rows() == before
    with pytest.raises(StageError, match=r"qa has no champion to go back from: .* or ml-platform promote one"):
        takeback.rollback(place.qa, "ada", "bias")
    takeback.override(place.dev, ids[0], "grace", "it was fine")
    with pytest.raises(StageError, match=f"release {ids[0]} is used in dev already"):
        takeback.override(place.dev, ids[0], "grace", "again")
    assert champion(place.dev) == ids[0]


def test_a_damaged_release_cannot_be_pinned(place: Installation, ids: list[str]) -> None:
    path = place.dev.registry.root / ids[1] / "parameters.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ReleaseError, match=r"parameters\.parquet"):
        takeback.pin(place.dev, ids[1], "ada", "audit week")


def test_a_rollback_needs_no_mlflow_and_given_again_goes_no_step_further(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_platform.registry.versions import ModelVersions

    def down(*_: object) -> None:
        raise ConnectionError("no route to MLflow")

    with monkeypatch.context() as patch:
        patch.setattr(ModelVersions, "tags_of", down)
        moved = takeback.rollback(place.dev, "ada", "bias")
        assert (moved.before, moved.after, moved.alias_moved) == (ids[1], ids[0], False)
        assert moved.trouble == "ConnectionError: no route to MLflow"
        with pytest.raises(StageError, match="MLflow cannot say whether the last rollback in dev is finished"):
            takeback.rollback(place.dev, "ada", "bias")
    again = takeback.rollback(place.dev, "ada", "bias")
    assert (again.before, again.after, again.alias_moved, again.withdrawn) == (ids[1], ids[0], True, ())
    assert champion(place.dev) == ids[0]
    assert place.dev.audit.verify() == []


def test_the_alias_follows_what_was_decided_while_it_moved(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_platform.registry.versions import ModelVersions

    original = ModelVersions.point

    def slow(self: ModelVersions, alias: str, release_id: str) -> bool:
        monkeypatch.setattr(ModelVersions, "point", original)
        takeback.override(place.dev, ids[1], "grace", "it was fine")
        return original(self, alias, release_id)

    monkeypatch.setattr(ModelVersions, "point", slow)
    takeback.withdraw(place.dev, ids[1], "ada", "bias")
    assert champion(place.dev) == ids[1]


def test_a_rollback_is_for_every_day_and_can_be_taken_back(place: Installation, ids: list[str]) -> None:
    older, newer = ids
    takeback.rollback(place.dev, "ada", "trial", to=older)
    assert champion_as_of(place.dev.lake, day(7), same_day=True).release_id == older
    assert champion(place.dev) == older
    with pytest.raises(StageError, match="has no release before the champion"):
        takeback.rollback(place.dev, "ada", "further")
    moved = takeback.rollback(place.dev, "ada", "it was fine", to=newer)
    assert (moved.before, moved.after, moved.withdrawn) == (older, newer, ())
    assert champion(place.dev) == newer
    again = takeback.rollback(place.dev, "ada", "it was fine", to=newer)
    assert (again.before, again.after, again.alias_moved) == (newer, newer, False)
    assert [one[0] for one in actions(place.dev)] == ["promote", "promote", "rollback", "rollback"]
    with pytest.raises(StageError, match="release nobody was never decided about in dev"):
        takeback.rollback(place.dev, "ada", "x", to="nobody")


def test_a_withdrawn_release_is_not_promoted_by_materializing_its_day_again(
    place: Installation, ids: list[str]
) -> None:
    takeback.withdraw(place.dev, ids[1], "ada", "damaged")
    assert champion(place.dev) == ids[0]
    assert place.release(7) == ids[1]
    assert champion(place.dev) == ids[0]
    takeback.override(place.dev, ids[1], "grace", "restored from a copy")
    assert champion(place.dev) == ids[1]
    assert actions(place.dev)[-1] == ("override", ids[1], "grace")


def test_what_the_gate_stopped_is_let_through_by_name_in_dev_alone(place: Installation, ids: list[str]) -> None:
    row = {
        "as_of": day(8),
        "release_id": ids[1].replace(str(day(7)), str(day(8))),
        "promoted": False,
        "decision": "stopped",
    }
    for here in (place.dev, place.qa):
        told = [{**row, "decided_at": dt.datetime.now(dt.UTC), "reason": "bias"}]
        from ml_platform.registry.pointer import decide

        decide(here.lake, told, seen(here.lake))
    with pytest.raises(ReleaseError, match="is missing"):
        takeback.override(place.dev, row["release_id"], "ada", "neutral change")
    with pytest.raises(StageError, match="let through in dev alone"):
        takeback.override(place.qa, row["release_id"], "ada", "neutral change")
    with pytest.raises(StageError, match="was stopped and never used in dev: there is no way back to it"):
        takeback.rollback(place.dev, "ada", "neutral change", to=row["release_id"])


def test_a_pinned_release_stays_whatever_is_promoted(place: Installation, ids: list[str]) -> None:
    older, newer = ids
    takeback.pin(place.dev, older, "ada", "audit week")
    assert (champion(place.dev), pinned(place.dev.lake)) == (older, older)
    assert champion_as_of(place.dev.lake, day(7), same_day=True).release_id == older
    assert takeback.pin(place.dev, older, "ada", "again").alias_moved is False
    takeback.unpin(place.dev, "ada", "it is over")
    assert (champion(place.dev), pinned(place.dev.lake)) == (newer, None)
    with pytest.raises(StageError, match="no release is pinned"):
        takeback.unpin(place.dev, "ada", "again")
    takeback.pin(place.dev, newer, "ada", "x")
    takeback.rollback(place.dev, "ada", "worse than it looked", to=older)
    assert (champion(place.dev), pinned(place.dev.lake)) == (older, None)


def test_releases_are_compared_series_by_series(place: Installation, ids: list[str]) -> None:
    for release_id in ids:
        takeback.pin(place.dev, release_id, "ada", "look")
        score(place.dev.lake, place.dev.registry, catalogue_of(ROWS, day(7)), CONFIG, day(7))
    found = compare(place.dev.lake, place.dev.registry, *ids)
    assert found.day == day(7)
    assert found.counts["series"] == 10
    assert found.counts["only in the second"] == 1, "one item comes late"
    told = place.dev.lake.read("gold/forecasts").to_pandas().groupby(["release_id", "series_id"])["mean"].mean()
    series = found.series.dropna(subset=["forecast_a", "forecast_b"]).index[0]
    assert found.series.loc[series, "forecast_a"] == pytest.approx(told[ids[0], series])
    assert found.series.loc[series, "forecast_b"] == pytest.approx(told[ids[1], series])
    same = compare(place.dev.lake, place.dev.registry, ids[1], ids[1])
    assert (len(same.series), same.counts["unchanged"]) == (0, 10)


def test_rules_come_from_yaml_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "environments.yaml"
    assert load_rules(path).prod == ApprovalRule(approvals=1, own_training=False, own_request=False)
    path.write_text("prod: {approvals: 2, approvers: [grace, linus]}\nqa: {approvals: 1}\n")
    assert (load_rules(path).prod.approvals, load_rules(path).qa.approvals) == (2, 1)
    path.write_text("prod: {aprovals: 2}\nqa: {expires_days: 0}\n")
    with pytest.raises(StageError) as found:
        load_rules(path)
    assert f"{path}: prod.aprovals" in str(found.value)
    assert f"{path}: qa.expires_days" in str(found.value)
    path.write_text("prod: [")
    with pytest.raises(StageError, match="not valid YAML"):
        load_rules(path)


def rewrite(here: Environment, change) -> None:
    rows = here.audit.rows()
    changed = pa.Table.from_pylist(change(rows), schemas.AUDIT.schema)
    here.lake.replace(schemas.AUDIT, changed, "number >= 0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [{**rows[0], "reason": "another"}, *rows[1:]], "was edited"),
        (lambda rows: [{**rows[0], "actor": "nobody"}, *rows[1:]], "was edited"),
        (lambda rows: [rows[0], *rows[2:]], "is missing: row 3 follows"),
        (lambda rows: rows[1:], "is missing: row 2 follows"),
        (lambda rows: rows[:-1], "is missing at the end"),
        (lambda rows: [{**rows[1], "number": 1}, {**rows[0], "number": 2}, *rows[2:]], "does not follow"),
        (lambda rows: [*rows, rows[-1]], "is there twice"),
    ],
)
def test_an_edited_deleted_or_reordered_row_is_found(place: Installation, ids: list[str], change, words: str) -> None:
    takeback.rollback(place.dev, "ada", "trial")
    takeback.rollback(place.dev, "ada", "back", to=ids[1])
    assert place.dev.audit.verify() == []
    rewrite(place.dev, change)
    assert words in "; ".join(one.what for one in place.dev.audit.verify())


def test_a_chain_that_was_hashed_anew_is_not_signed(place: Installation) -> None:
    from ml_platform.audit_chain import digest_of

    def forged(rows):
        rows[0] = {**rows[0], "actor": "nobody"}
        rows[0]["hash"] = digest_of(rows[0])
        rows[1] = {**rows[1], "previous": rows[0]["hash"]}
        rows[1]["hash"] = digest_of(rows[1])
        return rows

    rewrite(place.dev, forged)
    faults = place.dev.audit.verify()
    assert [one.number for one in faults] == [1, 2, 2]
    assert all("is not signed by a trusted key" in one.what for one in faults[:2])
    assert "is not the row that the signed head beside the keys stands for" in faults[2].what


def test_a_key_that_lies_elsewhere_is_not_trusted_whatever_a_signature_calls_it(place: Installation) -> None:
    from ml_platform.registry.signing import KeyFile, Signature, trust

    stranger = KeyFile(place.folder / "stranger")
    row = place.dev.audit.rows()[0]
    signed = stranger.sign(row["hash"].encode())
    path = trust(stranger.folder, stranger._private().public_key()).with_suffix("")
    named = Signature(algorithm="ed25519", key_id=str(path), value=signed.value)
    rewrite(place.dev, lambda rows: [{**rows[0], "signature": named.model_dump_json()}, *rows[1:]])
    (fault,) = place.dev.audit.verify()
    assert "is no id of a key" in fault.what


def words_of(here: Environment) -> str:
    return "; ".join(one.what for one in here.audit.verify())


def test_rows_that_were_cut_off_are_missed_even_where_the_table_is_gone(place: Installation, ids: list[str]) -> None:
    takeback.rollback(place.dev, "ada", "trial")
    folder = place.folder / "dev" / "lake" / "ops" / "audit"
    newest = max((folder / "_delta_log").glob("*.json"))
    newest.unlink()
    assert "is missing at the end" in words_of(place.dev)
    shutil.rmtree(folder)
    assert [(one.number, one.what) for one in place.dev.audit.verify() if "missing" in one.what] == [
        (3, "is missing at the end, with all after row 0: the signed head beside the keys says that it was written")
    ]
    takeback.rollback(place.dev, "ada", "back", to=ids[1])  # work goes on, and what is gone stays to be seen
    assert champion(place.dev) == ids[1]
    assert "is missing: row 4 follows" in words_of(place.dev)


def test_a_head_that_somebody_wrote_says_nothing(place: Installation) -> None:
    path = place.folder / "keys" / "audit-dev.json"
    head = json.loads(path.read_text())
    path.write_text(json.dumps({**head, "number": 10**9}))
    (fault,) = place.dev.audit.verify()
    assert "is the newest, and the head beside the keys cannot say so: it is not signed by a trusted key" in fault.what
    path.write_text("nonsense")
    assert "the head beside the keys cannot say so" in words_of(place.dev)


def test_a_chain_of_another_environment_is_not_this_one(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    shutil.rmtree(place.folder / "qa" / "lake" / "ops" / "audit")
    shutil.copytree(place.folder / "dev" / "lake" / "ops" / "audit", place.folder / "qa" / "lake" / "ops" / "audit")
    assert "is of the environment dev, not of qa" in words_of(place.qa)


def test_a_decision_that_was_edited_or_added_past_the_chain_is_found(place: Installation, ids: list[str]) -> None:
    takeback.rollback(place.dev, "ada", "trial")
    spec = schemas.PROMOTED_RELEASE
    before = place.dev.lake.read(spec.name).select(spec.schema.names).cast(spec.schema)
    added = {**before.to_pylist()[0], "release_id": ids[1], "promoted": True, "decided_at": dt.datetime.now(dt.UTC)}
    place.dev.lake.append(spec, pa.Table.from_pylist([{**added, "number": None}], spec.schema))
    assert champion_as_of(place.dev.lake, day(9), same_day=True).release_id == ids[1]
    assert "was decided past the chain" in words_of(place.dev)
    edited = [{**row, "promoted": True, "decision": "reinstated"} for row in before.to_pylist()]
    place.dev.lake.replace(spec, pa.Table.from_pylist(edited, spec.schema), "release_id is not null")
    assert "which was edited or added to since" in words_of(place.dev)
    place.dev.lake.replace(spec, before.slice(0, 1), "release_id is not null")
    assert "which is gone" in words_of(place.dev)


def test_a_row_without_values_is_named_and_not_stumbled_over(place: Installation) -> None:
    row = {**place.dev.audit.rows()[-1], "number": None, "at": None}
    place.dev.lake.append(schemas.AUDIT, pa.Table.from_pylist([row], schemas.AUDIT.schema))
    assert "is no row that was written" in words_of(place.dev)


def test_an_approval_that_nobody_signed_for_carries_nothing(place: Installation, ids: list[str]) -> None:
    carry(place.dev, place.qa, ids[1], "ada", "weekly")
    found = ask(place.qa, place.prod, ids[1], "ada", "go live")
    spec = schemas.REQUESTS
    row = place.prod.lake.read(spec.name).to_pylist()[0]
    row |= {"state": "approved", "actor": "grace", "at": dt.datetime.now(dt.UTC)}
    place.prod.lake.append(spec, pa.Table.from_pylist([row], spec.schema))
    assert open_request(place.prod, ids[1]).state == "approved"
    with pytest.raises(ApprovalError, match="has 0 signed approvals of release"):
        carry_approved(place.qa, place.prod, found)
    assert champion(place.prod) is None
    assert "approved by grace) is not in the chain" in words_of(place.prod)


def test_a_decision_that_the_chain_lacks_is_found_and_added_by_the_next(
    place: Installation, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_platform.audit import Audit

    with monkeypatch.context() as patch:
        patch.setattr(Audit, "follow", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            takeback.withdraw(place.dev, ids[1], "ada", "crash")
    assert "is not in the chain" in place.dev.audit.verify()[0].what
    takeback.withdraw(place.dev, ids[1], "ada", "crash")
    assert place.dev.audit.verify() == []
    assert actions(place.dev)[-1] == ("withdraw", ids[1], "ada")
    assert champion(place.dev) == ids[0]


def test_evidence_of_a_request_is_that_of_the_release(place: Installation, ids: list[str]) -> None:
    found = ask(place.dev, place.qa, ids[1], "ada", "weekly")
    assert found.evidence["sealed_by"] == "ada"
    rules = json.loads((place.dev.registry.root / ids[1] / "evidence.json").read_text())["rules"]
    assert found.evidence["rules"] == rules
    assert found.as_of >= TRAINED
