"""Tests of plans: days that nobody named, and days that cannot be."""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml_platform.contracts import Contracts
from ml_platform.lake import Lake
from ml_platform.lake.schemas import LEDGER
from ml_platform.launch import Job, Plan
from ml_platform.plans import PlanError, Planner
from ml_platform.settings import Settings

LOADS: dict[str, Any] = {
    "name": "loads",
    "kind": "events",
    "description": "Loads.",
    "owner": "team:grid",
    "path": "loads_{day}_*.csv",
    "format": {"type": "csv"},
    "columns": {"site": {"type": "string"}, "day": {"type": "date"}},
    "key": ["site"],
    "time": {"column": "day"},
    "drops_per_day": 2,
    "panel": {"target": True},
}
PLANS = {**LOADS, "name": "weather", "path": "{day}/part.csv", "drops_per_day": 1, "panel": {}}
SITES = {**PLANS, "name": "sites", "kind": "snapshot", "path": "sites.csv", "time": None}
CONTRACTS = Contracts.model_validate({"sources": [LOADS, PLANS, SITES]})


def day(number: int) -> date:
    return date(2024, 3, number)


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    return Planner(Settings(home=tmp_path / "home", first_day=day(1), last_day=day(20)), CONTRACTS)


def landed(planner: Planner, *names: str) -> None:
    for name in names:
        path = planner.settings.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def loaded(planner: Planner, *numbers: int) -> None:
    """One loaded drop per number of a day: a day that is named twice is complete."""
    now = datetime.now(UTC)
    rows = [
        {"drop_id": str(n), "source": "loads", "drop_day": day(number), "state": "loaded", "settled_at": now}
        for n, number in enumerate(numbers)
    ]
    Lake(planner.settings.lake).append(LEDGER, pa.Table.from_pylist(rows, schema=LEDGER.schema))


@pytest.mark.parametrize("job", ["ingest", "everything"])
def test_ingestion_covers_the_named_drops_of_the_calendar(planner: Planner, job: Job) -> None:
    landed(planner, "loads/loads_2024-03-04_a.csv", "loads/loads_2024-03-09_a.csv", "weather/2024-03-02/part.csv")
    landed(planner, "loads/loads_2024-02-01_a.csv", "weather/2024-04-01/part.csv", "loads/odd.csv", "sites/sites.csv")
    arrival = datetime(2024, 3, 15, tzinfo=UTC).timestamp()
    for name in (
        "loads/odd.csv",
        "sites/sites.csv",
    ):  # their drop day is that of their arrival, which lies in the calendar
        os.utime(planner.settings.landing / name, (arrival, arrival))
    assert planner.plan(job) == Plan(job, day(2), day(9))
    assert planner.plan(job, first=day(3)) == Plan(job, day(3), day(9))
    assert planner.plan(job, last=day(5)) == Plan(job, day(2), day(5))


@pytest.mark.parametrize("job", ["retrain", "update", "score"])
def test_training_and_scoring_take_the_newest_complete_day(planner: Planner, job: Job) -> None:
    loaded(planner, 3, 3, 5, 5, 7)
    assert planner.plan(job) == Plan(job, day(5), day(5))
    assert planner.plan(job, first=day(2)) == Plan(job, day(2), day(5))
    assert planner.plan(job, last=day(3)) == Plan(job, day(3), day(3))


def test_scoring_takes_what_has_landed_since(planner: Planner) -> None:
    loaded(planner, 5, 5)
    landed(planner, "loads/loads_2024-03-04_z.csv", "loads/loads_2024-03-07_a.csv", "sites/sites.csv")
    assert planner.plan("score") == Plan("score", day(4), day(7))


def test_days_that_are_both_named_need_no_file(planner: Planner) -> None:
    assert planner.plan("ingest", day(2), day(4)) == Plan("ingest", day(2), day(4))


@pytest.mark.parametrize(
    ("job", "days", "hint"),
    [
        ("ingest", (), r"nothing has landed below .*loads/loads_\{day\}_\*.csv.* `ml-platform land"),
        ("everything", (), "nothing has landed"),
        (
            "retrain",
            (),
            "no day of source 'loads' is complete: a day is with 2 loaded drops .* `ml-platform run ingest`",
        ),
        ("score", (), "no day of source 'loads' is complete"),
        ("retrain", (2, 3), "no day from 2024-03-02 to 2024-03-03 is complete"),
        ("update", (2, 3), "no day from 2024-03-02 to 2024-03-03 is complete"),
        ("score", (3, 2), "2024-03-03 lies after the last day 2024-03-02"),
        (
            "score",
            (2, 21),
            "2024-03-21 lies outside .* 2024-03-20.* set ML_PLATFORM_FIRST_DAY and ML_PLATFORM_LAST_DAY",
        ),
    ],
)
def test_what_cannot_be_planned_says_what_to_do(planner: Planner, job: Job, days: Sequence[int], hint: str) -> None:
    with pytest.raises(PlanError, match=hint):
        planner.plan(job, *map(day, days))


def test_files_that_all_lie_outside_the_calendar_name_their_days(planner: Planner) -> None:
    landed(planner, "loads/loads_2023-01-01_a.csv", "loads/loads_2023-02-01_a.csv")
    with pytest.raises(PlanError, match=r"their days run from 2023-01-01 to 2023-02-01: .*ML_PLATFORM_FIRST_DAY"):
        planner.plan("ingest")


def test_the_newest_complete_day_may_lie_outside_the_calendar(planner: Planner) -> None:
    loaded(planner, 25, 25)
    with pytest.raises(PlanError, match="2024-03-25 lies outside the calendar"):
        planner.plan("retrain")


@pytest.mark.parametrize(
    ("job", "days"), [("ingest", []), ("score", []), ("retrain", [3, 5]), ("everything", [3, 5, 8])]
)
def test_days_that_get_a_fleet(planner: Planner, job: Job, days: list[int]) -> None:
    """Complete in the ledger; for everything also those that landed files will complete."""
    loaded(planner, 2, 2, 3, 3, 5, 5, 7)
    landed(planner, *(f"loads/loads_2024-03-{n}_{part}.csv" for n, part in [("08", 1), ("08", 2), ("09", 1)]))
    assert planner.days_to_train(Plan(job, day(3), day(10))) == [day(number) for number in days]
