"""Odd drops in Dagster: checks turn yellow with source, day, value and way out, the run goes on, and the pictures are there."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ml_platform.drop_warnings import CHECKS, FRESH, REFUSED, ROWS
from ml_platform.settings import Settings

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(50)]
HALF, GONE, REFUSES = DAYS[40], DAYS[42], DAYS[44]
SOURCE = """
name: parcels
kind: events
description: Parcels per day, depot and service, one file per day.
owner: team:depots
path: parcels_{day}.csv
format: {type: csv}
columns:
  day: {type: date}
  depot: {type: string}
  parcels: {type: int64, min: 0}
key: [day, depot]
time: {column: day}
panel: {target: true}
"""
FORECAST = "series: [depot]\ntime: day\ntarget: parcels\nfrequency: D\nhorizon: 7\n"


def land(landing: Path, day: date) -> None:
    depots = range(20 if day == HALF else 40)
    broken = 10 if day == REFUSES else 0
    rows = [f"{day},d{n},{-1 if n < broken else n}" for n in depots]
    landing.mkdir(parents=True, exist_ok=True)
    (landing / f"parcels_{day}.csv").write_text("\n".join(["day,depot,parcels", *rows]) + "\n")


@pytest.fixture(scope="module")
def warned(tmp_path_factory, open_platform):
    """A home after one run of `ingest` over fifty days: one has half of its rows, one a quarter of them broken, one did not come."""
    root = tmp_path_factory.mktemp("parcels")
    (root / "configs" / "sources").mkdir(parents=True)
    (root / "configs" / "sources" / "parcels.yaml").write_text(SOURCE)
    (root / "configs" / "forecast.yaml").write_text(FORECAST)
    settings = Settings(
        home=root / "home", configs=root / "configs", first_day=DAYS[0], last_day=date(2024, 3, 31), workers=1
    )
    for day in DAYS:
        if day != GONE:
            land(settings.landing / "parcels", day)
    with open_platform(settings) as platform:
        yield platform, platform.succeed("ingest", DAYS[0], DAYS[-1])


def test_odd_days_warn_and_stop_nothing(warned):
    platform, run = warned
    found = {name: one for (asset, name), one in platform.checks(run).items() if asset == "raw_parcels"}
    assert set(CHECKS) <= set(found)
    assert {name for name in CHECKS if not found[name].passed} == {ROWS, REFUSED, FRESH}
    assert {found[name].severity for name in CHECKS} == {dg.AssetCheckSeverity.WARN}
    assert not any(found[name].blocking for name in CHECKS)
    assert f"parcels {HALF} (Sat): 20 rows, usual is 28.6 to 56" in found[ROWS].description
    assert (
        f"parcels {REFUSES} (Wed): 25.0% of its rows quarantined, usual is at most 5.0%" in found[REFUSED].description
    )
    assert f"parcels {GONE} (Mon): 0 of 1 files are loaded" in found[FRESH].description
    assert "observed zeros (`missing: zero`" in found[FRESH].description, "the default of forecast.yaml"
    assert platform.lake.count("silver/parcels_history") == 48 * 40 + 20 - 10


def test_bronze_and_silver_show_pictures_and_the_broken_rules(warned):
    platform, run = warned
    shown = platform.materialized(run)
    assert shown["raw_parcels"]["drops_per_day"].value.startswith("![Drops per day")
    assert shown["parcels_history"]["balance_of_rows"].value.startswith("![What became of the rows]")
    rules = shown["raw_parcels"]["open_refusals"].value
    assert (
        "| below_minimum:parcels | 10 | `ml-platform quarantine list --source parcels --rule below_minimum:parcels` |"
        in rules
    )
    assert shown["parcels_history"]["open_refusals"].value == "none"


def test_what_came_late_or_corrected_ends_the_warnings(warned):
    """Runs after `warned`'s own: the missing file and a whole one in the place of the half arrive."""
    platform, _ = warned
    land(platform.settings.landing / "parcels", GONE)
    text = (platform.settings.landing / "parcels" / f"parcels_{DAYS[41]}.csv").read_text()
    half = platform.settings.landing / "parcels" / f"parcels_{HALF}.csv"
    half.write_text(text.replace(str(DAYS[41]), str(HALF)))
    found = platform.checks(platform.succeed("ingest", DAYS[0], DAYS[-1]))
    assert {name: found["raw_parcels", name].passed for name in (ROWS, FRESH)} == {ROWS: True, FRESH: True}
    again = platform.checks(platform.succeed("ingest", DAYS[0], DAYS[-1]))
    assert not again["raw_parcels", REFUSED].passed, "a run without drops looks at the newest days, too"
