"""Dealing: shards out to jobs, again where one failed, and in halves until the series that fail stand alone.

Belongs here: which shard runs in which job, and what happens when it fails. Does not belong here: what a job does, where it runs (compute).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_platform.compute import Compute, JobError
from ml_platform.jobs.exchange import WorkFolder

HOPELESS = 2  # how often all shards are halved while not one of them succeeds


class FailedSeriesError(RuntimeError):
    """Some series fail by themselves, while others do not; `details` says why, by series_id."""

    def __init__(self, details: Mapping[str, str]) -> None:
        super().__init__(f"{len(details)} series fail by themselves, such as {min(details)}: {details[min(details)]}")
        self.details = dict(details)


@dataclass(frozen=True)
class _Failure:
    """Why a shard has no result; `lost`: its job ended before it could say so itself."""

    reason: str
    lost: bool


def run_shards(step: str, shards: Sequence[int], work: WorkFolder, compute: Compute) -> list[int]:
    """Run a step over shards; returns the shards that have results now: in the place of one that failed twice, its halves.

    Raises FailedSeriesError where series fail that stand alone, JobError where nothing succeeds at all.
    """
    done: list[int] = []
    alone: dict[str, str] = {}
    level, halved = list(shards), 0
    while level:
        failures = _attempt(step, level, work, compute, again=halved == 0)
        done += [number for number in level if number not in failures]
        level, own = ([], {}) if halved == HOPELESS and not done else _halves(failures, work)
        alone |= own
        halved += 1
        if failures and not (level or done):
            raise _hopeless(step, shards, work, failures)
    if alone:
        raise FailedSeriesError({series: f"{step}: {reason}" for series, reason in alone.items()})
    return sorted(done)


def _attempt(
    step: str, shards: Sequence[int], work: WorkFolder, compute: Compute, *, again: bool
) -> dict[int, _Failure]:
    """Failures by shard, after those that were lost (with `again`: all that failed) had a second run in a job of their own."""
    hands = [shards[first :: compute.workers] for first in range(min(compute.workers, len(shards)))]
    failures = _run(step, hands, work, compute)
    second = [number for number, failure in failures.items() if again or failure.lost]
    if not second:
        return failures
    return {n: f for n, f in failures.items() if n not in second} | _run(step, [[n] for n in second], work, compute)


def _run(step: str, hands: Sequence[Sequence[int]], work: WorkFolder, compute: Compute) -> dict[int, _Failure]:
    """One job per hand of shards; returns why shards have no result."""
    outcomes = compute.run("train", [_arguments(step, hand, work) for hand in hands])
    failures: dict[int, _Failure] = {}
    for hand, outcome in zip(hands, outcomes, strict=True):
        ended = outcome.reason if isinstance(outcome, JobError) else "made no result"
        own = {} if isinstance(outcome, JobError) else outcome.get("failed")
        said = own if isinstance(own, dict) else {}
        for number in hand:
            if not work.made(step, number):
                failures[number] = _Failure(said.get(str(number), ended), lost=str(number) not in said)
    return failures


def _arguments(step: str, shards: Sequence[int], work: WorkFolder) -> list[str]:
    return ["--step", step, "--work", str(work.path), "--shards", ",".join(map(str, shards))]


def _halves(failures: Mapping[int, _Failure], work: WorkFolder) -> tuple[list[int], dict[str, str]]:
    """The halves of shards that failed, and why by series_id where a shard has only one."""
    halves: list[int] = []
    alone: dict[str, str] = {}
    for number, failure in failures.items():
        shard = work.read_shard(number)
        if len(shard) == 1:
            alone[str(shard.series_id[0])] = failure.reason
        else:
            halves += work.halve(number)
    return halves, alone


def _hopeless(step: str, shards: Sequence[int], work: WorkFolder, failures: Mapping[int, _Failure]) -> JobError:
    first = min(failures)
    told = f"one of its last pieces, shard {first}, says: {failures[first].reason}"
    reason = "failed for every shard, for their halves and down to pieces of them, so no series is to blame"
    return JobError("train", _arguments(step, shards, work), reason, told)
