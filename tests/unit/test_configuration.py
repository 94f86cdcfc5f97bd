"""forecast.yaml against the source contracts: both examples fit, and every fault is named at once."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from ml_platform.catalogue import catalogue_spec
from ml_platform.configuration import ADDED, SUM_COLUMNS, load_configuration, require_fit
from ml_platform.contract_files import validated
from ml_platform.contracts import ContractError, Contracts
from ml_platform.forecasting.config import parse_config
from ml_platform.lake import Lake
from ml_platform.lake.schemas import forecast_sums
from ml_platform.panel_inputs import PanelInputs
from ml_platform.settings import PACKAGED_CONFIGS

ENERGY = Path(__file__).resolve().parents[1] / "integration" / "test_energy.py"
FILE = Path("forecast.yaml")
Change = Callable[[dict[str, Any], dict[str, Any]], object]


def energy() -> tuple[dict[str, Any], dict[str, Any]]:
    """The YAML of the hourly example, read from its test without running it: sources by name, and the forecast."""
    texts = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse(ENERGY.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("SOURCES", "FORECAST")
    }
    return {name: yaml.safe_load(text) for name, text in texts["SOURCES"].items()}, yaml.safe_load(texts["FORECAST"])


def faults(change: Change = lambda sources, forecast: None) -> list[str]:
    """What is wrong with the hourly example after a change; each line without the file."""
    sources, forecast = energy()
    change(sources, forecast)
    contracts = validated(Contracts, {"sources": list(sources.values())}, Path("sources"))
    try:
        require_fit(parse_config(forecast, str(FILE)), contracts, FILE)
    except ContractError as why:
        return [line.removeprefix(f"{FILE}: ") for line in str(why).splitlines()]
    return []


def test_the_packaged_example_fits() -> None:
    contracts, config = load_configuration(PACKAGED_CONFIGS / "retail")
    assert (contracts.target.name, config.target) == ("sales", "quantity")


def test_the_hourly_example_fits() -> None:
    assert faults() == []
    assert faults(in_forecast(time="date")) == []
    assert faults(in_forecast(static=["zone"], series=["meter"])) == []


def test_every_fault_is_named_at_once_with_what_there_is() -> None:
    wrong = {"series": ["zone", "metre"], "time": "when", "target": "kw", "weight": "price", "static": ["owner"]}
    found = faults(in_forecast(**wrong, known_future=["wind"]))
    assert found == [
        "series: source 'readings' has no column 'metre': use meter, at, kwh, zone",
        "time: source 'readings' has no time 'when': use date, at",
        "target: source 'readings' has no int64 or decimal column of its own 'kw': use kwh",
        "weight: source 'readings' has no int64 or decimal column 'price': use kwh",
        "static: source 'readings' has no column 'owner': use meter, at, kwh, zone",
        "known_future: no source declares a covariate 'wind': use temperature",
    ]


def in_forecast(**changes: object) -> Change:
    """A change of keys of the forecast."""
    return lambda _, forecast: forecast.update(changes)


def set_in(*path: str, value: object) -> Change:
    """A change of one key of a source."""

    def change(sources: dict[str, Any], _forecast: dict[str, Any]) -> None:
        place = sources
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_forecast(series=["meter"], segments=[], target="zone"), "target: source 'readings' has no int64 or decimal column"),
        (in_forecast(series=["meter"], segments=[], weight="zone"), "weight: source 'readings' has no int64 or decimal column"),
        (set_in("readings", "time", "business_timezone", value="Europe/Paris"), "leave business_timezone Europe/Paris"),
        (set_in("readings", "columns", "at", value={"type": "date"}), "frequency: steps of 'h' need a timestamp"),
        (set_in("weather", "panel", "scope", value=["at"]), "known_future: covariate 'temperature' of source 'weather' has the scope 'at'"),
        (
            set_in("weather", "panel", "covariates", value=[{"name": "temperature", "kind": "share", "column": "celsius"}]),
            "is a share, which needs a lookup there that takes one of zone, meter",
        ),
        (set_in("meters", "personal", value=["zone"]), "'zone' is declared as a person's key"),
        (set_in("weather", "panel", value={}), "covariate 'temperature': use none, since there are none"),
    ],
)  # fmt: skip
def test_what_a_run_would_stumble_over_is_refused(change: Change, words: str) -> None:
    (fault,) = faults(change)
    assert words in fault


def test_a_key_column_that_the_catalogue_has_itself_is_refused() -> None:
    def change(sources: dict[str, Any], forecast: dict[str, Any]) -> None:
        sources["meters"]["columns"]["shard"] = {"type": "string"}
        sources["readings"]["lookups"][0]["take"] = ["zone", "shard"]
        forecast.update(series=["shard", "meter"], static=["zone"])

    assert faults(change) == ["series: the series catalogue has a column 'shard' of its own: rename that of the source"]


def test_a_key_that_forecasts_of_sums_have_themselves_is_refused() -> None:
    def change(sources: dict[str, Any], forecast: dict[str, Any]) -> None:
        sources["meters"]["columns"]["level"] = {"type": "string"}
        sources["readings"]["lookups"][0]["take"] = ["zone", "level"]
        forecast.update(series=["zone", "meter"], static=["level"], sums=[["level"], []])

    assert faults(change) == [
        "sums: the forecasts of sums have a column 'level' of their own: rename that of the source"
    ]


def test_the_columns_of_sums_that_are_refused_are_those_they_have() -> None:
    own = set(forecast_sums((), pa.date32()).schema.names)
    assert own | {"published_at"} == set(SUM_COLUMNS)


def test_the_columns_that_are_refused_are_those_of_the_catalogue(tmp_path: Path) -> None:
    contracts, config = load_configuration(PACKAGED_CONFIGS / "retail")
    inputs = PanelInputs(Lake(str(tmp_path)), contracts, config, "sail")
    own = set(catalogue_spec(inputs).schema.names) - {*config.series, *config.static}
    assert own | {"segment", "series"} == set(ADDED)
