"""A town of which a person is part: her key lies in every place where the lake can hold one, and a search through every byte of the lake is the judge.

Belongs here: making the town, asking the eraser, searching. Does not belong here: what an erasure must leave (tests).
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.erasure.eraser import Eraser, Request
from ml_platform.ingestion import Ingestion
from ml_platform.lake import ledger
from ml_platform.lake.schemas import ALERTS, QUARANTINE
from ml_platform.landing import LocalLanding
from ml_platform.quarantine import Order, Quarantine, Selection

YEARS = Calendar(date(2023, 1, 1), date(2025, 12, 31))
METERS = ("1,Elm,HOME", "2,Oak,HOME")
PERSON, NAME = 7734519, 'O\'Neil \\ "Zoë" & Söhne'
DECLARED = (
    (
        '  amount: {type: "decimal(12,2)"}\n',
        '  amount: {type: "decimal(12,2)"}\n  person: {type: int64}\n  name: {type: string, nullable: true}\n',
    ),
    ("max_quarantined: 0.9\n", "max_quarantined: 0.9\npersonal: [person, name]\n"),
)


def reading(
    number: int, person: int | str = 1, day: str = "2024-01-10", units: int = 5, meter: int = 1, name: str = ""
) -> str:
    quoted = '"' + name.replace('"', '""') + '"' if name else ""
    return f"{number},1,{meter},{day}T15:00:00Z,{units},1.50,{person},{quoted}"


def land(town: Any, day: str, *rows: str, part: str = "") -> None:
    town.land("readings", f"readings_{day}{part}.csv", *rows, more=",person,name")


def door(town: Any) -> Callable[[SourceContract], Ingestion]:
    return lambda contract: Ingestion(town.lake, LocalLanding(town.root / "landing"), contract, "run", YEARS)


def eraser(town: Any) -> Eraser:
    return Eraser(town.lake, town.contracts, door(town), lambda contract: town.preparation(contract.name))


def request(value: int | str = PERSON, column: str = "person", source: str = "readings") -> Request:
    return Request(source, column, "Ada", "she asked for it", value=str(value))


def traces(town: Any, value: int | str) -> list[str]:
    """Every file of the lake in which a value lies: as a cell, in a text, in a log or in plain bytes."""
    return [
        path.relative_to(town.root).as_posix()
        for path in sorted((town.root / "lake").rglob("*"))
        if path.is_file() and holds(path, value)
    ]


def holds(path: Path, value: int | str) -> bool:
    texts = {
        str(value),
        json.dumps(str(value))[1:-1],
        json.dumps(str(value), ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(str(value)))[3:-3],
    }
    if any(text.encode() in path.read_bytes() for text in texts):
        return True
    if path.suffix != ".parquet":
        return False
    cells = [cell for row in pq.read_table(path, partitioning=None).to_pylist() for cell in flat(row)]
    return any(cell == value or (isinstance(cell, str) and any(text in cell for text in texts)) for cell in cells)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for part in value.values() for one in flat(part)]
    if isinstance(value, list | tuple):
        return [one for part in value for one in flat(part)]
    return [value]


def inhabit(town: Any) -> Any:
    """A person in every place where the lake can hold one: current and replaced rows, refusals of three kinds, logs, alerts, leftovers."""
    town.land("meters", "meters.csv", *METERS)
    land(
        town,
        "2024-01-10",
        reading(1),
        reading(2, PERSON, name=NAME),
        reading(3, f"0{PERSON}", units=-1),
        f"4,{PERSON},too short",
    )
    land(town, "2024-01-11", reading(5, PERSON, "2024-01-11"), reading(6, 2, "2024-01-11"))
    land(town, "2024-01-11", reading(5, PERSON, "2024-01-11"), reading(6, 2, "2024-01-11"), part="_again")
    land(town, "2024-02-10", reading(7, PERSON, "2024-02-10", meter=9), reading(8, 3, "2024-02-10", units=-2))
    town.prepare("meters", "readings")
    land(town, "2024-02-11", reading(9, PERSON, "2024-02-11", units=4), reading(10, 3, "2024-02-11"))
    town.prepare("readings")
    land(town, "2024-02-11", reading(9, PERSON, "2024-02-11", units=6), reading(10, 3, "2024-02-11"))
    town.prepare("readings")
    (refused,) = [one for one in Selection(source="readings").read(town.lake) if one.value == "-2"]
    order = Order("release", "Ada", "it was hers", {"units": "2", "person": str(PERSON)})
    (outcome,) = Quarantine(town.contracts, door(town)).decide(order, [refused])
    assert outcome.decided
    town.prepare("readings")
    alert = {
        "raised_at": datetime.now(UTC),
        "job": "score",
        "run_id": "r",
        "steps": "s",
        "message": f"found [{PERSON}]",
    }
    town.lake.append(ALERTS, pa.Table.from_pylist([alert], schema=ALERTS.schema))
    left = town.root / "lake/bronze/raw_readings/_refused"
    left.mkdir(exist_ok=True)
    pq.write_table(pa.table({"raw": [f"{PERSON}"]}), left / "left.parquet")
    pq.write_table(pa.table({"person": [PERSON]}), town.root / "lake/bronze/raw_readings/part-left.parquet")
    assert len(traces(town, PERSON)) > 20
    return town


def state(town: Any) -> dict[str, Any]:
    """What a reader sees, without versions and times."""
    rows = [(row["reading_id"], row["person"], row["units"]) for row in town.silver("readings")]
    bronze = sorted(town.lake.read("bronze/raw_readings")["reading_id"].to_pylist())
    counts = sorted(
        (r.path, r.state, r.rows_in, r.rows_loaded, r.rows_quarantined, r.rows_duplicate, r.rows_erased)
        for r in ledger.of_source(town.lake, "readings")
    )
    left = sorted((row["row_number"], row["rule"], row["state"]) for row in town.lake.read(QUARANTINE.name).to_pylist())
    return {"silver": rows, "bronze": bronze, "ledger": counts, "fates": town.fates("readings"), "quarantine": left}
