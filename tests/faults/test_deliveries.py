"""A million rows in two thousand files, delivered ten thousand times over in every hostile way: nothing is lost, nothing is doubled."""

import hashlib
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from fault_feed import CALENDAR, Feed, ingest

from ml_platform.lake import Lake, ledger

pytestmark = pytest.mark.faults
FILES, ROWS, DELIVERIES, LOOKS = 2_000, 500, 10_000, 40


def content(file: int, version: int) -> bytes:
    """Rows that no other file and no other version has."""
    day = CALENDAR.first + timedelta(days=file % 300)
    base = (file * 100 + version) * ROWS
    lines = [f"{base + row},{day}T00:00:00Z,{row}" for row in range(ROWS)]
    return ("\n".join(["meter,at,units", *lines]) + "\n").encode()


def path_of(file: int) -> str:
    return f"readings/readings_{CALENDAR.first + timedelta(days=file % 300)}_{file}.csv"


def deliver(feed: Feed, chance: random.Random, newest: dict[int, int]) -> None:
    """One delivery: the same bytes again, bytes under another name, a new version, an older one again, or the start of a file only."""
    file = chance.choice(sorted(newest))
    kind = chance.choice(["again", "again", "twin", "version", "older", "cut"])
    target = feed.landing / path_of(file)
    if kind == "version":
        newest[file] += 1
    if kind == "older":
        newest[file] = 0 if newest[file] else newest[file]
    if kind == "twin":
        target.with_name(target.name.replace(".csv", "_copy.csv")).write_bytes(content(file, newest[file]))
    elif kind == "cut":
        target.with_name(f".{target.name}").write_bytes(content(file, newest[file])[:1000])
    else:
        hidden = target.with_name(f".{target.name}")
        hidden.write_bytes(content(file, newest[file]))
        hidden.replace(target)


def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    feed, chance = Feed(tmp_path, seed=1), random.Random(99)
    lake, newest, unseen = Lake(str(feed.lake)), dict[int, int](), list(range(FILES))
    chance.shuffle(unseen)
    for _ in range(LOOKS):
        for file in unseen[: FILES // LOOKS]:
            newest[file] = 0
            (feed.landing / path_of(file)).write_bytes(content(file, 0))
        unseen = unseen[FILES // LOOKS :]
        for _ in range((DELIVERIES - FILES) // LOOKS):
            deliver(feed, chance, newest)
        ingest(lake, feed.landing, batch_rows=2_000_000)
    for _ in range(3):  # a twin may wait for what was in force
        ingest(lake, feed.landing, batch_rows=2_000_000)
    there = {
        hashlib.sha256(file.read_bytes()).hexdigest(): file.read_bytes()
        for file in (feed.landing / "readings").iterdir()
        if not file.name.startswith(".")
    }
    wanted = Counter(line.split(b",")[0] for held in there.values() for line in held.splitlines()[1:])
    found = lake.read("bronze/raw_readings", ["meter"])["meter"].cast(pa.string()).value_counts().to_pylist()
    assert {one["values"].encode(): one["counts"] for one in found} == wanted
    assert set(wanted.values()) == {1}
    assert len(wanted) >= FILES * ROWS
    rows = ledger.of_source(lake, "readings")
    assert all(row.balanced for row in rows)
