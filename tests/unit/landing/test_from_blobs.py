"""The same files from a folder and from Azurite: the same rows, the same ledger; and what a blob does while it is read."""

import gzip
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import CredentialUnavailableError
from azure.storage.blob import ContainerClient

from ml_platform import ingestion
from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.emulation.azurite import Azurite
from ml_platform.formats import Limits
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.landing import LandingStore, LocalLanding, StorageError
from ml_platform.landing.blob import BlobLanding

YEAR = (date(2024, 1, 1), date(2024, 12, 31))
OF_THE_STORE = ("drop_id", "etag", "run_id", "first_seen_at", "settled_at")
HEAD = "meter,at,units\n"
ROW = "1,2024-01-05T10:00:00Z,{}\n"
FILES = {
    "readings_2024-01-05_a.csv": HEAD + ROW.format(5),
    "readings_2024-01-05_b.csv": HEAD + ROW.format(5),
    "readings_2024-01-06.csv": HEAD + ROW.format(6) + ROW.format("many") + ROW.format(7),
    "readings_2024-01-07.csv": "",
    "readings_2024-01-08 ü.csv": HEAD + ROW.format(8),
    "deep/readings_2024-01-09.csv": HEAD,
    "_SUCCESS": "",
    "what is this.txt": "x",
}


def refusal(status: int, words: str = "no") -> HttpResponseError:
    found = HttpResponseError(words)
    found.status_code = status
    return found


@pytest.fixture
def source(readings: SourceContract) -> SourceContract:
    text = readings.model_dump() | {"path": "readings_{day}*"}
    text["columns"] |= {"units": {"type": "int64"}}
    return SourceContract.model_validate(text)


@pytest.fixture
def ingestion_of(tmp_path: Path, source: SourceContract) -> Callable[[LandingStore], Ingestion]:
    """From a landing area into a lake of its own."""
    return lambda store: Ingestion(
        Lake(str(tmp_path / type(store).__name__)), store, source, "run", Calendar(*YEAR), progress=lambda text: None
    )


def ingest(one: Ingestion) -> list[dict[str, Any]]:
    """Everything that is due, then the ledger as it reads wherever the files came from."""
    while drops := one.due(*YEAR):  # a duplicate whose twin is replaced is due once more
        one.run(drops)
    rows = ledger.table_of(one.lake, "readings").drop_columns([*OF_THE_STORE, "table_version"]).to_pylist()
    return sorted(
        ({**row, "reason": (row["reason"] or "").split(" drop ")[0]} for row in rows),
        key=lambda row: (row["path"], row["state"]),
    )


def units(one: Ingestion) -> list[int]:
    return sorted(one.lake.read("bronze/raw_readings")["units"].to_pylist())


def test_the_same_files_give_the_same_ledger(tmp_path: Path, container: ContainerClient, ingestion_of: Any) -> None:
    """Good files, duplicates, bad rows, empty and strange ones, gzip, and then newer versions of two."""
    local, blobs = ingestion_of(LocalLanding(tmp_path / "landing")), ingestion_of(BlobLanding(container, "in/"))

    def land(name: str, data: bytes) -> None:
        place = tmp_path / "landing" / "readings" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        os.utime(place, (arrival := datetime.now(UTC).timestamp() // 1, arrival))
        container.upload_blob(f"in/readings/{name}", data, overwrite=True)

    for name, text in FILES.items():
        land(name, text.encode())
    land("readings_2024-01-10.csv.GZ", gzip.compress((HEAD + ROW.format(10)).encode()))
    first = ingest(local)
    assert first == ingest(blobs)
    assert [row["state"] for row in first].count("loaded") == 4
    land("readings_2024-01-05_a.csv", (HEAD + ROW.format(50)).encode())
    land("readings_2024-01-07.csv", (HEAD + ROW.format(70)).encode())
    second = ingest(local)
    assert second == ingest(blobs)
    assert len(second) == len(first) + 2
    assert units(local) == units(blobs)
    assert {50, 70, 5} <= set(units(blobs))


class Trouble(RequestsTransport):
    """The client's own transport, on which as many answers to downloads get lost as `losses` says."""

    losses = 0
    downloads = 0

    def send(self, request: Any, **named: Any) -> Any:
        found = super().send(request, **named)
        if request.method == "GET" and "comp=list" not in request.url:
            self.downloads += 1
            if self.losses:
                self.losses -= 1
                found.internal_response.close()
                raise ServiceResponseError("cut off after the request")
        return found


@pytest.fixture
def trouble(
    azurite_server: Azurite, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[BlobLanding, Trouble]]:
    monkeypatch.setattr("ml_platform.transient.time.sleep", lambda seconds: None)
    transport = Trouble()
    with ContainerClient(
        azurite_server.blob_url, container.container_name, credential=azurite_server.key, transport=transport
    ) as client:
        yield BlobLanding(client), transport


def test_a_lost_answer_is_asked_for_again(trouble: Any, container: ContainerClient, ingestion_of: Any) -> None:
    store, transport = trouble
    container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(5))
    transport.losses = 3
    one = ingestion_of(store)
    assert [row["state"] for row in ingest(one)] == ["loaded"]
    assert (units(one), transport.downloads) == ([5], 4)


def test_a_storage_that_stays_away_leaves_drops_due(
    trouble: Any, container: ContainerClient, ingestion_of: Any
) -> None:
    store, transport = trouble
    for day in range(5, 20):
        container.upload_blob(f"readings/readings_2024-01-{day:02d}.csv", HEAD + ROW.format(day))
    transport.losses = 10**6
    one = ingestion_of(store)
    with pytest.raises(StorageError, match="10 files in a row could not be read, they stay due"):
        one.run(one.due(*YEAR))
    assert ledger.of_source(one.lake, "readings") == []
    assert transport.downloads < 15 * 4, "the rest is not even tried"
    transport.losses = 0
    assert len(ingest(one)) == 15
    assert units(one) == list(range(5, 20))


def test_an_overwritten_and_a_deleted_blob(container: ContainerClient, ingestion_of: Any) -> None:
    """Between the listing and the download: the one is left for the next look, the other is refused as vanished, a third arrives."""
    one = ingestion_of(BlobLanding(container))
    for day in (5, 6, 7):
        container.upload_blob(f"readings/readings_2024-01-0{day}.csv", HEAD + ROW.format(day))
    drops = one.due(*YEAR)
    container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(50), overwrite=True)
    container.delete_blob("readings/readings_2024-01-06.csv")
    report = one.run(drops)
    assert [(left.path[-6:-4], left.reason) for left in report.left] == [("05", "changed")]
    assert {row.path[-6:-4]: (row.state, row.reason) for row in report.rows} == {
        "06": ("quarantined", "vanished: the file was gone when it was read"),
        "07": ("loaded", None),
    }
    ingest(one)
    assert units(one) == [7, 50]


def test_a_blob_overwritten_while_it_is_read_is_read_as_listed_and_replaced_next_time(
    container: ContainerClient, ingestion_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, whole = ingestion_of(BlobLanding(container)), ingestion.open_drop
    container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(5))

    def overtaken(*arguments: Any) -> Any:
        container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(6), overwrite=True)
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "open_drop", overtaken)
        one.run(one.due(*YEAR))
    assert units(one) == [5]
    ingest(one)
    assert units(one) == [6]


def test_a_blob_beyond_the_limit_is_refused_before_it_is_downloaded(
    trouble: Any, container: ContainerClient, ingestion_of: Any
) -> None:
    store, transport = trouble
    container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(5))
    one = replace(ingestion_of(store), limits=Limits(file_bytes=10))
    (row,) = ingest(one)
    assert (row["state"], row["reason"].split(":")[0], transport.downloads) == ("quarantined", "too_many_bytes", 0)


def test_a_blob_that_storage_will_not_give_is_refused_and_stops_no_other(
    container: ContainerClient, ingestion_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one in the archive tier, which Azurite gives all the same: the answer 409 is put in its place."""
    for day in (5, 6):
        container.upload_blob(f"readings/readings_2024-01-0{day}.csv", HEAD + ROW.format(day))
    store, blob = BlobLanding(container), BlobLanding._blob

    def archived(self: BlobLanding, path: str) -> Any:
        if path.endswith("05.csv"):
            raise refusal(409, "This operation is not permitted on an archived blob.")
        return blob(self, path)

    one = ingestion_of(store)
    with monkeypatch.context() as patch:
        patch.setattr(BlobLanding, "_blob", archived)
        one.run(one.due(*YEAR))
    assert sorted((row.state, row.reason or "") for row in ledger.of_source(one.lake, "readings")) == [
        ("loaded", ""),
        ("quarantined", "unreadable: the file cannot be read: This operation is not permitted on an archived blob."),
    ]


@pytest.mark.parametrize(
    "why", [CredentialUnavailableError("no identity here"), refusal(403)], ids=["no identity", "no role"]
)
def test_an_identity_that_may_not_read_refuses_no_file(
    container: ContainerClient, ingestion_of: Any, monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    """Azurite knows no identities: the answer of one that has no role is put in its place."""
    container.upload_blob("readings/readings_2024-01-05.csv", HEAD + ROW.format(5))
    one = ingestion_of(BlobLanding(container))
    drops = one.due(*YEAR)

    def refused(self: BlobLanding, path: str) -> Any:
        raise why

    with monkeypatch.context() as patch:
        patch.setattr(BlobLanding, "_blob", refused)
        with pytest.raises(StorageError, match="this identity may read"):
            one.run(drops)
    assert [row["state"] for row in ingest(one)] == ["loaded"]
