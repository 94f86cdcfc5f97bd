"""A million rows in two thousand files, and ten thousand hostile deliveries of them: nothing is lost, nothing is doubled."""

import hashlib
import io
import random
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pytest
from fault_feed import CALENDAR, Feed, ingest, prepare

from ml_platform.lake import Lake, ledger

pytestmark = pytest.mark.faults
FILES, ROWS, DELIVERIES, LOOKS = 2_000, 500, 10_000, 25


def content(file: int, version: int) -> bytes:
    """Rows that no other file and no other version has."""
    day = CALENDAR.first + timedelta(days=file % 300)
    base = (file * 100 + version) * ROWS
    lines = [f"{base + row},{day}T00:00:00Z,{row}" for row in range(ROWS)]
    return ("\n".join(["meter,at,units", *lines]) + "\n").encode()


def path_of(file: int) -> str:
    return f"readings/readings_{CALENDAR.first + timedelta(days=file % 300)}_{file}.csv"


def deliver(feed: Feed, chance: random.Random, newest: dict[int, int], cut: set[int]) -> None:
    """One delivery: the same bytes again, bytes under another name, a new version, an older one again, or the start of a file only."""
    file = chance.choice(sorted(newest))
    kind = chance.choice(["again", "again", "twin", "version", "older", "cut"])
    target = feed.landing / path_of(file)
    if kind == "version":
        newest[file] += 1
    if kind == "older":
        newest[file] = 0
    whole = content(file, newest[file])
    if kind == "twin":
        target = target.with_name(target.name.replace(".csv", "_copy.csv"))
    else:
        (cut.add if kind == "cut" else cut.discard)(file)
    hidden = target.with_name(f".{target.name}")
    hidden.write_bytes(whole[: chance.randrange(len(whole))] if kind == "cut" else whole)
    hidden.replace(target)


def rows_of(files: Iterable[bytes]) -> pa.Table:
    """Rows of whole files as bronze has them, in order."""
    tables = [pa_csv.read_csv(io.BytesIO(held)) for held in files]
    schema = pa.schema([("meter", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("units", pa.int64())])
    return pa.concat_tables(tables).cast(schema).sort_by("meter")


def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    feed, chance = Feed(tmp_path, seed=1), random.Random(99)
    lake, newest, cut, unseen = Lake(str(feed.lake)), dict[int, int](), set[int](), list(range(FILES))
    chance.shuffle(unseen)
    for _ in range(LOOKS):
        for file in unseen[: FILES // LOOKS]:
            newest[file] = 0
            (feed.landing / path_of(file)).write_bytes(content(file, 0))
        unseen = unseen[FILES // LOOKS :]
        for _ in range(DELIVERIES // LOOKS):
            deliver(feed, chance, newest, cut)
        ingest(lake, feed.landing, batch_rows=2_000_000)
    assert len(cut) > FILES / 20, "the last look has seen files that were not whole"
    for file in cut:
        (feed.landing / path_of(file)).write_bytes(content(file, newest[file]))
    for _ in range(3):  # a twin may wait for what was in force
        ingest(lake, feed.landing, batch_rows=2_000_000)
    there = {
        hashlib.sha256(file.read_bytes()).hexdigest(): file.read_bytes()
        for file in sorted((feed.landing / "readings").iterdir())
    }
    wanted = rows_of(there.values())
    assert wanted.num_rows >= FILES * ROWS
    assert pc.count_distinct(wanted["meter"]).as_py() == wanted.num_rows
    names = wanted.schema.names
    assert lake.read("bronze/raw_readings", names).sort_by("meter").equals(wanted)
    prepare(lake)
    assert lake.read("silver/readings_history", names).sort_by("meter").equals(wanted)
    rows = ledger.of_source(lake, "readings")
    assert all(row.balanced for row in rows)
