"""An independent checker: what a lake must hold, from the files that landed alone.

Belongs here: reading files, Delta tables and the ledger with pyarrow and deltalake, and comparing them. Does not belong here: any code of the
platform, which is what is on trial; making faults (the tests beside).
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

FINAL = {"loaded", "duplicate", "replaced", "quarantined"}
COLUMNS = ["meter", "at", "units"]


@dataclass
class History:
    """Every version of every file that ever lay in the landing folder, by path below it, oldest first."""

    versions: dict[str, list[bytes]] = field(default_factory=dict)

    def landed(self, path: str, content: bytes) -> None:
        self.versions.setdefault(path, []).append(content)


@dataclass(frozen=True)
class Parsed:
    """What a file of readings holds: rows that keep the contract as (meter, units), how many do not, and whether it is one at all."""

    good: Counter[tuple[int, int]]
    bad: int
    whole: bool

    @property
    def rows(self) -> int:
        return self.good.total() + self.bad


def parse(content: bytes) -> Parsed:
    """A file of `meter,at,units`, where units is a whole number from 0 on."""
    lines = list(csv.reader(io.StringIO(content.decode())))
    if not lines or lines[0] != COLUMNS:
        return Parsed(Counter(), 0, whole=False)
    good = [row for row in lines[1:] if len(row) == len(COLUMNS) and row[2].isdigit()]
    return Parsed(Counter((int(row[0]), int(row[2])) for row in good), len(lines) - 1 - len(good), whole=True)


def violations(lake: Path, landing: Path, history: History, source: str = "readings") -> list[str]:
    """Every promise that the lake breaks, in words; empty where it keeps them all."""
    found = _Lake(lake, source)
    return [*_ledger(found), *_files(found, landing, history, source), *_rows(found, history), *_tables(found)]


class _Lake:
    """Rows of the source's tables as they lie there."""

    def __init__(self, root: Path, source: str) -> None:
        self.root, self.source = root, source
        self.ledger = [row for row in self._read("ops/ledger") if row["source"] == source]
        self.bronze = self._read(f"bronze/raw_{source}")
        self.quarantine = [row for row in self._read("ops/quarantine") if row["source"] == source]
        self.rows_of: dict[str, Counter[tuple[int, int]]] = {}
        for row in self.bronze:
            self.rows_of.setdefault(row["drop_id"], Counter())[row["meter"], row["units"]] += 1

    def _read(self, name: str) -> list[dict[str, Any]]:
        path = str(self.root / name)
        return DeltaTable(path).to_pyarrow_table().to_pylist() if DeltaTable.is_deltatable(path) else []


def _ledger(lake: _Lake) -> Iterator[str]:
    for drop, count in Counter(row["drop_id"] for row in lake.ledger).items():
        if count > 1:
            yield f"drop {drop} has {count} ledger rows"
    loaded = Counter(row["path"] for row in lake.ledger if row["state"] == "loaded")
    yield from (f"{path} has {count} versions in force" for path, count in loaded.items() if count > 1)
    for row in lake.ledger:
        if row["state"] not in FINAL:
            yield f"{row['path']} is {row['state']}, which is no final state"
        parts = row["rows_loaded"] + row["rows_quarantined"] + row["rows_duplicate"] + row["rows_erased"]
        if row["rows_in"] != parts:
            yield f"{row['path']}: {row['rows_in']} rows in, {parts} accounted for"
        if row["state"] in ("duplicate", "quarantined", "replaced") and not row["reason"]:
            yield f"{row['path']} is {row['state']} without a reason"


def _files(lake: _Lake, landing: Path, history: History, source: str) -> Iterator[str]:
    """Every file that lies there has one settled version with its bytes, and what is in force is what it says."""
    newest = {}
    for row in sorted(lake.ledger, key=lambda row: (row["table_version"], row["settled_at"])):
        newest[row["path"], row["content_sha256"]] = row
    in_force = {row["path"]: row for row in lake.ledger if row["state"] == "loaded"}
    for file in sorted((landing / source).rglob("*")):
        path = file.relative_to(landing).as_posix()
        if not file.is_file() or file.name.startswith((".", "_")):
            continue
        row = newest.get((path, _sha256(file.read_bytes())))
        if row is None:
            yield f"{path} lies there and its bytes are in no ledger row"
        else:
            yield from _in_force(path, parse(file.read_bytes()), row, in_force, lake)
    for path, sha in newest:
        if sha not in {_sha256(content) for content in history.versions.get(path, [])}:
            yield f"{path} never had the bytes that its ledger row names"


def _in_force(path: str, parsed: Parsed, row: dict[str, Any], in_force: dict[str, Any], lake: _Lake) -> Iterator[str]:
    if row["state"] == "replaced":
        yield f"{path}: the version that lies there was replaced"
    elif row["state"] == "duplicate":
        twins = [one for one in in_force.values() if one["content_sha256"] == row["content_sha256"]]
        if not any(one["drop_day"] == row["drop_day"] for one in twins):
            yield f"{path} is a duplicate of bytes that are in force nowhere"
    elif row["state"] == "loaded" and lake.rows_of.get(row["drop_id"], Counter()) != parsed.good:
        yield f"{path}: bronze does not hold the rows of the file"
    elif row["state"] == "quarantined" and parsed.whole and parsed.bad <= parsed.rows / 2:
        yield f"{path} was refused and is good"


def _rows(lake: _Lake, history: History) -> Iterator[str]:
    """Counts per drop, from the bytes that the ledger names."""
    by_sha = {_sha256(content): parse(content) for content in _contents(history)}
    states = {row["drop_id"]: row["state"] for row in lake.ledger}
    refused = Counter(row["drop_id"] for row in lake.quarantine if row["row_number"] is not None)
    whole = Counter(row["drop_id"] for row in lake.quarantine if row["row_number"] is None)
    for drop in lake.rows_of:
        if states.get(drop) != "loaded":
            yield f"bronze holds rows of drop {drop}, which is {states.get(drop, 'in no ledger row')}"
    for row in lake.ledger:
        parsed, place = by_sha.get(row["content_sha256"]), f"{row['path']} ({row['state']})"
        if row["state"] == "loaded" and lake.rows_of.get(row["drop_id"], Counter()).total() != row["rows_loaded"]:
            yield f"{place}: bronze does not hold rows_loaded rows"
        if parsed and parsed.whole and row["rows_in"] != parsed.rows:
            yield f"{place}: {row['rows_in']} rows in, the file has {parsed.rows}"
        if row["state"] in ("loaded", "replaced") and refused[row["drop_id"]] != row["rows_quarantined"]:
            yield f"{place}: {refused[row['drop_id']]} rows in quarantine, the ledger says {row['rows_quarantined']}"
        if row["state"] == "quarantined" and whole[row["drop_id"]] != 1:
            yield f"{place}: {whole[row['drop_id']]} rows in quarantine for the whole file"
    yield from (f"quarantine names drop {drop} that no ledger row has" for drop in {*refused, *whole} - set(states))


def _tables(lake: _Lake) -> Iterator[str]:
    for name in ("ops/ledger", "ops/quarantine", f"bronze/raw_{lake.source}"):
        path = str(lake.root / name)
        if DeltaTable.is_deltatable(path) and DeltaTable(path).protocol().min_reader_version != 1:
            yield f"{name} needs more than reader version 1"


def _contents(history: History) -> Iterable[bytes]:
    return (content for versions in history.versions.values() for content in versions)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
