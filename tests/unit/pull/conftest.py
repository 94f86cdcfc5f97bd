"""A shop with orders in a database, and a source that pulls them.

Belongs here: the example that the tests of pulls share. Does not belong here: what they ask of it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, NullPool, create_engine, text

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding
from ml_platform.pull import Puller, PullReport

NUMBERS = count(1)
YEARS = Calendar(date(2024, 1, 1), date(2024, 12, 31))
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
ORDERS: dict[str, Any] = {
    "name": "orders",
    "kind": "events",
    "description": "Orders.",
    "owner": "team:shop",
    "path": "orders_{day}_*.parquet",
    "format": {"type": "parquet"},
    "columns": {
        "order_id": {"type": "int64"},
        "changed_at": {"type": "timestamp"},
        "amount": {"type": "decimal(12,2)", "nullable": True},
        "due": {"type": "date", "nullable": True},
        "paid": {"type": "bool", "nullable": True},
        "note": {"type": "string", "nullable": True},
    },
    "key": ["order_id"],
    "time": {"column": "changed_at"},
    "panel": {"target": True},
}
TABLE = """create table {table} (
    order_id bigint primary key, changed_at timestamptz, amount numeric(12,2), due date, paid boolean, note text
)"""
CRASHING = """
import json, os, signal, sys
from pathlib import Path
from pydantic import SecretStr
from ml_platform.contracts import SourceContract
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding
from ml_platform.pull import Puller, database, filing

order = json.loads(sys.stdin.read())
database.BATCH = order["batch"]
left = [order["survives"]]

def dying(step, after):
    def done(*arguments):
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = step(*arguments)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return result
    return done

if order["point"] == "mid_file":
    filing.Unfinished.write = dying(filing.Unfinished.write, True)
if order["point"] in ("before_rename", "after_rename"):
    Path.replace = dying(Path.replace, order["point"] == "after_rename")
contract = SourceContract.model_validate(order["contract"])
landing = LocalLanding(Path(order["landing"]))
Puller(Lake(order["lake"]), landing, contract, {"shop": SecretStr(order["url"])}).run()
"""


@dataclass(frozen=True)
class Shop:
    """A table of orders, and the folders that it is pulled into."""

    root: Path
    url: str
    engine: Engine
    table: str
    contract: SourceContract
    said: list[str] = field(default_factory=list)
    calendar: Calendar = YEARS

    def having(self, **pull: Any) -> "Shop":
        """The same with another pull."""
        given = self.contract.model_dump(mode="json")
        given["pull"] = {**given["pull"], **pull}
        return replace(self, contract=SourceContract.model_validate(given))

    def sql(self, statement: str, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement.replace("{table}", self.table)), list(rows) or None)

    def insert(self, *numbers: int, at: datetime | None = None, step: float = 60) -> None:
        """Orders, `step` seconds after one another, from `at` on or by their number after noon."""
        begin = at or NOON
        rows = [
            {"id": n, "at": begin + timedelta(seconds=step * (place if at else n)), "note": f"order {n}"}
            for place, n in enumerate(numbers)
        ]
        self.sql("insert into {table} values (:id, :at, 1.10 * :id, '2024-03-05', true, :note)", *rows)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def store(self) -> LocalLanding:
        return LocalLanding(self.landing)

    def puller(self) -> Puller:
        databases = {"shop": SecretStr(self.url)}
        return Puller(self.lake, self.store, self.contract, databases, self.said.append, first_pause=0.01)

    def pull(self) -> PullReport:
        return self.puller().run()

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.landing / "orders").glob("[!.]*"))

    def unfinished(self) -> list[Path]:
        """What pulls have left beside the tables."""
        return list((self.root / "lake" / "ops").glob(".pull-orders/*"))

    def landed(self) -> pa.Table:
        return pa.concat_tables([pq.read_table(self.landing / "orders" / name) for name in self.names()])

    def ids(self) -> list[int]:
        """Orders as they lie in landing, each as often as it does."""
        return sorted(self.landed()["order_id"].to_pylist()) if self.names() else []

    def of_table(self) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            found = connection.execute(text(f"select * from {self.table} order by order_id")).all()
        return [tuple(row) for row in found]

    def ingest(self) -> None:
        one = Ingestion(self.lake, self.store, self.contract, "run", self.calendar)
        one.run(one.due(self.calendar.first, self.calendar.last))

    def crash(self, point: str, survives: int = 0, batch: int = 5) -> None:
        """Pull in another process that is killed by SIGKILL at a point, after so many times that it survived."""
        order = {
            "contract": self.contract.model_dump(mode="json"),
            "lake": self.lake.root,
            "landing": str(self.landing),
            "url": self.url,
            "point": point,
            "survives": survives,
            "batch": batch,
        }
        done = subprocess.run(
            [sys.executable, "-c", CRASHING], input=json.dumps(order), text=True, capture_output=True, check=False
        )
        assert done.returncode == -9, done.stderr


def open_shop(root: Path, url: str, table: str, columns: str = TABLE) -> Iterator[Shop]:
    engine = create_engine(url, poolclass=NullPool)
    pull = {"database": "shop", "table": table, "watermark": "changed_at"}
    shop = Shop(root, url, engine, table, SourceContract.model_validate({**ORDERS, "pull": pull}))
    shop.sql(columns)
    yield shop
    engine.dispose()


@pytest.fixture
def shop(postgres_server: Any, tmp_path: Path) -> Iterator[Shop]:
    """Orders in PostgreSQL, in a schema of the test's own."""
    schema = f"shop_{next(NUMBERS)}"
    engine = create_engine(postgres_server.url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"create schema {schema}"))
    yield from open_shop(tmp_path, postgres_server.url, f"{schema}.orders")
    with engine.begin() as connection:
        connection.execute(text(f"drop schema {schema} cascade"))


@pytest.fixture
def frail_shop(postgres_of_its_own: Any, tmp_path: Path) -> Iterator[Shop]:
    """Orders in a PostgreSQL that the test may stop."""
    yield from open_shop(tmp_path, postgres_of_its_own.url, "orders")


@pytest.fixture
def small_shop(tmp_path: Path) -> Shop:
    """Orders in SQLite, numbered by `version`, which pulls go by."""
    table = "create table {table} (order_id integer, version integer, changed_at text, amount real, note text)"
    (shop,) = open_shop(tmp_path, f"sqlite:///{tmp_path / 'shop.db'}", "orders", table)
    columns = {name: ORDERS["columns"][name] for name in ("order_id", "changed_at", "amount", "note")}
    given = {**ORDERS, "columns": {**columns, "version": {"type": "int64"}}}
    given["pull"] = {"database": "shop", "table": "orders", "watermark": "version", "overlap": 3}
    return replace(shop, contract=SourceContract.model_validate(given))
