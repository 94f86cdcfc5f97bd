"""A process in which Spark runs on a JVM. Where Spark Connect has been used, pyspark starts none; and a start takes seconds, so one serves all orders.

Belongs here: starting it, orders, their ends. Does not belong here: what is ordered and what must hold afterwards (tests).
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # what runs once need not be compiled twice


@dataclass(frozen=True)
class Jvm:
    """Does one order after the other in the same Spark session; `log` is what Spark and Python say meanwhile."""

    process: subprocess.Popen[str]
    log: Path

    def prepare(self, root: Path, *sources: str) -> None:
        """Silver of sources of a town that lies there, in this order."""
        self._do("prepare", str(root), *sources)

    def make_panel(self, root: Path, config: str, day: date) -> None:
        """Catalogue and panel as of a day; `config` is a ForecastConfig as JSON."""
        self._do("make_panel", str(root), config, day.isoformat())

    def train(self, home: Path, *failing: str) -> None:
        """The fleet of the orchards, in which series fail."""
        self._do("train", str(home), *failing)

    def _do(self, what: str, *arguments: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([what, *arguments]), file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n", self.log.read_text(errors="replace")[-5000:]


@contextmanager
def jvm_engine(log: Path) -> Iterator[Jvm]:
    """A process for orders until the end of the block."""
    options = f"{os.environ.get('JDK_JAVA_OPTIONS', '')} {SHORT_LIVED}".strip()
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "JDK_JAVA_OPTIONS": options}
    command = [sys.executable, __file__]
    with (
        log.open("w") as said,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        yield Jvm(process, log)  # the end of the block closes its input, with which it ends


def _prepare(root: str, *sources: str) -> None:
    from ml_platform.contract_files import load_contracts
    from ml_platform.lake import Lake
    from ml_platform.preparation import Preparation

    contracts = load_contracts(Path(root) / "configs")
    for source in sources:
        Preparation(Lake(f"{root}/lake"), contracts, contracts[source], "jvm").run()


def _make_panel(root: str, config: str, day: str) -> None:
    from ml_platform.catalogue import write_catalogue
    from ml_platform.contract_files import load_contracts
    from ml_platform.features import write_panel
    from ml_platform.forecasting import ForecastConfig
    from ml_platform.lake import Lake
    from ml_platform.panel_inputs import PanelInputs

    contracts = load_contracts(Path(root) / "configs")
    inputs = PanelInputs(Lake(f"{root}/lake"), contracts, ForecastConfig.model_validate_json(config), "jvm")
    write_catalogue(inputs, date.fromisoformat(day))
    write_panel(inputs, date.fromisoformat(day))


def _train(home: str, *failing: str) -> None:
    from orchard import Poisoned, trained

    from ml_platform.compute import SparkCompute

    compute = SparkCompute("jvm", 2)
    report, _ = trained(Path(home), Poisoned(compute, failing, "fit") if failing else compute)
    assert set(report.failed) == set(failing), report


ORDERS: dict[str, Callable[..., None]] = {"prepare": _prepare, "make_panel": _make_panel, "train": _train}


def _serve() -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # Ivy and Spark print, too
        for line in sys.stdin:
            what, *arguments = json.loads(line)
            try:
                ORDERS[what](*arguments)
            except Exception:  # noqa: BLE001  the test that gave the order shows it
                traceback.print_exc()
                print("failed", file=answers, flush=True)
            else:
                print("done", file=answers, flush=True)


if __name__ == "__main__":
    _serve()
