"""A process that works for the platform and may be killed at any moment: it is forked per order, so that imports cost nothing.

Belongs here: orders, forking, being killed. Does not belong here: what is ordered (tests), what must hold afterwards (fault_checker).
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL
ERASED = "erase.txt"  # in the home: the key that the order `erase` takes


@dataclass(frozen=True)
class Worker:
    """Forks one child per order; knows nothing of the orders before."""

    process: subprocess.Popen[str]

    def start(self, what: str, home: Path, failpoint: str = "", visit: int = 1) -> int:
        """Give an order, to be killed at the n-th visit of a failpoint if need be; the child's process id."""
        assert self.process.stdin is not None
        print(json.dumps([what, str(home), failpoint, visit]), file=self.process.stdin, flush=True)
        return self._answer()

    def wait(self) -> int:
        """The exit code of the child."""
        return self._answer()

    def do(self, what: str, home: Path, failpoint: str = "", visit: int = 1) -> int:
        self.start(what, home, failpoint, visit)
        return self.wait()

    def do_for(self, seconds: float, what: str, home: Path) -> int:
        """As `do`, and kill the child with SIGKILL after some seconds, if it still works then."""
        child = self.start(what, home)
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(child, signal.SIGKILL)
        return self.wait()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def worker() -> Iterator[Worker]:
    """A worker with everything imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    with subprocess.Popen(
        [sys.executable, __file__], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            one = Worker(process)
            assert one.wait() == 0
            yield one
        finally:
            process.kill()


def _ingest(home: Path) -> None:
    from fault_feed import ingest

    from ml_platform.lake import Lake

    ingest(Lake(str(home / "lake")), home / "landing")


def _prepare(home: Path) -> None:
    from fault_feed import prepare

    from ml_platform.lake import Lake

    prepare(Lake(str(home / "lake")))


def _erase(home: Path) -> None:
    from fault_feed import erase

    from ml_platform.lake import Lake

    erase(Lake(str(home / "lake")), home / "landing", int((home / ERASED).read_text()))


def _publish(home: Path) -> None:
    from ml_platform.lake import Lake
    from ml_platform.warehouse import DuckDBWarehouse

    DuckDBWarehouse(home / "warehouse" / "warehouse.duckdb").publish(Lake(str(home / "lake")))


def _seal(home: Path) -> None:
    from installation import Installation

    Installation(home).seal(7)


def _carry(home: Path) -> None:
    from installation import Installation

    from ml_platform.environments import carry
    from ml_platform.registry import champion_as_of

    made = Installation(home)
    newest = champion_as_of(made.dev.lake, date.max, same_day=True)
    assert newest is not None
    carry(made.dev, made.qa, newest.release_id, "ada", "weekly")


def _rollback(home: Path) -> None:
    from installation import Installation

    from ml_platform.takeback import rollback

    rollback(Installation(home).dev, "ada", "trial")


ORDERS: dict[str, Callable[[Path], None]] = {
    "ingest": _ingest,
    "prepare": _prepare,
    "erase": _erase,
    "publish": _publish,
    "seal": _seal,
    "carry": _carry,
    "rollback": _rollback,
}


def _child(what: str, home: str, failpoint: str, visit: int) -> int:
    from ml_platform import failpoints

    try:
        if failpoint:
            failpoints.arm(failpoint, visit)
        ORDERS[what](Path(home))
    except BaseException:  # noqa: BLE001  the child ends here whatever it was
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    """Imports first: a fork takes them along, and no library has started a thread by then."""
    import fault_feed  # noqa: F401
    import installation  # noqa: F401
    import mlflow  # noqa: F401
    import pyspark.sql.connect.session  # noqa: F401

    from ml_platform import warehouse  # noqa: F401
    from ml_platform.expectations import import_great_expectations

    import_great_expectations()
    os.fsync = lambda _descriptor: (
        None
    )  # what is killed here is a process: the disk forgets nothing, and waiting for it costs minutes
    print(0, flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_child(*json.loads(line)))  # no teardown of what the parent had
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
