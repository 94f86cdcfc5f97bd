"""Shard jobs on Spark: shards travel as data, so that executors share no file system with the driver.

Belongs here: packing shards into rows, running them in executors, unpacking results. Does not belong here: sessions (ml_platform.spark), the work itself (jobs).
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.compute.blas import one_thread
from ml_platform.compute.protocol import JobError, Progress, Report
from ml_platform.compute.threads import side_by_side
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.parcel import pack, unpack
from ml_platform.jobs.train import Task, TaskError, read_task, run_step
from ml_platform.spark import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SENT = pa.schema([("step", pa.string()), ("shard", pa.int32()), ("parcel", pa.binary())])
RETURNED = pa.schema([("shard", pa.int32()), ("report", pa.string()), ("piece", pa.int32()), ("content", pa.binary())])
RETURNED_DDL = "shard int, report string, piece int, content binary"
QUERY_BYTES = (
    32 << 20
)  # of the files of a query, before packing; results are about as large, and a driver's JVM has 1 GB
PARCEL_BYTES = 96 << 20  # Spark Connect takes messages of 128 MiB
PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class SparkCompute:
    """Shard jobs as tasks of a Spark engine (sail | jvm | sc://host:port), at most `workers` queries at a time, each with one BLAS thread.

    Executors need this package at the driver's version. Raises EngineError where the engine cannot start.
    """

    engine: str = "sail"
    workers: int = 1
    progress: Progress = lambda text: None

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        """See Compute.run; the arguments are those of the job `train`, the only one that knows its files."""
        if job != "train":
            raise ValueError(f"there is no way to run the job {job} on Spark: run it with LocalCompute")
        spark = session(self.engine)

        def run_job(arguments: Sequence[str], progress: Progress) -> Report | JobError:
            try:
                return _run_task(spark, read_task(arguments), progress)
            except Exception as error:  # noqa: BLE001  what engines raise has no common type
                failure = JobError(job, arguments, _reason(error))
                progress(f"{job} {failure.reason}")
                return failure

        with one_thread():  # sail's executors are threads of this process
            return side_by_side(run_job, argument_lists, self.workers, self.progress)


def _reason(error: Exception) -> str:
    """Why a query ended, in a few words: an engine's own message holds traces, and traces hold values."""
    return str(error) if isinstance(error, TaskError) else f"ended with {type(error).__name__} of Spark"


def _run_task(spark: "SparkSession", task: Task, progress: Progress) -> Report:
    """One query per batch of shards; the report is as that of the job, for all of them."""
    done, failed, series, seconds = 0, dict[str, str](), 0, 0.0
    for batch in _batches(task):
        for number, report in _query(spark, task, batch):
            done += 1
            why = report["failed"].get(str(number))
            failed |= report["failed"]
            series, seconds = series + report["series"], seconds + report["seconds"]
            said = f"failed: {why}" if why else f"{report['series']} series"
            progress(
                f"train {task.step}: shard {number} ({done} of {len(task.shards)}), {said}, {report['seconds']:.1f} s"
            )
    return {"step": task.step, "shards": list(task.shards), "series": series, "seconds": seconds, "failed": failed}


def _batches(task: Task) -> Iterator[list[int]]:
    """Shards that share a query: few enough that driver and messages hold them."""
    batch, held = list[int](), 0
    for number in task.shards:
        names = task.work.needs(task.step, number)
        size = sum((task.work.path / name).stat().st_size for name in names)
        if batch and held + size > QUERY_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(number)
        held += size
    yield batch


def _query(spark: "SparkSession", task: Task, shards: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run a step over shards in executors and write what they made into the work folder; yields report by shard."""
    rows = [{"step": task.step, "shard": number, "parcel": _parcel(task, number)} for number in shards]
    sent = spark.createDataFrame(pa.Table.from_pylist(rows, SENT))
    returned = sent.repartition(len(shards), "shard").mapInArrow(run_parcels, RETURNED_DDL).toArrow()
    for number in shards:
        own = returned.filter(pc.equal(returned["shard"], number)).sort_by("piece")
        parcel = b"".join(own["content"].to_pylist())
        if own.num_rows:
            unpack(parcel, task.work.path)
            yield number, json.loads(own["report"][0].as_py())


def _parcel(task: Task, number: int) -> bytes:
    parcel = pack(task.work.path, task.work.needs(task.step, number))
    if len(parcel) > PARCEL_BYTES:
        raise TaskError(
            f"cannot send shard {number}: {len(parcel) >> 20} MiB packed, and a message of Spark takes {PARCEL_BYTES >> 20}: "
            "set ML_PLATFORM_SHARDS higher"
        )
    return parcel


def run_parcels(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In an executor: rows of SENT to rows of RETURNED, the files that a shard's job made in pieces of a few MiB."""
    with one_thread():
        for batch in batches:
            for row in batch.to_pylist():
                yield from _returned(row["step"], row["shard"], row["parcel"])


def _returned(step: str, number: int, parcel: bytes) -> Iterator[pa.RecordBatch]:
    with tempfile.TemporaryDirectory(prefix="ml-platform-shard-") as folder:
        work = WorkFolder(Path(folder))
        unpack(parcel, work.path)
        report = run_step(step, work, [number])
        made = pack(work.path, work.made(step, number))
    for piece, start in enumerate(range(0, len(made), PIECE_BYTES)):
        row = {
            "shard": number,
            "report": json.dumps(report),
            "piece": piece,
            "content": made[start : start + PIECE_BYTES],
        }
        yield pa.RecordBatch.from_pylist([row], RETURNED)
