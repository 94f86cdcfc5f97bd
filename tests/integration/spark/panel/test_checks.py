"""Tests of what the panel is checked for: a panel that does not balance is not committed, every row has a fate, what is missing is named.

Belongs here: blocks, fates, words, what is read from a panel. Does not belong here: what the panel holds (test_by_hand).
"""

from datetime import date, timedelta
from typing import Any

import pyarrow.compute as pc
import pytest
from panel_town import AS_OF, FIRST, METERS, PLAIN, days_between, land, panel_fates_of, town_of

from ml_platform import features
from ml_platform.catalogue import catalogue_as_of
from ml_platform.checks import Blocked
from ml_platform.contracts import ContractError
from ml_platform.examples import example_forecasts
from ml_platform.features import target_per_day
from ml_platform.lake import TableSpec
from ml_platform.lake.names import SERIES_CATALOGUE, SERIES_PANEL
from ml_platform.lake.schemas import forecasts as forecasts_spec

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("column", "check"), [("target", "target_balance"), ("rows", "complete_calendar")])
def test_a_blocked_panel_commits_nothing(town: Any, monkeypatch: pytest.MonkeyPatch, column: str, check: str) -> None:
    town.land("meters", "meters.csv", *METERS)
    land(town, town_of([FIRST], seed=2), [FIRST])
    town.prepare("meters", "readings")
    wanted = features._wanted
    with monkeypatch.context() as patch:
        off = (1, 0) if column == "rows" else (0, 1)
        patch.setattr(features, "_wanted", lambda grid: tuple(a + b for a, b in zip(wanted(grid), off, strict=True)))
        with pytest.raises(Blocked, match=check):
            town.make_panel(FIRST, **PLAIN)
    assert town.lake.count(SERIES_PANEL) == 0
    assert town.make_panel(FIRST, **PLAIN).rows == town.lake.count(SERIES_PANEL) > 0


def test_history_that_no_series_holds_blocks(town: Any) -> None:
    """The balance is taken from history itself: a catalogue that is too old loses rows, and that is seen."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-25.csv", "1,1,1,2024-01-25T17:00:00Z,3,3.00")
    town.prepare("meters", "readings")
    town.make_panel(FIRST, **PLAIN)
    town.land("readings", "readings_2024-01-26.csv", "2,7,1,2024-01-26T17:00:00Z,4,4.00")
    town.prepare("readings")
    with pytest.raises(Blocked, match="target_balance"):
        features.write_panel(town.inputs(**PLAIN), FIRST + timedelta(days=1))


def test_what_is_missing_is_named(town: Any) -> None:
    with pytest.raises(ContractError, match=r"known_future \['rain'\] in forecast.yaml"):
        _ = town.inputs(known_future=("rain",)).covariates
    with pytest.raises(ContractError, match="no day of source 'readings' is complete"):
        town.inputs().newest_day()
    town.land("meters", "meters.csv", *METERS)
    land(town, town_of([FIRST], seed=2), [FIRST])
    town.prepare("meters", "readings")
    assert town.inputs().newest_day() == FIRST
    with pytest.raises(ContractError, match="has no row up to 2023-12-31"):
        town.make_panel(date(2023, 12, 31), **PLAIN)


def test_examples_and_volume_are_read_from_the_panel(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    town.make_panel(AS_OF, **PLAIN)
    volume = target_per_day(town.lake, AS_OF)
    expected = {day: sum(int(line.split(",")[4]) for line in some) for day, some in lines.items()}
    assert {row["date"]: row["target"] for row in volume.to_pylist() if row["target"]} == {
        d: v for d, v in expected.items() if v
    }
    config = town.inputs().config
    spec = forecasts_spec(config.interval_columns, town.panel().schema.field("date").type)
    town.lake.ensure(spec)
    history, made, titles = example_forecasts(town.lake, config, AS_OF, "none", number=2)
    active = catalogue_as_of(town.inputs(**PLAIN), AS_OF).filter(pc.field("state") == "active")
    assert set(titles) <= set(active["series_id"].to_pylist())
    assert len(titles) == 2
    assert set(history["series_id"].to_pylist()) == set(titles)
    assert made.num_rows == 0
    assert all(" / " in title for title in titles.values())


def test_every_row_that_silver_kept_has_a_fate_at_the_panel(town: Any) -> None:
    """Kept, beyond the as-of day, or of a series that is excluded; a day later it is another one."""
    lines = town_of(days_between(FIRST, AS_OF + timedelta(days=2)))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    beyond = [len(rows) for day, rows in lines.items() if day > AS_OF]
    kept = town.lake.count("silver/readings_history")
    assert all(beyond)
    for day, waiting in ((AS_OF, sum(beyond)), (AS_OF + timedelta(days=2), 0)):
        town.make_panel(day, **PLAIN)
        found = panel_fates_of(town)
        assert sum(found.values()) == kept
        assert found["waiting(after_as_of)"] == waiting
        excluded = town.lake.read(SERIES_CATALOGUE, where=pc.field("state") == "excluded")["series_id"].to_pylist()
        assert (found["excluded(excluded_series)"] > 0) == bool(excluded)


def test_rows_that_silver_lost_without_an_account_block_the_panel(town: Any) -> None:
    lines = town_of(days_between(FIRST, AS_OF))
    town.land("meters", "meters.csv", *METERS)
    land(town, lines, list(lines))
    town.prepare("meters", "readings")
    spec = TableSpec("silver/readings_history", town.lake.dataset("silver/readings_history").schema, ("month",))
    town.lake.remove(spec, "reading_id = 1")
    with pytest.raises(Blocked, match="row_fates"):
        town.make_panel(AS_OF, **PLAIN)
