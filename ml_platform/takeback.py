"""Taking back: people move the pointer by name and with a reason - rollback, withdrawal, override, pin.

Belongs here: which decisions that takes. Does not belong here: the pointer itself (registry.pointer), publishing forecasts anew (scoring, warehouse).

A release of a later day than the one that is rolled back to is withdrawn, so that every day that used it uses the older one from then on, in a replay, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ml_platform.approvals import require_words
from ml_platform.audit import Entry
from ml_platform.environments import Environment, StageError
from ml_platform.failpoints import reach
from ml_platform.promotion import move_champion
from ml_platform.registry import champion_as_of
from ml_platform.registry.pointer import (
    PINNED,
    REINSTATED,
    STOPPED,
    UNPINNED,
    WITHDRAWN,
    Standing,
    decide,
    decision_row,
    decisions,
    pinned,
    seen,
    standings,
)


@dataclass(frozen=True)
class Moved:
    """What a person's decision changed: the champion before and after, the releases that are out of use for it, and whether the alias moved.

    trouble: why the alias in MLflow could not follow; what counts has moved, and the next decision takes the alias along.
    """

    before: str | None
    after: str | None
    withdrawn: tuple[str, ...]
    alias_moved: bool
    trouble: str = ""


def rollback(environment: Environment, actor: str, reason: str, to: str | None = None) -> Moved:
    """Use an earlier release again: the one before the champion, or `to`. Releases that came after it are withdrawn, in one commit.

    StageError where there is no earlier release, or it was never used here; ReleaseError where its bytes were changed.
    """
    require_words(actor, reason)
    known, after = standings(environment.lake), seen(environment.lake)
    champion = champion_as_of(environment.lake, date.max, same_day=True)
    before = champion.release_id if champion else None
    unfinished = None if to else _unfinished(environment, before)
    if unfinished is not None:
        return unfinished
    target = environment.standing(to) if to else _earlier(environment, known, before)
    if target.decision == STOPPED:
        raise StageError(
            f"release {target.release_id} was stopped and never used in {environment.name}: there is no way back to it "
            f"(to use it all the same: ml-platform releases override)"
        )
    environment.registry.verify(target.release_id)
    newer = [
        one
        for one in known.values()
        if one.promoted and one.order > target.order and one.release_id != target.release_id
    ]
    details = {"from": before, "withdrawn": [one.release_id for one in newer]}
    entry = Entry("rollback", target.release_id, actor, reason, details)
    rows = [_row(one, WITHDRAWN, entry, f"rolled back to {target.release_id}: {reason}", used=False) for one in newer]
    if not target.promoted:
        rows.append(_row(target, REINSTATED, entry, used=True))
    held = pinned(environment.lake)
    if held is not None and held != target.release_id:
        rows.append(_row(known[held], UNPINNED, entry, used=known[held].promoted))
    return _move(environment, rows, after, newer)


def _unfinished(environment: Environment, champion: str | None) -> Moved | None:
    """The last rollback once more, where a crash came before its end: given again it finishes, and does not go a step further back."""
    from mlflow.exceptions import MlflowException

    last = decisions(environment.lake)[-1:]
    if not last or last[0].get("decision") not in (WITHDRAWN, REINSTATED, UNPINNED):
        return None
    try:
        named = environment.registry.versions.tags_of("champion").get("release_id")
    except (MlflowException, OSError) as why:
        raise StageError(
            f"MLflow cannot say whether the last rollback in {environment.name} is finished ({type(why).__name__}): name the release to use with --to"
        ) from why
    if champion is None or named in (None, champion):
        return None
    environment.audit.follow()
    moved, trouble = _followed(environment)
    return Moved(named, champion, (), moved, trouble)


def _earlier(environment: Environment, known: Mapping[str, Standing], champion: str | None) -> Standing:
    """The release that was used before the champion."""
    used = sorted(
        (one for one in known.values() if one.promoted and one.release_id != champion), key=lambda one: one.order
    )
    now = known.get(champion or "")
    before = [one for one in used if now is None or one.order < now.order]
    if now is None or not before:
        what = "no release before the champion" if now else "no champion to go back from"
        way = "train, ml-platform run retrain" if environment.name == "dev" else "ml-platform promote one"
        raise StageError(f"{environment.name} has {what}: name a release with --to, or {way}")
    return before[-1]


def withdraw(environment: Environment, release_id: str, actor: str, reason: str) -> Moved:
    """Take a release out of use; the one before it is used from then on, or none."""
    require_words(actor, reason)
    found, after = environment.standing(release_id), seen(environment.lake)
    entry = Entry("withdraw", release_id, actor, reason)
    rows = [_row(found, WITHDRAWN, entry, used=False)] if found.promoted else []
    return _move(environment, rows, after, [found])


def override(environment: Environment, release_id: str, actor: str, reason: str) -> Moved:
    """Use a release that the gate stopped, or that was withdrawn: somebody answers for it by name."""
    require_words(actor, reason)
    found, after = environment.standing(release_id), seen(environment.lake)
    if environment.name != "dev" and found.decision != WITHDRAWN:
        raise StageError(
            f"what the gate stopped is let through in dev alone, and goes from there to {environment.name} as any release"
        )
    if found.promoted:
        raise StageError(
            f"release {release_id} is used in {environment.name} already: to prefer it to newer ones, rollback --to it, or pin it"
        )
    environment.registry.verify(release_id)
    entry = Entry("override", release_id, actor, reason, {"because": found.reason})
    return _move(environment, [_row(found, REINSTATED, entry, used=True)], after)


def pin(environment: Environment, release_id: str, actor: str, reason: str) -> Moved:
    """Keep a release champion, whatever else is promoted, until somebody lets it go."""
    require_words(actor, reason)
    found, after = environment.standing(release_id), seen(environment.lake)
    if not found.promoted:
        raise StageError(
            f"release {release_id} is {found.decision} in {environment.name}: only what is used can be pinned"
        )
    environment.registry.verify(release_id)
    entry = Entry("pin", release_id, actor, reason)
    held = pinned(environment.lake) == release_id
    return _move(environment, [] if held else [_row(found, PINNED, entry, used=True)], after)


def unpin(environment: Environment, actor: str, reason: str) -> Moved:
    """Let the newest promoted release be champion again."""
    require_words(actor, reason)
    held, after = pinned(environment.lake), seen(environment.lake)
    if held is None:
        raise StageError(f"no release is pinned in {environment.name}")
    entry = Entry("unpin", held, actor, reason)
    found = environment.standing(held)
    return _move(environment, [_row(found, UNPINNED, entry, used=found.promoted)], after)


def _row(one: Standing, decision: str, entry: Entry, reason: str = "", *, used: bool) -> dict[str, Any]:
    told = {**entry.details, "action": entry.action, "release_id": entry.release_id, "was": one.decision}
    return decision_row(one.as_of, one.release_id, decision, entry.actor, reason or entry.reason, told, used=used)


def _move(
    environment: Environment, rows: Sequence[Mapping[str, Any]], after: int, out: Sequence[Standing] = ()
) -> Moved:
    """One commit for all rows, then what follows from it."""
    before = champion_as_of(environment.lake, date.max, same_day=True)
    if rows:
        decide(environment.lake, rows, after)
    reach("takeback.decided")
    environment.audit.follow()
    moved, trouble = _followed(environment)
    now = champion_as_of(environment.lake, date.max, same_day=True)
    ids = tuple(one.release_id for one in out) if rows else ()
    return Moved(before.release_id if before else None, now.release_id if now else None, ids, moved, trouble)


def _followed(environment: Environment) -> tuple[bool, str]:
    """Whether the alias moved, or why it could not: a store of MLflow that is down must not keep people from taking something back."""
    from mlflow.exceptions import MlflowException

    try:
        return move_champion(environment.lake, environment.registry), ""
    except (MlflowException, OSError) as why:
        return False, f"{type(why).__name__}: {str(why).splitlines()[0][:200]}"
