"""Pulled rows at silver: what a pull brings twice is one row, and a row that was changed is its newest version.

Belongs here: PostgreSQL to silver on the engine sail. Does not belong here: how rows get into landing (tests/unit/pull).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, NullPool, create_engine, text

from ml_platform.contract_files import load_contracts
from ml_platform.landing import LocalLanding
from ml_platform.pull import Puller

pytestmark = pytest.mark.integration
PULLED = """
name: readings
kind: events
description: Readings of meters.
owner: team:grid
path: readings_{day}_*.parquet
format: {type: parquet}
columns:
  reading_id: {type: int64}
  read_at: {type: timestamp}
  changed_at: {type: timestamp}
  units: {type: int64, min: 0}
key: [reading_id]
time: {column: read_at}
pull: {database: grid, table: readings_to_silver, watermark: changed_at, overlap: 3600}
panel: {target: true}
"""


@pytest.fixture
def grid(postgres_server: Any) -> Iterator[Engine]:
    engine = create_engine(postgres_server.url, poolclass=NullPool)
    columns = "reading_id bigint, read_at timestamptz, changed_at timestamptz, units bigint"
    sql(engine, f"create table readings_to_silver ({columns})")
    yield engine
    sql(engine, "drop table readings_to_silver")


def sql(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_a_changed_row_takes_the_place_of_the_older_one_and_doubles_are_one_row(
    make_town: Any, grid: Engine, postgres_server: Any, tmp_path: Path
) -> None:
    town = make_town("pulled")
    (town.root / "configs" / "sources" / "0.yaml").write_text(PULLED)
    object.__setattr__(town, "contracts", load_contracts(town.root / "configs"))
    databases = {"grid": SecretStr(postgres_server.url)}

    def pull() -> int:
        puller = Puller(town.lake, LocalLanding(town.root / "landing"), town.contracts["readings"], databases)
        rows = puller.run().rows
        town.prepare("readings")
        return rows

    values = "(1, '2024-01-10 15:00Z', '2024-01-10 15:01Z', 5), (2, '2024-01-10 16:00Z', '2024-01-10 16:01Z', 6)"
    sql(grid, f"insert into readings_to_silver values {values}")
    assert pull() == 2
    # a change within the overlap, late at night: its row goes to the next day's file
    sql(grid, "update readings_to_silver set units = 50, changed_at = '2024-01-11 00:30Z' where reading_id = 1")
    assert pull() == 1 + 1, "the changed row, and what is left within the overlap"
    sql(grid, "insert into readings_to_silver values (3, '2024-01-11 00:00Z', '2024-01-11 00:20Z', 7)")
    assert pull() == 1 + 1, "the row that was committed late, and the one beside it once more"
    assert pull() == 0
    assert [(row["reading_id"], row["units"]) for row in town.silver("readings")] == [(1, 50), (2, 6), (3, 7)]
    assert town.fates("readings") == {
        "duplicate(key_occurs_again)": 2,
        "kept": 3,
        "superseded(key_occurs_again)": 1,
    }
