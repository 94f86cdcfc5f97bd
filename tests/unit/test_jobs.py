"""The job `train` as a person meets it: shards by number and range, faults in words, exit codes; and parcels of its files."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from orchard import AS_OF, CONFIG, catalogue, filled, poison

from ml_platform.forecasting.cohorts import cohorts
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.parcel import SCHEMA, pack, unpack
from ml_platform.jobs.train import main, numbers
from ml_platform.panel import read_panel


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    """A work folder with three shards of four series."""
    shard = read_panel(filled(tmp_path / "lake"), catalogue(), CONFIG, AS_OF).shard
    folder = WorkFolder(tmp_path / "work")
    folder.path.mkdir()
    folder.write_cohorts(cohorts([shard], CONFIG, judging=True))
    for number in range(3):
        folder.write_shard(number, shard.take(np.arange(number, 12, 3)))
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", (3,)), ("0-3,12", (0, 1, 2, 3, 12)), ("5,1-2, 2-3", (1, 2, 3, 5)), ("7-7", (7,))],
)
def test_shards_are_numbers_and_ranges(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-4", "1-2-3", "1.5"])
def test_what_is_no_shard_is_refused_in_words(work: WorkFolder, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--step", "pools", "--work", str(work.path), f"--shards={text}"])
    assert ended.value.code == 2
    assert "is no shard and no range: write numbers such as 0-7,12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "folder", "shards", "words"),
    [
        ("pools", "nowhere", "0", "there is no folder .*nowhere: give the one that the driver"),
        ("pools", "", "1-4", r"has no shard_3\.npz, shard_4\.npz; shards there: 0, 1, 2"),
        ("fit", "", "0,1", r"has no pools_all_0\.arrow, models_0\.json; shards there: 0, 1, 2"),
        ("pools", "..", "0", r"has no setup\.json, shard_0\.npz; shards there: none"),
    ],
)
def test_a_folder_that_lacks_something_is_named(
    work: WorkFolder, step: str, folder: str, shards: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--step", step, "--work", str(work.path / folder), "--shards", shards]) == 2
    said = capfd.readouterr()
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert re.search(words, said.err), said.err


def test_progress_goes_to_standard_error_and_the_report_to_standard_output(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--step", "pools", "--work", str(work.path), "--shards", "0-1,2"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["step"], report["shards"], report["series"], report["failed"]) == ("pools", [0, 1, 2], 12, {})
    lines = [line.rsplit(", ", 1)[0] for line in said.err.splitlines()]
    assert lines == [f"pools: shard {n} ({n + 1} of 3), 4 series" for n in range(3)]


def test_a_shard_that_fails_stops_no_other(work: WorkFolder, capsys: pytest.CaptureFixture[str]) -> None:
    poison(work, {"orchard-01"})
    assert main(["--step", "pools", "--work", str(work.path), "--shards", "0-2"]) == 3
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert list(report["failed"]) == ["1"]
    assert report["series"] == 8
    assert f"pools: shard 1 (2 of 3), failed: {report['failed']['1']}" in said.err
    assert work.lacks(["pools_0.arrow", "pools_1.arrow", "pools_2.arrow"]) == ["pools_1.arrow"]


def test_halves_of_a_shard_hold_its_series(work: WorkFolder) -> None:
    whole, halves = work.read_shard(1), [work.read_shard(number) for number in work.halve(1)]
    assert work.shards() == [0, 1, 2, 3, 4]
    assert [one for half in halves for one in half.series_id] == list(whole.series_id)
    np.testing.assert_array_equal(np.concatenate([half.y for half in halves]), whole.y)


def test_a_parcel_gives_back_what_was_packed(work: WorkFolder, tmp_path: Path) -> None:
    names, other = work.needs("pools", 1), tmp_path / "other"
    other.mkdir()
    parcel = pack(work.path, names)
    unpack(parcel, other)
    assert {path.name for path in other.iterdir()} == set(names)
    assert all((other / name).read_bytes() == (work.path / name).read_bytes() for name in names)
    assert len(parcel) < sum((other / name).stat().st_size for name in names)


@pytest.mark.parametrize("name", ["../setup.json", "/etc/hosts", "a/b", "..", ""])
def test_a_parcel_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write(pa.record_batch([pa.array([name]), pa.array([b"x"], pa.large_binary())], SCHEMA))
    with pytest.raises(ValueError, match="no name of a file in a work folder"):
        unpack(sink.getvalue().to_pybytes(), tmp_path)
    assert not list(tmp_path.iterdir())
