"""The UI with its daemon: `python -m sensors.serve --port 3000`.

Belongs here: starting and ending webserver and daemon together, on this machine only. Does not belong here: deployments.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

import dagster as dg

from ml_platform.settings import Settings
from sensors.home import PROJECT, end_ghost_runs, prepare

GRACE_SECONDS = 8


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes (exit code 0) or a process ends by itself (1)."""
    parser = argparse.ArgumentParser(prog="python -m sensors.serve", description="Dagster UI and daemon on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=3000)
    port = parser.parse_args(arguments).port
    if why := unusable(port):
        parser.error(why)
    settings = Settings()
    home = prepare(settings)
    with dg.DagsterInstance.get() as instance:
        ended = end_ghost_runs(instance)
    print(
        f"home {settings.root}; {len(ended)} ghost runs ended; UI on http://127.0.0.1:{port} (Ctrl-C ends it)",
        flush=True,
    )
    return serve(port, home)


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


def serve(port: int, folder: os.PathLike[str]) -> int:
    """Run webserver and daemon until one of them ends or a signal comes; then end both, surely."""
    workspace = ["--workspace", str(PROJECT / "workspace.yaml")]
    commands = [
        [sys.executable, "-m", "dagster_webserver", "--host", "127.0.0.1", "--port", str(port), *workspace],
        [sys.executable, "-m", "dagster._daemon", "run", *workspace],
    ]
    signal.signal(signal.SIGTERM, _interrupt)
    processes = [subprocess.Popen(command, cwd=folder, start_new_session=True) for command in commands]
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        end(processes)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End process groups: politely first, with SIGKILL after a grace period (code servers ignore SIGTERM)."""
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


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
