"""Settings: laptop defaults, the environment, and errors that say what to set."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from ml_platform.settings import Settings


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
