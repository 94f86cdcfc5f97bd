"""Retention that is killed: wherever it dies, tables hold what they held, and the next run completes it.

Belongs here: real processes that end by SIGKILL between two steps, and at moments that nobody chose. Does not belong here: what retention
removes (tests/unit/test_maintenance.py).
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.compaction import MANY
from ml_platform.lake.schemas import MAINTENANCE
from ml_platform.maintenance import Maintenance, tables

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]
THINGS = TableSpec("gold/things", pa.schema([("id", pa.int64()), ("text", pa.string())]))
OTHERS = TableSpec("silver/others", THINGS.schema)
# retention as the command runs it, killed by itself after the n-th call of one of its steps
RUN = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from deltalake import DeltaTable
from deltalake.table import TableOptimizer
from ml_platform import maintenance
from ml_platform.lake import Lake

step, calls = sys.argv[2], int(sys.argv[3])

def deadly(owner, name, suffix=""):
    real = getattr(owner, name)
    def called(self, *arguments, **named):
        global calls
        found = real(self, *arguments, **named)
        if str(self).endswith(suffix):
            calls -= 1
            if calls == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(owner, name, called)

if step == "compacted":
    deadly(TableOptimizer, "compact")
elif step == "checkpointed":
    deadly(DeltaTable, "create_checkpoint")
elif step == "removed":
    deadly(Path, "unlink", ".parquet")
elif step == "cut":
    deadly(Path, "unlink", ".json")
elif step == "accounted":
    deadly(maintenance.Maintenance, "_account")
home = Path(sys.argv[1])
print("ready", flush=True)
maintenance.Maintenance(Lake(str(home / "lake")), home, timedelta(days=30), "killed").apply()
"""


def rows(number: int) -> pa.Table:
    return pa.table({"id": [number], "text": [f"text {number}"]}, THINGS.schema)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two tables with a long past and many small files; half of the commits are forty days old."""
    lake = Lake(str(tmp_path / "home" / "lake"))
    for spec in (THINGS, OTHERS):
        for number in range(MANY + 8):
            lake.append(spec, rows(number), [f"drop-{number}"])
            if number % 4 == 0:
                lake.replace(spec, rows(number), f"id = {number}")
        for path in Path(lake.uri(spec.name)).rglob("*"):
            if re.fullmatch(r"\d{20}\.json", path.name):
                older = re.sub(
                    r'("timestamp":)(\d{13})', lambda m: f"{m[1]}{int(m[2]) - 40 * 86_400_000}", path.read_text()
                )
                path.write_text(older)
            os.utime(path, (time.time() - 40 * 86_400,) * 2)
        for number in range(MANY):
            lake.append(spec, rows(100 + number), [f"drop-{100 + number}"])
    return tmp_path / "home"


def content(lake: Lake) -> dict[str, list[object]]:
    return {spec.name: lake.read(spec.name).sort_by("id").to_pylist() for spec in (THINGS, OTHERS)}


def kept(lake: Lake) -> dict[str, list[int]]:
    """Rows of every version that the retention promises."""
    first = MANY + 8 + (MANY + 8) // 4
    return {
        spec.name: [lake.read(spec.name, version=version).num_rows for version in range(first, first + MANY)]
        for spec in (THINGS, OTHERS)
    }


def start(home: Path, step: str = "never", calls: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(home), step, str(calls)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def require_whole(home: Path, before: tuple[dict[str, list[object]], dict[str, list[int]]]) -> None:
    """Content and promised versions are as before the kill; writers go on; the next run leaves nothing due."""
    lake = Lake(str(home / "lake"))
    assert (content(lake), kept(lake)) == before
    for spec in (THINGS, OTHERS):
        assert [lake.reached(spec.name, one) for one in ("drop-0", "drop-100")] == [1, 1]
    done = Maintenance(lake, home, timedelta(days=30), "next").apply()
    assert not [one for one in done if one.action == "failed"]
    assert (content(lake), kept(lake)) == before
    for one in Maintenance(lake, home, timedelta(days=30), "look").due():
        assert (one.small_files, one.dead_files, one.log_files) == (0, 0, 0), one
    assert "next" in lake.read(MAINTENANCE.name)["run_id"].to_pylist()
    assert set(tables(lake)) == {THINGS.name, OTHERS.name, MAINTENANCE.name}
    lake.append(THINGS, rows(999))
    lake.replace(OTHERS, rows(1), "id = 1")
    assert lake.count(THINGS.name) == len(before[0][THINGS.name]) + 1


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        ("compacted", 1),
        ("accounted", 1),
        ("removed", 1),
        ("removed", 4),
        ("checkpointed", 1),
        ("cut", 1),
        ("cut", 9),
        ("compacted", 2),
        ("cut", 30),
    ],
)
def test_a_kill_after_any_step_loses_nothing_and_the_next_run_completes_it(home: Path, step: str, calls: int) -> None:
    lake = Lake(str(home / "lake"))
    before = (content(lake), kept(lake))
    process = start(home, step, calls)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    require_whole(home, before)


def test_kills_at_any_moment_lose_nothing(home: Path) -> None:
    lake, chance = Lake(str(home / "lake")), random.Random(11)
    before, killed = (content(lake), kept(lake)), 0
    for _ in range(6):
        process = start(home)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.random() * 0.12)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert (content(lake), kept(lake)) == before
    assert killed
    require_whole(home, before)
