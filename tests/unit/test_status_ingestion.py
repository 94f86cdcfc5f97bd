"""What a person sees of ingestion in the terminal: what waits and why, what is odd or lags, and what became of one file."""

import json
import os
from datetime import UTC, date, datetime, timedelta
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
from ml_platform.landing import LocalLanding
from ml_platform.settings import Settings
from ml_platform.status import Status, read_status
from ml_platform.status.ingestion import with_ingestion
from ml_platform.status.waiting import CHANGED, NEW, RELEASED, TWIN_REPLACED
from ml_platform.succession import Succession

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
DELIVERED = "landing: {complete: success}\n"
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


def ingest(home: Settings, only: str = "") -> None:
    contract = load_contracts(home.configs)["loads"]
    calendar = Calendar(home.first_day, home.last_day)
    door = Ingestion(Lake(home.lake), LocalLanding(home.landing), contract, "run-1", calendar)
    door.run(drop for drop in door.due(home.first_day, calendar.last) if drop.path.endswith(only))


def state(home: Settings) -> Status:
    contracts: Contracts = load_contracts(home.configs)
    return with_ingestion(read_status(Lake(home.lake), "loads"), home, contracts)


def waiting(home: Settings) -> dict[str, int]:
    """Files by the reason why they wait."""
    return {one.reason: one.files for one in state(home).waiting_files}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["status", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_what_waits_is_named_with_its_reason(home: Settings) -> None:
    first = land(home, FIRST)
    assert waiting(home) == {NEW: 1}
    ingest(home)
    assert state(home).waiting_files == ()
    first.write_text(first.read_text() + f"more,{FIRST},1\n")
    land(home, FIRST + timedelta(days=1))
    assert waiting(home) == {CHANGED: 1, NEW: 1}
    assert json.loads(run("--json")[1])["waiting"] == {"loads": 2}


def test_what_is_not_due_yet_waits_in_the_same_list_and_is_not_counted_as_due(home: Settings) -> None:
    source = home.configs / "sources" / "loads.yaml"
    source.write_text(CONTRACT.replace("path: 'loads_{day}*.csv'", "path: '{day}/loads*.csv'") + DELIVERED)
    older, newer = (home.landing / "loads" / f"{FIRST}" / f"loads_{part}.csv" for part in ("a", "b"))
    older.parent.mkdir(parents=True)
    for path, moment in ((older, 86_400), (newer, 2 * 86_400)):
        path.write_text(f"site,day,load\n{path.name},{FIRST},1\n")
        os.utime(path, (moment, moment))
    found = state(home)
    assert [(one.reason, one.files, one.due) for one in found.waiting_files] == [("no_success", 2, False)]
    assert (found.waiting, found.waiting_files[0].since) == ({}, datetime(1970, 1, 2, tzinfo=UTC))
    assert "the oldest since 1970-01-02 00:00:00 UTC: not due yet" in " ".join(run()[1].split())
    assert "waits (no_success): its folder holds no _SUCCESS yet" in run("--file", older.name)[1]
    (older.parent / "_SUCCESS").touch()
    assert (waiting(home), state(home).waiting) == ({NEW: 2}, {"loads": 2})
    assert "waits (new): it was not read yet" in run("--file", older.name)[1]


def test_what_was_settled_and_is_due_again_says_why(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a person released, and a duplicate whose twin an earlier version replaced."""
    monkeypatch.setattr(Succession, "complete", lambda self, batch, in_force: batch)
    first, again = land(home, FIRST), home.landing / "loads" / f"loads_{FIRST}_again.csv"
    again.write_bytes(first.read_bytes())
    empty = home.landing / "loads" / f"loads_{FIRST}_empty.csv"
    empty.touch()
    ingest(home)
    assert state(home).waiting_files == ()
    (refused,) = json.loads(run("--file", empty.name, "--json")[1])[0]["versions"][0]["refused"]
    decided = CliRunner().invoke(app, ["quarantine", "release", refused["ids"][0], "--by", "ann", "--reason", "sure"])
    assert decided.exit_code == 0, decided.output
    first.write_text(f"site,day,load\nother,{FIRST},1\n")
    ingest(home, only=first.name)
    assert waiting(home) == {RELEASED: 1, TWIN_REPLACED: 1}
    assert "waits (released): it was released from quarantine" in run("--file", empty.name)[1]


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
    assert f"loads {ODD:%a} {ODD} 5 rows, usual is 14.3 to 28" in words
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
    assert "waits (changed): it changed since it was read; due, `make ui` or" in text
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


def test_a_file_of_no_contract_is_not_said_to_be_absent(home: Settings) -> None:
    for name in ("laods/a.csv", "loose.csv"):
        (home.landing / name).parent.mkdir(exist_ok=True, parents=True)
        (home.landing / name).write_text("x")
    assert "Of no contract, under landing/: laods/, loose.csv: nothing there is read" in run()[1]
    for name in ("laods/a.csv", str(home.landing / "laods" / "a.csv"), "loose.csv"):
        code, text = run("--file", name)
        assert (code, "belongs to no contract, and nothing reads it" in text) == (1, True), text


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
