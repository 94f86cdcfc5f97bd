"""Retention on real tables whose past was made old: what is kept, what goes, and what says so.

Belongs here: versions, files, logs, leftovers, the account, the lock. Does not belong here: kills (tests/faults), rewriting files (lake/test_compaction).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import typer.testing
from deltalake import DeltaTable

from ml_platform.calendar import Calendar
from ml_platform.cli import app
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import GoneError, Lake, LakeError, TableSpec, ledger, logs, sweeping
from ml_platform.lake.compaction import MANY
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.lake.schemas import LEDGER, MAINTENANCE, QUARANTINE
from ml_platform.lake.staging import Staging
from ml_platform.lake.store import locked
from ml_platform.landing import LocalLanding
from ml_platform.maintenance import HOME, Maintenance, tables, vacuum

SPEC = TableSpec("gold/things", pa.schema([("id", pa.int64()), ("text", pa.string())]))
SILVER = TableSpec("silver/readings_history", pa.schema([("value", pa.int64()), ("month", pa.string())]), ("month",))
PANEL = TableSpec(SERIES_PANEL, pa.schema([("value", pa.int64())]))
ROOT = Path(__file__).resolve().parents[2]
MONTH, NOW = timedelta(days=30), timedelta(0)
DAY = date(2024, 1, 5)
CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}.jsonl",
        "format": {"type": "jsonl"},
        "columns": {"meter": {"type": "int64"}, "at": {"type": "timestamp"}},
        "key": ["meter", "at"],
        "time": {"column": "at"},
        "max_quarantined": 0.9,
    }
)


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def lake(home: Path) -> Lake:
    return Lake(str(home / "lake"))


def care(lake: Lake, home: Path, retention: timedelta = MONTH) -> Maintenance:
    return Maintenance(lake, home, retention, "run-1")


def rows(*ids: int, text: str = "x") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "text": [text] * len(ids)}, SPEC.schema)


def aged(folder: Path, days: float) -> None:
    """Make everything in a folder older: times of files, and the times that commits of a log carry."""
    for path in [*folder.rglob("*"), folder]:
        if re.fullmatch(r"\d{20}\.json", path.name):
            text = path.read_text()
            older = re.sub(r'("timestamp":)(\d{13})', lambda m: f"{m[1]}{int(m[2]) - int(days * 86_400_000)}", text)
            path.write_text(older)
        at = time.time() - days * 86_400
        os.utime(path, (at, at))


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder with a hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def data_files(lake: Lake, name: str) -> set[str]:
    return {path.name for path in Path(lake.uri(name)).rglob("*.parquet") if "_delta_log" not in path.parts}


def account(lake: Lake) -> list[tuple[str, str]]:
    return [(row["table"], row["action"]) for row in lake.read(MAINTENANCE.name).sort_by("at").to_pylist()]


@pytest.fixture
def corrected(lake: Lake) -> Lake:
    """Version 1 wrong, corrected as version 2 forty days ago; version 3 twenty days ago, version 4 now."""
    lake.append(SPEC, rows(1, text="wrong"))
    lake.replace(SPEC, rows(1, text="right"), "id = 1")
    aged(Path(lake.uri(SPEC.name)), 20)
    lake.append(SPEC, rows(2))
    lake.replace(SPEC, rows(2, text="y"), "id = 2")
    aged(Path(lake.uri(SPEC.name)), 20)
    lake.replace(SPEC, rows(2, text="z"), "id = 2")
    return lake


def test_a_dry_run_changes_not_a_byte_and_says_what_an_applied_one_does(corrected: Lake, home: Path) -> None:
    before = tree(home)
    due = {one.table: one for one in care(corrected, home).due()}
    assert tree(home) == before
    assert (due[SPEC.name].dead_files, due[SPEC.name].versions, due[SPEC.name].files) == (1, 6, 2)
    done = care(corrected, home).apply()
    assert [(one.table, one.action, one.files, one.bytes, one.versions) for one in done] == [
        (SPEC.name, "vacuumed", 1, due[SPEC.name].freed_bytes, 2)
    ]
    assert care(corrected, home).due()[0].dead_files == 0


def test_within_the_retention_the_version_before_a_correction_can_be_read(corrected: Lake, home: Path) -> None:
    care(corrected, home).apply()
    kept = {version: corrected.read(SPEC.name, version=version).sort_by("id").to_pylist() for version in (2, 3, 4, 5)}
    assert kept[3][1]["text"] == "x", "before the correction of twenty days ago"
    assert kept[4][1]["text"] == "y"
    assert kept[5][1]["text"] == "z"
    assert corrected.version_at(SPEC.name, datetime.now(UTC) - timedelta(days=10)) == 4
    assert corrected.version_at(SPEC.name, datetime.now(UTC) - timedelta(days=39)) == 2


def test_beyond_the_retention_the_error_says_which_versions_there_are(corrected: Lake, home: Path) -> None:
    assert corrected.read(SPEC.name, version=1)["text"].to_pylist() == ["wrong"]
    care(corrected, home).apply()
    with pytest.raises(GoneError, match=r"gold/things has no version 1 that can be read: there are versions 2 to 5"):
        corrected.read(SPEC.name, version=1)


def test_a_retention_of_nothing_leaves_the_newest_version_alone(corrected: Lake) -> None:
    """As erasure asks for it: what was replaced a moment ago is gone, with what the log said of it."""
    before = corrected.read(SPEC.name).sort_by("id")
    (swept,) = vacuum(corrected, [SPEC.name], NOW)
    assert (len(swept.files), swept.versions) == (3, 5)
    assert corrected.read(SPEC.name).sort_by("id").equals(before)
    assert len(data_files(corrected, SPEC.name)) == 2
    for version in range(5):
        with pytest.raises(GoneError, match="there are versions 5 to 5"):
            corrected.read(SPEC.name, version=version)
    log = Path(corrected.uri(SPEC.name)) / "_delta_log"
    assert [path.name for path in log.glob("*.json")] == [f"{5:020}.json"]
    corrected.append(SPEC, rows(3))
    assert vacuum(corrected, [SPEC.name], NOW)[0].files == ()
    assert sorted(corrected.read(SPEC.name)["id"].to_pylist()) == [1, 2, 3]


def test_files_on_their_way_into_a_commit_stay_whatever_the_retention_is(lake: Lake, home: Path) -> None:
    lake.append(SPEC, rows(1))
    written, staging = lake.write(SPEC, rows(2)), Staging.open(lake, SPEC)
    staged = Path(staging.path) / "fate=kept" / "a.parquet"
    refused = Path(lake.uri(SPEC.name)) / "_refused" / "b.parquet"
    for path in (staged, refused):
        path.parent.mkdir(parents=True)
        shutil.copy(Path(lake.uri(SPEC.name)) / lake.table(SPEC.name).file_uris()[0], path)
    before = tree(home)
    assert vacuum(lake, [SPEC.name], NOW)[0].files == ()
    assert {name: digest for name, digest in tree(home).items() if "_delta_log" not in name} == {
        name: digest for name, digest in before.items() if "_delta_log" not in name
    }
    lake.append(SPEC, rows(2), files=written)
    assert sorted(lake.read(SPEC.name)["id"].to_pylist()) == [1, 2]


def test_what_a_writer_replaces_while_files_are_looked_for_stays(
    corrected: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, newest = logs.read, corrected.version(SPEC.name) or 0
    before = corrected.read(SPEC.name).sort_by("id")

    def overtaken(root: str, name: str) -> logs.Log:
        found = read(root, name)
        if corrected.version(SPEC.name) == newest:
            corrected.replace(SPEC, rows(1, 2, text="later"), "id > 0")
        return found

    monkeypatch.setattr(sweeping.logs, "read", overtaken)
    sweeping.remove(corrected, sweeping.find(corrected, SPEC.name, MONTH))
    monkeypatch.undo()
    assert corrected.read(SPEC.name)["text"].to_pylist() == ["later", "later"]
    assert corrected.read(SPEC.name, version=newest).sort_by("id").equals(before)


def test_what_crashed_runs_left_goes_after_the_retention(lake: Lake, home: Path) -> None:
    lake.append(SPEC, rows(1))
    lake.write(SPEC, rows(2))
    staged = Path(Staging.open(lake, SPEC).path) / "fate=kept" / "month=2024-01" / "a.parquet"
    refused = Path(lake.uri(SPEC.name)) / "_refused" / "b.parquet"
    for path in (staged, refused):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"left")
    aged(Path(lake.uri(SPEC.name)), 29)
    assert care(lake, home).apply()[0].action == "nothing_due"
    aged(Path(lake.uri(SPEC.name)), 31)
    (done,) = care(lake, home).apply()
    assert (done.action, done.files) == ("vacuumed", 3)
    assert not staged.parents[1].exists()
    assert lake.read(SPEC.name)["id"].to_pylist() == [1]


def land(home: Path, *meters: object) -> None:
    path = home / "landing" / "readings" / f"{DAY}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"meter": one, "at": f"{DAY}T10:00:00Z"}) + "\n" for one in meters))


def ingest(lake: Lake, home: Path) -> None:
    one = Ingestion(lake, LocalLanding(home / "landing"), CONTRACT, "run", Calendar(DAY, None))
    one.run(one.due(DAY, DAY))


def test_ledger_rows_that_were_not_projected_survive_any_retention(
    lake: Lake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2: the log of bronze is the only place where a crashed run's drops are known; so are the rows that it refused."""
    land(home, 1)
    ingest(lake, home)
    land(home, 1, 2, "x")
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "upsert", lambda *_: (_ for _ in ()).throw(Crash()))
        patch.setattr(ledger, "_project_refused", lambda *_: None)
        with pytest.raises(Crash):
            ingest(lake, home)
    bronze, known = CONTRACT.bronze_spec.name, ledger.known_version(lake, "readings")
    for number in range(30):  # commits that say nothing of drops
        lake.append(CONTRACT.bronze_spec, CONTRACT.bronze_spec.schema.empty_table(), [f"other-{number}"])
    aged(Path(lake.uri(bronze)), 400)
    found = sweeping.find(lake, bronze, NOW)
    assert (found.begin, "somebody still reads" in found.reason) == (known, True)
    assert not [path for path in found.files if "_refused" in path.parts]
    vacuum(lake, [bronze], NOW)
    states = {row.state: row for row in ledger.of_source(lake, "readings")}
    assert set(states) == {ledger.LOADED, ledger.REPLACED}
    assert (states[ledger.LOADED].rows_loaded, states[ledger.LOADED].rows_quarantined) == (2, 1)
    assert lake.count(QUARANTINE.name) == 1
    assert {lake.reached(bronze, row.drop_id) for row in states.values()} == {1}
    ingest(lake, home)
    assert lake.count(bronze) == 2


def test_months_that_the_panel_has_not_taken_up_stay_in_the_log_of_silver(lake: Lake) -> None:
    """Without them the panel would miss what changed; and what silver was made from stays known."""
    month = pa.table({"value": [1], "month": ["2024-01"]}, SILVER.schema)
    for number in range(60):
        lake.append(SILVER, month, metadata={INPUTS_KEY: json.dumps({"bronze": number})})
    lake.append(PANEL, pa.table({"value": [1]}), metadata={INPUTS_KEY: '{"tables": {"readings_history": 25}}'})
    for name in (SILVER.name, PANEL.name):
        aged(Path(lake.uri(name)), 400)
    vacuum(lake, [SILVER.name, PANEL.name], MONTH)
    assert [one.version for one in lake.commits_after(SILVER.name, 25)] == list(range(26, 61))
    with pytest.raises(GoneError):
        lake.commits_after(SILVER.name, 20)
    lake.append(PANEL, pa.table({"value": [1]}), metadata={INPUTS_KEY: '{"tables": {"readings_history": 60}}'})
    vacuum(lake, [SILVER.name], NOW)
    assert lake.last_metadata(SILVER.name, INPUTS_KEY) == {"bronze": 59}
    assert lake.content_version(SILVER.name) == 60
    assert lake.count(SILVER.name) == 60


def test_a_long_log_is_cut_and_everything_within_the_retention_still_reads(lake: Lake, home: Path) -> None:
    for number in range(2 * MANY):
        lake.append(SPEC, rows(number), [f"drop-{number}"], {"ml_platform.note": str(number)})
    aged(Path(lake.uri(SPEC.name)), 40)
    for number in range(2 * MANY, 3 * MANY):
        lake.append(SPEC, rows(number), [f"drop-{number}"], {"ml_platform.note": str(number)})
    done = care(lake, home).apply()
    assert [one.action for one in done] == ["compacted", "log_cut"]
    log = Path(lake.uri(SPEC.name)) / "_delta_log"
    assert min(path.name for path in log.glob("*.json")) == f"{2 * MANY:020}.json"
    for version in range(2 * MANY, 3 * MANY + 2):
        assert lake.read(SPEC.name, version=version).num_rows == min(version, 3 * MANY), version
    assert [n for n in range(99) if lake.reached(SPEC.name, f"drop-{n}") == 1] == list(range(3 * MANY))
    with pytest.raises(GoneError, match=f"there are versions {2 * MANY} to {3 * MANY + 1}"):
        lake.read(SPEC.name, version=3)
    assert "setTransactionRetentionDuration" not in str(lake.table(SPEC.name).metadata().configuration)
    assert care(lake, home).due()[0].log_files == 0


def test_writes_never_cut_a_log_by_themselves(lake: Lake) -> None:
    """Delta-rs would, at a checkpoint, once commits are thirty days old: before retention has looked at who still reads them."""
    for number in range(99):
        lake.append(SPEC, rows(number))
    aged(Path(lake.uri(SPEC.name)), 400)
    for number in range(99, 102):
        lake.append(SPEC, rows(number))
    log = Path(lake.uri(SPEC.name)) / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    assert len(list(log.glob("*.json"))) == 103


def test_a_table_that_cannot_be_read_stops_no_other_one(corrected: Lake, home: Path) -> None:
    broken = TableSpec("gold/a_broken", SPEC.schema)
    corrected.append(broken, rows(1))
    (Path(corrected.uri(broken.name)) / "_delta_log" / f"{1:020}.json").write_text("{no json")
    assert [one.table for one in care(corrected, home).due() if one.reason] == [broken.name]
    done = {one.table: one for one in care(corrected, home).apply()}
    assert (done[broken.name].action, done[SPEC.name].action) == ("failed", "vacuumed")
    assert done[broken.name].reason
    assert dict(account(corrected))[broken.name] == "failed"


def test_two_at_once_do_not_collide(corrected: Lake, home: Path) -> None:
    with (
        locked(corrected, "retention"),
        pytest.raises(LakeError, match=r"retention is at work on .* in another process"),
    ):
        care(corrected, home).apply()
    assert corrected.read(SPEC.name, version=1).num_rows == 1
    assert care(corrected, home).apply()


def test_every_applied_run_leaves_a_row(lake: Lake, home: Path) -> None:
    assert care(lake, home).apply()[0].action == "nothing_due"
    (row,) = lake.read(MAINTENANCE.name).to_pylist()
    assert (row["action"], row["files"], row["run_id"]) == ("nothing_due", 0, "run-1")
    assert tables(lake) == [MAINTENANCE.name]


def test_a_lake_elsewhere_is_refused(home: Path) -> None:
    with pytest.raises(LakeError, match="works on local lakes only"):
        Maintenance(Lake("abfss://a@b.c/d"), home, MONTH, "run").due()


def test_only_intermediates_of_a_home_go_and_only_old_ones(lake: Lake, home: Path) -> None:
    run = "1373b775-7827-4c92-9ca1-72de53599c39"
    go = [
        f"dagster/storage/{run}/compute_logs/a.out",
        "dagster/logs/20260101T000000.log",
        "warehouse/next/filling.duckdb",
        "warehouse/next/filling.duckdb.wal",
        "releases/.building-2024-01-01-abc/parameters.parquet",
    ]
    stay = [
        "dagster/logs/ui.log",
        f"dagster/history/runs/{run}.db",
        "warehouse/warehouse.duckdb",
        "warehouse/next/warehouse.duckdb",
        "releases/2024-01-01-abc/manifest.json",
        "landing/readings/2024-01-05.jsonl",
        "mlflow/artifacts/1/x",
    ]
    young = "dagster/logs/20990101T000000.log"
    for name in (*go, *stay, young):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("12345")
    aged(home, 31)
    (home / young).touch()
    assert care(lake, home).due()[-1].dead_files == len(go)
    (done,) = care(lake, home).apply()
    assert (done.table, done.action, done.files, done.bytes) == (HOME, "removed", len(go), 5 * len(go))
    assert not [name for name in go if (home / name).exists()]
    assert not [name for name in (*stay, young) if not (home / name).exists()]


def test_the_command_shows_by_default_and_does_it_when_it_is_told(
    corrected: Lake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_PLATFORM_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")
    runner = typer.testing.CliRunner()
    shown = runner.invoke(app, ["retention"])
    assert (shown.exit_code, "Nothing was changed" in shown.output, SPEC.name in shown.output) == (0, True, True)
    assert corrected.read(SPEC.name, version=1).num_rows == 1
    done = runner.invoke(app, ["retention", "--apply"])
    assert (done.exit_code, "vacuumed" in done.output) == (0, True), done.output
    with pytest.raises(GoneError):
        corrected.read(SPEC.name, version=1)
    monkeypatch.setenv("ML_PLATFORM_RETENTION_DAYS", "6")
    refused = runner.invoke(app, ["retention", "--apply"])
    assert refused.exit_code == 2
    assert "ML_PLATFORM_RETENTION_DAYS=6 cannot be used: it must be a whole number from 7 on" in refused.output


def test_any_reader_of_delta_reads_what_is_left(corrected: Lake, home: Path) -> None:
    care(corrected, home).apply()
    assert sorted(DeltaTable(corrected.uri(SPEC.name)).to_pandas()["text"]) == ["right", "z"]
    assert LEDGER.name not in tables(corrected)


def test_the_guide_reads_an_older_version_as_it_says(tmp_path: Path) -> None:
    """Its Python block, as it stands, in a folder with a table that was corrected five days ago."""
    lake, spec = Lake(str(tmp_path / ".platform" / "lake")), TableSpec("silver/sales_history", SPEC.schema)
    lake.append(spec, rows(1, 2, text="wrong"))
    aged(Path(lake.uri(spec.name)), 10)
    lake.replace(spec, rows(1, text="right"), "id = 1")
    lake.append(spec, rows(3))
    guide = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert "rows a week ago: 2" in done.stdout
    assert re.search(r"changed.*│\s+2 │", done.stdout, re.DOTALL), done.stdout
