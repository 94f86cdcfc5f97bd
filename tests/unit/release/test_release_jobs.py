"""Releases in the UI: the job that decides, the sensor that carries on, and what a request shows."""

from pathlib import Path

import dagster as dg
import pytest
from installation import Installation, actions, champion
from ten_items import CONFIG

from ml_platform.approvals import answer, ask, requests
from ml_platform.environments import Environment, carry
from ml_platform.settings import Settings
from resources.configuration import ConfigurationResource
from resources.environments import EnvironmentsResource
from sensors.release_jobs import release_job
from sensors.requests import REQUEST_TAG, approved_releases


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, blank_mlflow: Path) -> tuple[Settings, str]:
    """One release that dev and qa use; settings of an installation that is prod."""
    made = Installation(tmp_path_factory.mktemp("installation"))
    made.settle(blank_mlflow)
    release_id = made.release(0)
    homes = {name: made.folder / name for name in ("dev", "qa", "prod")}
    settings = Settings(home=made.folder, homes=homes, environment="prod")
    carry(opened(settings, "dev"), opened(settings, "qa"), release_id, "ada", "weekly")
    return settings, release_id


def opened(settings: Settings, name: str) -> Environment:
    return Environment.open(settings, name, CONFIG.name)


def decide(settings: Settings, action: str, release_id: str, by: str = "grace") -> dg.ExecuteInProcessResult:
    """Run the job as the launchpad does."""
    resources = {
        "configuration": ConfigurationResource(folder=str(settings.configs)),
        "environments": EnvironmentsResource(
            home=str(settings.base),
            homes={name: str(one) for name, one in settings.homes.items()},
            configs=str(settings.configs),
            environment=settings.environment,
        ),
    }
    config = {"action": action, "release": release_id, "by": by, "reason": "looked at it"}
    job = release_job()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config={"ops": {"decide_release": {"config": config}}},
            resources=resources,
            instance=instance,
            raise_on_error=False,
        )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (output,) = (one for one in result.all_node_events if one.event_type_value == "STEP_OUTPUT")
    return {name: one.value for name, one in output.step_output_data.metadata.items()}


def tick(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    found = approved_releases(settings, CONFIG.name)(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult)
    return found


def test_a_request_is_shown_approved_and_carried_on(place: tuple[Settings, str]) -> None:
    settings, release_id = place
    prod = opened(settings, "prod")
    with dg.DagsterInstance.ephemeral() as instance:
        assert not tick(settings, instance).run_requests
        found = shown(decide(settings, "promote", release_id, by="ada"))
        assert (found["state"], found["asked_by"], found["approved_by"]) == ("pending", "ada", "nobody yet")
        assert "| coverage | passed |" in str(found["evidence"])
        waiting = tick(settings, instance)
        assert not waiting.run_requests
        (event,) = waiting.asset_events
        assert event.metadata["release_id"].value == release_id
        assert not tick(settings, instance, waiting.cursor).asset_events, "what was shown is not shown again"

        refused = decide(settings, "approve", release_id, by="ada")
        assert not refused.success
        assert "somebody else has to approve it" in str(refused.failure_data_for_node("decide_release").error)
        nameless = decide(settings, "approve", "")
        assert "'' is no release of qa" in str(nameless.failure_data_for_node("decide_release").error)
        assert shown(decide(settings, "approve", release_id[:12]))["state"] == "approved"
        (asked,) = tick(settings, instance, waiting.cursor).run_requests
        assert asked.tags[REQUEST_TAG] == requests(prod)[0].request_id
        assert champion(prod) is None

        config = asked.run_config["ops"]["decide_release"]["config"]
        done = shown(decide(settings, config["action"], config["release"], by=config["by"]))
        assert (done["release_id"], done["received"]) == (release_id, True)
        assert champion(prod) == release_id
        assert not tick(settings, instance, waiting.cursor).run_requests
    assert [one[0] for one in actions(prod)] == ["request", "approve", "promote"]

    found = shown(decide(settings, "withdraw", release_id))
    assert (found["champion_before"], found["champion"]) == (release_id, "none")
    found = shown(decide(settings, "override", release_id))
    assert found["champion"] == release_id
    assert prod.audit.verify() == []


def test_in_dev_nobody_asks(place: tuple[Settings, str]) -> None:
    settings = place[0].of("dev")
    sensor = approved_releases(settings, CONFIG.name)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    skipped = sensor(dg.build_sensor_context())
    assert "trained here" in str(skipped.skip_message)


def test_a_release_is_asked_for_three_times_at_most(place: tuple[Settings, str]) -> None:
    settings, release_id = place
    qa = opened(settings, "qa")
    strict = Environment(qa.name, qa.lake, qa.registry, qa.rule.model_copy(update={"approvals": 1}))
    ask(opened(settings, "dev"), strict, release_id, "ada", "again")
    answer(strict, release_id, "grace", "fine", approve=True)
    own = settings.of("qa")
    with dg.DagsterInstance.ephemeral() as instance:
        (asked,) = tick(own, instance).run_requests
        for _ in range(3):
            instance.create_run_for_job(
                release_job(), run_config=asked.run_config, tags=asked.tags, status=dg.DagsterRunStatus.FAILURE
            )
        assert not tick(own, instance).run_requests
