"""A proxy before a storage server that fails on purpose: answers of 503, connections cut before or after the server did its work.

Belongs here: forwarding HTTP and injecting faults by chance, repeatably. Does not belong here: what must hold nevertheless (tests/faults).
"""

import asyncio
import contextlib
import json
import math
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

Fault = Literal["busy", "cut_before", "cut_after", "half_answer"]
BUSY = b"HTTP/1.1 503 Server Busy\r\nx-ms-error-code: ServerBusy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LIMIT = 1 << 20
HOP = re.compile(rb"^(connection|keep-alive|expect):.*\r\n", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Faults:
    """Which requests fail and how: `share` of those whose "METHOD /path" matches `where` meet one of `kinds`, by the chance of `seed`.

    busy: a 503 that the server never sees; cut_before: no answer, and the server never sees it; cut_after: no answer, though the server
    did it; half_answer: half of the answer's bytes. After `seconds` no request fails any more.
    """

    share: float = 0.0
    kinds: tuple[Fault, ...] = ("busy",)
    where: str = ""
    seed: int = 0
    seconds: float | None = None


class Chance:
    """Faults as they meet one request after the other, and how many there were."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.random, self.injected = faults, random.Random(faults.seed), Counter[str]()
        self.until = math.inf if faults.seconds is None else time.monotonic() + faults.seconds

    def of(self, request: str) -> Fault | None:
        """The fault that a request meets, if any."""
        spared = time.monotonic() >= self.until or not re.search(self.faults.where, request)
        if spared or self.random.random() >= self.faults.share:
            return None
        fault = self.random.choice(self.faults.kinds)
        self.injected[fault] += 1
        return fault


NONE = Faults()


@dataclass(frozen=True)
class FaultProxy:
    """A proxy in a process of its own: clients that hold the interpreter while they wait would starve a thread."""

    port: int
    process: subprocess.Popen[str]

    def set(self, faults: Faults) -> dict[str, int]:
        """Meet requests with other faults from now on; return how many of each kind the last ones were."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(asdict(faults)), file=self.process.stdin, flush=True)
        found: dict[str, int] = json.loads(self.process.stdout.readline())
        return found


@dataclass(frozen=True)
class Message:
    """One HTTP request or answer as bytes: head with its empty line, and body."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def alone(self) -> bytes:
        """Its bytes for a connection that carries nothing after it."""
        line, rest = self.head.split(b"\r\n", 1)
        return line + b"\r\nConnection: close\r\n" + HOP.sub(b"", rest) + self.body


@contextmanager
def fault_proxy(upstream_port: int, faults: Faults = NONE) -> Iterator[FaultProxy]:
    """Forward from a free port of 127.0.0.1 to `upstream_port` until the block ends."""
    command = [sys.executable, "-m", __name__, str(upstream_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            proxy = FaultProxy(int(process.stdout.readline()), process)
            proxy.set(faults)
            yield proxy
        finally:
            process.kill()


async def _serve_until_closed(upstream_port: int) -> None:
    """Print the port, then serve; each line of standard input are new faults, and is answered by the counts of the old ones."""
    chance = [Chance(NONE)]
    server = await asyncio.start_server(
        lambda reader, writer: _serve(reader, writer, upstream_port, chance[0]), "127.0.0.1", 0, limit=LIMIT
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        given = json.loads(line)
        told, chance[0] = chance[0].injected, Chance(Faults(**{**given, "kinds": tuple(given["kinds"])}))
        print(json.dumps(told), flush=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, chance: Chance) -> None:
    """One connection, which carries one request."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        if request := await _request(reader, writer):
            fault = chance.of(" ".join(request.first_line.split(" ")[:2]))
            answer = BUSY if fault == "busy" else b"" if fault == "cut_before" else await _forwarded(request, port)
            told = {"cut_after": 0, "half_answer": len(answer) // 2}.get(fault or "", len(answer))
            writer.write(answer[:told])
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    """The next request with its whole body; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    if _header(head, b"expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    return Message(head, await _body(head, reader))


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if _header(head, b"transfer-encoding").lower() != b"chunked":
        return await reader.readexactly(int(_header(head, b"content-length") or 0))
    parts = list[bytes]()
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        parts += [size, chunk]
        if len(chunk) == 2:
            return b"".join(parts)


async def _forwarded(request: Message, port: int) -> bytes:
    """The server's whole answer, to its end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
    try:
        writer.write(request.alone)
        await writer.drain()
        return await reader.read(-1)
    finally:
        writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"^" + name + rb":[ \t]*(.*?)\r$", head, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else b""


if __name__ == "__main__":
    asyncio.run(_serve_until_closed(int(sys.argv[1])))
