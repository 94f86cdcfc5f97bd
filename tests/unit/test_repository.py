"""What the repository promises about itself: rooms, packages, docstrings, lock, environment."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("ml_platform", "assets", "resources", "sensors")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# packages read these themselves and have no other switch; they are set or asked for where the package is started
NOT_SETTINGS = {"PYSPARK_PYTHON", "RUST_LOG", "JAVA_HOME", "GX_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_dbt_is_never_a_package() -> None:
    """A package called dbt would hide dbt itself: `No module named 'dbt.adapters'`."""
    assert not list((ROOT / "dbt").rglob("__init__.py"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_the_entry_point(path: Path) -> None:
    assert "definitions" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path).startswith("ml_platform/")], ids=name_of)
def test_the_library_never_imports_dagster(path: Path) -> None:
    assert not [name for name in imports(path) if re.match(r"dagster($|[._])", name)]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_modules_say_what_belongs_in_them_and_what_does_not(path: Path) -> None:
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split()).lower()
    assert "belongs here" in text, "the module's docstring names what belongs here"
    assert "not belong here" in text, "and what does not"


@pytest.mark.parametrize("path", [p for p in FILES if "samples" not in p.parts and p.name != "cli.py"], ids=name_of)
def test_the_platform_knows_no_word_of_the_sample(path: Path) -> None:
    """Sources, keys and units come from configuration; only the sample and the command that lands it know what it is about."""
    words = re.findall(
        r"\b(?:product_\w+|store_id|baskets?|households?|grocery|shoppers?|departments?|mailed)\b",
        path.read_text(encoding="utf-8"),
        re.IGNORECASE,
    )
    assert not words


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "settings.py"], ids=name_of)
def test_only_the_settings_read_the_environment(path: Path) -> None:
    reads = re.findall(r"os\.(?:getenv\(|environ\.get\(|environ\[)[\"']?(\w+)", path.read_text(encoding="utf-8"))
    assert set(reads) <= NOT_SETTINGS


@pytest.mark.parametrize(
    "module", ["ml_platform.cli", "ml_platform.settings", "ml_platform.lake", "ml_platform.plots", "ml_platform.status"]
)
def test_nothing_heavy_is_imported_before_it_is_used(module: str) -> None:
    heavy = ["dagster", "mlflow", "great_expectations", "dbt", "pyspark", "pysail", "matplotlib", "statsforecast"]
    code = f"import sys, {module}; print([n for n in {heavy} if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_importing_the_library_starts_and_writes_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "ML_PLATFORM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    code = "import ml_platform.cli, ml_platform.contracts, ml_platform.forecasting, threading; print(threading.active_count())"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert (out.stdout.strip(), list(tmp_path.iterdir())) == ("1", [])


def test_the_lock_fits_the_project() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/check_lock.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        ("", "one is in pyproject.toml and not in requirements.lock"),
        ("one==1.5 \\\n    --hash=sha256:aa\n", "is asked for, 1.5 is locked"),
        ("one==2.5\n", "one 2.5 has no hash"),
        ("--index-url https://example.org/simple\none==2.5 \\\n    --hash=sha256:aa\n", "holds an address"),
    ],
)
def test_a_lock_that_does_not_fit_is_named(tmp_path: Path, lock: str, problem: str) -> None:
    text = '[project]\ndependencies = ["one>=2"]\noptional-dependencies = {}\n[dependency-groups]\ndev = []\n'
    (tmp_path / "pyproject.toml").write_text(text)
    (tmp_path / "requirements.lock").write_text(lock)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/check_lock.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert problem in done.stdout


@pytest.mark.parametrize("target", ["demo", "ui", "test", "lint", "types", "check", "bench", "faults", "clean"])
def test_make_knows_the_promised_targets(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_env_names_the_way_out_without_a_python(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).touch()
    environment = {"PATH": os.environ["PATH"], "PYTHON": "/nowhere/python"}
    done = subprocess.run(
        ["sh", ROOT / "scripts/make_env.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no Python from 3.11 to 3.13 found (tried: /nowhere/python)" in done.stderr
    assert "PYTHON=" in done.stderr


def test_forbidden_skips_fail_unless_shared_is_missing(pytester_folder: Path) -> None:
    cases = "import pytest\ndef test_a():\n    pytest.skip('needs Java')\ndef test_b():\n    pytest.skip('needs ../shared')\n"
    (pytester_folder / "test_cases.py").write_text(cases)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
        "test_cases.py",
    ]
    plain = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    outcomes = [
        subprocess.run(
            [*command, *extra], cwd=pytester_folder, env=plain, capture_output=True, text=True, check=False
        ).stdout.splitlines()[-1]
        for extra in ([], ["--forbid-skips"])
    ]
    assert outcomes[0].startswith("2 skipped")
    assert outcomes[1].startswith("1 failed, 1 skipped")


def test_a_process_that_dies_ends_the_run_and_its_test_is_named(tmp_path: Path) -> None:
    """With the options of `make test`: a process in its place would wait for ever."""
    (tmp_path / "test_good.py").write_text("def test_a():\n    pass\n")
    (tmp_path / "test_deadly.py").write_text(
        "import os\ndef test_dies():\n    os.abort()\ndef test_after():\n    pass\n"
    )
    bare = {"PATH": os.environ["PATH"]}  # not what another make handed down
    shown = subprocess.run(["make", "-n", "test"], cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    options = re.search(r"-m pytest (.*)", shown.stdout)[1].split()
    assert options[:2] == ["-n", "2"]
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "no:faulthandler", "-c", "/dev/null", *options, "."]
    plain = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "crashed while running 'test_deadly.py::test_dies'" in done.stdout


@pytest.fixture
def pytester_folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    return tmp_path
