"""The whole platform in a folder of its own: a real Dagster instance on disk, jobs that run in this process.

Belongs here: opening a home, running jobs over days, and looking at what they left. Does not belong here: data of one test.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

import definitions
from ml_platform.lake import Lake
from ml_platform.launch import Plan
from ml_platform.settings import Settings
from sensors import launch
from sensors.home import prepare

# when and by which run something was done is new every time; everything else is content
OF_THE_RUN = {
    *(
        "run_id",
        "first_seen_at",
        "settled_at",
        "ingested_at",
        "touched_at",
        "quarantined_at",
        "published_at",
        "decided_at",
        "evidence",
    ),
    *("drop_id", "etag", "quarantine_id"),  # hold the time at which the file was written
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@dataclass(frozen=True)
class Platform:
    """A home with its instance."""

    settings: Settings
    instance: dg.DagsterInstance
    defs: dg.Definitions

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    def run(self, job: str, first: date, last: date | None = None) -> dg.DagsterRun:
        """One run of a job over days in this process, as `ml-platform demo` and a shell start it; its record afterwards."""
        launch.run(self.instance, Plan(job, first, last or first))
        (newest,) = self.instance.get_runs(limit=1)
        return newest

    def succeed(self, job: str, first: date, last: date | None = None) -> dg.DagsterRun:
        """As `run`, and it must succeed."""
        run = self.run(job, first, last)
        assert run.is_success, self.why(run)
        return run

    def why(self, run: dg.DagsterRun) -> str:
        """The first lines of what made steps of a run fail."""
        failed = [event for event in self.events(run) if event.event_type == dg.DagsterEventType.STEP_FAILURE]
        errors = [(event.step_key, event.step_failure_data.error) for event in failed]
        return "; ".join(
            f"{step}: {((error and error.cause) or error or failed[0]).message[:2000]}" for step, error in errors
        )

    def events(self, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
        entries = self.instance.all_logs(run.run_id)
        return [entry.dagster_event for entry in entries if entry.dagster_event is not None]

    def materialized(self, run: dg.DagsterRun) -> dict[str, dict[str, Any]]:
        """Metadata by asset of what a run materialized, with what it observed there (pictures of a run over many days)."""
        found: dict[str, dict[str, Any]] = {}
        for event in self.events(run):
            if event.is_step_materialization and event.asset_key:
                found.setdefault(event.asset_key.to_user_string(), {}).update(event.materialization.metadata)
        for event in self.events(run):
            if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION and event.asset_key:
                found.setdefault(event.asset_key.to_user_string(), {}).update(
                    event.asset_observation_data.asset_observation.metadata
                )
        return found

    def checks(self, run: dg.DagsterRun) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        found = [event.asset_check_evaluation_data for event in self.events(run) if event.event_type == kind]
        return {(one.asset_key.to_user_string(), one.check_name): one for one in found}

    def messages(self, run: dg.DagsterRun, step: str) -> list[str]:
        return [entry.user_message for entry in self.instance.all_logs(run.run_id) if entry.step_key == step]

    def tables(self) -> list[str]:
        root = Path(self.settings.lake)
        return sorted(log.parent.relative_to(root).as_posix() for log in root.glob("*/*/_delta_log"))

    def versions(self) -> dict[str, int | None]:
        return {name: self.lake.version(name) for name in self.tables()}

    def content(self, *names: str) -> dict[str, tuple[int, int]]:
        """Rows and a hash of them by table: rows in any order, floats to 9 digits, without what belongs to a run."""
        return {name: content_of(self.lake.read(name)) for name in names or self.tables()}

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()


def content_of(rows: pa.Table) -> tuple[int, int]:
    kept = [field for field in rows.schema if field.name not in OF_THE_RUN]
    columns = [f'round("{f.name}", 9)' if pa.types.is_floating(f.type) else f'"{f.name}"' for f in kept]
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = connection.execute(
            f"select count(*), coalesce(sum(hash({', '.join(columns)})), 0) from rows"
        ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


@contextmanager
def opened(settings: Settings) -> Iterator[Platform]:
    """A platform in the settings' home; the environment and the code location are put back afterwards."""
    before, location = dict(os.environ), launch.code_location
    prepare(settings)
    defs = definitions.build_defs(settings)
    launch.code_location = lambda: defs
    for kept in (ReconstructableJob.get_definition, ReconstructableJob.get_repository_definition):
        kept.cache_clear()  # Dagster keeps the last job by its name
    try:
        with dg.DagsterInstance.get() as instance:
            yield Platform(settings, instance, defs)
    finally:
        launch.code_location = location
        for name in [name for name in os.environ if name.startswith(("DAGSTER_", "ML_PLATFORM_", "DBT_"))]:
            del os.environ[name]  # not all of it: pyspark keeps its mode there
        os.environ.update({name: value for name, value in before.items() if name not in os.environ})


@pytest.fixture(scope="session")
def open_platform() -> Callable[[Settings], Any]:
    return opened
