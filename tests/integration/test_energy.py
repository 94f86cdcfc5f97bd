"""The same platform on other data: hourly meter readings with a temperature forecast, from nothing but its own YAML."""

import math
import random
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml_platform.settings import Settings

FIRST, LAST = date(2024, 3, 1), date(2024, 4, 2)
HOURS = 24
METERS = {f"m{number}": ("north", "south")[number % 2] for number in range(6)}
ROOT = Path(__file__).resolve().parents[2]
RETAIL = r"(?i)\b(\w*_)?(baskets?|households?|product_id|product_category|sales|retail(er)?s?|shops?|shoppers?|grocer\w*|(?<!pop_)(?<!Pop)receipts?(?!Mismatch)|customers?|mailers?)(_\w*)?\b"

SOURCES = {
    "readings": """
name: readings
kind: events
description: Hourly readings of every meter, one file per day.
owner: team:grid
path: readings_{day}.csv
format: {type: csv, delimiter: ";"}
columns:
  meter: {type: string, description: Meter}
  at: {type: timestamp, unit: UTC, description: Begin of the hour}
  kwh: {type: "decimal(12,3)", min: 0, unit: kWh, description: Energy of the hour}
key: [meter, at]
time: {column: at, timezone: UTC, business_timezone: UTC}
lookups:
  - {source: meters, match: [meter], take: [zone], missing: unknown_meter}
panel: {target: true}
""",
    "meters": """
name: meters
kind: snapshot
description: The zone of every meter.
owner: team:grid
path: meters.parquet
format: {type: parquet}
columns:
  meter: {type: string, description: Meter}
  zone: {type: string, description: Zone of the grid}
key: [meter]
""",
    "weather": """
name: weather
kind: events
description: Forecast of the next day's temperature by zone and hour.
owner: team:weather
path: weather_{day}.csv
format: {type: csv}
columns:
  zone: {type: string, description: Zone of the grid}
  at: {type: timestamp, unit: UTC, description: Hour that is forecast}
  celsius: {type: "decimal(6,2)", unit: degrees Celsius, description: Temperature}
key: [zone, at]
time: {column: at, timezone: UTC, business_timezone: UTC}
panel:
  covariates:
    - {name: temperature, kind: mean, column: celsius}
""",
}
FORECAST = """
name: load
series: [zone, meter]
time: at
target: kwh
frequency: h
horizon: 24
season_lengths: [24]
missing: gap
min_active_days: 5
known_future: [temperature]
segments: [zone]
folds: 3
"""
GATE = "bias: {excess: 0.2}\n"


def configure(folder: Path) -> Path:
    (folder / "sources").mkdir(parents=True)
    for name, text in SOURCES.items():
        (folder / "sources" / f"{name}.yaml").write_text(text)
    (folder / "forecast.yaml").write_text(FORECAST)
    (folder / "gate.yaml").write_text(GATE)
    return folder


def kwh(meter: str, at: datetime) -> Decimal:
    """A daily rhythm, a warm and a cold phase, some noise that is the same in every run."""
    noise = random.Random(f"{meter} {at}").gauss(0, 0.2)
    size = 2 + int(meter[1:])
    rhythm = 1 + 0.8 * math.sin((at.hour - 6) / 24 * 2 * math.pi)
    return Decimal(str(max(size * rhythm + 0.05 * size * (10 - celsius(METERS[meter], at)) + noise, 0))).quantize(
        Decimal("0.001")
    )


def celsius(zone: str, at: datetime) -> float:
    return round(
        8
        + (2 if zone == "south" else 0)
        + 5 * math.sin(at.toordinal() / 5)
        + 3 * math.sin((at.hour - 9) / 24 * 2 * math.pi),
        2,
    )


def hours(day: date) -> list[datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [start + timedelta(hours=number) for number in range(HOURS)]


def land(landing: Path, first: date, last: date) -> None:
    for name in SOURCES:
        (landing / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"meter": list(METERS), "zone": list(METERS.values())}), landing / "meters" / "meters.parquet"
    )
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        gap = "m2" if day == LAST - timedelta(days=9) else None  # a day on which one meter was silent
        rows = [f"{meter};{at.isoformat()};{kwh(meter, at)}" for meter in METERS if meter != gap for at in hours(day)]
        (landing / "readings" / f"readings_{day}.csv").write_text("\n".join(["meter;at;kwh", *rows]) + "\n")
        ahead = [
            f"{zone},{at.isoformat()},{celsius(zone, at)}"
            for zone in ("north", "south")
            for at in hours(day + timedelta(days=1))
        ]
        (landing / "weather" / f"weather_{day}.csv").write_text("\n".join(["zone,at,celsius", *ahead]) + "\n")


@pytest.fixture(scope="module")
def grid(tmp_path_factory, open_platform):
    """A home of the energy example after both jobs; a stray reading of a meter that nobody knows lies among the files."""
    folder = tmp_path_factory.mktemp("energy")
    days = {"first_day": FIRST, "last_day": None}
    settings = Settings(
        home=folder / "home",
        configs=configure(folder / "configs"),
        **days,
        shards=2,
        workers=2,
        training_compute="spark",
    )
    land(settings.landing, FIRST, LAST)
    with (settings.landing / "readings" / f"readings_{LAST}.csv").open("a") as out:
        out.write(f"m99;{LAST}T05:00:00+00:00;1.000\n")
    with open_platform(settings) as platform:
        platform.succeed("ingest", FIRST, LAST)
        platform.succeed("retrain", LAST)
        yield platform


def test_training_on_spark_tells_in_the_runs_log_how_far_it_is(grid):
    assert grid.defs.resources["compute"].where == "spark"
    (run,) = [run for run in grid.instance.get_runs() if run.job_name == "retrain"]
    lines = [line for line in grid.messages(run, "candidate_fleet") if line.startswith("train ")]
    shards = {int(number) for number in grid.lake.read("silver/series_catalogue")["shard"].to_pylist()}
    expected = {f"train {step}: shard {place} (" for step in ("pools", "fit") for place in range(len(shards))}
    assert {line.partition("(")[0] + "(" for line in lines} == expected
    assert all(re.search(r"\), \d+ series, \d+\.\d s$", line) for line in lines)


def test_assets_are_named_after_the_sources(grid):
    names = {key.to_user_string() for key in grid.defs.resolve_asset_graph().get_all_asset_keys()}
    assert names >= {
        "raw_readings",
        "raw_meters",
        "raw_weather",
        "readings_history",
        "meters_current",
        "weather_history",
    }
    assert "forecast_latest" in {name.split("/")[-1] for name in names}


def test_forecasts_are_published_by_the_hour_in_utc(grid):
    rows = grid.sql(
        "set timezone = 'UTC'; select meter, zone, step, date, mean, lo_95, hi_95 from marts.forecast_latest order by 1, 3"
    )
    assert len(rows) == len(METERS) * HOURS
    assert {(meter, zone) for meter, zone, *_ in rows} == set(METERS.items())
    midnight = datetime(2024, 4, 3, tzinfo=UTC)
    assert [(row[2], row[3]) for row in rows[:HOURS]] == [(n + 1, midnight + timedelta(hours=n)) for n in range(HOURS)]
    assert grid.lake.read("gold/forecasts").schema.field("date").type == pa.timestamp("us", tz="UTC")


def test_the_forecasts_are_good(grid):
    """Against what the meters will say: the rhythm of the day is learnt."""
    rows = grid.lake.read("gold/forecasts").to_pylist()
    meter_of = {row["series_id"]: row["meter"] for row in grid.lake.read("silver/series_catalogue").to_pylist()}
    pairs = [(row["mean"], float(kwh(meter_of[row["series_id"]], row["date"]))) for row in rows]
    assert sum(abs(mean - actual) for mean, actual in pairs) < 0.25 * sum(actual for _, actual in pairs)


def test_readings_are_exact_decimals_and_gaps_stay_gaps(grid):
    panel = grid.lake.read("gold/series_panel")
    assert pa.types.is_decimal(panel.schema.field("target").type)
    past = panel.filter(pc.field("date") < pa.scalar(datetime(2024, 4, 3, tzinfo=UTC)))
    total = sum(
        kwh(m, at) for n in range((LAST - FIRST).days + 1) for m in METERS for at in hours(FIRST + timedelta(days=n))
    )
    silent = sum(kwh("m2", at) for at in hours(LAST - timedelta(days=9)))
    assert pc.sum(past["target"]).as_py() == total - silent
    assert past.filter(pc.is_null(past["target"])).num_rows == HOURS


def test_the_temperature_of_tomorrow_is_known_and_stands_at_its_hour(grid):
    zone_of = {row["series_id"]: row["zone"] for row in grid.lake.read("silver/series_catalogue").to_pylist()}
    rows = grid.lake.read("gold/series_panel", ["series_id", "date", "temperature"]).to_pylist()
    known = [row for row in rows if row["date"] >= datetime(2024, 3, 2, tzinfo=UTC)]
    assert all(row["temperature"] == pytest.approx(celsius(zone_of[row["series_id"]], row["date"])) for row in known)
    assert sum(row["date"].date() > LAST for row in rows) == len(METERS) * HOURS


def test_the_unknown_meter_is_quarantined(grid):
    (row,) = grid.lake.read("ops/quarantine").to_pylist()
    assert (row["stage"], row["rule"], row["value"], row["row_number"]) == ("silver", "unknown_meter", "m99", 146)
    assert row["path"] == f"readings/readings_{LAST}.csv"


def test_the_model_has_the_fleets_name(grid):
    from mlflow import MlflowClient

    champion = MlflowClient(grid.settings.mlflow_uri).get_model_version_by_alias("load", "champion")
    assert champion.tags["release_id"] == grid.lake.read("gold/promoted_release")["release_id"][0].as_py()


def test_a_new_day_goes_on(grid):
    land(grid.settings.landing, LAST + timedelta(days=1), LAST + timedelta(days=1))
    grid.succeed("score", LAST + timedelta(days=1))
    shown = "set timezone = 'UTC'; select min(date), max(date) from marts.forecast_latest"
    assert grid.sql(shown) == [(datetime(2024, 4, 4, tzinfo=UTC), datetime(2024, 4, 4, 23, tzinfo=UTC))]


def test_no_table_speaks_of_another_business(grid):
    words = [
        (name, field.name)
        for name in grid.tables()
        for field in grid.lake.dataset(name).schema
        if re.search(RETAIL, field.name)
    ]
    words += [(name, "") for name in grid.tables() if re.search(RETAIL, name)]
    columns = grid.sql("select table_name, column_name from information_schema.columns")
    assert [*words, *(pair for pair in columns if any(re.search(RETAIL, word) for word in pair))] == []


LIBRARY = [
    path
    for room in ("ml_platform", "assets", "resources", "sensors", "dbt/models", "dbt/macros", "dbt/tests")
    for path in sorted((ROOT / room).rglob("*"))
    if path.suffix in (".py", ".sql", ".yml", ".yaml")
    and not {"samples", "configs"} & set(path.parts)
    and path.name not in ("cli.py", "console.py", "settings.py")
]  # the command line lands and shows the sample, the settings name its folder of YAML as the default


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_retail_word_in_the_library(path):
    text = path.read_text(encoding="utf-8")
    assert [found[0] for found in re.finditer(RETAIL, text)] == []
