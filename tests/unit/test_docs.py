"""The guides against the code: keys, variables, commands and links that do not exist any more, or are not explained yet."""

import re
from pathlib import Path

import pytest
import typer
from pydantic.fields import FieldInfo

from ml_platform.cli import app
from ml_platform.contracts import SourceContract
from ml_platform.database_pull import Pull
from ml_platform.delivery import Delivery
from ml_platform.expect import Expect
from ml_platform.file_format import Format
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.gate import GateConfig
from ml_platform.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    lost = [one for one in targets if "://" not in one and not (page.parent / one).exists()]
    assert not lost


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained(name: str) -> None:
    assert f"`ML_PLATFORM_{name.upper()}`" in text_of("settings.md")


@pytest.mark.parametrize("name", Format.model_fields)
def test_every_key_of_a_format_is_explained(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", text_of("sources.md"), re.MULTILINE)


@pytest.mark.parametrize(("name", "field"), Expect.model_fields.items())
def test_every_limit_of_a_drop_day_and_its_default_is_explained(name: str, field: FieldInfo) -> None:
    row = re.search(rf"^\| `{name}` \| ([^|]*) \|", text_of("sources.md").split("## Odd drops")[1], re.MULTILINE)
    assert row, f"docs/sources.md has no row for {name}"
    assert row[1].strip(" `") == ("none" if field.default == () else str(field.default).lower())


@pytest.mark.parametrize("name", Pull.model_fields)
def test_every_key_of_a_pull_is_explained(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", text_of("pull.md"), re.MULTILINE)


@pytest.mark.parametrize(("name", "field"), Delivery.model_fields.items())
def test_every_key_of_a_delivery_and_its_default_is_explained(name: str, field: FieldInfo) -> None:
    assert re.search(rf"^\| `{name}` \| `{field.default}` \|", text_of("sources.md"), re.MULTILINE)


@pytest.mark.parametrize("name", SourceContract.model_fields)
def test_every_key_of_a_contract_is_explained(name: str) -> None:
    assert f"`{name}`" in text_of("sources.md")


RULES = {
    f"{rule}.{key}": field.default
    for rule, own in GateConfig()
    for key, field in type(own).model_fields.items()
    if key != "blocks"
}


@pytest.mark.parametrize(("name", "default"), RULES.items())
def test_every_limit_of_the_gate_and_its_default_is_explained(name: str, default: object) -> None:
    row = re.search(rf"^\| `{re.escape(name)}` \| `([^`]*)` \|", text_of("releases.md"), re.MULTILINE)
    assert row, f"docs/releases.md has no row for {name}"
    assert row[1] == str(default)


@pytest.mark.parametrize("name", GateConfig.model_fields)
def test_every_rule_of_the_gate_is_explained(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", text_of("releases.md"), re.MULTILINE)


@pytest.mark.parametrize(("name", "field"), ForecastConfig.model_fields.items())
def test_every_key_of_a_forecast_and_its_default_is_explained(name: str, field: object) -> None:
    row = re.search(rf"^\| `{name}` \| ([^|]*) \|", text_of("forecasting.md"), re.MULTILINE)
    assert row, f"docs/forecasting.md has no row for {name}"
    default = getattr(field, "default", None)
    shown = row[1].strip(" `").strip("[]")
    if isinstance(default, tuple):
        assert shown == (", ".join(map(str, default)) or "none")
    elif isinstance(default, str | int):
        assert shown == str(default)
    elif isinstance(default, float):
        assert float(shown) == default


def test_every_variable_of_the_guides_exists() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"ML_PLATFORM_([A-Z_]+)\b", page.read_text(encoding="utf-8"))
    }
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def names_of(one: typer.Typer) -> set[str]:
    return {command.name or command.callback.__name__ for command in one.registered_commands if command.callback}


def test_every_command_of_a_group_exists() -> None:
    for group in app.registered_groups:
        assert group.typer_instance
        pattern = rf"ml-platform {group.name} ([a-z]+)"
        named = {one for page in PAGES for one in re.findall(pattern, page.read_text(encoding="utf-8"))}
        assert named == names_of(group.typer_instance)


def test_every_command_of_the_guides_exists() -> None:
    commands = names_of(app) | {group.name for group in app.registered_groups}
    named = {one for page in PAGES for one in re.findall(r"ml-platform ([a-z]+)", page.read_text(encoding="utf-8"))}
    assert named <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        one
        for page in PAGES
        for one in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert used <= targets


def test_every_test_that_a_page_names_exists() -> None:
    defined = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    told = {
        name
        for page in PAGES
        for name in re.findall(r"`([\w/.]*\btest_\w+(?:\.py)?)`", page.read_text(encoding="utf-8"))
    }
    files = {name for name in told if "/" in name}
    assert not [name for name in files if not (ROOT / name).exists()]
    assert not [name for name in told - files if f"def {name}(" not in defined]
