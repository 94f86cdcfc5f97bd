"""The page docs/own-data.md, run as it is written: its YAML, its snippet and its commands, on a small table, in a shell of its own."""

import csv
import json
import math
import os
import random
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
FIRST, DAYS = date(2025, 1, 1), 120
LAST = FIRST + timedelta(days=DAYS - 1)
SMALL = {
    "ML_PLATFORM_WORKERS": "1",
    "ML_PLATFORM_SHARDS": "1",
}  # four series need no more, and the page says nothing of them
SIZES = {("north", "letter"): 400, ("north", "express"): 60, ("south", "letter"): 250, ("south", "express"): 30}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands(word: str) -> list[str]:
    """Lines of the page's shell blocks that begin with a word."""
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(word)]


class Person:
    """Somebody who does what the page says: a folder that is `~`, and a shell in the project's folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "parcels"
        known = {name: value for name, value in os.environ.items() if not name.startswith("ML_PLATFORM_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**known, "HOME": str(home), "PATH": path, **SMALL}
        self.exports = "\n".join(commands("export "))

    def does(self, line: str, *, code: int = 0) -> str:
        """What a line of the page prints; it must end with the code."""
        shell = ["bash", "-euc", f"{self.exports}\n{line}"]
        done = subprocess.run(
            shell, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == code, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def writes_the_files(self) -> None:
        """Every YAML and Python block goes to the file that its first line names; the table is made up."""
        for block in [*blocks("yaml"), *blocks("python")]:
            path = self.folder / block.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
        with (self.folder / "parcels.csv").open("w", newline="") as out:
            csv.writer(out).writerows([blocks("csv")[0].splitlines()[0].split(","), *parcels()])


def parcels() -> list[tuple[date, str, str, int]]:
    """A weekly rhythm that grows slowly, and noise that is the same in every run."""
    noise, days = random.Random(7), [FIRST + timedelta(days=n) for n in range(DAYS)]
    rhythm = [1.0, 1.1, 1.2, 1.1, 1.3, 0.6, 0.3]
    level = {day: rhythm[day.weekday()] * (1 + 0.002 * n) for n, day in enumerate(days)}
    return [
        (day, *key, max(0, round(size * level[day] + noise.gauss(0, 2 * math.sqrt(size)))))
        for day in days
        for key, size in SIZES.items()
    ]


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """After every step of the page up to the query."""
    person = Person(tmp_path_factory.mktemp("own"))
    person.writes_the_files()
    for line in [*commands("python ~"), *commands("ml-platform land"), *commands("ml-platform run")]:
        person.does(line)
    return person


def test_every_step_left_what_the_page_promises(person: Person) -> None:
    found = json.loads(person.does("ml-platform status --json"))
    (source,) = found["sources"]
    assert (source["states"], source["rows_loaded"]) == ({"loaded": DAYS}, DAYS * len(SIZES))
    assert (found["complete_day"], found["published"]["as_of"]) == (str(LAST), str(LAST))
    assert found["champion"]["promoted"]
    assert found["published"]["rows"] == 14 * len(SIZES)


def test_the_query_shows_key_date_and_mean(person: Person) -> None:
    (query,) = commands("python -c")
    text = person.does(query)
    for column in ("depot", "service", "date", "mean", "lo_80", "hi_80"):
        assert column in text


def test_doctor_reads_the_configuration(person: Person) -> None:
    text = person.does("ml-platform doctor || true")  # the machine may have little room
    assert "source contracts: parcels" in text
    assert "forecast.yaml: fleet" in text


def test_a_home_of_ones_own_refuses_the_sample(person: Person) -> None:
    text = person.does("ml-platform land --sample-days 1", code=1)
    assert "does not declare products, promotions, sales" in " ".join(text.split())
