"""What a person sees of ingestion in the terminal: what waits and why, what is odd or lags, and what became of one file."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_platform import __version__
from ml_platform.calendar import Calendar
from ml_platform.cli import app
from ml_platform.contract_files import load_contracts
from ml_platform.contracts import Contracts
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.settings import Settings
from ml_platform.status import Status, read_status
from ml_platform.status.ingestion import CHANGED, NEW, with_ingestion

CONTRACT = """
name: loads
kind: events
description: Loads.
owner: team:a
path: 'loads_{day}*.csv'
format: {type: csv}
columns:
  site: {type: string}
  day: {type: date}
  load: {type: int64, min: 0}
key: [site, day]
time: {column: day}
panel: {target: true}
"""
FIRST = date(2024, 1, 1)
ODD, GONE = FIRST + timedelta(days=57), FIRST + timedelta(days=58)


@pytest.fixture
def home(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "configs" / "sources").mkdir(parents=True)
    (tmp_path / "configs" / "sources" / "loads.yaml").write_text(CONTRACT)
    monkeypatch.setenv("ML_PLATFORM_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("ML_PLATFORM_FIRST_DAY", "2024-01-01")
    monkeypatch.setenv("ML_PLATFORM_LAST_DAY", "2024-12-31")
    return Settings(home=settings.home)


def land(home: Settings, day: date, rows: int = 20, **values: object) -> Path:
    path = home.landing / "loads" / f"loads_{day}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"s{n},{day},{values.get(f's{n}', n)}" for n in range(rows)]
    path.write_text("\n".join(["site,day,load", *lines]) + "\n")
    return path


def ingest(home: Settings) -> None:
    contract = load_contracts(home.configs)["loads"]
    calendar = Calendar(home.first_day, home.last_day)
    door = Ingestion(Lake(home.lake), home.landing, contract, "run-1", calendar)
    door.run(door.due(home.first_day, calendar.last))


def state(home: Settings) -> Status:
    contracts: Contracts = load_contracts(home.configs)
    return with_ingestion(read_status(Lake(home.lake), "loads"), home, contracts)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_what_waits_is_named_with_its_reason(home: Settings) -> None:
    first = land(home, FIRST)
    assert [(one.why, one.files) for one in state(home).due] == [(NEW, 1)]
    ingest(home)
    assert state(home).waiting == {}
    first.write_text(first.read_text() + f"more,{FIRST},1\n")
    land(home, FIRST + timedelta(days=1))
    assert [(one.source, one.why, one.files) for one in state(home).due] == [
        ("loads", CHANGED, 1),
        ("loads", NEW, 1),
    ]


def test_odd_and_missing_days_and_silver_that_lags(home: Settings) -> None:
    for n in range(60):
        day = FIRST + timedelta(days=n)
        if day != GONE:
            land(home, day, 5 if day == ODD else 20)
    ingest(home)
    found = state(home)
    assert [(one.day, one.missing) for one in found.warnings] == [(GONE, True), (ODD, False)]
    assert found.lagging == {"loads": 59}
    code, text = run()
    assert code == 0, "warnings change no exit code"
    words = " ".join(text.split())
    assert f"loads {ODD:%a} {ODD} 5 rows, usual is 14 to 28" in words
    assert "Silver lags behind bronze (drops: 59 loads)" in words
    assert json.loads(run("--json")[1])["warnings"][1]["day"] == str(ODD)


def test_commits_that_a_crash_cut_off_are_counted(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    land(home, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "project", lambda *_: 0)  # the process ends between the commit and its projection
        ingest(home)
    assert state(home).cut_off == {"loads": 1}
    assert "A crash cut commits off from the ledger (1 loads)" in run()[1]
    ingest(home)
    assert state(home).cut_off == {}


def test_a_file_tells_its_versions_rows_and_refusals(home: Settings) -> None:
    path = land(home, FIRST, s3=-1)
    ingest(home)
    land(home, FIRST, 4)
    ingest(home)
    land(home, FIRST, 6)
    code, text = run("--file", path.name)
    assert code == 0
    assert "version 3 of 3" in text
    assert "20 rows in = 19 loaded + 1 quarantined + 0 duplicate + 0 erased" in text
    assert "replaced at bronze: replaced by drop" in text
    assert "4 rows in = 4 loaded" in text
    assert "waits: it was not read yet" in text
    (shown,) = [line for line in text.splitlines() if "below_minimum:load" in line]
    quarantine_id = shown.split()[-1]
    assert CliRunner().invoke(app, ["quarantine", "show", quarantine_id]).exit_code == 0
    by_place = json.loads(run("--file", str(path), "--json")[1])
    assert [version["settled"] and version["settled"]["state"] for version in by_place[0]["versions"]] == [
        "replaced",
        "loaded",
        None,
    ]


def test_a_file_that_is_gone_is_still_known_and_an_unknown_one_named(home: Settings) -> None:
    path = land(home, FIRST)
    ingest(home)
    path.unlink()
    assert "does not lie in landing any more" in run("--file", f"loads/{path.name}")[1]
    code, text = run("--file", "other.csv")
    assert code == 1
    assert "no file 'other.csv'" in text


def test_a_name_that_occurs_twice_means_both_and_a_hostile_one_is_spelt_out(home: Settings) -> None:
    folder = home.landing / "loads"
    for name in ("a/evil\x1b[31m.csv", "b/evil\x1b[31m.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    ingest(home)
    text = run("--file", "evil\x1b[31m.csv")[1]
    assert text.count("quarantined at bronze: unknown_format") == 2
    assert "\x1b[31m" not in text
    assert "\x1b[31m" not in run()[1]


def test_the_program_tells_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"ml-platform {__version__}\n")
