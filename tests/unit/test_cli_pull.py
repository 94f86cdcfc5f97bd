"""`ml-platform pull` and what `ml-platform doctor` says of pulls, as a person types them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ml_platform import doctor
from ml_platform.cli import app
from ml_platform.settings import Settings, read_settings

CONTRACT = """
name: loads
kind: events
description: Loads.
owner: team:grid
path: loads_{day}_*.parquet
format: {type: parquet}
columns:
  load_id: {type: int64}
  day: {type: date}
key: [load_id]
time: {column: day}
pull: {database: grid, table: loads, watermark: load_id, overlap: 2}
panel: {target: true}
"""
SECRET = "geheim"


@pytest.fixture
def home(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home whose source is pulled from three rows in SQLite."""
    (tmp_path / "configs" / "sources").mkdir(parents=True)
    (tmp_path / "configs" / "sources" / "loads.yaml").write_text(CONTRACT)
    with closing(sqlite3.connect(tmp_path / "grid.db")) as database:
        database.execute("create table loads (load_id integer, day text)")
        database.executemany("insert into loads values (?, '2024-03-01')", [(1,), (2,), (3,)])
        database.commit()
    url = f"sqlite:///{tmp_path / 'grid.db'}"
    monkeypatch.setenv("ML_PLATFORM_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("ML_PLATFORM_DATABASES", json.dumps({"grid": url}))
    return Settings(home=settings.home)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["pull", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def landed(home: Settings) -> list[str]:
    return sorted(path.name for path in (home.landing / "loads").glob("[!.]*"))


def test_a_dry_run_shows_window_and_rows_and_lands_nothing(home: Settings) -> None:
    assert run("loads", "--dry-run") == (0, "loads: the first row to 3: 3 rows\n")
    assert not home.landing.exists()


def test_a_pull_says_what_it_landed_and_then_that_nothing_is_new(home: Settings) -> None:
    code, output = run()
    (name,) = landed(home)
    assert code == 0
    assert f"loads/{name}: 3 rows" in output
    assert "loads: 3 rows in 1 files; landed up to 3" in output
    assert run("--dry-run") == (0, "loads: 1 to 3: 3 rows, 3 of them looked at again\n")
    assert run("loads") == (0, "loads: nothing new; landed up to 3\n")


def test_what_cannot_be_pulled_is_said_without_a_traceback(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("nobody")[0] == 1
    assert "no source is called 'nobody'" in run("nobody")[1]
    monkeypatch.setenv("ML_PLATFORM_DATABASES", json.dumps({"other": f"sqlite:///{SECRET}"}))
    code, output = run()
    assert code == 1
    assert output.startswith(
        "ml-platform: source 'loads' pulls from database 'grid', which ML_PLATFORM_DATABASES does not name"
    )
    assert SECRET not in output
    monkeypatch.setenv("ML_PLATFORM_DATABASES", f"sqlite:///{SECRET}")
    code, output = run()
    assert code == 2
    assert SECRET not in output


def test_where_no_source_is_pulled_that_is_said(settings: Settings) -> None:
    assert run() == (0, "no source declares `pull`: docs/pull.md shows how\n")


def test_the_doctor_asks_every_database(home: Settings, tmp_path: Path) -> None:
    (check,) = doctor.databases(read_settings())
    assert (check.name, check.ok, check.detail) == (
        "pull of source 'loads'",
        True,
        "table 'loads' of database 'grid', newest load_id 3",
    )
    with closing(sqlite3.connect(tmp_path / "grid.db")) as database:
        database.execute("alter table loads rename column day to date_of_load")
        database.commit()
    (check,) = doctor.databases(read_settings())
    assert not check.ok
    assert "source 'loads', database 'grid': table 'loads' has no column 'day'" in check.detail
    assert check.remedy
    assert not home.landing.exists(), "looking lands nothing"


def test_the_doctor_says_nothing_of_databases_where_there_are_none(settings: Settings) -> None:
    assert list(doctor.databases(settings)) == []
