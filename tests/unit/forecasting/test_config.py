"""forecast.yaml: what is accepted, and how a wrong key is explained."""

from datetime import date
from pathlib import Path

import pytest

from ml_platform.forecasting import FAMILIES, ConfigError, ForecastConfig, load_config
from ml_platform.forecasting.calendar import last_whole_day, newest_horizon
from ml_platform.forecasting.config import parse_config

LEAST = {"series": ["a"], "time": "t", "target": "y", "frequency": "D", "horizon": 3}


def test_the_least_configuration_has_the_documented_defaults() -> None:
    config = parse_config(dict(LEAST), "f.yaml")
    assert config.model_dump(include={"name", "missing", "min_active_days", "objective", "families", "folds"}) == {
        "name": "fleet",
        "missing": "zero",
        "min_active_days": 10,
        "objective": "rmsse",
        "families": "default",
        "folds": 4,
    }
    assert (config.season, config.intervals, config.interval_origins) == (7, (80, 95), 16)
    assert config.family_names == FAMILIES
    assert config.interval_columns == ("lo_95", "lo_80", "hi_80", "hi_95")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizn": 3}, "f.yaml: horizn: unknown key; known keys are name, series"),
        ({"frequency": "Q9"}, "f.yaml: frequency: 'Q9' is not a pandas offset alias"),
        ({"families": ["lstm"]}, "families.*lstm.*is no family: write default or some of"),
        ({"intervals": [95, 80]}, "f.yaml: intervals: .*ascending order"),
        ({"horizon": "3"}, "f.yaml: horizon: Input should be a valid integer"),
        ({"horizon": 0}, "f.yaml: horizon: "),
        ({"segments": ["colour"]}, "colour.*neither key columns nor attributes"),
        ({"known_future": ["y"]}, "'y'.*two roles"),
        ({"season_lengths": [0]}, "season below one step"),
        ({"missing": "mean"}, "f.yaml: missing: "),
    ],
)
def test_a_wrong_key_is_named_with_its_file(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(LEAST | change, "f.yaml")


@pytest.mark.parametrize("frequency", ["0D", "-1D", "ns", "10ms", "0MS"])
def test_a_step_goes_forward(frequency: str) -> None:
    with pytest.raises(ConfigError, match=r"frequency: .* is no step forward of at least a second"):
        parse_config({**LEAST, "frequency": frequency}, "here")


@pytest.mark.parametrize("name", ["family", "state", "step", "lo_80"])
def test_a_key_has_no_name_of_a_result(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"the key columns \['{name}'\] are columns of the results, too: rename"):
        parse_config({**LEAST, "series": [name]}, "here")


def test_lists_are_asked_for_in_words() -> None:
    with pytest.raises(ConfigError, match=r"here: series: Input should be a list, such as \[a, b\]"):
        parse_config({**LEAST, "series": "shop"}, "here")


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "forecast.yaml"
    path.write_bytes("name: Küche".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"forecast\.yaml: not a text in UTF-8 .*: save it as YAML in UTF-8"):
        load_config(path)


def test_every_fault_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"series": ["a"], "horizon": 0, "colour": 1}, "f.yaml")
    lines = str(caught.value).splitlines()
    assert {line.split(": ")[1] for line in lines} == {"time", "target", "frequency", "horizon", "colour"}


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "just text"])
def test_a_file_that_is_no_mapping_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "forecast.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"forecast\.yaml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("frequency", "subdaily"),
    [("D", False), ("h", True), ("W-THU", False), ("MS", False), ("24h", False), ("15min", True)],
)
def test_only_steps_below_a_day_carry_a_time(frequency: str, subdaily: bool) -> None:
    assert parse_config(LEAST | {"frequency": frequency}, "f").subdaily is subdaily


def test_a_configuration_survives_its_own_dump() -> None:
    config = parse_config(LEAST | {"families": ["ridge", "ses_05"]}, "f")
    assert parse_config(config.model_dump(mode="json"), "f") == config
    assert isinstance(config, ForecastConfig)
    assert config.family_names == ("ses_05", "ridge")


@pytest.mark.parametrize(
    ("frequency", "day", "last"),
    [
        ("D", "2025-09-09", "2025-09-09"),
        ("h", "2025-09-09", "2025-09-09"),
        ("B", "2025-09-06", "2025-09-06"),
        ("W-SUN", "2025-09-09", "2025-09-06"),
        ("W-SUN", "2025-09-06", "2025-09-06"),
        ("MS", "2025-09-29", "2025-08-31"),
        ("MS", "2025-09-30", "2025-09-30"),
    ],
)
def test_a_step_that_is_not_over_is_no_observation(frequency: str, day: str, last: str) -> None:
    assert str(last_whole_day(date.fromisoformat(day), frequency)) == last


@pytest.mark.parametrize(
    ("frequency", "seasons"),
    [
        ("D", (7,)),
        ("h", (24, 168)),
        ("15min", (96, 672)),
        ("5h", (1,)),
        ("s", (1,)),
        ("B", (5,)),
        ("W-MON", (52,)),
        ("2W-SUN", (26,)),
        ("MS", (12,)),
        ("QE", (4,)),
        ("YS", (1,)),
    ],
)
def test_seasons_are_those_of_the_frequency_unless_they_are_named(frequency: str, seasons: tuple[int, ...]) -> None:
    assert parse_config(LEAST | {"frequency": frequency}, "f").season_lengths == seasons
    assert parse_config(LEAST | {"frequency": frequency, "season_lengths": [9]}, "f").season_lengths == (9,)


def test_a_configuration_that_is_made_in_python_is_refused_alike() -> None:
    with pytest.raises(ConfigError, match="configuration: horizont: unknown key; known keys are name, series"):
        ForecastConfig(**LEAST | {"horizont": 3})
    made = ForecastConfig(**LEAST)
    assert made == parse_config(LEAST, "f") == ForecastConfig.model_validate(LEAST)


def test_a_wrong_frequency_is_one_fault() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(LEAST | {"frequency": "xx"}, "f")
    assert str(error.value).splitlines() == [
        "f: frequency: 'xx' is not a pandas offset alias: write D, h, W-THU, MS or the like"
    ]


@pytest.mark.parametrize(
    ("frequency", "horizon", "first"),
    [
        ("D", 3, "2025-09-04"),
        ("h", 24, "2025-09-06"),
        ("h", 25, "2025-09-05"),
        ("B", 3, "2025-09-03"),
        ("W-SUN", 3, "2025-08-17"),
        ("W-MON", 3, "2025-08-11"),
        ("MS", 3, "2025-06-01"),
    ],
)
def test_the_newest_horizon_ends_with_the_last_step_that_is_over(frequency: str, horizon: int, first: str) -> None:
    assert str(newest_horizon(date(2025, 9, 6), horizon, frequency)) == first


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("horizon: 7\nseries: [shop]\nhorizon: 9\n")
    with pytest.raises(ConfigError, match=r"the keys \['horizon'\] are there twice"):
        load_config(tmp_path / "f.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"families": "ridge"}, r"families: 'ridge' is neither `default` nor a list: write \[ridge\]"),
        ({"series": []}, "series: name at least one"),
    ],
)
def test_what_a_key_wants_is_said_in_plain_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(LEAST | changes, "f")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("old", "name"), [("M", "ME"), ("H", "h"), ("W", "W-SUN"), ("W-THU", "W-THU")])
def test_older_names_of_frequencies_serve_without_a_warning(old: str, name: str) -> None:
    assert parse_config(LEAST | {"frequency": old}, "f").frequency == name
