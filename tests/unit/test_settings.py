"""Settings: laptop defaults, the environment, and errors that say what to set."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from ml_platform.settings import Settings, SettingsError, read_settings


def test_defaults_need_nothing_and_lie_under_one_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ML_PLATFORM_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    home = (tmp_path / ".platform").resolve()
    assert settings.root == home
    assert [settings.landing, Path(settings.lake), settings.releases] == [
        home / "landing",
        home / "lake",
        home / "releases",
    ]
    assert settings.warehouse == home / "warehouse" / "warehouse.duckdb"
    assert settings.mlflow_uri == f"sqlite:///{home}/mlflow/mlflow.db"
    assert settings.dagster_home == home / "dagster"
    assert settings.engine == "sail"
    assert not home.exists(), "reading the settings must not make anything"


def test_environment_overrides_every_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"HOME": str(tmp_path), "ENGINE": "jvm", "SHARDS": "4", "LAST_DAY": "2017-06-30"}.items():
        monkeypatch.setenv(f"ML_PLATFORM_{name}", value)
    settings = Settings()
    assert (settings.root, settings.engine, settings.shards) == (tmp_path.resolve(), "jvm", 4)
    assert settings.last_day == date(2017, 6, 30)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"engine": "hadoop"}, "ML_PLATFORM_ENGINE"),
        ({"last_day": date(2016, 1, 1)}, "ML_PLATFORM_LAST_DAY"),
        ({"shards": 0}, "shards"),
        ({"shards": 65}, "shards"),
        ({"hom": "typo"}, "hom"),
    ],
)
def test_what_cannot_work_is_refused_with_the_way_out(wrong: dict[str, object], hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        Settings(**wrong)


def test_a_remote_engine_is_an_address() -> None:
    assert Settings(engine="sc://cluster:15002").engine == "sc://cluster:15002"


def test_settings_cannot_change_afterwards(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.shards = 2  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "none", "null", "None", "NULL", " null "])
def test_an_open_calendar_can_be_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ML_PLATFORM_LAST_DAY", text)
    monkeypatch.setenv("ML_PLATFORM_FIRST_DAY", "2030-01-01")
    assert read_settings().last_day is None


def test_every_wrong_variable_has_a_line_with_its_value_and_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"FIRST_DAY": "soon", "LAST_DAY": "late", "SHARDS": "0", "WORKERS": "many", "ENGINE": "hadoop"}
    wrong["TRAINING_COMPUTE"] = "cloud"
    for name, value in wrong.items():
        monkeypatch.setenv(f"ML_PLATFORM_{name}", value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert str(refused.value).splitlines() == [
        "ML_PLATFORM_ENGINE=hadoop cannot be used: no such engine: set ML_PLATFORM_ENGINE to sail, jvm or sc://host:port",
        "ML_PLATFORM_FIRST_DAY=soon cannot be used: it must be a day as YYYY-MM-DD",
        "ML_PLATFORM_LAST_DAY=late cannot be used: it must be a day as YYYY-MM-DD, or none for a calendar that goes on",
        "ML_PLATFORM_SHARDS=0 cannot be used: it must be a whole number from 1 to 64",
        "ML_PLATFORM_WORKERS=many cannot be used: it must be a whole number from 1 on",
        "ML_PLATFORM_TRAINING_COMPUTE=cloud cannot be used: it must be local or spark",
    ]


def test_a_first_day_after_the_default_end_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_FIRST_DAY", "2018-01-01")
    with pytest.raises(SettingsError, match=r"^ML_PLATFORM_LAST_DAY=2017-12-31 \(the default\) cannot .* 2018-01-01"):
        read_settings()


def test_what_may_be_a_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_ENGINE", "cs://cluster:15002/;token=abc")
    with pytest.raises(SettingsError, match="ML_PLATFORM_ENGINE=cs://cluster:15002/ cannot") as refused:
        read_settings()
    assert "abc" not in str(refused.value)


def test_a_home_without_a_name_is_not_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_HOME", "")
    with pytest.raises(SettingsError, match="ML_PLATFORM_HOME= cannot be used: it names no folder"):
        read_settings()


@pytest.mark.parametrize(
    "address",
    [
        "https://acc.blob.core.windows.net/landing?sv=2026&sig=s3cret",
        "https://user:s3cret@acc.blob.core.windows.net/landing",
        "https://acc.blob.core.windows.net/landing#s3cret",
    ],
)
def test_a_token_in_the_address_of_the_landing_area_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("ML_PLATFORM_LANDING_URL", address)
    with pytest.raises(SettingsError, match=r"LANDING_URL=https://.* an address holds no token") as refused:
        read_settings()
    assert "s3cret" not in str(refused.value)


def test_an_address_that_is_none_says_what_one_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_LANDING_URL", "/srv/landing")
    with pytest.raises(
        SettingsError, match=r"set it to https://ACCOUNT\.blob\.core\.windows\.net/CONTAINER, or http://127"
    ):
        read_settings()


def test_a_key_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_STORAGE_KEY", "s3cret")
    settings = read_settings()
    assert settings.storage_key
    assert settings.storage_key.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    monkeypatch.setenv("ML_PLATFORM_STORAGE_KEY", "")
    assert not read_settings().storage_key


@pytest.mark.parametrize("name", ["my projects", "Prüfung", "100%"])
def test_a_home_that_the_engine_cannot_read_is_refused_with_a_way_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"finds no Delta table below .*ML_PLATFORM_HOME.*ML_PLATFORM_ENGINE"):
        Settings(home=tmp_path / name, engine="sail")
    assert Settings(home=tmp_path / name, engine="jvm").engine == "jvm"
    assert Settings(home=tmp_path / "a-b_c.d(1)+[x]~@", engine="sail").root.name == "a-b_c.d(1)+[x]~@"


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"file' is a file: set ML_PLATFORM_HOME to a folder"):
            Settings(home=home)


def test_a_variable_in_small_letters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ml_platform_Home", "/elsewhere")
    with pytest.raises(SettingsError, match=r"ml_platform_Home cannot be used: .*name it ML_PLATFORM_HOME"):
        read_settings()
