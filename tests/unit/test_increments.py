"""Small drops every few seconds: in arrival order, the later version wins, and a batch costs no more for those before it.

Belongs here: many micro-batches of JSON lines through real ingestion. Does not belong here: single files (tests of ingestion), figures (bench).
"""

import itertools
import json
import os
import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from ml_platform import ingestion
from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.lake.compaction import MANY
from ml_platform.lake.ledger import LOADED, REPLACED, LedgerRow
from ml_platform.lake.schemas import LEDGER
from ml_platform.landing import LocalLanding

BRONZE = "bronze/raw_readings"
DAY = date(2024, 1, 5)
CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}/*.jsonl",
        "format": {"type": "jsonl"},
        "columns": {"meter": {"type": "int64"}, "units": {"type": "int64"}, "at": {"type": "timestamp"}},
        "key": ["meter", "at"],
        "time": {"column": "at"},
    }
)


@dataclass
class Stream:
    """A feed that lands a few rows at a time; `landed` is what each path holds now."""

    root: Path
    clock: itertools.count
    landed: dict[str, int]

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    def land(self, name: str, units: int, day: date = DAY) -> None:
        path = self.root / "landing" / "readings" / f"{day}" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"meter": meter, "units": units, "at": f"{day}T10:00:00Z"} for meter in range(2)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(self.clock)
        os.utime(path, (at, at))
        self.landed[path.relative_to(self.root / "landing").as_posix()] = units

    def ingest(self) -> list[LedgerRow]:
        one = Ingestion(self.lake, LocalLanding(self.root / "landing"), CONTRACT, "run", Calendar(DAY, None))
        return list(one.run(one.due(DAY, date(2024, 12, 31))).rows)

    def in_bronze(self) -> dict[str, set[int]]:
        """Units by path, of the drops that the ledger calls loaded; nothing else lies in bronze."""
        path_of = {row.drop_id: row.path for row in ledger.of_source(self.lake, "readings") if row.state == LOADED}
        found: dict[str, set[int]] = {}
        for row in self.lake.read(BRONZE).to_pylist():
            found.setdefault(path_of[row["drop_id"]], set()).add(row["units"])
        return found


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path, itertools.count(), {})


def test_interleaved_overwrites_over_many_batches_end_with_the_last_version_of_each_path(stream: Stream) -> None:
    """Compaction runs in between: more batches than it leaves files."""
    chance, batches = random.Random(7), 2 * MANY + 3
    for number in range(batches):
        for name in chance.sample(["a", "b", "c", "d"], chance.randint(1, 3)):
            stream.land(name, chance.randint(0, 10**9), DAY + timedelta(days=number % 2 if name == "d" else 0))
        stream.ingest()
        assert stream.in_bronze() == {path: {units} for path, units in stream.landed.items()}, number
    rows = ledger.of_source(stream.lake, "readings")
    assert {row.state for row in rows} == {LOADED, REPLACED}
    assert all(row.balanced for row in rows)
    newest = {path: max((r for r in rows if r.path == path), key=lambda r: r.settled_at) for path in stream.landed}
    assert all(row.state == LOADED for row in newest.values())
    for name in (LEDGER.name, BRONZE):
        assert len(stream.lake.table(name).file_uris()) < 2 * MANY, name
    assert stream.ingest() == []


def test_files_and_commits_that_a_batch_reads_are_bounded(stream: Stream) -> None:
    """Neither the files of ledger and bronze nor the commits after a checkpoint of the ledger grow with the number of batches."""
    for number in range(2 * MANY + 2):
        stream.land(f"drop-{number:04}", number)
        stream.ingest()
        for name in (LEDGER.name, BRONZE):
            assert len(stream.lake.table(name).file_uris()) <= MANY + 1, (number, name)
    assert stream.lake.count(BRONZE) == 2 * (2 * MANY + 2)
    log = Path(stream.lake.uri(LEDGER.name)) / "_delta_log"
    last = json.loads((log / "_last_checkpoint").read_text())["version"]
    assert (stream.lake.version(LEDGER.name) or 0) - last <= MANY + 1
    ids = [row.drop_id for row in ledger.of_source(stream.lake, "readings")]
    assert {stream.lake.reached(BRONZE, one) for one in ids} == {1}, (
        "compaction and checkpoints keep every transaction id"
    )


def test_compaction_settles_nothing_anew(stream: Stream) -> None:
    for number in range(MANY):
        stream.land(f"drop-{number:04}", number)
        stream.ingest()
    last = ledger.known_version(stream.lake, "readings")
    assert (stream.lake.version(BRONZE) or 0) > last, "the newest commit is a compaction"
    assert stream.lake.content_version(BRONZE) == last
    one = Ingestion(stream.lake, LocalLanding(stream.root / "landing"), CONTRACT, "run", Calendar(DAY, None))
    assert one.recover() == 0
    stream.land("late", 5)
    stream.ingest()
    assert ledger.known_version(stream.lake, "readings") == stream.lake.version(BRONZE)


def test_drops_settle_in_arrival_order_whatever_the_clock_says(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest row of a key is the one that was settled last: two readers at once, or a clock set back, must not turn that round."""
    backwards, seen = itertools.count(), ingestion.first_seen
    monkeypatch.setattr(
        ingestion,
        "first_seen",
        lambda *a: replace(row := seen(*a), settled_at=row.settled_at - timedelta(minutes=next(backwards))),
    )
    names = [f"drop-{(number * 7) % 12:02}" for number in range(12)]
    for name in names[:8]:
        stream.land(name, int(name[-2:]))
    stream.ingest()
    for name in names[8:]:
        stream.land(name, int(name[-2:]))
        stream.ingest()
    rows = sorted(ledger.of_source(stream.lake, "readings"), key=lambda row: row.settled_at)
    assert [Path(row.path).stem for row in rows] == names
    assert len({row.settled_at for row in rows}) == len(names)
    newest = stream.lake.read(BRONZE).sort_by([("ingested_at", "descending")]).slice(0, 1)
    assert newest["units"].to_pylist() == [int(names[-1][-2:])]
    assert stream.lake.count(BRONZE, pc.field("meter") == 0) == len(names)
