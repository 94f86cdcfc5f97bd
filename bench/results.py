"""Results as JSON lines below docs/benchmarks/, one file per benchmark, written anew by every run.

Belongs here: where results lie, and what is said about machine, day and commit. Does not belong here: measuring, pages (report).
They are committed: the tables and charts in docs are made from them, and whoever doubts a figure finds it, its command and its commit.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
LOOKED_AT = 3.0  # seconds
QUIET = 0.5  # load of others, in cores, up to which a machine counts as quiet


def circumstances() -> dict[str, object]:
    """Day, commit, machine, command and the load by others before anything is measured; call it first.

    Load is looked at for a while: the average of the last minute would still hold the benchmark before.
    """
    load = psutil.cpu_percent(interval=LOOKED_AT) / 100 * (psutil.cpu_count() or 1)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+" if _git("status", "--porcelain", "bench", "ml_platform") else ""),
        "machine": f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.machine()}",
        "command": " ".join(["python -m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "load": round(load, 1),
        "quiet": load <= QUIET,
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown" if words[0] == "rev-parse" else done.stdout.strip()


def write(name: str, about: dict[str, object], rows: Sequence[dict[str, object]]) -> Path:
    """Write a benchmark's rows, the circumstances first; floats to six digits."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.jsonl"
    lines = [{key: _short(value) for key, value in row.items()} for row in (about, *rows)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read(name: str) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Circumstances and rows of a benchmark; nothing where it has not run."""
    path = FOLDER / f"{name}.jsonl"
    if not path.exists():
        return {}, []
    about, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return about, rows


def _short(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
