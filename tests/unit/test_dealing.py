"""Dealing: what becomes of a training in which shards, series or processes fail."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from orchard import AS_OF, CONFIG, InProcess, Poisoned, catalogue, filled, gold, poison, trained

from ml_platform.compute import JobError, LocalCompute, Report
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.train import numbers, read_task, run_step
from ml_platform.lake import TableSpec
from ml_platform.training import train_fleet
from ml_platform.training_tables import CANDIDATE_FLEET


@pytest.mark.parametrize(
    ("step", "series"),
    [
        ("pools", {"orchard-05"}),
        ("fit", {"orchard-05"}),
        ("pools", {"orchard-00"}),
        ("fit", {"orchard-01", "orchard-05", "orchard-10"}),
    ],
)
def test_a_series_that_fails_costs_itself_alone(tmp_path: Path, step: str, series: set[str]) -> None:
    report, tables = trained(tmp_path / "one", Poisoned(InProcess(), series, step))
    _, expected = trained(tmp_path / "two", InProcess(), without=series)
    assert set(report.failed) == series
    assert report.states == {"fitted": 12 - len(series), "quarantined": len(series)}
    fleet = tables.pop("candidate_fleet").drop_columns("fingerprint")
    lost = fleet.filter(pc.equal(fleet["reason"], "failed"))
    assert set(lost["series_id"].to_pylist()) == series
    assert all(detail.startswith(f"{step}: IndexError in ") for detail in lost["detail"].to_pylist())
    others = expected.pop("candidate_fleet").drop_columns("fingerprint")
    assert fleet.filter(pc.equal(fleet["state"], "fitted")).equals(others)
    assert {name: table.equals(expected[name]) for name, table in tables.items()} == dict.fromkeys(tables, True)


def test_only_what_failed_runs_again(tmp_path: Path) -> None:
    compute = Poisoned(InProcess(), {"orchard-05"})
    trained(tmp_path, compute)
    searched, again = compute.asked[:-4], compute.asked[-4:]
    assert searched[:3] == [("pools", (0, 2)), ("pools", (1, 3)), ("pools", (1,))]
    assert [len(shards) for _, shards in searched[3:]] == [1, 1, 1, 1]
    assert again == [("pools", (0, 2)), ("pools", (1, 3)), ("fit", (0, 2)), ("fit", (1, 3))]


def test_a_fleet_with_failed_series_is_tried_again(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    train_fleet(lake, catalogue(), CONFIG, AS_OF, Poisoned(InProcess(), {"orchard-05"}))
    later = train_fleet(lake, catalogue(), CONFIG, AS_OF, InProcess())
    assert later.states == {"fitted": 12}
    assert not later.failed
    assert train_fleet(lake, catalogue(), CONFIG, AS_OF, InProcess()).unchanged


class Cramped(InProcess):
    """Ends every job that holds a shard of more than two series, as a machine with little memory does."""

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        return [self.one(job, arguments) for arguments in argument_lists]

    def one(self, job: str, arguments: Sequence[str]) -> Report | JobError:
        task = read_task(arguments)
        for number in task.shards:
            if len(task.work.read_shard(number)) > 2:
                return JobError(job, arguments, "was ended by SIGKILL")
            run_step(task.step, task.work, [number])
        return {"failed": {}}


def test_shards_that_are_too_large_are_trained_in_halves(tmp_path: Path) -> None:
    report, tables = trained(tmp_path / "one", Cramped())
    _, expected = trained(tmp_path / "two", InProcess())
    assert report.states == {"fitted": 12}
    assert not report.failed
    for name in ("fold_metrics", "judged_fold"):
        frame, wanted = (both[name].to_pandas() for both in (tables, expected))
        for column in frame.columns:
            same = frame[column] == wanted[column]
            if frame[column].dtype == float:
                same = (frame[column] - wanted[column]).abs() <= 1e-9 * (1 + wanted[column].abs())
            assert (same | frame[column].isna() & wanted[column].isna()).all(), (name, column)


@pytest.mark.parametrize("step", ["pools", "fit"])
def test_a_killed_process_costs_nothing_but_time(tmp_path: Path, step: str) -> None:
    """The process is killed where it waits for its second shard, so that one shard is done and one is not."""
    told: list[str] = []
    compute = Ambushed(step, told)
    report, tables = trained(tmp_path / "one", compute)
    _, expected = trained(tmp_path / "two", InProcess())
    assert "train was ended by SIGKILL (out of memory, most often)" in told
    assert compute.killed == 1
    assert [shards for at, shards in compute.asked if at == step] == [(0, 2), (1, 3), (2,)]
    assert report.states == {"fitted": 12}
    assert {name: table.equals(expected[name]) for name, table in tables.items()} == dict.fromkeys(tables, True)


class Ambushed:
    """Local processes, one of which is really killed: its second shard is a pipe into which nobody writes until then."""

    workers = 2

    def __init__(self, step: str, told: list[str]) -> None:
        self.compute, self.step, self.told = LocalCompute(self.workers, self.hear), step, told
        self.killed, self.asked, self.pipe = 0, list[tuple[str, tuple[int, ...]]](), None

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        tasks = [read_task(arguments) for arguments in argument_lists]
        self.asked.extend((task.step, task.shards) for task in tasks)
        if tasks[0].step == self.step and not self.killed:
            self.pipe = blocked(tasks[0].work, 2)
        return self.compute.run(job, argument_lists)

    def hear(self, text: str) -> None:
        """At the report on the first shard of the job: kill it, and put the second shard back."""
        assert current_thread() is main_thread()
        self.told.append(text)
        if self.pipe is not None and text.startswith(f"train {self.step}: shard 0 "):
            self.killed += kill(2)
            unblocked(self.pipe)
            self.pipe = None


def blocked(work: WorkFolder, number: int) -> Path:
    """Make the file of a shard a pipe, at which a reader waits; the file is kept."""
    pipe = work.path / f"shard_{number}.npz"
    pipe.rename(pipe.with_suffix(".kept"))
    os.mkfifo(pipe)
    return pipe


def unblocked(pipe: Path) -> None:
    pipe.with_suffix(".kept").replace(pipe)


def kill(number: int) -> int:
    """Kill the processes that work on a shard; returns how many."""
    found = 0
    for child in psutil.Process().children():
        try:
            words = child.cmdline()
        except psutil.Error:  # it has ended meanwhile
            continue
        if "--shards" in words and number in numbers(words[words.index("--shards") + 1]):
            child.send_signal(signal.SIGKILL)
            found += 1
    return found


class Deadly:
    """Local processes, of which every one that reads a certain series is really killed."""

    workers = 2

    def __init__(self, series: str) -> None:
        self.compute, self.series, self.killed = LocalCompute(self.workers), series, 0

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        tasks = [read_task(arguments) for arguments in argument_lists]
        asked = [number for task in tasks for number in task.shards]
        work = tasks[0].work
        pipes = {n: blocked(work, n) for n in asked if self.series in work.read_shard(n).series_id}
        over = Event()
        hunter = Thread(target=self.hunt, args=(pipes, over))
        hunter.start()
        try:
            return self.compute.run(job, argument_lists)
        finally:
            over.set()
            hunter.join()
            for pipe in pipes.values():
                unblocked(pipe)

    def hunt(self, pipes: dict[int, Path], over: Event) -> None:
        """Kill whoever waits at a pipe, until the jobs are over."""
        while not over.wait(0.02):
            for number, pipe in pipes.items():
                try:
                    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads
                    continue
                self.killed += kill(number)
                os.close(writer)


def test_a_series_that_kills_its_process_costs_itself_alone(tmp_path: Path) -> None:
    deadly = Deadly("orchard-05")
    report, tables = trained(tmp_path / "one", deadly)
    _, expected = trained(tmp_path / "two", InProcess(), without={"orchard-05"})
    assert report.failed == {"orchard-05": "pools: was ended by SIGKILL (out of memory, most often)"}
    assert report.states == {"fitted": 11, "quarantined": 1}
    assert deadly.killed >= 4
    assert all(tables[name].equals(expected[name]) for name in ("fold_metrics", "judged_fold", "fleet_pools"))


def test_an_older_table_of_fleets_gets_the_newer_columns(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    older = pa.schema(list(CANDIDATE_FLEET.schema)[: CANDIDATE_FLEET.schema.get_field_index("detail")])
    row = pa.table({name: pa.array([None], older.field(name).type) for name in older.names}, older)
    lake.append(TableSpec(CANDIDATE_FLEET.name, older), row)
    train_fleet(lake, catalogue(), CONFIG, AS_OF, InProcess())
    rows = lake.read(CANDIDATE_FLEET.name)
    assert rows.schema.equals(CANDIDATE_FLEET.schema)
    assert rows.num_rows == 13


def test_a_job_that_always_fails_ends_the_training(tmp_path: Path) -> None:
    compute = Poisoned(InProcess(), [f"orchard-{number:02d}" for number in range(12)])
    with pytest.raises(JobError, match=r"job train --step pools .*--shards 0,1,2,3 failed for every shard.*IndexError"):
        train_fleet(filled(tmp_path), catalogue(), CONFIG, AS_OF, compute)
    assert len(compute.asked) < 20


def test_a_process_that_cannot_begin_ends_the_training(tmp_path: Path) -> None:
    class Emptied(LocalCompute):
        def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
            (read_task(argument_lists[0]).work.path / "setup.json").write_text("[]")
            return super().run(job, argument_lists)

    with pytest.raises(JobError, match=r"job train --step pools .*IndexError in train\.py"):
        train_fleet(filled(tmp_path), catalogue(["orchard-00", "orchard-01"]), CONFIG, AS_OF, Emptied(2))
    assert not (tmp_path / "gold" / "candidate_fleet").exists()


def test_what_is_said_of_a_failure_holds_no_values(tmp_path: Path) -> None:
    lake, work = filled(tmp_path / "lake"), WorkFolder(tmp_path / "work")
    work.path.mkdir()

    class Copied(InProcess):
        def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
            task = read_task(argument_lists[0])
            for name in ("setup.json", "shard_0.npz"):
                (work.path / name).write_bytes((task.work.path / name).read_bytes())
            return super().run(job, argument_lists)

    train_fleet(lake, catalogue(), CONFIG, AS_OF, Copied())
    poison(work, {"orchard-04"})
    failed = run_step("pools", work, [0])["failed"]
    assert isinstance(failed, dict)
    assert "IndexError in arrays.py, line " in failed["0"]
    assert "1000000" not in failed["0"]
    assert set(gold(lake)["candidate_fleet"]["state"].to_pylist()) == {"fitted"}
