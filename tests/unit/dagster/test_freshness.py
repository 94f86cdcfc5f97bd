"""The sensor on silence: a day that does not come is told without a run, once, and taken back when it came."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ml_platform.drop_warnings import FRESH
from ml_platform.lake import ledger
from ml_platform.landing import Drop
from ml_platform.settings import Settings
from ml_platform.settlement import first_seen

TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=n) for n in range(60, 5, -1)]  # the newest day is six days ago


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A calendar that goes on: feeds of a calendar that has ended are not late."""
    return settings.model_copy(update={"first_day": DAYS[0], "last_day": None})


def came(home, *days: date) -> None:
    """A loaded file per day, each seen six hours after its day's end."""
    rows = []
    for day in days:
        seen = datetime(day.year, day.month, day.day, 6, tzinfo=UTC) + timedelta(days=1)
        row = first_seen(Drop("sales", f"sales/sales_{day}.csv", "e", 40_000, day, True, seen, seen), "by hand")
        rows.append(replace(row, first_seen_at=seen, settled_at=seen, rows_in=1000, rows_loaded=1000))
    ledger.upsert(home.lake, rows)


def tick(home, cursor=None):
    return home.trigger("silent_feeds")(dg.build_sensor_context(instance=home.instance, cursor=cursor))


def test_a_silent_feed_is_told_once_and_taken_back(home):
    came(home, *DAYS)
    found = tick(home)
    (event,) = found.asset_events
    assert (event.asset_key.to_user_string(), event.check_name, event.passed) == ("raw_sales", FRESH, False)
    assert (event.severity, event.blocking) == (dg.AssetCheckSeverity.WARN, False)
    assert event.description.startswith("sales 20")
    assert "nothing has come, and its usual time is over" in event.description
    assert isinstance(tick(home, found.cursor), dg.SkipReason), "the same is not said twice"
    came(home, *(TODAY - timedelta(days=n) for n in range(5, 0, -1)))
    back = tick(home, found.cursor)
    assert [one.passed for one in back.asset_events] == [True]
    assert isinstance(tick(home, back.cursor), dg.SkipReason)


def test_the_instance_takes_the_warning_as_a_check_of_the_asset(home):
    came(home, *DAYS)
    (event,) = tick(home).asset_events
    home.instance.report_runless_asset_event(event)
    key = dg.AssetCheckKey(dg.AssetKey("raw_sales"), FRESH)
    (known,) = home.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert known.status.value == "FAILED"


def test_feeds_that_are_fine_or_have_no_history_say_nothing(home):
    assert isinstance(tick(home), dg.SkipReason)
    came(home, *DAYS, *(TODAY - timedelta(days=n) for n in range(5, 0, -1)))
    found = tick(home)
    assert isinstance(found, dg.SkipReason)


def test_a_cursor_keeps_what_was_said_of_other_feeds(home):
    came(home, *DAYS)
    found = tick(home, json.dumps({"promotions": "late"}))
    assert {one.asset_key.to_user_string() for one in found.asset_events} == {"raw_sales", "raw_promotions"}
    assert set(json.loads(found.cursor)) == {"sales", "promotions"}
