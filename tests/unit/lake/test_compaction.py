"""Compaction: few files instead of many, the same content, and nothing that the readers of commits take for news.

Belongs here: rewriting files of real tables, also beside writers. Does not belong here: removing old files (tests of maintenance).
"""

import math
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_platform.lake import GoneError, Lake, TableSpec, compaction, history
from ml_platform.lake import files as files_of_tables
from ml_platform.lake.compaction import MANY, compact, crowds
from ml_platform.lake.store import writing

DRIFT = {"ml_platform.drift": "added"}
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("money", pa.decimal128(12, 2)),
        ("ratio", pa.float64()),
        ("raw", pa.binary()),
        pa.field("added", pa.string(), metadata=DRIFT),
    ]
)
SPEC = TableSpec("bronze/odd", SCHEMA, ("day",))
PLAIN = TableSpec("ops/plain", pa.schema([("id", pa.int64()), ("text", pa.string())]))
MAY = date(2024, 5, 1)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def odd(number: int, day: date = MAY) -> pa.Table:
    """Rows that a rewrite could change: no number, a negative zero, an instant before 1970, NUL in a text, no value at all."""
    rows = [
        (number, day, datetime(1965, 1, 1, 0, 0, 0, 1, UTC), Decimal("-0.01"), math.nan, b"\x00\xff", "a\x00b"),
        (-number, day, datetime(2024, 5, 1, 23, 59, 59, 999999, UTC), Decimal("9999999999.99"), -0.0, b"", ""),
        (number, day, None, None, math.inf, None, None),
    ]
    return pa.table([pa.array(own, one.type) for own, one in zip(zip(*rows, strict=True), SCHEMA, strict=True)], SCHEMA)


def content(lake: Lake, name: str) -> list[str]:
    """Rows as texts that tell -0.0 from 0.0 and NaN from nothing, in an order of their own."""
    return sorted(map(repr, lake.read(name).select(sorted(lake.read(name).column_names)).to_pylist()))


def files(lake: Lake, name: str) -> int:
    return len(lake.table(name).file_uris())


def test_content_schema_protocol_and_statistics_stay(lake: Lake) -> None:
    for number in range(MANY):
        lake.append(SPEC, odd(number), [f"drop-{number}"], {"ml_platform.note": str(number)})
    lake.append(SPEC, odd(99, date(2024, 5, 2)), ["drop-99"])
    before, ids = content(lake, SPEC.name), lake.read(SPEC.name, ["id"])["id"].to_pylist()
    done = compact(lake, SPEC.name)
    assert (done.files, done.written, done.reason) == (MANY, 1, "")
    assert files(lake, SPEC.name) == 2, "the other day had one file, and keeps it"
    assert content(lake, SPEC.name) == before
    assert sorted(lake.read(SPEC.name, ["id"])["id"].to_pylist()) == sorted(ids)
    table = lake.table(SPEC.name)
    schema = pa.schema(table.schema().to_arrow())
    assert schema.field("added").metadata == {b"ml_platform.drift": b"added"}
    assert schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert lake.reader_version(SPEC.name) == 1
    assert lake.ensure(SPEC)
    statistics = {one["path"]: one for one in pa.table(table.get_add_actions(flatten=True)).to_pylist()}
    assert sorted(one["num_records"] for one in statistics.values()) == [3, 3 * MANY]
    assert all(one["min.at"] and one["null_count.money"] for one in statistics.values())
    for where in (pc.field("at") < datetime(1970, 1, 1, tzinfo=UTC), pc.field("raw") == b"\x00\xff"):
        assert lake.read(SPEC.name, where=where).num_rows == MANY + 1, where
    assert [lake.reached(SPEC.name, one) for one in ("drop-0", "drop-99", "drop-100")] == [1, 1, -1]
    assert compact(lake, SPEC.name) == compaction.Compaction(), "once is enough"


def test_no_reader_of_commits_takes_it_for_news(lake: Lake) -> None:
    for number in range(MANY):
        lake.append(
            PLAIN, pa.table({"id": [number], "text": ["x"]}), metadata={"ml_platform.note": f'{{"n": {number}}}'}
        )
    newest = lake.version(PLAIN.name)
    compact(lake, PLAIN.name)
    assert (lake.content_version(PLAIN.name), lake.version(PLAIN.name)) == (newest, newest + 1)
    assert lake.last_metadata(PLAIN.name, "ml_platform.note") == {"n": MANY - 1}
    (only,) = lake.commits_after(PLAIN.name, newest)
    assert not only.changes_content
    assert "ml_platform.note" not in only.metadata
    lake.append(PLAIN, pa.table({"id": [0], "text": ["y"]}))
    assert lake.content_version(PLAIN.name) == lake.version(PLAIN.name) == newest + 2


def test_a_table_with_few_files_or_large_ones_is_left_alone(lake: Lake) -> None:
    for number in range(MANY - 1):
        lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    assert not crowds(lake.table(PLAIN.name))
    lake.append(PLAIN, pa.table({"id": [9], "text": ["x"]}))
    (crowd,) = crowds(lake.table(PLAIN.name))
    assert (crowd.filters, crowd.files) == ((), MANY)
    assert not crowds(lake.table(PLAIN.name), target=2 * crowd.bytes // MANY), "none is below half of that"
    assert compact(lake, "ops/none") == compaction.Compaction()


def test_metadata_is_found_however_long_the_log_is(lake: Lake) -> None:
    lake.append(PLAIN, pa.table({"id": [0], "text": ["x"]}), metadata={"ml_platform.first": '{"here": true}'})
    for number in range(3 * history.STRIDE):
        lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    assert lake.last_metadata(PLAIN.name, "ml_platform.first") == {"here": True}
    versions = [commit.version for commit in history.newest_first(lake.table(PLAIN.name))]
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == set(range(3 * history.STRIDE + 2)), "each commit once, across all stretches"


def test_a_gap_in_the_log_is_an_error_and_not_a_short_list(lake: Lake) -> None:
    for number in range(4):
        lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    lake.table(PLAIN.name).create_checkpoint()
    for version in range(2):
        (Path(lake.uri(PLAIN.name)) / "_delta_log" / f"{version:020}.json").unlink()
    assert [one.version for one in lake.commits_after(PLAIN.name, 1)] == [2, 3, 4]
    with pytest.raises(GoneError, match=r"ops/plain begins after version 1"):
        lake.commits_after(PLAIN.name, 0)


WRITER = """
import sys
import pyarrow as pa
from ml_platform.lake import Lake, TableSpec
lake = Lake(sys.argv[1])
spec = TableSpec("ops/plain", pa.schema([("id", pa.int64()), ("text", pa.string())]))
for n in range(25):
    if sys.argv[2] == "replaces":
        lake.replace(spec, pa.table({"id": [1], "text": [f"r{n}"]}), "id = 1")
    else:
        lake.append(spec, pa.table({"id": [100 + n], "text": ["a"]}))
"""


def test_writers_in_other_processes_never_fail_for_it(lake: Lake) -> None:
    """One replaces rows, one appends, and compaction runs as often as it can: all commits arrive."""
    for number in range(MANY):
        lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, lake.root, how], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for how in ("replaces", "appends")
    ]
    compacted = 0
    while any(one.poll() is None for one in writers):
        done = compact(lake, PLAIN.name, many=2)
        assert not done.reason
        compacted += done.written
    assert [(one.communicate()[1], one.returncode) for one in writers] == [("", 0), ("", 0)]
    rows = lake.read(PLAIN.name).to_pylist()
    assert sorted(row["id"] for row in rows) == [*range(MANY), *range(100, 125)]
    assert [row["text"] for row in rows if row["id"] == 1] == ["r24"]
    assert compacted


def test_a_conflict_from_another_machine_leaves_a_reason(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock of this machine, as on storage that several share: Delta refuses the later one, and nothing is lost."""
    for number in range(MANY):
        lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    opened = Lake.table

    def overtaken(self: Lake, name: str, version: int | None = None) -> object:
        table = opened(self, name, version)
        if name == PLAIN.name and not overtaken.busy:
            overtaken.busy = True
            lake.replace(PLAIN, pa.table({"id": [1], "text": ["other"]}), "id = 1")
            overtaken.busy = False
        return table

    overtaken.busy = False
    found = crowds(lake.table(PLAIN.name), 2)[0]
    monkeypatch.setattr(compaction, "writing", lambda *_: writing(Lake("memory://"), "none"))
    monkeypatch.setattr(Lake, "table", overtaken)
    done = compaction._compact(lake, PLAIN.name, found, compaction.TARGET_BYTES)
    monkeypatch.undo()
    assert "another writer was faster 3 times" in done.reason
    assert sorted(row["id"] for row in lake.read(PLAIN.name).to_pylist()) == list(range(MANY))


def test_a_table_that_delta_cannot_compact_is_left_with_the_reason(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are no JSON, as an earlier version of the platform wrote them for an infinity: batches go on all the same."""
    with monkeypatch.context() as patch:
        patch.setattr(files_of_tables, "statistics", lambda _: '{"numRecords": 1, "maxValues": {"id": Infinity}}')
        for number in range(MANY):
            lake.append(PLAIN, pa.table({"id": [number], "text": ["x"]}))
    done = compact(lake, PLAIN.name)
    assert (done.files, bool(done.reason), "\n" in done.reason) == (0, True, False)
    assert lake.version(PLAIN.name) == MANY


def test_a_version_is_found_by_its_time(lake: Lake) -> None:
    lake.append(PLAIN, pa.table({"id": [1], "text": ["wrong"]}))
    version = lake.version(PLAIN.name)
    between = datetime.now(UTC) + timedelta(milliseconds=2)
    while datetime.now(UTC) < between + timedelta(milliseconds=2):
        pass
    lake.replace(PLAIN, pa.table({"id": [1], "text": ["right"]}), "id = 1")
    assert lake.version_at(PLAIN.name, between) == version
    assert lake.read(PLAIN.name, version=lake.version_at(PLAIN.name, between))["text"].to_pylist() == ["wrong"]
    assert lake.version_at(PLAIN.name, datetime.now(UTC)) == lake.version(PLAIN.name)
    with pytest.raises(GoneError, match="begins at"):
        lake.version_at(PLAIN.name, between - timedelta(days=1))
    with pytest.raises(GoneError, match="no version 9 that can be read: there are versions 0 to 2"):
        lake.read(PLAIN.name, version=9)
