"""Drops in a folder: how they are named and dated, when a drop is another one, and which names may be landed by hand."""

import os
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from feeds import READINGS

from ml_platform.contracts import SourceContract
from ml_platform.landing import Drop, LandingError, LocalLanding, land_files, list_drops, undeclared

EVENTS = SourceContract.model_validate(READINGS)
SNAPSHOT = SourceContract.model_validate({**READINGS, "kind": "snapshot", "path": "readings.csv"})
WEATHER = SourceContract.model_validate({**READINGS, "name": "weather", "path": "{day}/part.csv"})
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def land(landing: Path, name: str, text: str = "x", at: datetime = NOON) -> Path:
    path = landing / "readings" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def drops(landing: Path, contract: SourceContract = EVENTS) -> list[Drop]:
    return list_drops(LocalLanding(landing), contract)


def test_a_drop_is_named_and_dated_by_its_path(tmp_path: Path) -> None:
    land(tmp_path, "readings_2024-01-05.csv", "abc")
    (drop,) = drops(tmp_path)
    assert (drop.source, drop.path, drop.length) == ("readings", "readings/readings_2024-01-05.csv", 3)
    assert (drop.day, drop.named, drop.arrived_at) == (date(2024, 1, 5), True, NOON)


@pytest.mark.parametrize("name", ["other.txt", "readings_2024-13-45.csv", "deep/readings_2024-01-05.csv"])
def test_a_file_that_no_pattern_matches_is_a_drop_of_its_day_of_arrival(tmp_path: Path, name: str) -> None:
    land(tmp_path, name)
    (drop,) = drops(tmp_path)
    assert (drop.day, drop.named) == (NOON.date(), False)


def test_a_snapshot_is_dated_by_its_arrival(tmp_path: Path) -> None:
    land(tmp_path, "readings.csv")
    (drop,) = drops(tmp_path, SNAPSHOT)
    assert (drop.day, drop.named) == (NOON.date(), True)


@pytest.mark.parametrize("name", [".readings_2024-01-05.csv", "_part", "_tmp/readings_2024-01-05.csv", ".git/x"])
def test_hidden_and_unfinished_files_are_no_drops(tmp_path: Path, name: str) -> None:
    land(tmp_path, name)
    assert drops(tmp_path) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("x")
    land(tmp_path, "_none")
    (tmp_path / "readings" / "readings_2024-01-05.csv").symlink_to(secret)
    (tmp_path / "readings" / "folder").symlink_to(tmp_path)
    assert drops(tmp_path) == []


def test_drops_come_by_day_then_by_arrival(tmp_path: Path) -> None:
    later = datetime(2024, 3, 2, tzinfo=UTC)
    land(tmp_path, "readings_2024-01-06.csv")
    land(tmp_path, "readings_2024-01-05_a.csv", at=later)
    land(tmp_path, "readings_2024-01-05_b.csv")
    assert [drop.path[-16:] for drop in drops(tmp_path)] == ["2024-01-05_b.csv", "2024-01-05_a.csv", "s_2024-01-06.csv"]


def test_other_bytes_at_another_time_or_length_are_another_drop(tmp_path: Path) -> None:
    land(tmp_path, "readings_2024-01-05.csv", "abc")
    (first,) = drops(tmp_path)
    assert drops(tmp_path) == [first]
    land(tmp_path, "readings_2024-01-05.csv", "abcd")
    (longer,) = drops(tmp_path)
    land(tmp_path, "readings_2024-01-05.csv", "abc", datetime(2024, 3, 2, tzinfo=UTC))
    (later,) = drops(tmp_path)
    assert len({first.drop_id, longer.drop_id, later.drop_id}) == 3


def test_a_copy_that_keeps_its_times_is_another_drop(tmp_path: Path) -> None:
    """Copies by `rsync -t` and `cp -p` keep the time of modification: A, B, A must end as A, and other bytes of one length are other bytes."""
    ids = []
    for text in ("aaa", "bbb", "aaa"):
        time.sleep(0.02)  # file systems stamp by a clock that ticks every few milliseconds
        land(tmp_path, "readings_2024-01-05.csv", text)
        ids += [drop.drop_id for drop in drops(tmp_path)]
    assert len(set(ids)) == 3


def test_a_name_that_is_no_text_does_not_hold_up_the_others(tmp_path: Path) -> None:
    land(tmp_path, "readings_2024-01-05.csv")
    (Path(os.fsdecode(os.fsencode(tmp_path / "readings") + b"/readings_2024-01-06\xff.csv"))).write_text("x")
    found = drops(tmp_path)
    assert sorted(drop.named for drop in found) == [False, True]
    assert len({drop.drop_id for drop in found}) == 2
    assert all(drop.path.isprintable() for drop in found)


def test_a_source_that_has_not_landed_has_no_drops(tmp_path: Path) -> None:
    assert drops(tmp_path / "none") == drops(tmp_path) == undeclared(LocalLanding(tmp_path / "none"), set()) == []


def test_folders_that_no_contract_declares_are_found(tmp_path: Path) -> None:
    for name in ("readings/a", "strange/deep/a", "_tmp/a", "empty/_a"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    assert undeclared(LocalLanding(tmp_path), {"readings"}) == ["strange/"]


def test_a_path_with_folders_keeps_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "inbox" / "2024-03-01" / "part.csv"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    assert land_files(LocalLanding(tmp_path / "landing"), WEATHER, [file]) == [
        f"{tmp_path}/landing/weather/2024-03-01/part.csv"
    ]


@pytest.mark.parametrize(
    ("contract", "name", "example"),
    [
        (EVENTS, "reading_2024-03-01.csv", "readings_2026-01-31.csv"),
        (EVENTS, "readings_2024-13-01_a.csv", "readings_2026-01-31.csv"),
        (WEATHER, "part.csv", "2026-01-31/part.csv"),
        (SNAPSHOT, "reading.csv", "readings.csv"),
        (SNAPSHOT, "Readings.csv", "readings.csv"),
    ],
)
def test_a_name_that_does_not_fit_stops_all_files(
    tmp_path: Path, contract: SourceContract, name: str, example: str
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(LandingError, match=f"for example {example}: rename it, or add --anyway"):
        land_files(LocalLanding(tmp_path / "landing"), contract, [tmp_path / name])
    assert not (tmp_path / "landing").exists()
    assert land_files(LocalLanding(tmp_path / "landing"), contract, [tmp_path / name], anyway=True)[0].endswith(
        f"/{name}"
    )


def test_a_hidden_name_is_no_drop(tmp_path: Path) -> None:
    contract = SNAPSHOT.model_copy(update={"path": "*.csv"})
    (tmp_path / "_a.csv").touch()
    with pytest.raises(LandingError, match="rename it"):
        land_files(LocalLanding(tmp_path / "landing"), contract, [tmp_path / "_a.csv"])
