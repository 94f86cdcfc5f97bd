"""Azurite: blob and queue storage on this machine, from npm, on free ports.

Belongs here: installing and starting it, and ending it. Does not belong here: what is stored there.
"""

import base64
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RECIPE = Path(__file__).parent / "npm"
INSTALLED = Path(sys.prefix) / "emulation"
LOCK = "package-lock.json"
ACCOUNT = "devstoreaccount1"
SECONDS = 60.0


class AzuriteError(RuntimeError):
    """Azurite cannot be installed or started; says why and what is needed."""


@dataclass(frozen=True)
class Azurite:
    """A running Azurite: its ports on 127.0.0.1, its account, and a key that was made for this start."""

    blob_port: int
    queue_port: int
    key: str = field(repr=False)
    account: str = ACCOUNT

    @property
    def blob_url(self) -> str:
        return f"http://127.0.0.1:{self.blob_port}/{self.account}"

    @property
    def queue_url(self) -> str:
        return f"http://127.0.0.1:{self.queue_port}/{self.account}"

    def storage_options(self, port: int | None = None) -> dict[str, str]:
        """What delta-rs needs to read and write there; `port`: of a proxy in front of it."""
        return {
            "azure_storage_account_name": self.account,
            "azure_storage_account_key": self.key,
            "azure_storage_endpoint": f"http://127.0.0.1:{port or self.blob_port}/{self.account}",
            "allow_http": "true",
        }


@contextmanager
def azurite(folder: Path) -> Iterator[Azurite]:
    """Blobs and queues in `folder` until the block ends; AzuriteError where Node is missing or it does not start."""
    command, key = installed(), base64.b64encode(secrets.token_bytes(64)).decode()
    blob, queue = _free_ports(2)
    ports = ("--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", "0")
    hosts = ("--blobHost", "127.0.0.1", "--queueHost", "127.0.0.1", "--tableHost", "127.0.0.1")
    options = ("--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "azurite.log").open("ab") as log:
        server = subprocess.Popen(
            [str(command), *options, *ports, *hosts],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(server, (blob, queue), folder)
            yield Azurite(blob, queue, key)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def installed() -> Path:
    """The command, installed beside the Python environment at the first use; processes that start at once wait for each other."""
    INSTALLED.mkdir(exist_ok=True)
    command, stamp, wanted = (
        INSTALLED / "node_modules/.bin/azurite",
        INSTALLED / ".installed",
        (RECIPE / LOCK).read_bytes(),
    )
    with (INSTALLED / ".turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_bytes() == wanted):
            stamp.unlink(missing_ok=True)
            _install()
            stamp.write_bytes(wanted)
    return command


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise AzuriteError("npm is not installed: install Node 20 or later")
    for name in ("package.json", LOCK, ".npmrc"):
        shutil.copyfile(RECIPE / name, INSTALLED / name)
    ci = [npm, "ci", "--omit=dev", "--ignore-scripts"]
    done = subprocess.run(ci, cwd=INSTALLED, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AzuriteError(f"npm ci of Azurite ended with {done.returncode}: {done.stderr.strip()[-500:]}")


def _wait_for(server: subprocess.Popen[bytes], ports: tuple[int, ...], folder: Path) -> None:
    until = time.monotonic() + SECONDS
    while not all(_answers(port) for port in ports):
        if server.poll() is not None or time.monotonic() > until:
            raise AzuriteError(f"Azurite did not start: see {folder / 'azurite.log'}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until the last one is found, so that none comes twice."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports
