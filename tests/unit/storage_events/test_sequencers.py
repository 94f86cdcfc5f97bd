"""What the ledger keeps of an announcement: the sequencer of the version that was announced, and of no other."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, TableSpec, announcements, ledger
from ml_platform.lake.announcements import ANNOUNCED, Announcement, ignored
from ml_platform.lake.schemas import LEDGER
from ml_platform.landing import Drop, LocalLanding

CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "readings_{day}.csv",
        "format": {"type": "csv"},
        "columns": {"meter": {"type": "int64"}, "at": {"type": "timestamp"}},
        "key": ["meter", "at"],
        "time": {"column": "at"},
    }
)
DAY = date(2024, 1, 5)
NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def readings(tmp_path: Path) -> Ingestion:
    lake, landing = Lake(str(tmp_path / "lake")), LocalLanding(tmp_path / "landing")
    return Ingestion(lake, landing, CONTRACT, "run", Calendar(DAY, date(2024, 1, 9)))


def land(readings: Ingestion, tmp_path: Path, day: int, text: str = "1") -> Drop:
    file = tmp_path / "file.csv"
    file.write_text(f"meter,at\n{text},2024-01-05T10:00:00Z\n")
    readings.landing.put(f"readings/readings_2024-01-0{day}.csv", file)
    (drop,) = [one for one in readings.due(DAY, date(2024, 1, 9)) if one.day.day == day]
    return drop


def tell(readings: Ingestion, drop: Drop, sequencer: str | None, outcome: str = ANNOUNCED, etag: str = "") -> None:
    row = Announcement(
        f"{drop.path}{sequencer}",
        "readings",
        drop.path,
        etag or drop.etag,
        drop.length,
        sequencer,
        "PutBlob",
        NOW,
        NOW,
        outcome,
    )
    announcements.record(readings.lake, [row])


def kept(readings: Ingestion) -> dict[int, str | None]:
    readings.run(readings.due(DAY, date(2024, 1, 9)))
    return {row.drop_day.day: row.sequencer for row in ledger.of_source(readings.lake, "readings")}


def test_the_announced_version_has_its_sequencer_and_no_other_has(readings: Ingestion, tmp_path: Path) -> None:
    told, other, ignored_one, _ = (land(readings, tmp_path, day, str(day)) for day in (5, 6, 7, 8))
    tell(readings, told, "00a1")
    tell(readings, other, "00a2", etag="another")
    tell(readings, ignored_one, "00a3", ignored("not_committed"))
    assert kept(readings) == {5: "00a1", 6: None, 7: None, 8: None}


def test_a_version_that_was_superseded_before_it_was_read_keeps_its_own(readings: Ingestion, tmp_path: Path) -> None:
    drop = land(readings, tmp_path, 5)
    tell(readings, drop, "09")
    tell(readings, drop, "10", etag="newer")
    assert kept(readings) == {5: "09"}


def test_refused_files_have_it_too(readings: Ingestion, tmp_path: Path) -> None:
    drop = land(readings, tmp_path, 5, "no number")
    tell(readings, drop, "1f")
    assert kept(readings) == {5: "1f"}
    (row,) = ledger.of_source(readings.lake, "readings")
    assert row.state == ledger.QUARANTINED


def test_a_ledger_of_before_gets_the_column_with_the_first_run(readings: Ingestion, tmp_path: Path) -> None:
    older = TableSpec(LEDGER.name, pa.schema([one for one in LEDGER.schema if one.name != "sequencer"]))
    land(readings, tmp_path, 5)
    kept(readings)
    (row,) = ledger.of_source(readings.lake, "readings")
    before = Lake(str(tmp_path / "before"))
    before.append(older, readings.lake.read(LEDGER.name).drop_columns(["sequencer"]))
    assert ledger.of_source(before, "readings") == [row]
    ledger.project(before, "readings", CONTRACT.bronze_spec.name)
    ledger.upsert(before, [replace(row, sequencer="2b")])
    assert [one.sequencer for one in ledger.of_source(before, "readings")] == ["2b"]
