"""An independent checker: what a lake must hold, from the files that landed alone.

Belongs here: reading files, Delta tables and the ledger with pyarrow and deltalake, and comparing them. Does not belong here: any code of the
platform, which is what is on trial; making faults (the tests beside).
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

FINAL = {"loaded", "duplicate", "replaced", "quarantined"}
COLUMNS = ["meter", "at", "units"]
Row = dict[str, Any]
Key = tuple[int, datetime]


@dataclass(frozen=True, order=True)
class Reading:
    """A row of a file, as it must stand in bronze."""

    meter: int
    at: datetime
    units: int

    @property
    def key(self) -> Key:
        return self.meter, self.at


@dataclass
class History:
    """Every version of every file that ever lay in the landing folder, by path below it, oldest first."""

    versions: dict[str, list[bytes]] = field(default_factory=dict)

    def landed(self, path: str, content: bytes) -> None:
        self.versions.setdefault(path, []).append(content)

    def contents(self) -> Iterable[bytes]:
        return (content for versions in self.versions.values() for content in versions)


@dataclass(frozen=True)
class Parsed:
    """What a file of readings holds: rows that keep the contract in their order, how many do not, and whether it is one at all."""

    readings: tuple[Reading, ...]
    bad: int
    whole: bool

    @property
    def rows(self) -> int:
        return len(self.readings) + self.bad


def parse(content: bytes) -> Parsed:
    """A file of `meter,at,units`, where units is a whole number from 0 on."""
    lines = list(csv.reader(io.StringIO(content.decode())))
    if not lines or lines[0] != COLUMNS:
        return Parsed((), 0, whole=False)
    good = [row for row in lines[1:] if len(row) == len(COLUMNS) and row[2].isdigit()]
    readings = tuple(Reading(int(meter), datetime.fromisoformat(at), int(units)) for meter, at, units in good)
    return Parsed(readings, len(lines) - 1 - len(good), whole=True)


class Tables:
    """Rows of the source's tables as they lie there, read with delta-rs alone."""

    def __init__(self, root: Path | str, source: str, options: Mapping[str, str] | None = None) -> None:
        self.root, self.source, self.options = str(root), source, dict(options or {}) or None
        self.ledger = self._of_source("ops/ledger")
        self.quarantine = self._of_source("ops/quarantine")
        self.fates = self._of_source("ops/row_fates")
        self.bronze = self._read(f"bronze/raw_{source}")
        self.silver = self._read(f"silver/{source}_history")
        self.has_silver = self._exists(f"silver/{source}_history")
        self.readings_of: dict[str, list[Reading]] = {}
        for row in sorted(self.bronze, key=lambda row: row["row_number"]):
            self.readings_of.setdefault(row["drop_id"], []).append(_reading(row))

    def reader_versions(self) -> dict[str, int]:
        names = ("ops/ledger", "ops/quarantine", f"bronze/raw_{self.source}", f"silver/{self.source}_history")
        return {name: self._table(name).protocol().min_reader_version for name in names if self._exists(name)}

    def _of_source(self, name: str) -> list[Row]:
        return [row for row in self._read(name) if row["source"] == self.source]

    def _read(self, name: str) -> list[Row]:
        return self._table(name).to_pyarrow_table().to_pylist() if self._exists(name) else []

    def _table(self, name: str) -> DeltaTable:
        return DeltaTable(f"{self.root}/{name}", storage_options=self.options)

    def _exists(self, name: str) -> bool:
        return DeltaTable.is_deltatable(f"{self.root}/{name}", storage_options=self.options)


def violations(
    lake: Path | str,
    landing: Path,
    history: History,
    source: str = "readings",
    options: Mapping[str, str] | None = None,
) -> list[str]:
    """Every promise that the lake breaks, in words; empty where it keeps them all."""
    tables = Tables(lake, source, options)
    found = [*_ledger(tables), *_files(tables, landing, history, source), *_rows(tables, history), *_protocols(tables)]
    return [*found, *_silver(tables)] if tables.has_silver else found


def _ledger(tables: Tables) -> Iterator[str]:
    for drop, times in Counter(row["drop_id"] for row in tables.ledger).items():
        if times > 1:
            yield f"drop {drop} has {times} ledger rows"
    loaded = Counter(row["path"] for row in tables.ledger if row["state"] == "loaded")
    yield from (f"{path} has {times} versions in force" for path, times in loaded.items() if times > 1)
    for row in tables.ledger:
        if row["state"] not in FINAL:
            yield f"{row['path']} is {row['state']}, which is no final state"
        parts = row["rows_loaded"] + row["rows_quarantined"] + row["rows_duplicate"] + row["rows_erased"]
        if row["rows_in"] != parts:
            yield f"{row['path']}: {row['rows_in']} rows in, {parts} accounted for"
        if row["state"] in ("duplicate", "quarantined", "replaced") and not row["reason"]:
            yield f"{row['path']} is {row['state']} without a reason"


def _files(tables: Tables, landing: Path, history: History, source: str) -> Iterator[str]:
    """Every file that lies there has one settled version with its bytes, and what is in force is what it says."""
    newest = {}
    for row in sorted(tables.ledger, key=lambda row: (row["table_version"], row["settled_at"])):
        newest[row["path"], row["content_sha256"]] = row
    in_force = [row for row in tables.ledger if row["state"] == "loaded"]
    for file in sorted((landing / source).rglob("*")):
        path = file.relative_to(landing).as_posix()
        if not file.is_file() or file.name.startswith((".", "_")):
            continue
        row = newest.get((path, _sha256(file.read_bytes())))
        if row is None:
            yield f"{path} lies there and its bytes are in no ledger row"
        else:
            yield from _in_force(path, parse(file.read_bytes()), row, in_force, tables)
    for path, sha in newest:
        if sha not in {_sha256(content) for content in history.versions.get(path, [])}:
            yield f"{path} never had the bytes that its ledger row names"


def _in_force(path: str, parsed: Parsed, row: Row, in_force: list[Row], tables: Tables) -> Iterator[str]:
    if row["state"] == "replaced":
        yield f"{path}: the version that lies there was replaced"
    elif row["state"] == "duplicate":
        twins = [one for one in in_force if one["content_sha256"] == row["content_sha256"]]
        if not any(one["drop_day"] == row["drop_day"] for one in twins):
            yield f"{path} is a duplicate of bytes that are in force nowhere"
    elif row["state"] == "loaded" and tuple(tables.readings_of.get(row["drop_id"], ())) != parsed.readings:
        yield f"{path}: bronze does not hold the rows of the file"
    elif row["state"] == "quarantined" and parsed.whole and parsed.rows and parsed.bad <= parsed.rows / 2:
        yield f"{path} was refused and is good"


def _rows(tables: Tables, history: History) -> Iterator[str]:
    """Counts per drop, from the bytes that the ledger names."""
    by_sha = {_sha256(content): parse(content) for content in history.contents()}
    states = {row["drop_id"]: row["state"] for row in tables.ledger}
    at_bronze = [row for row in tables.quarantine if row["stage"] == "bronze"]
    refused = Counter(row["drop_id"] for row in at_bronze if row["row_number"] is not None)
    whole = Counter(row["drop_id"] for row in at_bronze if row["row_number"] is None)
    for drop in tables.readings_of:
        if states.get(drop) != "loaded":
            yield f"bronze holds rows of drop {drop}, which is {states.get(drop, 'in no ledger row')}"
    for row in tables.ledger:
        parsed, place = by_sha.get(row["content_sha256"]), f"{row['path']} ({row['state']})"
        if row["state"] == "loaded" and len(tables.readings_of.get(row["drop_id"], ())) != row["rows_loaded"]:
            yield f"{place}: bronze does not hold rows_loaded rows"
        if parsed and parsed.whole and row["rows_in"] != parsed.rows:
            yield f"{place}: {row['rows_in']} rows in, the file has {parsed.rows}"
        if row["state"] in ("loaded", "replaced") and refused[row["drop_id"]] != row["rows_quarantined"]:
            yield f"{place}: {refused[row['drop_id']]} rows in quarantine, the ledger says {row['rows_quarantined']}"
        if row["state"] == "quarantined" and whole[row["drop_id"]] != 1:
            yield f"{place}: {whole[row['drop_id']]} rows in quarantine for the whole file"
    yield from (f"quarantine names drop {drop} that no ledger row has" for drop in {*refused, *whole} - set(states))


def _silver(tables: Tables) -> Iterator[str]:
    """Of every key the newest row is kept, and every row of a drop has a fate."""
    newest: dict[Key, tuple[Any, ...]] = {}
    in_force = {row["drop_id"] for row in tables.ledger if row["state"] == "loaded"}
    for row in tables.bronze:
        if row["drop_id"] in in_force:
            one = (row["drop_day"], row["ingested_at"], row["row_number"], _reading(row))
            newest[one[-1].key] = max(one, newest.get(one[-1].key, one))
    expected, found = Counter(one[-1] for one in newest.values()), Counter(_reading(row) for row in tables.silver)
    yield from (f"silver lacks {reading}" for reading in expected - found)
    yield from (f"silver holds {reading} and should not" for reading in found - expected)
    fated = Counter[str]()
    for row in tables.fates:
        fated[row["drop_id"]] += row["rows"]
    for row in tables.ledger:
        due = row["rows_loaded"] if row["state"] in ("loaded", "replaced") else 0
        if fated[row["drop_id"]] != due:
            yield f"{row['path']} ({row['state']}): {fated[row['drop_id']]} rows have a fate at silver, {due} were loaded"


def _protocols(tables: Tables) -> Iterator[str]:
    yield from (
        f"{name} needs reader version {needed}" for name, needed in tables.reader_versions().items() if needed != 1
    )


def _reading(row: Row) -> Reading:
    return Reading(row["meter"], row["at"].astimezone(UTC), row["units"])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
