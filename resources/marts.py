"""The dbt project of the marts.

Belongs here: where it lies, and its parsed manifest. Does not belong here: its SQL (dbt/), running it (assets.warehouse).
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster_dbt import DbtCliResource

from ml_platform.durable import put_in_place
from ml_platform.forecasting import ForecastConfig
from ml_platform.warehouse.marts import dbt_arguments

PROJECT = Path(__file__).parent.parent / "dbt"
EXECUTABLE = Path(sys.executable).with_name("dbt")
MANIFEST = PROJECT / "target" / "manifest.json"


def dbt_resource() -> DbtCliResource:
    """Dbt on the project of the marts, from the environment that this process runs in."""
    return DbtCliResource(project_dir=str(PROJECT), profiles_dir=str(PROJECT), dbt_executable=str(EXECUTABLE))


def manifest(config: ForecastConfig) -> Path:
    """The parsed project, made anew (once, seconds) where a file of the project is newer; RuntimeError with dbt's words where it does not parse.

    Whoever reads it finds it whole: processes that start together parse it apart, and the last one's takes its place.
    """
    sources = [
        path
        for path in PROJECT.rglob("*")
        if path.suffix in (".sql", ".yml") and "target" not in path.relative_to(PROJECT).parts
    ]
    if not MANIFEST.exists() or MANIFEST.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        MANIFEST.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=MANIFEST.parent) as folder:
            _parse(config, Path(folder))
            put_in_place(Path(folder) / MANIFEST.name, MANIFEST)
    return MANIFEST


def _parse(config: ForecastConfig, target: Path) -> None:
    places = {"--project-dir": PROJECT, "--profiles-dir": PROJECT, "--target-path": target}
    options = [str(part) for place in places.items() for part in place]
    command = [str(EXECUTABLE), "--quiet", "parse", *options, *dbt_arguments(config)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"dbt cannot parse {PROJECT}: {(done.stdout or done.stderr)[-2000:]}")
