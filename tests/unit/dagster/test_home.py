"""Dagster's home, ghost runs, and ending what was started."""

import os
import signal
import socket
import subprocess
import sys
import time

import dagster as dg
import psutil
import pytest

from sensors import home as dagster_home
from sensors import serve
from sensors.home import OWNER_TAG, end_ghost_runs, owner, prepare

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


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_end_is_stronger_than_a_stubborn_child(monkeypatch):
    monkeypatch.setattr(serve, "GRACE_SECONDS", 3.0)
    stubborn = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    polite = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    grandchild = psutil.Process(int(stubborn.stdout.readline()))
    start = time.monotonic()
    serve.end([stubborn, polite])
    assert time.monotonic() - start < 30
    assert stubborn.returncode == -signal.SIGKILL
    assert polite.returncode == -signal.SIGTERM
    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    serve.end([stubborn, polite])  # twice does no harm
    stubborn.stdout.close()


def test_serve_ends_the_other_when_one_of_them_ends(monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    made = []

    class Fake(subprocess.Popen):
        def __init__(self, command, **named):
            seconds = 0.2 if not made else 600
            super().__init__([sys.executable, "-c", f"import time; time.sleep({seconds})"], **named)
            made.append((command, self))

    monkeypatch.setattr(serve.subprocess, "Popen", Fake)
    monkeypatch.setattr(serve, "GRACE_SECONDS", 2)
    try:
        assert serve.serve(1234, tmp_path) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    web, daemon = made
    assert "--port" in web[0]
    assert "1234" in web[0]
    assert "127.0.0.1" in web[0]
    assert "dagster._daemon" in daemon[0]
    assert daemon[1].returncode == -signal.SIGTERM


def test_a_signal_ends_serve_well(monkeypatch, tmp_path, settings, environment, capsys):
    def interrupted(port, folder):
        assert folder == settings.dagster_home
        return 0

    monkeypatch.setattr(serve, "serve", interrupted)
    assert serve.main(["--port", "4321"]) == 0
    assert "http://127.0.0.1:4321" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        serve._interrupt(signal.SIGTERM, None)


@pytest.mark.parametrize("port", [0, -1, 99999])
def test_a_number_that_is_no_port_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        serve.main(["--port", str(port)])
    assert f"port {port} is no port" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused_before_anything_starts(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            serve.main(["--port", str(port)])
    assert f"port {port} cannot be used" in capsys.readouterr().err
