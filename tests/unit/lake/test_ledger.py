"""Tests of the ledger: rows travel in commit metadata, and projections are completed from it after a crash.

Belongs here: ledger rows and projections, with a real ingestion that dies between commit and projection. Does not belong
here: deciding states (tests of ingestion).
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import LOADED, REPLACED, LedgerRow
from ml_platform.lake.schemas import LEDGER, QUARANTINE
from ml_platform.landing import LocalLanding, list_drops

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
        "max_quarantined": 0.9,
    }
)
DAY = date(2024, 1, 5)
INSTANT = datetime(2024, 1, 5, 12, 30, 1, 250, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


def row(drop_id: str = "a" * 24, **changes: object) -> LedgerRow:
    values = dict.fromkeys(("rows_in", "rows_loaded", "rows_quarantined", "rows_duplicate", "rows_erased"), 0)
    made = LedgerRow(
        drop_id=drop_id,
        source="readings",
        path="readings/readings_2024-01-05.csv",
        etag="1f",
        length=10,
        content_sha256="0" * 64,
        drop_day=date(2024, 1, 5),
        state=LOADED,
        reason=None,
        table_version=3,
        run_id="run",
        first_seen_at=INSTANT,
        settled_at=INSTANT,
        **values,
    )
    return replace(made, **changes)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def land(tmp_path: Path, day: str, *lines: str) -> None:
    folder = tmp_path / "landing" / "readings"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"readings_{day}.csv").write_text("\n".join(["meter,at", *lines]) + "\n")


def ingest(tmp_path: Path, lake: Lake) -> Ingestion:
    return Ingestion(lake, LocalLanding(tmp_path / "landing"), CONTRACT, "run", Calendar(DAY, DAY))


def due(one: Ingestion) -> list[str]:
    return [drop.path for drop in one.due(DAY, DAY)]


def refused(lake: Lake) -> list[tuple[str, str]]:
    found = lake.read(QUARANTINE.name).to_pylist() if lake.exists(QUARANTINE.name) else []
    return sorted((one["drop_id"], one["value"]) for one in found)


def test_rows_survive_the_way_through_metadata() -> None:
    rows = [row(), row("b" * 24, reason="why 'not'", rows_in=4, rows_loaded=3, rows_quarantined=1)]
    assert ledger._from_metadata(ledger.to_metadata(rows), 9) == [replace(one, table_version=9) for one in rows]


def test_balance_of_a_row() -> None:
    assert row(rows_in=10, rows_loaded=4, rows_quarantined=3, rows_duplicate=2, rows_erased=1).balanced
    assert not row(rows_in=10, rows_loaded=9).balanced


def test_upsert_adds_new_rows_and_changes_known_ones(lake: Lake) -> None:
    ledger.upsert(lake, [row("a" * 24), row("b" * 24)])
    ledger.upsert(lake, [row("a" * 24).superseded_by("c" * 24), row("c" * 24)])
    found = {one.drop_id: one for one in ledger.of_source(lake, "readings")}
    assert {name: one.state for name, one in found.items()} == {"a" * 24: REPLACED, "b" * 24: LOADED, "c" * 24: LOADED}
    assert found["a" * 24].reason == f"replaced by drop {'c' * 24}"
    assert found["b" * 24] == row("b" * 24)
    loaded = sorted(row.drop_id for row in ledger.of_source(lake, "readings") if row.state == ledger.LOADED)
    assert loaded == ["b" * 24, "c" * 24]
    assert ledger.table_of(lake, "readings").num_rows == 3
    assert ledger.of_source(lake, "others") == []


def test_a_day_is_complete_with_its_number_of_loaded_drops(lake: Lake) -> None:
    second = date(2024, 1, 6)
    ledger.upsert(
        lake,
        [row("a" * 24), row("b" * 24), row("c" * 24, drop_day=second), row("d" * 24, drop_day=second, state=REPLACED)],
    )
    assert ledger.complete_days(lake, "readings", 1) == [date(2024, 1, 5), second]
    assert ledger.complete_days(lake, "readings", 2) == [date(2024, 1, 5)]


def crash_before(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def die(*arguments: object, **named: object) -> None:
        raise Crash

    monkeypatch.setattr(ledger, name, die)


def test_a_crash_between_commit_and_projection_is_completed_by_the_next_run(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is the truth: the drop is neither lost nor read twice, and its refused row is kept."""
    land(tmp_path, "2024-01-05", "1,2024-01-05T10:00:00Z", "x,2024-01-05T10:00:00Z")
    one = ingest(tmp_path, lake)
    drops = one.due(DAY, DAY)
    with monkeypatch.context() as patch:
        projected = ledger.project
        patch.setattr(ledger, "project", lambda *arguments: crash_after_commit(projected, *arguments))
        with pytest.raises(Crash):
            one.run(drops)
    assert lake.count("bronze/raw_readings") == 1
    assert ledger.of_source(lake, "readings") == []
    assert refused(lake) == []

    one.run(drops)  # a run that was started before the crash was seen
    found = ledger.of_source(lake, "readings")
    assert [(row.state, row.rows_in, row.rows_loaded, row.rows_quarantined) for row in found] == [(LOADED, 2, 1, 1)]
    assert refused(lake) == [(found[0].drop_id, "x")]
    assert lake.count("bronze/raw_readings") == 1
    assert due(one) == []


def crash_after_commit(projected, lake: Lake, source: str, bronze: str) -> int:
    if lake.commits_after(bronze, 0):
        raise Crash
    return projected(lake, source, bronze)


@pytest.mark.parametrize("place", ["_project_refused", "upsert"])
def test_a_crash_within_the_projection_heals(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    land(tmp_path, "2024-01-05", "1,2024-01-05T10:00:00Z", "x,2024-01-05T10:00:00Z")
    one = ingest(tmp_path, lake)
    with monkeypatch.context() as patch:
        crash_before(patch, place)
        with pytest.raises(Crash):
            one.run(list_drops(one.landing, CONTRACT))
    assert one.recover() == 1
    assert one.recover() == 0
    found = ledger.of_source(lake, "readings")
    assert [row.rows_quarantined for row in found] == [1]
    assert refused(lake) == [(found[0].drop_id, "x")]
    assert due(one) == []


def test_a_crash_between_quarantine_and_its_staged_file_adds_nothing_twice(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(tmp_path, "2024-01-05", "1,2024-01-05T10:00:00Z", "x,2024-01-05T10:00:00Z")
    one = ingest(tmp_path, lake)
    with monkeypatch.context() as patch:
        crash_before(patch, "_unstage")
        with pytest.raises(Crash):
            one.run(list_drops(one.landing, CONTRACT))
    assert lake.count(QUARANTINE.name) == 1
    assert one.recover() == 1
    assert lake.count(QUARANTINE.name) == 1
    assert not list((tmp_path / "lake" / "bronze" / "raw_readings" / "_refused").iterdir())


def test_refused_rows_of_a_corrected_file_join_those_of_the_file_it_replaces(tmp_path: Path, lake: Lake) -> None:
    one = ingest(tmp_path, lake)
    for bad in ("first", "the second"):
        land(tmp_path, "2024-01-05", "1,2024-01-05T10:00:00Z", f"{bad},2024-01-05T10:00:00Z")
        one.run(one.due(DAY, DAY))
    states = {row.drop_id: row.state for row in ledger.of_source(lake, "readings")}
    assert sorted((states[drop_id], value) for drop_id, value in refused(lake)) == [
        (LOADED, "the second"),
        (REPLACED, "first"),
    ]
    for drop in ledger.of_source(lake, "readings"):
        assert lake.count(QUARANTINE.name, pc.field("drop_id") == drop.drop_id) == drop.rows_quarantined
    assert lake.count(LEDGER.name) == 2
