"""What a machine lacks, and how to get it."""

import shutil
import socket
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from ml_platform import doctor
from ml_platform.doctor import GIB, Check
from ml_platform.settings import PACKAGED_CONFIGS, Settings, unknown_variables


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_environment_has_everything(settings: Settings, tmp_path: Path) -> None:
    checks = by_name(doctor.examine(settings, tmp_path))
    missing = {name: check.detail for name, check in checks.items() if check.required and not check.ok}
    assert not missing
    assert "Java" not in checks, "the default engine needs none"
    assert checks["home"].detail == str(settings.root)
    assert not settings.root.exists(), "looking must not make the home"


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_python_versions(version: tuple[int, int], ok: bool) -> None:
    assert doctor.python_version(version).ok is ok


def test_missing_distributions_are_named_without_importing() -> None:
    check = doctor.distributions("extra x", ("pyarrow", "no-such-thing"), "pip install it")
    assert (check.ok, check.detail, check.remedy) == (False, "missing: no-such-thing", "pip install it")


@pytest.mark.parametrize(
    ("engine", "packages"), [("sail", "pysail"), ("jvm", "delta-spark"), ("sc://host:1", "pyspark")]
)
def test_the_engine_decides_which_packages_are_needed(
    monkeypatch: pytest.MonkeyPatch, engine: str, packages: str
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    check = doctor.spark(engine)
    assert (check.ok, check.required) == (False, True)
    assert packages in check.detail


def test_java_is_required_by_its_engine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (check,) = doctor.java("jvm")
    assert (check.ok, check.required) == (False, True)
    assert "ML_PLATFORM_ENGINE=sail" in check.remedy
    assert list(doctor.java("sail")) == []


def test_a_broken_configuration_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "forecast.yaml").write_text("series: [a]\nhorizn: 3\n")
    (tmp_path / "gate.yaml").write_text("bias: much\n")
    (tmp_path / "environments.yaml").write_text("prod: {aprovals: 2}\n")
    (tmp_path / "retraining.yaml").write_text("new_steps: soon\n")
    checks = by_name(list(doctor.configuration(Settings(configs=tmp_path))))
    assert {name: check.ok for name, check in checks.items()} == dict.fromkeys(
        ("source contracts", "forecast.yaml", "gate.yaml", "environments.yaml", "retraining.yaml"), False
    )
    assert "prod.aprovals: unknown key; known keys are approvals, approvers" in checks["environments.yaml"].detail
    assert "new_steps: 'soon' cannot be used" in checks["retraining.yaml"].detail
    assert "horizn" in checks["forecast.yaml"].detail
    assert str(tmp_path / "gate.yaml") in checks["gate.yaml"].detail


def test_a_forecast_that_asks_for_what_no_source_has_is_named(tmp_path: Path) -> None:
    shutil.copytree(PACKAGED_CONFIGS / "retail", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "forecast.yaml"
    path.write_text(path.read_text().replace("target: quantity", "target: quantty"))
    checks = by_name(list(doctor.configuration(Settings(configs=tmp_path))))
    assert [name for name, check in checks.items() if not check.ok] == ["forecast.yaml fits the contracts"]
    assert f"{path}: target: " in checks["forecast.yaml fits the contracts"].detail


@pytest.mark.parametrize(
    ("last", "text"), [(date(2017, 3, 1), "2017-01-01 to 2017-03-01"), (None, "2017-01-01 to open")]
)
def test_the_calendar_is_shown(last: date | None, text: str) -> None:
    check = doctor.calendar(Settings(last_day=last))
    assert (check.ok, check.detail) == (True, text)


def test_the_token_of_an_engine_is_not_shown() -> None:
    assert doctor.spark("sc://host:1/;token=abc").name == "Spark engine sc://host:1/"


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    check = doctor.writable(tmp_path / "not" / "there")
    assert not check.ok
    assert "ML_PLATFORM_HOME" in check.remedy


@pytest.mark.parametrize(("free", "ok"), [(2 * GIB, False), (4 * GIB, True)])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, ok: bool) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert doctor.disk(tmp_path).ok is ok


def test_a_port_in_use_is_seen_and_not_fatal() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        check = doctor.free_port(taken.getsockname()[1])
    assert (check.ok, check.required) == (False, False)
    assert "PORT=" in check.remedy
    assert doctor.free_port(0).ok


def test_little_memory_is_a_hint_and_not_an_error() -> None:
    check = doctor.memory(2 * GIB)
    assert (check.ok, check.required, check.detail) == (False, False, "2 GiB")


def test_a_misspelt_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_SHRADS", "8")
    check = doctor.variables(unknown_variables())
    assert (check.ok, check.required, check.detail) == (False, False, "nothing reads ML_PLATFORM_SHRADS")
    assert doctor.variables([]).ok
