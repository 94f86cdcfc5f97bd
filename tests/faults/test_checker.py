"""The checker is proven: it finds nothing in a sound lake, and each planted bug for its own reason."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from fault_checker import History, violations
from fault_feed import Feed, ingest, prepare

from ml_platform.lake import Lake

pytestmark = pytest.mark.faults
Row = dict[str, Any]
LEDGER, QUARANTINE, FATES = "ops/ledger", "ops/quarantine", "ops/row_fates"
BRONZE, SILVER = "bronze/raw_readings", "silver/readings_history"
FILES = {
    "readings/readings_2024-01-02_a.csv": [
        "1,2024-01-02T00:00:00Z,5",
        "2,2024-01-02T00:00:00Z,6",
        "3,2024-01-02T00:00:00Z,x",
    ],
    "readings/readings_2024-01-03_b.csv": ["1,2024-01-02T00:00:00Z,7", "4,2024-01-03T00:00:00Z,8"],
    "readings/readings_2024-01-02_twin.csv": [
        "1,2024-01-02T00:00:00Z,5",
        "2,2024-01-02T00:00:00Z,6",
        "3,2024-01-02T00:00:00Z,x",
    ],
    "readings/readings_2024-01-04_changed.csv": ["5,2024-01-04T00:00:00Z,9"],
    "readings/readings_2024-01-05_bad.csv": [],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    feed = Feed(tmp_path_factory.mktemp("sound"), seed=0)
    for path, rows in FILES.items():
        feed.write(path, "\n".join(["meter,at,units", *rows, ""]).encode())
    ingest(Lake(str(feed.lake)), feed.landing)
    feed.write("readings/readings_2024-01-04_changed.csv", b"meter,at,units\n5,2024-01-04T00:00:00Z,10\n")
    ingest(Lake(str(feed.lake)), feed.landing)
    prepare(Lake(str(feed.lake)))
    return feed


class Planted:
    """A copy of the sound lake, whose tables a test may falsify."""

    def __init__(self, feed: Feed, home: Path) -> None:
        self.lake, self.landing, self.history = home / "lake", home / "landing", History(dict(feed.history.versions))
        shutil.copytree(feed.lake, self.lake)
        shutil.copytree(feed.landing, self.landing)

    def rows(self, table: str) -> list[Row]:
        found: list[Row] = DeltaTable(str(self.lake / table)).to_pyarrow_table().to_pylist()
        return found

    def falsify(self, table: str, change: Callable[[list[Row]], list[Row]]) -> None:
        path = str(self.lake / table)
        schema = pa.schema(DeltaTable(path).schema().to_arrow())
        write_deltalake(path, pa.Table.from_pylist(change(self.rows(table)), schema), mode="overwrite")

    def found(self) -> list[str]:
        return violations(self.lake, self.landing, self.history)


@pytest.fixture
def planted(sound: Feed, tmp_path: Path) -> Planted:
    return Planted(sound, tmp_path / "copy")


def without_first(rows: list[Row]) -> list[Row]:
    return rows[1:]


def doubled_first(rows: list[Row]) -> list[Row]:
    return [rows[0], *rows]


def with_(where: Callable[[Row], bool], **values: object) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**row, **values} if where(row) else row for row in rows]


def is_(**wanted: object) -> Callable[[Row], bool]:
    return lambda row: all(row[name] == value for name, value in wanted.items())


def without(where: Callable[[Row], bool]) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row for row in rows if not where(row)]


BUGS = {
    "a row is lost at bronze": (BRONZE, without_first, "bronze does not hold"),
    "a row is doubled at bronze": (BRONZE, doubled_first, "bronze does not hold"),
    "a value is changed": (BRONZE, with_(is_(units=8), units=80), "bronze does not hold the rows of the file"),
    "two rows change places": (
        BRONZE,
        lambda rows: [{**row, "row_number": 9 - row["row_number"]} for row in rows],
        "bronze does not hold the rows of the file",
    ),
    "a drop is not in the ledger": (LEDGER, without(is_(state="duplicate")), "in no ledger row"),
    "a drop is in the ledger twice": (LEDGER, doubled_first, "has 2 ledger rows"),
    "a state is not final": (LEDGER, with_(is_(state="duplicate"), state="open"), "no final state"),
    "rows are counted that no file has": (LEDGER, with_(is_(rows_in=3), rows_in=4), "accounted for"),
    "rows are counted away on both sides": (
        LEDGER,
        with_(is_(rows_loaded=2, rows_in=2), rows_loaded=1, rows_in=1),
        "the file has 2",
    ),
    "there is no reason": (LEDGER, with_(is_(state="quarantined"), reason=None), "without a reason"),
    "a replaced version is in force": (LEDGER, with_(is_(state="replaced"), state="loaded"), "2 versions in force"),
    "a good file is refused": (
        LEDGER,
        with_(is_(drop_day=date(2024, 1, 3)), state="quarantined", reason="x"),
        "was refused and is good",
    ),
    "a twin is a duplicate of nothing": (
        LEDGER,
        with_(is_(state="loaded", drop_day=date(2024, 1, 2)), content_sha256="0" * 64),
        "in force nowhere",
    ),
    "a refused row is lost": (QUARANTINE, without(lambda row: row["row_number"] is not None), "rows in quarantine"),
    "a refused file is in quarantine twice": (
        QUARANTINE,
        lambda rows: [*rows, *(row for row in rows if row["row_number"] is None)],
        "rows in quarantine for the whole file",
    ),
    "quarantine knows a drop that nobody else does": (
        QUARANTINE,
        lambda rows: [*rows, {**rows[0], "drop_id": "f" * 24}],
        "that no ledger row has",
    ),
    "an older row wins at silver": (SILVER, with_(is_(units=7), units=5), "silver lacks"),
    "a key is twice at silver": (SILVER, doubled_first, "and should not"),
    "a row has no fate": (FATES, without_first, "have a fate at silver"),
}


def test_a_sound_lake_has_no_violation(planted: Planted) -> None:
    assert planted.found() == []
    states = sorted(row["state"] for row in planted.rows(LEDGER))
    assert states == ["duplicate", "loaded", "loaded", "loaded", "quarantined", "replaced"]


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(planted: Planted, bug: str) -> None:
    table, change, words = BUGS[bug]
    planted.falsify(table, change)
    assert [one for one in planted.found() if words in one], planted.found()


def test_a_file_that_nobody_looked_at_is_found(planted: Planted) -> None:
    (planted.landing / "readings/readings_2024-02-01_late.csv").write_bytes(b"meter,at,units\n")
    assert [one for one in planted.found() if "in no ledger row" in one]


def test_rows_of_a_drop_that_is_not_loaded_are_found(planted: Planted) -> None:
    gone = next(row["drop_id"] for row in planted.rows(LEDGER) if row["state"] == "replaced")
    planted.falsify(BRONZE, lambda rows: [*rows, {**rows[0], "drop_id": gone}])
    assert [one for one in planted.found() if "which is replaced" in one]
