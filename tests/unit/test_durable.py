"""What is called done is on the disk: data before the log that names it, and all of it before a commit returns."""

import os
import stat
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_platform.durable import put_in_place
from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.staging import Staging
from ml_platform.landing import LocalLanding

SPEC = TableSpec("bronze/raw_one", pa.schema([("drop_day", pa.date32()), ("units", pa.int64())]), ("drop_day",))
ROWS = pa.table({"drop_day": [date(2024, 1, 1), date(2024, 1, 2)], "units": [1, 2]}, schema=SPEC.schema)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file and folder that was forced to the disk, in turn, as it was then."""
    found, real = list[Path](), os.fsync

    def spy(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    return found


def test_a_commit_is_on_the_disk_when_it_returns_its_data_before_its_log(tmp_path: Path, synced: list[Path]) -> None:
    lake = Lake(str(tmp_path))
    lake.ensure(SPEC)
    files = lake.write(SPEC, ROWS)
    assert files is not None
    data = [tmp_path / SPEC.name / one.path for one in files]
    assert set(data) <= set(synced), "on the disk before any log names them"
    version = lake.append(SPEC, ROWS, files=files)
    log = tmp_path / SPEC.name / "_delta_log" / f"{version:020}.json"
    assert {log, log.parent, *(one.parent for one in data)} <= set(synced)


@pytest.mark.parametrize("way", ["replace", "remove", "empty"])
def test_every_way_to_commit_ends_on_the_disk(tmp_path: Path, synced: list[Path], way: str) -> None:
    lake = Lake(str(tmp_path))
    lake.append(SPEC, ROWS)
    synced.clear()
    if way == "replace":
        lake.replace(SPEC, ROWS, "units > 0")
    elif way == "remove":
        lake.remove(SPEC, "units = 1")
    else:
        lake.append(SPEC, SPEC.schema.empty_table())
    table = lake.table(SPEC.name)
    log = tmp_path / SPEC.name / "_delta_log" / f"{table.version():020}.json"
    assert log in synced
    if way == "replace":
        there = {path for path in synced if path.suffix == ".parquet"}
        assert there == {path for path in tmp_path.rglob("*.parquet") if str(path) in "\n".join(table.file_uris())}


def test_staged_files_are_on_the_disk_before_their_commit(tmp_path: Path, synced: list[Path]) -> None:
    lake, spec = (
        Lake(str(tmp_path)),
        TableSpec("silver/one", pa.schema([("units", pa.int64()), ("month", pa.string())]), ("month",)),
    )
    staging = Staging.open(lake, spec)
    folder = Path(staging.path) / "month=2024-01"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"units": [1]}), folder / "one.parquet")
    staging.commit(["2024-01"], {})
    log = next(path for path in synced if path.suffix == ".json" and path.name != f"{0:020}.json")
    assert synced.index(folder / "one.parquet") < synced.index(log)


def test_a_landed_file_is_on_the_disk_under_its_name(tmp_path: Path, synced: list[Path]) -> None:
    source = tmp_path / "source.csv"
    source.write_text("a\n1\n")
    LocalLanding(tmp_path / "landing").put("one/one.csv", source)
    *before, folder = synced
    assert folder == tmp_path / "landing" / "one"
    assert [path.suffix == ".csv" or path.name.startswith(".one.csv") for path in before] == [True]


def test_a_file_that_takes_the_place_of_another_keeps_its_mode(tmp_path: Path) -> None:
    target, new = tmp_path / "a", tmp_path / ".a"
    target.write_text("old")
    new.write_text("new")
    new.chmod(0o600)
    put_in_place(new, target)
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode), new.exists()) == ("new", 0o600, False)
