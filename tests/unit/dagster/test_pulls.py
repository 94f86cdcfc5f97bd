"""The job and the sensor of pulls: what a run lands, shows and fails with, and when it is asked for."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine, text

import definitions
from ml_platform.configuration import load_configuration
from ml_platform.settings import PACKAGED_CONFIGS, Settings
from sensors import build_triggers

SECRET = "geheim"
SOURCE = """
name: {name}
kind: events
description: Loads.
owner: team:grid
path: {name}_{{day}}_*.parquet
format: {{type: parquet}}
columns:
  load_id: {{type: int64}}
  load: {{type: int64}}
  at: {{type: timestamp}}
key: [load_id]
time: {{column: at}}
pull: {{database: {database}, table: {table}, watermark: at, every: {every}}}
panel: {{target: {target}}}
"""


@pytest.fixture
def settings(tmp_path: Path, postgres_server: Any) -> Settings:
    """A home with a source that can be pulled and one whose table is missing."""
    folder = tmp_path / "configs" / "sources"
    folder.mkdir(parents=True)
    for name, table, every in (("loads", "loads_of_jobs", 15), ("lost", "nowhere", 60)):
        given = {
            "name": name,
            "table": table,
            "every": every,
            "database": "grid",
            "target": str(name == "loads").lower(),
        }
        (folder / f"{name}.yaml").write_text(SOURCE.format(**given))
    retail = PACKAGED_CONFIGS / "retail"
    forecast = "series: [load_id]\ntime: date\ntarget: load\nfrequency: D\nhorizon: 7\n"
    (tmp_path / "configs" / "forecast.yaml").write_text(forecast)
    (tmp_path / "configs" / "gate.yaml").write_text((retail / "gate.yaml").read_text())
    engine = create_engine(postgres_server.url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("drop table if exists loads_of_jobs"))
        connection.execute(text("create table loads_of_jobs (load_id bigint, load bigint, at timestamptz)"))
        connection.execute(
            text("insert into loads_of_jobs values (1, 5, '2024-03-01T12:00Z'), (2, 6, '2024-03-02T12:00Z')")
        )
    databases = {"grid": SecretStr(postgres_server.url)}
    return Settings(home=tmp_path / "home", configs=tmp_path / "configs", databases=databases)


def ran(settings: Settings, *sources: str) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
    job = definitions.build_defs(settings).resolve_job_def("pull")
    instance = dg.DagsterInstance.ephemeral()
    config = {"ops": {"land": {"config": {"sources": list(sources)}}}}
    return job.execute_in_process(run_config=config, instance=instance, raise_on_error=False), instance


def test_a_run_lands_what_is_new_and_shows_rows_and_files(settings: Settings) -> None:
    result, _ = ran(settings, "loads")
    assert result.success
    (event,) = [one for one in result.all_events if one.is_successful_output]
    shown = {name: value.value for name, value in event.step_output_data.metadata.items()}
    assert (shown["rows"], shown["files"], shown["failed"]) == (2, 2, "none")
    assert shown["loads_landed_up_to"] == "2024-03-02 12:00:00.000000 UTC"
    files = {path.name for path in (settings.landing / "loads").iterdir()}
    assert {record.data["file"] for record in event.step_output_data.metadata["landed"].records} == {
        f"loads/{name}" for name in files
    }
    again, _ = ran(settings, "loads")
    (event,) = [one for one in again.all_events if one.is_successful_output]
    assert event.step_output_data.metadata["files"].value == 0


def test_a_source_that_fails_stops_no_other_and_no_password_is_in_the_events(settings: Settings) -> None:
    result, instance = ran(settings)
    assert not result.success
    assert len(list((settings.landing / "loads").iterdir())) == 2
    (failure,) = [one for one in result.all_events if one.is_step_failure]
    assert "source 'lost', database 'grid'" in failure.step_failure_data.error.message
    events = " ".join(f"{one.user_message} {one!r}" for one in instance.all_logs(result.run_id))
    snapshot = json.dumps(instance.get_run_by_id(result.run_id).run_config)
    for secret in ("p@ss/geheim", "p%40ss", SECRET):
        assert secret not in events + snapshot


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`")  # asked for by Dagster itself
def test_the_definitions_hold_no_url(settings: Settings) -> None:
    """The UI shows config of resources and jobs."""
    repository = definitions.build_defs(settings).get_repository_def()
    shown = serialize_value(RepositorySnap.from_def(repository))
    assert '"pulls"' in shown
    assert SECRET not in shown


def test_every_source_is_asked_for_after_its_own_minutes(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        (sensor,) = [
            one
            for one in build_triggers(settings, *load_configuration(settings.configs)).sensors
            if one.name == "pulls"
        ]

        def tick(cursor: str | None) -> Any:
            return sensor(dg.build_sensor_context(instance=instance, cursor=cursor))

        first = tick(None)
        (request,) = first.run_requests
        assert request.run_config == {"ops": {"land": {"config": {"sources": ["loads", "lost"]}}}}
        assert "within the minutes" in tick(first.cursor).skip_message
        past = datetime.now(UTC) - timedelta(minutes=16)
        (request,) = tick(json.dumps({"loads": past.isoformat(), "lost": past.isoformat()})).run_requests
        assert request.run_config["ops"]["land"]["config"]["sources"] == ["loads"]


def test_one_run_at_a_time(settings: Settings) -> None:
    with dg.instance_for_test() as instance:
        job = definitions.build_defs(settings).resolve_job_def("pull")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        (sensor,) = [
            one
            for one in build_triggers(settings, *load_configuration(settings.configs)).sensors
            if one.name == "pulls"
        ]
        assert "still at work" in sensor(dg.build_sensor_context(instance=instance)).skip_message


def test_a_home_without_pulls_has_neither_job_nor_sensor(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "other")
    triggers = build_triggers(settings, *load_configuration(settings.configs))
    assert {one.name for one in triggers.sensors} == {
        "approved_releases",
        "data_drops",
        "silent_feeds",
        "retraining_needs",
        "run_failures",
    }
    assert "pull" not in {one.name for one in triggers.jobs}
