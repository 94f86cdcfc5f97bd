"""Tests of the engine jvm: silver, panel, deletes, erasures and training are what they are on sail and in a process.

Belongs here: parity of the JVM; one of them serves all tests here, as a start takes seconds. Does not belong here: what the tables hold (tests of each).
"""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import inhabited
import pyarrow as pa
import pytest
from jvm_engine import Jvm, jvm_engine
from orchard import ORDER, InProcess, Poisoned, gold, trained

from ml_platform.compute import LocalCompute
from ml_platform.fates import DELETED
from ml_platform.lake import Lake

pytestmark = [
    pytest.mark.integration,
    pytest.mark.jvm,
    pytest.mark.skipif(not shutil.which("java"), reason="needs Java"),
]
DAY = date(2024, 1, 31)
SOURCES = ("meters", "readings", "plans")


@pytest.fixture(scope="module")
def jvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jvm]:
    with jvm_engine(tmp_path_factory.mktemp("jvm") / "log") as found:
        yield found


def fill(town: Any) -> None:
    """Land and ingest two deliveries that hold every fate."""
    town.land("meters", "meters.csv", "1,Elm,HOME", "2,Elm,SHOP", "3,Oak,HOME", "8,Oak,TEST")
    plans = ["1,1,2024-01-29,2024-02-04,3,a,1.505", "1,1,2024-01-29,2024-02-04,1,b,2.25"]
    town.land("plans", "plans_2024-01-20.csv", *plans)
    lines = [
        f"{n},{1 + n % 2},{(1, 2, 3, 8, 7)[n % 5]},2024-01-{10 + n % 21}T0{n % 10}:30:00Z,{n % 4},{n}.15"
        for n in range(60)
    ]
    town.land("readings", "readings_2024-01-31.csv", *lines)
    town.land("readings", "readings_2024-02-01.csv", *lines[:7], lines[8].replace(".15", ".16"))
    for source in SOURCES:
        town.ingest(source)


def test_sail_and_jvm_agree(make_town: Any, jvm: Jvm) -> None:
    here, there = make_town("sail"), make_town("jvm")
    fill(here)
    fill(there)
    jvm.prepare(there.root, *SOURCES)
    jvm.make_panel(there.root, here.config.model_dump_json(), DAY)
    here.prepare(*SOURCES)
    here.make_panel(DAY)
    for source in SOURCES:
        there.balance(source)
        rows = [
            [{k: v for k, v in row.items() if k not in ("ingested_at", "drop_id")} for row in home.silver(source)]
            for home in (here, there)
        ]
        assert rows[0] == rows[1]
        assert rows[0]
        assert here.fates(source) == there.fates(source)
    assert here.panel().equals(there.panel())
    assert here.lake.count("gold/series_panel") > 50


OPERATIONS = (
    (
        '  amount: {type: "decimal(12,2)"}\n',
        '  amount: {type: "decimal(12,2)"}\n  op: {type: string, nullable: true}\n',
    ),
    ("max_quarantined: 0.9\n", 'max_quarantined: 0.9\ndeletes: {column: op, values: [D, "it\'s gone"]}\n'),
)


def test_sail_and_jvm_agree_on_deletes(make_town: Any, jvm: Jvm) -> None:
    here, there = (make_town(name, *OPERATIONS) for name in ("sail", "jvm"))
    moments = ("2024-01-10T15:00:00Z", "2024-02-10T15:00:00Z")
    rows = [f"{n % 7},1,1,{moments[n % 3 > 0]},{n},1.50,{'' if n % 5 else 'D'}" for n in range(40)]
    for town in (here, there):
        town.land("meters", "meters.csv", "1,Elm,HOME")
        town.land("readings", "readings_2024-01-31.csv", *rows[:25], more=",op")
        town.land("readings", "readings_2024-02-11.csv", *rows[25:], more=",op")
        town.ingest("meters")
        town.ingest("readings")
    here.prepare("meters", "readings")
    jvm.prepare(there.root, "meters", "readings")
    there.balance("readings")
    kept = [[(row["reading_id"], row["units"]) for row in town.silver("readings")] for town in (here, there)]
    assert kept[0] == kept[1] != []
    assert here.fates("readings") == there.fates("readings")
    assert here.fates("readings")[f"deleted({DELETED})"]


def test_the_jvm_reads_tables_that_have_forgotten(make_town: Any, jvm: Jvm) -> None:
    """Spark's own reader of Delta begins at the checkpoint; the log before it has lost its statistics."""
    town = inhabited.inhabit(make_town("erasure", *inhabited.DECLARED))
    inhabited.eraser(town).erase(inhabited.request())
    rows = (inhabited.reading(11, 4, "2024-02-12"), inhabited.reading(12, inhabited.PERSON, "2024-02-12"))
    inhabited.land(town, "2024-02-12", *rows)
    town.ingest("readings")
    jvm.prepare(town.root, "readings")
    assert [row["reading_id"] for row in town.silver("readings")] == [1, 6, 10, 11]
    town.balance("readings")


def assert_same(tables: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    assert {name: tables[name].equals(expected[name]) for name in ORDER} == dict.fromkeys(ORDER, True)
    assert all(tables[name].num_rows for name in ORDER)


def test_the_jvm_makes_what_a_process_makes(tmp_path: Path, jvm: Jvm) -> None:
    jvm.train(tmp_path / "all")
    assert_same(gold(Lake(str(tmp_path / "all"))), trained(tmp_path / "one", LocalCompute(1))[1])


def test_a_series_that_fails_on_the_jvm_costs_itself_alone(tmp_path: Path, jvm: Jvm) -> None:
    jvm.train(tmp_path / "without", "orchard-05")
    expected = trained(tmp_path / "expected", Poisoned(InProcess(), ["orchard-05"], "fit"))[1]
    assert_same(gold(Lake(str(tmp_path / "without"))), expected)
