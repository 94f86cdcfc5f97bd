"""Looks at a landing area: bounded, going on where the last one ended, and small however much lies there. Both landing areas."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml_platform import backlog
from ml_platform.backlog import Position, look
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, ledger
from ml_platform.lake.schemas import LEDGER
from ml_platform.landing import LocalLanding, list_drops
from ml_platform.settlement import first_seen

DAYS = [f"2024-01-{number:02d}" for number in range(1, 8)]


@pytest.fixture
def contracts(readings: SourceContract) -> Contracts:
    """Two sources with one name before the other in every order."""
    other = readings.model_copy(update={"name": "weather"})
    target = readings.model_copy(update={"panel": readings.panel.model_copy(update={"target": True})})
    return Contracts(sources=(other, target))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def land(area: Any) -> list[str]:
    paths = [f"{source}/readings_{day}.csv" for source in ("readings", "weather") for day in DAYS]
    area.land(*paths)
    return paths


def settle(lake: Lake, area: Any, contracts: Contracts, *days: str) -> None:
    drops = [drop for source in contracts.sources for drop in list_drops(area.store, source) if str(drop.day) in days]
    ledger.upsert(lake, [first_seen(drop, "by hand") for drop in drops])


def looks(lake: Lake, area: Any, contracts: Contracts, **bounds: Any) -> Iterator[backlog.Look]:
    """One after the other, until everything was seen."""
    found = look(lake, area.store, contracts, **bounds)
    yield found
    while found.position:
        found = look(lake, area.store, contracts, found.position, **bounds)
        yield found


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("most", [1, 3, 4])
def test_looks_with_a_bound_see_every_file_once(area, contracts, lake, monkeypatch, page: int, most: int) -> None:
    """Whatever the size of a page, of which the bound may be reached in the middle."""
    pages = type(area.store).pages
    monkeypatch.setattr(type(area.store), "pages", lambda self, folder, mark="": pages(self, folder, mark, page))
    paths = land(area)
    settle(lake, area, contracts, DAYS[0], DAYS[3])
    found = list(looks(lake, area, contracts, most=most))
    assert [drop.path for one in found for drop in one.drops] == [
        path for path in paths if path[-14:-4] not in (DAYS[0], DAYS[3])
    ]
    assert sum(one.seen for one in found) == len(paths)
    assert all(len(one.drops) <= most for one in found)


def test_files_that_come_and_go_between_looks_hide_no_other(area, contracts, lake) -> None:
    paths = land(area)
    first = look(lake, area.store, contracts, most=3)
    for drop in first.drops:
        area.delete(drop.path)
    area.land("weather/readings_2024-01-31.csv")
    rest = look(lake, area.store, contracts, first.position)
    assert {drop.path for drop in rest.drops} >= {*paths[3:], "weather/readings_2024-01-31.csv"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"/home/x/landing/sales/a.csv"', "/home/x/landing/sales/a.csv", '{"what": 1}', "null"]
)
def test_a_position_that_is_none_is_the_beginning(area, contracts, lake, text: str) -> None:
    """Such as one of an earlier version of the platform, which was a path."""
    paths = land(area)
    assert [drop.path for drop in look(lake, area.store, contracts, text).drops] == paths


def test_a_position_of_another_area_is_the_beginning(area, contracts, lake) -> None:
    paths = land(area)
    found = look(lake, area.store, contracts, most=3)
    elsewhere = replace(Position.read(found.position, area.store.locate()), area="https://other").text()
    assert [drop.path for drop in look(lake, area.store, contracts, elsewhere).drops] == paths


def test_a_source_that_is_declared_no_more_ends_no_look(area, contracts, lake) -> None:
    land(area)
    position = Position(area.store.locate(), "solar", "mark", "solar/a.csv").text()
    assert {drop.source for drop in look(lake, area.store, contracts, position).drops} == {"weather"}


def test_what_waits_is_counted_and_not_due(area, contracts, lake) -> None:
    land(area)
    told = contracts.sources[0].landing.model_copy(update={"complete": "success"})
    waiting = Contracts(sources=tuple(one.model_copy(update={"landing": told}) for one in contracts.sources))
    found = look(lake, area.store, waiting)
    assert (found.drops, found.seen, found.due) == ((), 14, {})
    assert [(one.source, one.reason, one.files) for one in found.held] == [
        ("readings", "no_success", 7),
        ("weather", "no_success", 7),
    ]
    area.land("readings/_SUCCESS")
    assert look(lake, area.store, waiting).due == {"readings": 7}


def test_a_ledger_from_before_attempts_were_counted_is_read(area, contracts, lake) -> None:
    land(area)
    settle(lake, area, contracts, *DAYS)
    old = lake.read(LEDGER.name).drop_columns(["attempt"])
    older = Lake(f"{lake.root}-older")
    spec = replace(LEDGER, schema=old.schema)
    older.append(spec, old)
    assert look(older, area.store, contracts).drops == ()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 files of one source."""
    folder = tmp_path_factory.mktemp("crowd") / "landing"
    (folder / "readings").mkdir(parents=True)
    for number in range(100_000):
        (folder / "readings" / f"readings_2024-01-05_{number:06d}.csv").touch()
    return folder


def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that a folder was asked what they are."""
    asked, describe = list[str](), LocalLanding._describe
    monkeypatch.setattr(LocalLanding, "_describe", lambda self, own: asked.append(own) or describe(self, own))
    return asked


def test_a_look_at_100_000_new_files_takes_up_its_bound_and_asks_for_little_more(
    crowd, contracts, lake, monkeypatch
) -> None:
    asked = described(monkeypatch)
    store = LocalLanding(crowd)
    first = look(lake, store, contracts)
    assert (len(first.drops), len(asked)) == (backlog.MOST, backlog.MOST + 1000)
    asked.clear()
    second = look(lake, store, contracts, first.position)
    assert len(second.drops) == backlog.MOST
    assert len(asked) <= backlog.MOST + 2000, "the page in which the first look ended comes once more"
    assert not {drop.path for drop in first.drops} & {drop.path for drop in second.drops}
    assert len(second.position) < 1000


def test_a_look_whose_time_is_up_ends_after_few_files(crowd, contracts, lake, monkeypatch) -> None:
    asked = described(monkeypatch)
    found = look(lake, LocalLanding(crowd), contracts, seconds=0)
    assert found.seen == backlog.LEAST
    assert len(asked) <= 1000


def test_a_look_at_100_000_settled_files_makes_no_row_of_any(crowd, contracts, lake, monkeypatch) -> None:
    """An idle tick: each source's ledger is read once, in columns."""
    store = LocalLanding(crowd)
    drops = list_drops(store, contracts["readings"])
    columns = {name: pa.nulls(len(drops), LEDGER.schema.field(name).type) for name in LEDGER.schema.names}
    columns |= {
        "drop_id": [drop.drop_id for drop in drops],
        "source": ["readings"] * len(drops),
        "state": ["loaded"] * len(drops),
    }
    lake.append(LEDGER, pa.table(columns, schema=LEDGER.schema))
    monkeypatch.setattr(ledger.LedgerRow, "__init__", None)
    reads, read = list[str](), Lake.read
    monkeypatch.setattr(
        Lake, "read", lambda self, name, *more, **named: reads.append(name) or read(self, name, *more, **named)
    )
    found = look(lake, store, contracts, seconds=sys.maxsize)
    assert (found.drops, found.seen, found.position) == ((), 100_000, "")
    assert reads == [LEDGER.name] * len(contracts.sources)
