"""The UI with its daemon: `python -m sensors.serve --port 3000`.

Belongs here: starting, watching and ending webserver and daemon together, on this machine only. Does not belong here: deployments.
"""

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import dagster as dg

from ml_platform.configuration import load_configuration
from ml_platform.contracts import ContractError
from ml_platform.forecasting import ConfigError
from ml_platform.settings import Settings
from sensors.home import PROJECT, HomeError, claimed, end_ghost_runs, left_over, prepare, settings_or_exit

GRACE_SECONDS = 8
LOOK_SECONDS = 0.5
LAST_LINES = 20
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ERROR = re.compile(r"(^| - )(ERROR|CRITICAL)( - |:)")

Processes = Mapping[str, subprocess.Popen[bytes]]


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes (exit code 0) or a process ends by itself (1); what cannot be served is refused (2)."""
    parser = argparse.ArgumentParser(prog="python -m sensors.serve", description="Dagster UI and daemon on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=3000)
    port = parser.parse_args(arguments).port
    settings = settings_or_exit()
    try:
        load_configuration(settings.configs)  # or the UI would come up with nothing in it
        with claimed(settings, _address(port)):
            if why := unusable(port):
                parser.error(why)
            return serve(port, _prepared(settings, port))
    except (ConfigError, ContractError, HomeError) as why:
        print(why, file=sys.stderr)
        return 2


def _prepared(settings: Settings, port: int) -> Path:
    """DAGSTER_HOME, ready to be served; the terminal hears what will be there."""
    home = prepare(settings)
    with dg.DagsterInstance.get() as instance:
        ended = end_ghost_runs(instance)
    print(f"home  {settings.root}\nUI    {_address(port)} (Ctrl-C ends it)\nlog   {log_path(home)}", flush=True)
    if ended:
        print(f"      {len(ended)} runs were ended whose process is gone", flush=True)
    if left := " ".join(map(str, left_over(home))):
        print(
            f"      processes {left} of a UI that was killed work on this home too: end them with `kill {left}`",
            flush=True,
        )
    return home


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def log_path(home: Path) -> Path:
    """Where webserver, daemon and what they start write; the terminal gets errors only."""
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "ui.log"


def unusable(port: int) -> str | None:
    """Why the UI cannot be served on a port of this machine; None where it can."""
    if not 0 < port < 65536:
        return f"port {port} is no port: choose one from 1024 to 65535, as in `make ui PORT=3001`"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return f"port {port} cannot be used ({error.strerror}): choose another one, as in `make ui PORT={port % 60000 + 1025}`"
    return None


def serve(port: int, home: Path) -> int:
    """Run webserver and daemon until one of them ends or a signal comes; then end both, surely."""
    asked, log = _signals(), log_path(home)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        with log.open("ab") as out, _Reader(log) as reader:
            for name, command in _commands(port).items():
                processes[name] = subprocess.Popen(command, cwd=home, stdout=out, stderr=out, start_new_session=True)
            return _watch(processes, asked, reader)
    finally:
        end(list(processes.values()))


def _commands(port: int) -> dict[str, list[str]]:
    """The daemon says at INFO at every tick that nothing is new; the UI shows ticks better."""
    workspace = ["--workspace", str(PROJECT / "workspace.yaml")]
    web = ["dagster_webserver", "--host", "127.0.0.1", "--port", str(port), *workspace]
    daemon = ["dagster._daemon", "run", "--log-level", "warning", *workspace]
    return {name: [sys.executable, "-m", *words] for name, words in (("webserver", web), ("daemon", daemon))}


def _signals() -> list[int]:
    """Signals that ask for the end, as they come: an exception could fall between a start and its note, and leave an orphan."""
    asked: list[int] = []
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup keeps its meaning
            signal.signal(number, lambda got, _frame: asked.append(got))
    return asked


class _Reader:
    """New lines of a log, without colours, and the last ones so far."""

    def __init__(self, path: Path) -> None:
        self._file, self._rest = path.open(encoding="utf-8", errors="replace"), ""
        self._file.seek(0, os.SEEK_END)
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def lines(self) -> list[str]:
        *lines, self._rest = COLOUR.sub("", self._rest + self._file.read()).split("\n")
        self.last.extend(lines)
        return lines


def _watch(processes: Processes, asked: list[int], reader: _Reader) -> int:
    """Show errors until a signal comes (0) or a process ends (1), whose last lines are shown."""
    while not asked:
        ended = {name: process.returncode for name, process in processes.items() if process.poll() is not None}
        for line in reader.lines():
            if ERROR.search(line):
                print(line, file=sys.stderr, flush=True)
        for name, code in ended.items():
            print(f"the {name} ended with exit code {code}; the last lines of its log:", file=sys.stderr)
            print(*(f"    {line}" for line in reader.last), sep="\n", file=sys.stderr, flush=True)
            return 1
        time.sleep(LOOK_SECONDS)
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"ending webserver and daemon, up to {GRACE_SECONDS} s", flush=True)
    return 0


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End process groups: politely first, with SIGKILL after a grace period (code servers ignore SIGTERM)."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(until - time.monotonic(), 0.1))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(main())
