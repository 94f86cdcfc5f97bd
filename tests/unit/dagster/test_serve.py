"""The UI: what is refused before it starts, what the terminal hears, and that nothing stays behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest

from sensors import launch, serve
from sensors.home import PROJECT, claimed


@pytest.fixture(autouse=True)
def _signals_are_put_back():
    before = {number: signal.getsignal(number) for number in serve.ENDING}
    # a shell's background job ignores SIGINT; Dagster does with SIGTERM as with SIGINT, and children would inherit it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


class Fake(subprocess.Popen):
    """Stands in for webserver (the first one made) and daemon; `first` is what the webserver runs."""

    made: list = []  # noqa: RUF012  set anew by `fakes`
    first = "import time; time.sleep(600)"

    def __init__(self, command, **named):
        code = Fake.first if not Fake.made else "import time; time.sleep(600)"
        super().__init__([sys.executable, "-c", code], **named)
        Fake.made.append((command, self))


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(Fake, "made", [])
    monkeypatch.setattr(serve.subprocess, "Popen", Fake)
    monkeypatch.setattr(serve, "GRACE_SECONDS", 2)
    return Fake


DYING = """
import sys
print("all is well")
print("\x1b[32mnow\x1b[0m - dagster.daemon - \x1b[34mERROR\x1b[0m - a run failed")
sys.exit("no disk")
"""


def test_serve_ends_the_other_when_one_of_them_ends_and_shows_why(monkeypatch, fakes, tmp_path, capfd):
    monkeypatch.setattr(Fake, "first", DYING)
    log = serve.log_path(tmp_path)
    log.write_text("before\n")
    assert serve.serve(1234, tmp_path) == 1
    web, daemon = fakes.made
    assert "--port 1234" in " ".join(web[0])
    assert "--host 127.0.0.1" in " ".join(web[0])
    assert "dagster._daemon" in daemon[0]
    assert daemon[1].returncode == -signal.SIGTERM
    heard = capfd.readouterr().err.splitlines()
    assert heard[:2] == [
        "now - dagster.daemon - ERROR - a run failed",
        "the webserver ended with exit code 1; the last lines of its log:",
    ]
    assert sorted(heard[2:]) == ["    all is well", "    no disk", "    now - dagster.daemon - ERROR - a run failed"]
    assert log.read_text().startswith("before\n"), "a log is appended to"


@pytest.mark.parametrize("number", serve.ENDING)
def test_a_signal_ends_serve_well(monkeypatch, fakes, tmp_path, capfd, number):
    """Even one that comes while the first process is being started."""

    class Interrupted(Fake):
        def __init__(self, command, **named):
            super().__init__(command, **named)
            signal.raise_signal(number)

    monkeypatch.setattr(serve.subprocess, "Popen", Interrupted)
    assert serve.serve(1234, tmp_path) == 0
    assert [process.returncode for _, process in fakes.made] == [-signal.SIGTERM] * 2
    assert "ending" in capfd.readouterr().out


def test_a_ui_without_a_terminal_outlives_it(tmp_path):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    assert serve._signals() == []
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_what_a_person_needs_is_said(monkeypatch, settings, environment, capsys):
    monkeypatch.setattr(serve, "serve", lambda port, home: int(home != settings.dagster_home))
    assert serve.main(["--port", "4321"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"home  {settings.root}",
        "UI    http://127.0.0.1:4321 (Ctrl-C ends it)",
        f"log   {settings.dagster_home / 'logs' / 'ui.log'}",
    ]


def test_a_home_that_is_served_is_refused(settings, capsys):
    with claimed(settings, "http://127.0.0.1:4321"):
        assert serve.main(["--port", "4322"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(settings.root) in line
    assert "ML_PLATFORM_HOME" in line


@pytest.mark.parametrize(("main", "arguments"), [(serve.main, []), (launch.main, ["ingest:2017-01-01:2017-01-01"])])
def test_wrong_settings_are_refused_without_a_traceback(monkeypatch, settings, capsys, main, arguments):
    monkeypatch.setenv("ML_PLATFORM_SHARDS", "0")
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("ML_PLATFORM_SHARDS=0 cannot be used")
    assert not settings.root.exists()


def test_a_configuration_that_does_not_fit_is_refused(monkeypatch, settings, tmp_path, capsys):
    shutil.copytree(settings.configs, tmp_path / "configs")
    path = tmp_path / "configs" / "forecast.yaml"
    path.write_text(path.read_text().replace("static: [department]", "static: [departement, department]"))
    monkeypatch.setenv("ML_PLATFORM_CONFIGS", str(tmp_path / "configs"))
    assert serve.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: static: ")


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


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_second_ctrl_c_leaves_nothing_behind(settings, tmp_path, free_port, of_home):
    """The real thing: a quiet terminal, no second UI, and signals that come while it is on its way out."""
    home, port = str(settings.root), free_port()
    command = [sys.executable, "-m", "sensors.serve", "--port"]
    environment = {**os.environ, "ML_PLATFORM_HOME": home}
    with (tmp_path / "terminal").open("w") as terminal:
        server = subprocess.Popen(
            [*command, str(port)],
            cwd=PROJECT,
            env=environment,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 90
        while not answers(port) and server.poll() is None and time.monotonic() < until:
            time.sleep(0.5)
        assert answers(port), (tmp_path / "terminal").read_text()[-2000:]
        second = subprocess.run(
            [*command, str(free_port())], cwd=PROJECT, env=environment, capture_output=True, check=False
        )
        assert (second.returncode, second.stderr.count(b"\n")) == (2, 1), second.stderr.decode()
        working = of_home(home)
        assert len(working) >= 4, "the server, the webserver, the daemon and a code server at least"
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            server.send_signal(number)
            time.sleep(0.7)
        assert server.wait(30) == 0, (tmp_path / "terminal").read_text()[-2000:]
        psutil.wait_procs(working, timeout=5)
        assert [" ".join(one.cmdline())[:150] for one in of_home(home)] == []
        said = [line.split()[0] for line in (tmp_path / "terminal").read_text().splitlines()]
        assert said == ["home", "UI", "log", "ending"]
        assert "dagster-webserver" in serve.log_path(settings.dagster_home).read_text()
    finally:
        for process in of_home(home):
            process.kill()
        server.wait()
