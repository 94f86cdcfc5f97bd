"""Tests of runs of ingestion: which drops are due, batches and their commits, blocks, other runs meanwhile.

Belongs here: the work of one run. Does not belong here: fates of drops (test_versions, test_refusals).
"""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from ingestion_feed import AT, YEAR, A, Feed

from ml_platform import expectations
from ml_platform.calendar import Calendar
from ml_platform.checks import Blocked, CheckResult
from ml_platform.ingestion import IngestionReport
from ml_platform.lake.ledger import LOADED, QUARANTINED


def test_a_suite_that_fails_blocks(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    feed.land("readings_2024-01-05.csv", A)
    monkeypatch.setattr(expectations, "validate", lambda *_: CheckResult("expectations", False, "planted"))
    with pytest.raises(Blocked, match="planted"):
        feed.ingest()
    assert feed.rows() == []


def test_drops_share_commits_by_rows_and_a_late_block_keeps_the_batches_before(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 6):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}", f"{day + 10},{AT},{day}")
    said: list[str] = []
    monkeypatch.setattr(
        expectations,
        "validate",
        lambda data, *_: CheckResult("expectations", 5 not in data["units"].to_pylist(), "planted"),
    )
    small = replace(feed, one=replace(feed.one, batch_rows=4, progress=said.append))
    with pytest.raises(Blocked):
        small.ingest()
    assert feed.one.lake.version("bronze/raw_readings") == 2
    assert len(feed.rows()) == 4
    assert said == ["readings: 2 drops, 4 rows loaded", "readings: 4 drops, 8 rows loaded"]
    feed.balance()


def test_the_report_of_several_batches_adds_up(feed: Feed) -> None:
    for day in range(1, 4):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}")
    report = replace(feed, one=replace(feed.one, batch_rows=1)).ingest()
    checks = {check.name: check for check in report.checks}
    assert checks["row_balance"].figures == {"drops": 3, "rows_in": 3}
    assert len(report.rows) == report.total("rows_in") == 3


def test_drops_are_due_by_day_and_those_outside_the_calendar_always(feed: Feed) -> None:
    for day in ("2024-01-05", "2024-01-06", "2023-12-31", "2025-01-01"):
        feed.land(f"readings_{day}.csv", A)
    feed.land("strange.txt", "x")
    fifth = date(2024, 1, 5)
    due = {drop.path.removeprefix("readings/") for drop in feed.one.due(fifth, fifth)}
    assert due == {"readings_2024-01-05.csv", "readings_2023-12-31.csv", "readings_2025-01-01.csv", "strange.txt"}


def test_what_happened_after_the_calendar_is_refused_and_what_was_before_is_history(feed: Feed) -> None:
    feed.land("readings_2025-01-01.csv", A)
    feed.land("readings_2023-12-31.csv", "2,2023-12-31T10:00:00Z,7")
    feed.ingest()
    before, after = feed.rows()
    assert (before.state, after.state) == (LOADED, QUARANTINED)
    assert after.reason == (
        "outside_calendar: day 2025-01-01 lies after the calendar (2024-01-01 to 2024-12-31): "
        "set ML_PLATFORM_LAST_DAY and land the file again, or correct its name"
    )


def test_an_open_calendar_ends_today(feed: Feed) -> None:
    today = datetime.now(UTC).date()
    feed.land(f"readings_{today + timedelta(days=2)}.csv", A)
    open_end = replace(feed, one=replace(feed.one, calendar=Calendar(YEAR[0])))
    open_end.one.run(open_end.one.due(YEAR[0], today))
    assert [row.state for row in feed.rows()] == [QUARANTINED]


def test_a_snapshot_is_due_whatever_the_day(snapshot: Feed) -> None:
    snapshot.land_parquet("first.parquet", [1])
    day = YEAR[0] - timedelta(days=1000)
    assert len(snapshot.one.due(day, day)) == 1


def test_a_drop_that_another_run_settled_meanwhile_is_left_alone(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops = feed.one.due(*YEAR)
    feed.one.run(drops)
    assert feed.one.run(drops) == IngestionReport()
    assert feed.units() == [5]


def test_a_drop_that_another_run_commits_at_the_same_time_is_refused(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops, spec = feed.one.due(*YEAR), feed.one.contract.bronze_spec
    feed.one.lake.append(spec, spec.schema.empty_table(), [drops[0].drop_id])
    with pytest.raises(RuntimeError, match="start this run again"):
        feed.one.run(drops)
    assert feed.one.lake.count("bronze/raw_readings") == 0
