"""Dagster's home: what is put there, who serves it, and ghost runs."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from sensors import home as dagster_home
from sensors.home import OWNER_TAG, HomeError, claimed, end_ghost_runs, left_over, owner, prepare, settings_or_exit

GONE = "The process of this run is gone"


def started(instance, status=dg.DagsterRunStatus.STARTED, **tags):
    run = dg.DagsterRun("score", status=status, tags=tags)
    instance.add_run(run)
    return run.run_id


@pytest.fixture
def dead():
    """A name of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{process.pid}@{int(psutil.Process(process.pid).create_time())}"
    process.communicate(b"\n")
    return name


def test_prepare_puts_the_instance_file_where_dagster_reads_it(settings, environment):
    folder = prepare(settings)
    assert folder == settings.dagster_home
    assert (folder / "dagster.yaml").read_text() == (dagster_home.PROJECT / "dagster.yaml").read_text()
    assert os.environ["DAGSTER_HOME"] == str(folder)
    assert os.environ["ML_PLATFORM_HOME"] == str(settings.root)
    assert Path(os.environ["ML_PLATFORM_CONFIGS"]) == settings.configs
    with dg.DagsterInstance.get() as instance:
        assert instance.root_directory == str(folder)
        assert not instance.telemetry_enabled
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 1
    (folder / "dagster.yaml").write_text("old")
    prepare(settings)
    assert "telemetry" in (folder / "dagster.yaml").read_text()


@pytest.mark.parametrize("status", ["STARTED", "STARTING", "NOT_STARTED", "CANCELING"])
def test_a_run_of_a_dead_process_is_failed(home, dead, status):
    ghost = started(home.instance, dg.DagsterRunStatus[status], **{OWNER_TAG: f"{dead}#1"})
    assert end_ghost_runs(home.instance) == [ghost]
    assert home.instance.get_run_by_id(ghost).status == dg.DagsterRunStatus.FAILURE
    assert any(GONE in entry.user_message or GONE in str(entry.message) for entry in home.instance.all_logs(ghost))
    assert end_ghost_runs(home.instance) == []


def test_a_run_of_a_living_process_goes_on(home):
    run = started(home.instance, **{OWNER_TAG: f"{owner()}#1"})
    assert end_ghost_runs(home.instance) == []
    assert home.instance.get_run_by_id(run).status == dg.DagsterRunStatus.STARTED


def test_a_later_process_with_the_same_number_is_another_one(home):
    me = psutil.Process()
    ghost = started(home.instance, **{OWNER_TAG: f"{me.pid}@{int(me.create_time()) - 100}"})
    assert end_ghost_runs(home.instance) == [ghost]


@pytest.mark.parametrize("same", [True, False])
def test_a_run_of_the_daemon_lives_while_somebody_serves_its_home(home, same):
    """The daemon's runs are spawned by the code server; neither names the run among its arguments."""
    run = started(home.instance)
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    environment = {**os.environ, "DAGSTER_HOME": home.instance.root_directory if same else "/elsewhere"}
    worker = subprocess.Popen(
        [sys.executable, "-c", code, "dagster"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        assert worker.stdout.readline() == b"up\n"
        assert end_ghost_runs(home.instance) == ([] if same else [run])
    finally:
        worker.communicate()
    assert end_ghost_runs(home.instance) == ([run] if same else [])


def test_ended_runs_are_left_alone(home):
    for status in ("SUCCESS", "FAILURE", "CANCELED"):
        started(home.instance, dg.DagsterRunStatus[status])
    assert end_ghost_runs(home.instance) == []


def test_a_relative_folder_of_configurations_is_found_from_everywhere(settings, environment, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    prepare(settings.model_copy(update={"configs": Path("mine")}))
    assert os.environ["ML_PLATFORM_CONFIGS"] == str(tmp_path / "mine")


def test_wrong_settings_end_a_program_with_a_line_each(monkeypatch, capsys):
    monkeypatch.setenv("ML_PLATFORM_SHARDS", "0")
    monkeypatch.setenv("ML_PLATFORM_FIRST_DAY", "soon")
    with pytest.raises(SystemExit) as stopped:
        settings_or_exit()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert [line.split(" ")[0] for line in lines] == ["ML_PLATFORM_FIRST_DAY=soon", "ML_PLATFORM_SHARDS=0"]


def test_a_home_is_claimed_once_at_a_time(settings):
    holder = rf"home {settings.root} has a UI already \(http://127.0.0.1:1234, process {os.getpid()}\)"
    with claimed(settings, "http://127.0.0.1:1234"):
        for _ in range(2):  # the one that is refused must not wipe out who holds it
            with pytest.raises(HomeError, match=holder), claimed(settings, "http://127.0.0.1:4321"):
                pass
    with claimed(settings, "http://127.0.0.1:4321"):
        pass


HOLDER = """
import subprocess, sys, time
from ml_platform.settings import Settings
from sensors.home import claimed
with claimed(Settings(), "here"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "dagster._daemon"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


def test_a_claim_dies_with_its_process_and_not_with_the_orphans_of_that(settings):
    environment = {**os.environ, "DAGSTER_HOME": str(settings.dagster_home)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=environment, cwd=dagster_home.PROJECT
    )
    orphan = psutil.Process(int(holder.stdout.readline()))
    try:
        with pytest.raises(HomeError), claimed(settings, "me"):
            pass
        holder.kill()
        holder.wait()
        with claimed(settings, "me"):
            assert orphan.is_running()
            assert left_over(settings.dagster_home) == [orphan.pid]
    finally:
        orphan.kill()
        holder.kill()
        holder.communicate()
