"""Tests of silver: every row of bronze gets a fate, and only the months that changed are made anew.

Belongs here: preparation on the engine sail with real tables. Does not belong here: bronze (tests of ingestion), the panel.
"""

import json
import threading
from datetime import date
from typing import Any

import pyarrow.compute as pc
import pytest

from ml_platform import preparation
from ml_platform.backlog import unprepared
from ml_platform.calendar import Calendar
from ml_platform.checks import Blocked
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake.schemas import QUARANTINE, ROW_FATES
from ml_platform.lake.staging import Staging
from ml_platform.landing import LocalLanding
from ml_platform.quarantine import Order, Quarantine, Selection

pytestmark = pytest.mark.integration
YEARS = Calendar(date(2023, 1, 1), date(2025, 12, 31))
METERS = ("1,Elm,HOME", "2,Elm,HOME", "3,Oak,SHOP", "8,Oak,TEST", "9,,HOME")


def reading(number: int, at: str = "2024-01-10T15:00:00Z", meter: int = 1, units: int = 5, district: int = 1) -> str:
    return f"{number},{district},{meter},{at},{units},1.50"


def ids(town: Any) -> list[int]:
    return [row["reading_id"] for row in town.silver("readings")]


def open_refusals(town: Any) -> list[tuple[int, str, str]]:
    if not town.lake.exists(QUARANTINE.name):
        return []
    found = town.lake.read(QUARANTINE.name, where=pc.field("stage") == "silver").to_pylist()
    return sorted((row["row_number"], row["rule"], row["value"]) for row in found)


def test_rows_get_the_first_fate_that_fits_and_a_released_row_comes_back(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    rows = [reading(1), reading(2, meter=7), reading(3, meter=8), reading(4, meter=9), reading(5, units=0)]
    town.land("readings", "readings_2024-01-10.csv", *rows)
    _, report = town.prepare("meters", "readings")
    expected = {
        "excluded(no_street)": 1,
        "excluded(not_for_sale)": 1,
        "kept": 1,
        "kept(zero_units)": 1,
        "quarantined(unknown_meter)": 1,
    }
    assert report.fates == town.fates("readings") == expected
    assert {check.name for check in report.checks} == set(preparation.CHECKS)
    kept = {row["reading_id"]: row for row in town.silver("readings")}
    assert {number: (row["street"], row["kind"], row["rule"]) for number, row in kept.items()} == {
        1: ("Elm", "HOME", ""),
        5: ("Elm", "HOME", "zero_units"),
    }
    assert open_refusals(town) == [(3, "unknown_meter", "7")]
    (refused,) = town.lake.read(QUARANTINE.name).to_pylist()
    assert (refused["path"], refused["period"], refused["state"]) == (
        "readings/readings_2024-01-10.csv",
        "2024-01",
        "open",
    )
    assert json.loads(refused["raw"])["reading_id"] == 2

    town.land("meters", "meters.csv", *METERS, "7,Ash,HOME")
    town.prepare("meters", "readings")
    assert ids(town) == [1, 2, 5]
    assert open_refusals(town) == []
    assert "quarantined(unknown_meter)" not in town.fates("readings")


def decide(town: Any, action: str, rule: str, **corrections: str) -> list[str]:
    """A person's decision on all that is open under a rule; what became of it in words."""

    def door(contract: SourceContract) -> Ingestion:
        return Ingestion(town.lake, LocalLanding(town.root / "landing"), contract, "by hand", YEARS)

    found = Selection(source="readings", rule=rule, state="open").read(town.lake)
    order = Order(action, "Ada", "why not", corrections)
    return [one.words for one in Quarantine(town.contracts, door).decide(order, found)]


def silver_states(town: Any) -> list[tuple[int, str, str | None]]:
    found = town.lake.read(QUARANTINE.name, where=pc.field("stage") == "silver").to_pylist()
    return sorted((row["row_number"], row["state"], row["reason"]) for row in found)


def test_a_row_that_waits_for_a_lookup_is_not_released_by_hand(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2, meter=7))
    town.prepare("meters", "readings")
    (words,) = decide(town, "release", "unknown_meter")
    assert words.startswith("stays open: there is nothing to join it with: meter_id must be known to source 'meters'")
    assert silver_states(town) == [(3, "open", None)]


def test_what_was_discarded_stays_so_when_its_month_is_made_anew(town: Any) -> None:
    """Also where the lookup finds it by now; another row of its key takes its place, and the account balances."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2, meter=7), reading(3, meter=6))
    town.prepare("meters", "readings")
    names = town.lake.read(QUARANTINE.name)["quarantine_id"].to_pylist()
    (first, _) = Selection(source="readings").read(town.lake)
    decided = Quarantine(
        town.contracts, lambda contract: Ingestion(town.lake, LocalLanding(town.root), contract, "by hand", YEARS)
    )
    decided.decide(Order("discard", "Ada", "no meter"), [first])
    assert silver_states(town) == [(3, "discarded", "no meter"), (4, "open", None)]

    town.land("readings", "readings_2024-01-11.csv", reading(9, "2024-01-11T15:00:00Z"))
    town.prepare("readings")
    assert silver_states(town) == [(3, "discarded", "no meter"), (4, "open", None)]
    assert sorted(town.lake.read(QUARANTINE.name)["quarantine_id"].to_pylist()) == sorted(names)

    town.land("meters", "meters.csv", *METERS, "7,Ash,HOME", "6,Ash,HOME")
    town.prepare("meters", "readings")
    assert ids(town) == [1, 3, 9]
    assert silver_states(town) == [(3, "discarded", "no meter")]
    assert town.fates("readings") == {"kept": 3, "quarantined(unknown_meter)": 1}

    town.land("readings", "readings_2024-01-12.csv", reading(2, units=8))
    town.prepare("readings")
    assert [row["units"] for row in town.silver("readings") if row["reading_id"] == 2] == [8]


def test_a_row_released_at_bronze_reaches_silver_in_its_month_alone(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    for number, month in ((1, "01"), (2, "02")):
        rows = [
            reading(number, f"2024-{month}-10T15:00:00Z"),
            reading(10 + number, f"2024-{month}-10T15:00:00Z", units=-1),
        ]
        town.land("readings", f"readings_2024-{month}-10.csv", *rows)
    town.prepare("meters", "readings")
    assert unprepared(town.lake, town.contracts) == []
    found = [one for one in Selection(source="readings").read(town.lake) if "2024-02" in one.path]
    door = lambda contract: Ingestion(town.lake, LocalLanding(town.root / "landing"), contract, "by hand", YEARS)  # noqa: E731
    (outcome,) = Quarantine(town.contracts, door).decide(Order("release", "Ada", "read again", {"units": "1"}), found)
    assert outcome.decided
    assert [row.path for row in unprepared(town.lake, town.contracts)] == ["readings/readings_2024-02-10.csv"]
    (report,) = town.prepare("readings")
    assert report.months == ("2024-02",)
    assert ids(town) == [1, 2, 12]
    assert unprepared(town.lake, town.contracts) == []


def test_a_value_with_a_quote_excludes(town: Any) -> None:
    town.land("meters", "meters.csv", "1,Elm,O'Neil", "2,Elm,HOME")
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2, meter=2))
    town.prepare("meters", "readings")
    assert town.fates("readings") == {"excluded(not_for_sale)": 1, "kept": 1}


def test_of_one_key_the_newest_row_is_kept(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1, units=5), reading(1, units=6), reading(2))
    town.land("readings", "readings_2024-01-11.csv", reading(1, units=7), reading(2))
    town.prepare("meters", "readings")
    assert [(row["reading_id"], row["units"], row["drop_day"].day) for row in town.silver("readings")] == [
        (1, 7, 11),
        (2, 5, 11),
    ]
    assert town.fates("readings") == {"duplicate(key_occurs_again)": 1, "kept": 2, "superseded(key_occurs_again)": 2}


def test_the_greatest_value_of_a_key_wins_and_the_rest_is_the_newest(town: Any) -> None:
    plans = [
        "1,1,2024-01-08,2024-01-14,3,north,1.5",
        "1,1,2024-01-08,2024-01-14,1,south,2.5",
        "2,1,2024-01-08,2024-01-14,0,west,1.0",
    ]
    town.land("meters", "meters.csv", *METERS)
    town.land("plans", "plans_2024-01-05.csv", *plans)
    town.prepare("meters", "plans")
    assert [(row["meter_id"], row["level"], row["crew"]) for row in town.silver("plans")] == [
        (1, "3", "south"),
        (2, "0", "west"),
    ]
    assert town.fates("plans") == {"kept": 2, "superseded(key_occurs_again)": 1}


def test_the_greatest_of_integers_stays_one(make_town: Any) -> None:
    """Where a key has no value at all, and where a float would not hold it."""
    town = make_town(
        "integers",
        ("  level: {type: string}\n", "  level: {type: int64, nullable: true, max: 10000000000000000}\n"),
    )
    plans = [
        "1,1,2024-01-08,2024-01-14,,north,1.5",
        "1,1,2024-01-08,2024-01-14,,south,2.5",
        "2,1,2024-01-08,2024-01-14,9007199254740993,west,1.0",
        "2,1,2024-01-08,2024-01-14,1,west,1.0",
    ]
    town.land("meters", "meters.csv", *METERS)
    town.land("plans", "plans_2024-01-05.csv", *plans)
    town.prepare("meters", "plans")
    assert [(row["meter_id"], row["level"]) for row in town.silver("plans")] == [(1, None), (2, 9007199254740993)]


def test_no_drop_is_settled_while_silver_looks_at_bronze(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that ingests meanwhile waits: else rows would be counted that were not judged."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-11.csv", reading(2))
    town.ingest("readings")
    town.land("readings", "readings_2024-01-12.csv", reading(3))
    others = list[threading.Thread]()

    def meanwhile(name: str) -> None:
        if name == "silver.staged":
            others.append(threading.Thread(target=town.ingest, args=("readings",)))
            others[0].start()
            others[0].join(1)
            assert others[0].is_alive()

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "reach", meanwhile)
        assert town.preparation("readings").run().fates == {"kept": 2}
    others[0].join(30)
    assert town.preparation("readings").run().fates == {"kept": 3}


def test_rows_without_a_fate_do_not_count_as_doubles(town: Any) -> None:
    """An excluded row with the key of a kept one supersedes nothing."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(1, meter=8))
    town.prepare("meters", "readings")
    assert [(row["reading_id"], row["meter_id"]) for row in town.silver("readings")] == [(1, 1)]


def test_the_business_day_is_local(town: Any) -> None:
    """Late in the evening in New York it is the next day, and the next month, in UTC."""
    town.land("meters", "meters.csv", *METERS)
    town.land(
        "readings", "readings_2024-01-31.csv", reading(1, "2024-02-01T03:30:00Z"), reading(2, "2024-02-01T05:00:00Z")
    )
    town.prepare("meters", "readings")
    assert [(row["date"], row["month"]) for row in town.silver("readings")] == [
        (date(2024, 1, 31), "2024-01"),
        (date(2024, 2, 1), "2024-02"),
    ]


def test_only_touched_months_are_made_anew(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    for number, month in enumerate(("01", "02", "03"), start=1):
        town.land("readings", f"readings_2024-{month}-10.csv", reading(number, f"2024-{month}-10T15:00:00Z"))
    town.prepare("meters", "readings")
    before = town.files("silver/readings_history")
    town.land("readings", "readings_2024-04-01.csv", reading(9, "2024-02-20T15:00:00Z"))
    (report,) = town.prepare("readings")
    after = town.files("silver/readings_history")
    assert report.months == ("2024-02",)
    assert {month for month in after if after[month] != before.get(month)} == {"2024-02"}
    assert ids(town) == [1, 2, 3, 9]


def test_nothing_changed_is_no_commit(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2, meter=7))
    town.prepare("meters", "readings")
    names = ("silver/meters_current", "silver/readings_history", ROW_FATES.name, QUARANTINE.name)
    before = [town.lake.version(name) for name in names]
    reports = town.prepare("meters", "readings")
    assert [town.lake.version(name) for name in names] == before
    assert [(report.months, report.fates, report.checks) for report in reports] == [((), {}, ())] * 2


def test_a_drop_without_rows_touches_no_month(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-11.csv")
    town.land("readings", "strange.txt")
    (report,) = town.prepare("readings")
    assert report.months == ()
    assert ids(town) == [1]


def test_a_source_without_rows_is_an_empty_table(town: Any) -> None:
    town.land("meters", "meters.csv")
    town.land("readings", "readings_2024-01-10.csv")
    town.prepare("meters", "readings")
    assert town.silver("meters") == town.silver("readings") == []
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1))
    town.prepare("meters", "readings")
    assert ids(town) == [1]


def test_rows_of_a_replaced_drop_leave_silver_and_stay_accounted_for(town: Any) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2), reading(3, "2024-02-02T15:00:00Z"))
    town.land("readings", "readings_2024-01-11.csv", reading(4))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-10.csv", reading(2, units=8))
    (report,) = town.prepare("readings")
    assert [(row["reading_id"], row["units"]) for row in town.silver("readings")] == [(2, 8), (4, 5)]
    assert report.months == ("2024-01", "2024-02")
    assert town.fates("readings") == {"kept": 2, "superseded(replaced_drop)": 3}


def test_rows_that_a_duplicate_takes_over_stay_in_silver_and_the_newer_file_wins(town: Any) -> None:
    """Although the duplicate was cleared from landing; all three drops balance."""
    town.land("meters", "meters.csv", *METERS)
    for part in ("", "_again"):
        town.land("readings", f"readings_2024-01-10{part}.csv", reading(1), reading(2), reading(3, meter=7))
    town.prepare("meters", "readings")
    (town.root / "landing" / "readings" / "readings_2024-01-10_again.csv").unlink()
    town.land("readings", "readings_2024-01-10.csv", reading(2, units=8), reading(4))
    _, report = town.prepare("meters", "readings")
    assert report.months == ("2024-01",)
    assert [(row["reading_id"], row["units"]) for row in town.silver("readings")] == [(1, 5), (2, 8), (4, 5)]
    assert open_refusals(town) == [(4, "unknown_meter", "7")]


def test_a_replaced_drop_leaves_no_fate_and_no_refusal_behind(town: Any) -> None:
    """Its only row of February was quarantined: silver knows nothing of that month, the projections do."""
    town.land("meters", "meters.csv", *METERS)
    town.land(
        "readings",
        "readings_2024-02-10.csv",
        reading(1),
        reading(2, "2024-02-10T15:00:00Z", meter=7),
        reading(3, "2024-03-10T15:00:00Z", meter=8),
    )
    town.prepare("meters", "readings")
    assert open_refusals(town) == [(3, "unknown_meter", "7")]
    town.land("readings", "readings_2024-02-10.csv", reading(1))
    town.prepare("readings")
    assert open_refusals(town) == []
    assert town.fates("readings") == {"kept": 1, "superseded(replaced_drop)": 3}


def test_a_corrected_time_in_another_month_supersedes_the_first(town: Any) -> None:
    """Incremental and from scratch agree: the key decides, not the month."""
    town.land("meters", "meters.csv", *METERS)
    town.land(
        "readings", "readings_2024-01-31.csv", reading(1, "2024-01-31T15:00:00Z"), reading(2, "2024-01-31T15:00:00Z")
    )
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-02-01.csv", reading(1, "2024-02-01T15:00:00Z"))
    town.prepare("readings")
    assert [(row["reading_id"], row["month"]) for row in town.silver("readings")] == [(1, "2024-02"), (2, "2024-01")]
    assert town.fates("readings") == {"kept": 2, "superseded(key_occurs_again)": 1}

    town.land("readings", "readings_2024-02-01.csv", reading(3, "2024-02-01T15:00:00Z"))
    town.prepare("readings")
    assert ids(town) == [1, 2, 3]
    assert town.fates("readings") == {"kept": 3, "superseded(replaced_drop)": 1}


def test_a_row_that_was_superseded_from_another_month_stays_so(town: Any) -> None:
    """When its own month is made anew for other rows, the newer row of its key lies in a month that is not."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-31.csv", reading(1, "2024-01-31T15:00:00Z"))
    town.land("readings", "readings_2024-02-01.csv", reading(1, "2024-02-01T15:00:00Z"))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-30.csv", reading(9, "2024-01-30T15:00:00Z"))
    (_, report) = town.prepare("meters", "readings")
    assert report.months == ("2024-01",)
    assert [(row["reading_id"], row["month"]) for row in town.silver("readings")] == [(1, "2024-02"), (9, "2024-01")]


@pytest.mark.parametrize("rewrite", ["no longer excluded", "time zone"])
def test_another_contract_makes_all_months_anew(town: Any, make_town: Any, rewrite: str) -> None:
    change = {"no longer excluded": ("values: [TEST,", "values: ["), "time zone": ("America/New_York", "UTC")}[rewrite]
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1, "2024-02-01T03:30:00Z"), reading(2, meter=8))
    town.prepare("meters", "readings")
    other = make_town("other", change)
    changed = type(town)(town.root, other.contracts)
    (report,) = changed.prepare("readings")
    assert report.version == 2
    expected = {"no longer excluded": [("2024-01", 1), ("2024-01", 2)], "time zone": [("2024-02", 1)]}[rewrite]
    assert [(row["month"], row["reading_id"]) for row in changed.silver("readings")] == expected


@pytest.mark.parametrize("drift", ["evolve", "rescue"])
def test_silver_has_the_columns_of_the_contract_whatever_drift_adds_to_bronze(make_town: Any, drift: str) -> None:
    """Also columns with the names of what lookups take and of what the platform adds at silver."""
    town = make_town(drift, ("max_quarantined: 0.9", f"max_quarantined: 0.9\ndrift: {drift}"))
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1))
    town.prepare("meters", "readings")
    before = town.lake.dataset("silver/readings_history").schema
    header = ",".join([*town.contracts["readings"].columns, "street", "month", "fate", "colour"])
    path = town.root / "landing" / "readings" / "readings_2024-01-11.csv"
    path.write_text(f"{header}\n{reading(2)},Nowhere,never,lost,red\n")
    town.prepare("readings")
    assert town.lake.dataset("silver/readings_history").schema == before
    first, second = ({**row, "reading_id": 0} for row in town.silver("readings"))
    for row in (first, second):
        del row["drop_id"], row["drop_day"], row["ingested_at"]
    assert first == second
    added = town.lake.dataset("bronze/raw_readings").schema.names[len(town.contracts["readings"].bronze_spec.schema) :]
    assert added == (["street", "month", "fate", "colour"] if drift == "evolve" else ["_rescued"])


class Crash(BaseException):
    """The process dies here."""


def crash(*arguments: Any, **named: Any) -> None:
    raise Crash


def test_a_crash_between_projections_and_commit_heals(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(2, meter=7))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-10.csv", reading(3), reading(4, meter=6))
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "commit", crash)
        with pytest.raises(Crash):
            town.prepare("readings")
    assert ids(town) == [1]
    town.prepare("readings")
    assert ids(town) == [3]
    assert open_refusals(town) == [(3, "unknown_meter", "6")]


def test_a_drop_whose_ledger_row_a_crash_cut_off_reaches_silver(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the crash and its recovery silver may run: it must not take the drop for one it has seen."""
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1))
    town.prepare("meters", "readings")
    town.land("readings", "readings_2024-01-10.csv", reading(2), reading(3))
    recover, calls = Ingestion.recover, []

    def dies_after_the_commit(self: Ingestion) -> int:
        calls.append(self)
        return recover(self) if len(calls) == 1 else crash() or 0

    with monkeypatch.context() as patch:
        patch.setattr(Ingestion, "recover", dies_after_the_commit)
        with pytest.raises(Crash):
            town.ingest("readings")
    town.preparation("readings").run()
    town.prepare("readings")
    assert ids(town) == [2, 3]


@pytest.mark.parametrize("check", ["row_fates", "unique_key", "expectations"])
def test_a_check_that_fails_commits_nothing(town: Any, monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    town.land("meters", "meters.csv", *METERS)
    town.land("readings", "readings_2024-01-10.csv", reading(1), reading(1, units=9))
    town.prepare("meters")
    town.ingest("readings")
    with monkeypatch.context() as patch:
        if check == "row_fates":
            patch.setattr(type(town.preparation("readings")), "_rows", lambda *_: 7)
        elif check == "unique_key":
            patch.setattr(preparation, "deduplicated", lambda rows, contract: rows)
        else:
            patch.setattr(
                type(town.preparation("readings")),
                "_expected",
                lambda self: preparation.expectations.Expected(columns=("x",)),
            )
        with pytest.raises(Blocked, match=check):
            town.preparation("readings").run()
    assert ids(town) == []
    assert not town.lake.exists(ROW_FATES.name) or town.fates("readings") == {}
    town.prepare("readings")
    assert ids(town) == [1]
