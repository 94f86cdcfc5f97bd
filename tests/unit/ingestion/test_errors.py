"""Tests of errors while files are read: those that pass, those that stay, files that change meanwhile.

Belongs here: landing that fails. Does not belong here: how often is tried (test_transient), files that are bad in themselves (test_refusals).
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ingestion_feed import AT, EVENTS, YEAR, A, B, Feed

from ml_platform import ingestion
from ml_platform.delivery import Delivery
from ml_platform.ingestion import IngestionReport
from ml_platform.lake.ledger import LOADED, QUARANTINED
from ml_platform.landing import StorageError


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the opening of some files fail, so many times; nobody waits."""
    monkeypatch.setattr("ml_platform.transient.time.sleep", lambda seconds: None)
    whole, left = Path.open, dict[str, list[Any]]()

    def opened(self: Path, *arguments: Any, **named: Any) -> Any:
        times = left.get(self.name, [0, 0])
        if times[0] > 0:
            times[0] -= 1
            raise OSError(times[1], os.strerror(times[1]))
        return whole(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", opened)
    return lambda name, number, times: left.update({name: [times, number]})


def test_an_error_that_passes_is_none(feed: Feed, disk: Callable[..., None]) -> None:
    feed.land("readings_2024-01-05.csv", A)
    disk("readings_2024-01-05.csv", errno.EIO, 2)
    assert feed.ingest().left == ()
    assert feed.units() == [5]


def test_an_error_that_stays_leaves_the_drop_due_and_stops_no_other(feed: Feed, disk: Callable[..., None]) -> None:
    said = list[str]()
    feed = replace(feed, one=replace(feed.one, progress=said.append))
    feed.land("readings_2024-01-05.csv", A)
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    disk("readings_2024-01-05.csv", errno.ESTALE, 99)
    report = feed.ingest()
    (left,) = report.left
    assert (left.path, left.reason) == ("readings/readings_2024-01-05.csv", "unreachable")
    assert "failed 4 times within" in left.words
    assert said[-1].endswith("1 left for the next look: readings/readings_2024-01-05.csv (unreachable)")
    assert feed.refusals() == []
    assert feed.units() == [8]
    disk("readings_2024-01-05.csv", errno.ESTALE, 0)
    assert feed.ingest().left == ()
    assert feed.units() == [5, 8]


def test_one_unreachable_file_after_the_other_is_an_unreachable_area(feed: Feed, disk: Callable[..., None]) -> None:
    """What was read before is committed, nothing is refused, and everything else stays due."""
    for day in range(5, 25):
        feed.land(f"readings_2024-01-{day:02d}.csv", f"{day},{AT},{day}")
        if day > 6:
            disk(f"readings_2024-01-{day:02d}.csv", errno.EIO, 99)
    with pytest.raises(StorageError, match=r"10 files in a row could not be read, they stay due: .* failed 4 times"):
        feed.ingest()
    feed.balance()
    assert feed.units() == [5, 6]
    assert feed.states() == [LOADED, LOADED]
    assert len(feed.one.due(*YEAR)) == 18


def test_a_full_disk_is_no_files_fault(feed: Feed, disk: Callable[..., None]) -> None:
    feed.land("readings_2024-01-05.csv", A)
    disk("readings_2024-01-05.csv", errno.ENOSPC, 1)
    with pytest.raises(OSError, match="No space left"):
        feed.ingest()
    assert feed.rows() == []
    feed.ingest()
    assert feed.units() == [5]


@pytest.mark.parametrize("more", ["6,", f"6,{AT},9\n"])
def test_a_file_that_grows_while_it_is_read_is_left_for_the_next_look(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """Whether what was read of it were good rows or bad ones; what is in force stays so."""
    feed.land("readings_2024-01-05.csv", A)
    feed.ingest()
    feed.land("readings_2024-01-05.csv", B, "5")
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    path = feed.root / "landing/readings/readings_2024-01-05.csv"
    whole = ingestion.open_drop

    def growing(opened: Path, *arguments: Any) -> Any:
        if opened == path:
            with path.open("a") as file:
                file.write(more)
        return whole(opened, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "open_drop", growing)
        (left,) = feed.ingest().left
    assert (left.path, left.reason) == ("readings/readings_2024-01-05.csv", "changed")
    assert feed.units() == [5, 8]
    feed.land("readings_2024-01-05.csv", B)
    assert feed.ingest().left == ()
    assert feed.units() == [6, 7, 8]
    assert feed.states().count(QUARANTINED) == 0


def test_a_newer_version_than_the_listed_one_is_left_for_the_next_look(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    drops = feed.one.due(*YEAR)
    feed.land("readings_2024-01-05.csv", B)
    report = feed.one.run(drops)
    assert ([one.reason for one in report.left], report.rows) == (["changed"], ())
    feed.ingest()
    assert feed.units() == [6, 7]


def test_bytes_that_a_manifest_does_not_promise_are_refused(feed: Feed) -> None:
    told = EVENTS.model_copy(update={"landing": Delivery(complete="manifest")})
    said = list[str]()
    feed = replace(feed, one=replace(feed.one, contract=told, progress=said.append))
    feed.land("readings_2024-01-05.csv", A)
    feed.land("readings_2024-01-06.csv", f"3,{AT},8")
    feed.land("readings_2024-01-07.csv", A)
    assert feed.ingest() == IngestionReport()
    assert said[-1].startswith("files that wait, not due yet: 3 of readings (no_manifest: ")
    folder = feed.root / "landing/readings"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if "07" not in path.name}
    promised = {name: {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    promised["readings_2024-01-05.csv"]["sha256"] = "0" * 64
    (folder / "_manifest.json").write_text(json.dumps({"files": promised}))
    feed.ingest()
    assert "1 of readings (not_in_manifest: readings/readings_2024-01-07.csv" in said[-2]
    assert {row.path[-6:-4]: (row.state, (row.reason or "").split(":")[0]) for row in feed.rows()} == {
        "05": (QUARANTINED, "manifest_mismatch"),
        "06": (LOADED, ""),
    }
    assert [(path[-6:-4], number, rule) for path, number, rule, _ in feed.refusals()] == [
        ("05", None, "manifest_mismatch")
    ]
    assert feed.units() == [8]
