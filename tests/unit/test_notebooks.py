"""Notebooks run from their first cell to the last, and show what a run of them showed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: dict[str, Any]) -> list[tuple[str, ...]]:
    """What each output of a cell is, without its figures."""
    return [(one["output_type"], *sorted(one.get("data", {}))) for one in cell["outputs"]]


def printed(cells: list[dict[str, Any]]) -> str:
    return "".join(text for cell in cells for one in cell["outputs"] for text in one.get("text", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_and_shows_what_is_committed(path: Path, tmp_path: Path) -> None:
    out = tmp_path / path.name
    command = [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), str(path), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    committed, fresh = read(path), read(out)
    assert [cell["source"] for cell in committed["cells"]] == [cell["source"] for cell in fresh["cells"]]
    assert [kinds(cell) for cell in code_of(committed)] == [kinds(cell) for cell in code_of(fresh)]
    assert [cell["execution_count"] for cell in code_of(committed)] == list(range(1, len(code_of(committed)) + 1))
    numbers = re.compile(r"\d+")
    assert numbers.sub("0", printed(code_of(committed))) == numbers.sub("0", printed(code_of(fresh)))


def test_the_one_call_shows_forecasts_reasons_errors_and_a_picture() -> None:
    cells = code_of(read(ROOT / "notebooks" / "one_call.ipynb"))
    shown = json.dumps([cell["outputs"] for cell in cells])
    for words in (
        "for sparse demand",
        "not_a_number",
        "history row 6",
        "lacks the columns",
        "neither key columns",
        "image/png",
    ):
        assert words in shown, words


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_carries_no_place_of_the_machine_it_ran_on(path: Path) -> None:
    pictures = {"image/png"}
    texts = []
    for cell in code_of(read(path)):
        for one in cell["outputs"]:
            texts += one.get("text", []) + [
                t for kind, own in one.get("data", {}).items() if kind not in pictures for t in own
            ]
    assert not re.findall(r"(?:/tmp|/home|/root|/work|/Users|[A-Z]:\\)\S*", "".join(texts))


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    cells = [{"cell_type": "code", "source": [text], "outputs": []} for text in ("one = 1", "one / 0")]
    path.write_text(json.dumps({"cells": cells}))
    before = path.read_bytes()
    command = [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "in code cell 2: one / 0" in done.stderr
    assert path.read_bytes() == before
