"""Training on every backend: processes and sail make the same four tables, bit for bit, and survive the same faults.

Belongs here: parity of backends. Does not belong here: what training makes (unit tests), the JVM (test_jvm).
"""

from pathlib import Path

import pyarrow as pa
import pytest
from orchard import ORDER, InProcess, Poisoned, trained
from threadpoolctl import threadpool_info

from ml_platform.compute import JobError, LocalCompute, SparkCompute
from ml_platform.compute import spark as spark_compute
from ml_platform.spark import EngineError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return trained(tmp_path_factory.mktemp("one"), LocalCompute(1))[1]


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """Tables of a fleet one of whose series fails."""
    return trained(tmp_path_factory.mktemp("without"), Poisoned(InProcess(), ["orchard-05"], "fit"))[1]


def assert_same(tables: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    assert {name: tables[name].equals(expected[name]) for name in ORDER} == dict.fromkeys(ORDER, True)
    assert all(tables[name].num_rows for name in ORDER)


def test_two_processes_make_what_one_makes(tmp_path: Path, expected: dict[str, pa.Table]) -> None:
    assert_same(trained(tmp_path, LocalCompute(2))[1], expected)


@pytest.mark.parametrize("query_bytes", [spark_compute.QUERY_BYTES, 1])
def test_sail_makes_what_a_process_makes(
    tmp_path: Path, expected: dict[str, pa.Table], query_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All shards of a job in one query, then each in its own, and results in many pieces."""
    monkeypatch.setattr(spark_compute, "QUERY_BYTES", query_bytes)
    monkeypatch.setattr(spark_compute, "PIECE_BYTES", 1_000)
    told: list[str] = []
    threads = [library["num_threads"] for library in threadpool_info()]
    report, tables = trained(tmp_path, SparkCompute("sail", 2, told.append))
    assert_same(tables, expected)
    assert report.states == {"fitted": 12}
    said = sorted(line.rsplit(", ", 1)[0] for line in told)
    assert said == sorted(
        f"train {step}: shard {number} ({number // 2 + 1} of 2), 3 series"
        for step in ("pools", "fit")
        for number in range(4)
    )
    assert [library["num_threads"] for library in threadpool_info()] == threads


def test_boosted_trees_on_sail_learn_what_they_learn_in_a_process(tmp_path: Path) -> None:
    """Their lessons come back from executors, and their models go out."""
    families = ("seasonal_naive", "lightgbm")
    report, tables = trained(tmp_path / "sail", SparkCompute("sail", 2), families=families)
    assert report.families["lightgbm"] > 0
    assert_same(tables, trained(tmp_path / "one", LocalCompute(1), families=families)[1])


def test_a_series_that_fails_on_sail_costs_itself_alone(tmp_path: Path, without: dict[str, pa.Table]) -> None:
    report, tables = trained(tmp_path, Poisoned(SparkCompute("sail", 2), ["orchard-05"], "fit"))
    assert_same(tables, without)
    assert report.failed["orchard-05"].startswith("fit: IndexError in ")


def test_a_shard_too_large_for_a_message_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_compute, "PARCEL_BYTES", 100)
    with pytest.raises(JobError, match=r"cannot send shard .* set ML_PLATFORM_SHARDS higher"):
        trained(tmp_path, SparkCompute("sail"))


def test_an_engine_that_cannot_start_is_no_failing_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(EngineError, match="engine jvm needs Java"):
        trained(tmp_path / "home", SparkCompute("jvm"))


def test_only_the_job_that_knows_its_files_runs_on_spark() -> None:
    with pytest.raises(ValueError, match="no way to run the job forecast on Spark: run it with LocalCompute"):
        SparkCompute().run("forecast", [[]])
