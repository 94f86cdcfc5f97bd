"""Tests of scrubbing: what a table forgets at once, what it keeps, and that retention goes on with it afterwards.

Belongs here: files and logs of one table. Does not belong here: which rows go (tests of the eraser).
"""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.errors import GoneError
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.scrubbing import scrub
from ml_platform.maintenance import vacuum

SPEC = TableSpec("silver/people_history", pa.schema([("id", pa.int64()), ("name", pa.string())]))
NOW = timedelta(0)


def rows(number: int, name: str) -> pa.Table:
    return pa.table({"id": pa.array([number], pa.int64()), "name": [name]}, SPEC.schema)


def holds(lake: Lake, word: bytes) -> list[str]:
    return [path.name for path in Path(lake.uri(SPEC.name)).rglob("*") if path.is_file() and word in path.read_bytes()]


def test_a_table_forgets_files_statistics_and_what_was_staged_and_keeps_its_history(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.append(SPEC, rows(1, "Zoraida"), metadata={"ml_platform.note": "Zoraida came"})
    lake.append(SPEC, rows(2, "Bob"))
    lake.remove(SPEC, "name = 'Zoraida'")
    lake.write(SPEC, rows(3, "Zoraida"))  # by a run that died
    staged = Path(lake.uri(SPEC.name)) / "part-1" / "fate=kept"
    staged.mkdir(parents=True)
    (staged / "one.parquet").write_bytes(b"Zoraida")
    versions = [commit.version for commit in lake.commits_after(SPEC.name, -1)]
    scrub(lake, SPEC.name, lambda text: text.replace("Zoraida", "she"))
    scrub(lake, SPEC.name)
    assert holds(lake, b"Zoraida") == []
    assert not staged.parent.exists()
    assert lake.read(SPEC.name).to_pylist() == [{"id": 2, "name": "Bob"}]
    commits = lake.commits_after(SPEC.name, -1)
    assert [commit.version for commit in commits] == versions
    assert "she came" in [commit.metadata.get("ml_platform.note") for commit in commits]
    with pytest.raises(GoneError, match="there are versions 3 to 3"):
        lake.read(SPEC.name, version=1)


def test_retention_goes_on_after_a_table_has_forgotten(tmp_path: Path) -> None:
    """The log had begun at a checkpoint, which is gone: no version before the newest checkpoint can be told any more."""
    lake = Lake(str(tmp_path))
    for number in range(4):
        note = {INPUTS_KEY: "{}"} if number == 2 else {}  # somebody reads the log from here on
        lake.append(SPEC, rows(number, "Bob"), metadata=note)
    vacuum(lake, [SPEC.name], NOW)
    lake.append(SPEC, rows(4, "Bob"), metadata={INPUTS_KEY: '{"newer": 1}'})  # and now from here
    lake.append(SPEC, rows(5, "Bob"))
    scrub(lake, SPEC.name)
    lake.append(SPEC, rows(6, "Bob"))
    for _ in range(2):
        vacuum(lake, [SPEC.name], NOW)
        assert sorted(lake.read(SPEC.name)["id"].to_pylist()) == list(range(7))
        assert lake.last_metadata(SPEC.name, INPUTS_KEY) == {"newer": 1}
