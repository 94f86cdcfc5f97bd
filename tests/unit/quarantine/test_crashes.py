"""Tests of decisions that do not come to their end: crashes in between, two at once, a check that fails.

Belongs here: what is decided about a refusal is decided once. Does not belong here: what a decision leaves (test_rows, test_files).
"""

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from quarantine_home import DISCARD, FIFTH, GOOD, MANY, MINUS, YEAR, Crash, Home, crash, release, words_of

from ml_platform import expectations
from ml_platform.calendar import Calendar
from ml_platform.checks import Blocked, CheckResult
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, decisions, ledger
from ml_platform.lake.ledger import LOADED
from ml_platform.lake.schemas import DECISIONS, QUARANTINE
from ml_platform.quarantine import (
    words,
)


@pytest.mark.parametrize("place", ["project", "_project_one", "record", "upsert", "apply"])
def test_a_crash_between_commit_and_projection_of_a_release_heals(
    home: Home, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The bronze commit is the truth: the row is there once, and so is the decision."""
    home.land(FIFTH, GOOD, MANY, MINUS, GOOD)
    home.ingest()
    record, bring = home.one("not_int64:units"), Ingestion.bring

    def dies(self: Ingestion, *arguments: Any) -> Any:
        monkeypatch.setattr(decisions if place in ("record", "apply") else ledger, place, crash)
        return bring(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ingestion, "bring", dies)
        with pytest.raises(Crash):
            home.quarantine.decide(release(units="7"), [record])
    monkeypatch.undo()
    assert home.units() == [5, 5, 7], "the commit stands"
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["open", "open"], "nothing followed from it yet"
    (one,) = home.decide(release(units="8"), record)
    assert (one.ok, one.decided, "released already" in one.words) == (True, False, True)
    assert home.units() == [5, 5, 7]
    assert home.states() == [(3, "not_int64:units", "released"), (4, "below_minimum:units", "open")]
    assert home.lake.count(DECISIONS.name) == 1


def test_a_crash_before_the_commit_leaves_everything_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append", crash)
        with pytest.raises(Crash):
            home.quarantine.decide(release(units="7"), home.all())
    home.balance()
    assert home.states() == [(3, "not_int64:units", "open")]
    home.decide(release(units="7"), *home.all())
    assert home.units() == [5, 7]


def test_a_discard_that_a_crash_cut_off_from_the_table_is_decided(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record = decisions.record

    def dies_afterwards(*arguments: Any) -> None:
        record(*arguments)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(decisions, "record", dies_afterwards)
        with pytest.raises(Crash):
            home.quarantine.decide(DISCARD, home.all())
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["open"]
    assert home.states() == [(3, "not_int64:units", "discarded")], "the log is the truth"
    home.ingest()
    assert home.lake.read(QUARANTINE.name)["state"].to_pylist() == ["discarded"]
    assert "discarded already" in words_of(home.decide(release(units="7"), *home.all()))


def test_a_released_file_whose_run_dies_before_its_ledger_row_is_settled_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land("readings_2025-01-05.csv", GOOD)
    home.ingest()
    home.decide(release(), *home.all())
    later, door = Calendar(YEAR.first, date(2025, 12, 31)), home.door(home.contract, Calendar(YEAR.first))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "upsert", crash)
        with pytest.raises(Crash):
            door.run(door.due(YEAR.first, later.last))
    home.ingest(later)
    assert (home.row().state, home.row().attempt, home.units()) == (LOADED, 2, [5])


def test_of_two_that_release_at_once_one_waits_and_learns_what_was_decided(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    record, bring, later = home.one("not_int64:units"), Ingestion.bring, []

    with ThreadPoolExecutor(1) as other:

        def meanwhile(self: Ingestion, *arguments: Any) -> Any:
            monkeypatch.setattr(Ingestion, "bring", bring)
            later.append(other.submit(home.quarantine.decide, release(units="7"), [record]))
            wait(later, timeout=0.5)
            assert not later[0].done()
            return bring(self, *arguments)

        monkeypatch.setattr(Ingestion, "bring", meanwhile)
        first = home.quarantine.decide(release(units="8"), [record])
    assert [one.decided for one in first] == [True]
    assert [(one.decided, "released already" in one.words) for one in later[0].result()] == [(False, True)]
    home.balance()
    assert home.units() == [5, 8]


def test_a_release_that_fails_a_check_commits_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    with monkeypatch.context() as patch:
        patch.setattr(expectations, "validate", lambda *_: CheckResult("expectations", False, "planted"))
        with pytest.raises(Blocked, match="planted"):
            home.decide(release(units="7"), *home.all())
    assert home.states() == [(3, "not_int64:units", "open")]
    assert home.units() == [5]


def test_a_row_without_its_ledger_row_waits_for_it(home: Home) -> None:
    home.land(FIFTH, GOOD, MANY)
    home.ingest()
    situation = words.Situation(home.door(home.contract))
    assert "run `ml-platform run ingest`" in (
        words.no_release(replace(home.one("not_int64:units"), drop=None), situation) or ""
    )
