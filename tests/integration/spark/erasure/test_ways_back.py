"""Tests of ways back: nothing that arrives, runs or is decided after an erasure, or beside it, brings the person's key back.

Belongs here: deliveries, releases, a lost secret, contracts, runs at the same time. Does not belong here: what an erasure takes (test_erasing), crashes (test_crashes).
"""

import threading
import time
from typing import Any

import pytest
from inhabited import DECLARED, PERSON, door, eraser, inhabit, land, reading, request, state, traces

from ml_platform.erasure.persons import ErasureError, Persons, secret_file
from ml_platform.ingestion import Ingestion
from ml_platform.lake import erasures, ledger
from ml_platform.lake.schemas import ERASURES
from ml_platform.quarantine import Order, Quarantine, Selection

pytestmark = pytest.mark.integration


def test_no_way_back_in(make_town: Any) -> None:
    """A file landed again, a backfill, a file that is refused, a release with the key set by hand, a duplicate that comes into force."""
    town = inhabit(make_town("erasure", *DECLARED))  # copied files would all be new ones
    eraser(town).erase(request())
    land(town, "2024-01-11", reading(6, 2, "2024-01-11"))  # its twin `_again` takes its rows over, without the key
    land(town, "2024-01-10", reading(1), reading(2, PERSON), reading(3, PERSON, units=-1), f"4,{PERSON},short")
    land(town, "2023-05-05", reading(20, PERSON, "2023-05-05"), reading(21, 9, "2023-05-05"))
    land(town, "2023-05-06", *[reading(30 + n, PERSON if n % 2 else 8, "2023-05-06", units=-1) for n in range(6)])
    town.land("readings", "readings_2023-05-07.csv", reading(40, PERSON, "2023-05-07"), more=f",{PERSON},'{PERSON}'")
    town.prepare("readings")
    town.prepare("readings")
    rows = {
        row.path.split("_", 1)[1]: row for row in ledger.of_source(town.lake, "readings") if row.state != "replaced"
    }
    assert (rows["2024-01-10.csv"].rows_loaded, rows["2024-01-10.csv"].rows_erased) == (1, 3)
    assert (rows["2024-01-11_again.csv"].rows_loaded, rows["2024-01-11_again.csv"].rows_erased) == (1, 1)
    assert (rows["2023-05-05.csv"].rows_loaded, rows["2023-05-05.csv"].rows_erased) == (1, 1)
    whole = rows["2023-05-06.csv"]
    assert (whole.state, whole.rows_in, whole.rows_quarantined, whole.rows_erased) == ("quarantined", 6, 3, 3)
    assert rows["2023-05-07.csv"].state == "quarantined"
    assert all(row.balanced for row in rows.values())
    land(town, "2023-05-08", reading(50, 8, "2023-05-08", units=-7), reading(51, 8, "2023-05-08"))
    town.prepare("readings")
    (refused,) = [one for one in Selection(source="readings").read(town.lake) if one.value == "-7"]
    order = Order("release", "Bob", "put it back", {"units": "7", "person": f"0{PERSON}"})
    (outcome,) = Quarantine(town.contracts, door(town)).decide(order, [refused])
    assert outcome.words == "stays open: its person was erased"
    town.prepare("readings")
    assert PERSON not in town.lake.read("bronze/raw_readings")["person"].to_pylist()
    assert traces(town, PERSON) == []


def test_nothing_gets_in_where_the_secret_is_lost(town: Any) -> None:
    eraser(town).erase(request())
    secret = secret_file(town.lake)
    kept = secret.read_bytes()
    secret.unlink()
    land(town, "2024-04-01", reading(70, PERSON, "2024-04-01"))
    with pytest.raises(ErasureError, match=r"erasure.key is missing: .* Restore it from a backup"):
        town.ingest("readings")
    with pytest.raises(ErasureError, match="is missing"):
        eraser(town).erase(request(5))
    secret.write_bytes(kept)
    town.ingest("readings")
    assert 70 not in state(town)["bronze"]


def test_an_erasure_waits_for_a_run_and_the_next_run_for_it(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run read the list of erasures before this one: the erasure begins once its rows are there."""
    read, entered, goes_on = Ingestion._fetched, threading.Event(), threading.Event()

    def slow(self: Ingestion, drop: Any) -> Any:
        entered.set()
        assert goes_on.wait(30)
        return read(self, drop)

    land(town, "2024-05-01", reading(80, PERSON, "2024-05-01"))
    monkeypatch.setattr(Ingestion, "_fetched", slow)
    run = threading.Thread(target=town.ingest, args=("readings",))
    run.start()
    assert entered.wait(30)
    ends = list[float]()
    erasing = threading.Thread(target=lambda: (eraser(town).erase(request()), ends.append(time.monotonic())))
    erasing.start()
    time.sleep(0.5)
    assert erasing.is_alive()
    assert not town.lake.exists(ERASURES.name)
    goes_on.set()
    run.join()
    erasing.join()
    assert ends
    assert 80 not in state(town)["bronze"]
    assert traces(town, PERSON) == []


def test_two_at_once_take_turns(town: Any) -> None:
    values = (PERSON, 2, 3, PERSON)
    workers = [threading.Thread(target=eraser(town).erase, args=(request(value),)) for value in values]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(erasures.read(town.lake)) == 3
    assert [row["reading_id"] for row in town.silver("readings")] == [1]
    assert traces(town, PERSON) == []
    town.balance("readings")


def test_a_column_that_left_the_contract_stops_its_source(town: Any, make_town: Any) -> None:
    eraser(town).erase(request())
    other = make_town("other")
    with pytest.raises(
        ErasureError,
        match="keys were erased from column 'person' of source 'readings', which its contract does not have",
    ):
        Persons.erased(town.lake, other.contracts["readings"])
