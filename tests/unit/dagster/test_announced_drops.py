"""The sensor on new drops beside a queue of storage events, on Azurite: what is announced is looked at, what was lost is listed."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

import dagster as dg
import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from pydantic import SecretStr, ValidationError

from ml_platform import backlog
from ml_platform.contract_files import load_contracts
from ml_platform.emulation.event_grid import Event, EventGrid, message
from ml_platform.lake import announcements
from ml_platform.lake.schemas import DEAD_LETTERS, STORAGE_EVENTS
from ml_platform.landing import open_landing
from ml_platform.landing.blob import BlobLanding
from ml_platform.settings import Settings
from ml_platform.storage_events import look_at_announced, queue
from sensors.data_drops import ATTEMPTS, BATCH_TAG, Cursor


@dataclass(frozen=True)
class Cloud:
    """A home whose files land in a container, with a queue that hears of them only what a test sends."""

    home: object
    container: ContainerClient
    queue: QueueClient
    grid: EventGrid

    def upload(self, name: str, text: str = "") -> Event:
        """A blob, and the event that an account would send of it."""
        found = self.container.upload_blob(name, text or name, overwrite=True).get_blob_properties()
        return self.grid.created(name, found.etag, found.size)

    def day(self, number: int, text: str = "") -> Event:
        return self.upload(f"sales/sales_2017-02-{number:02d}.csv", text)

    def send(self, *events: Event) -> None:
        for event in events:
            self.queue.send_message(message(event, packed=True))

    def tick(self, cursor: Cursor | None = None):
        """A tick that does not list, unless the cursor says so."""
        return self.home.tick((cursor or Cursor(listed_at=time.time())).text())

    def outcomes(self) -> list[str]:
        return sorted(self.home.lake.read(STORAGE_EVENTS.name)["outcome"].to_pylist())


@pytest.fixture
def cloud(settings, azurite_server, home) -> Iterator[Cloud]:
    name, server = f"c{uuid.uuid4().hex}", azurite_server
    away = Settings(
        home=settings.home,
        landing_url=f"{server.blob_url}/{name}",
        events_queue_url=f"{server.queue_url}/{name}",
        storage_key=SecretStr(server.key),
    )
    with (
        ContainerClient(server.blob_url, name, credential=server.key) as container,
        QueueClient(server.queue_url, name, credential=server.key) as client,
    ):
        container.create_container()
        client.create_queue()
        cloud_home = type(home)(away, load_contracts(away.configs), home.instance)
        yield Cloud(cloud_home, container, client, EventGrid(server.account, name))


@pytest.fixture
def no_listing(monkeypatch):
    def refuse(*_: object) -> None:
        pytest.fail("this tick must not list")

    monkeypatch.setattr(backlog, "look", refuse)


def look(cloud, **bounds):
    """What the sensor would see among announced paths."""
    return look_at_announced(cloud.home.lake, open_landing(cloud.home.settings), cloud.home.contracts, **bounds)


def work(result) -> str:
    """What the one request of a tick is about."""
    assert isinstance(result, dg.SensorResult), result
    (found,) = result.run_requests
    return found.tags["ml_platform/work"]


def skipped(result) -> str:
    if isinstance(result, dg.SkipReason):
        return result.skip_message
    assert not result.run_requests, result
    return result.skip_reason.skip_message


@pytest.mark.usefixtures("no_listing")
def test_what_is_announced_becomes_a_run_and_nothing_is_listed(cloud):
    cloud.day(1)
    cloud.send(cloud.day(2), cloud.day(3))
    result = cloud.tick()
    assert work(result) == "2 drops"
    assert result.run_requests[0].tags["dagster/asset_partition_range_start"] == "2017-02-02"
    assert work(cloud.tick()) == "2 drops", "until they are settled, they are due"
    assert cloud.outcomes() == ["announced", "announced"]


@pytest.mark.usefixtures("no_listing")
def test_what_is_settled_is_asked_for_no_more(cloud, monkeypatch):
    cloud.send(cloud.day(1))
    work(cloud.tick())
    cloud.home.settle()
    monkeypatch.setattr(BlobLanding, "stat", lambda *_: pytest.fail("the ledger knows this version"))
    assert "everything that was announced" in skipped(cloud.tick())
    assert cloud.outcomes() == ["settled"]
    assert announcements.waiting(cloud.home.lake) == []


def test_a_fifth_of_the_events_is_lost_and_the_next_listing_heals_it(cloud):
    events = [cloud.day(number) for number in range(1, 21)]
    cloud.send(*(event for number, event in enumerate(events) if number % 5))
    assert work(cloud.tick()) == "16 drops"
    late = Cursor(listed_at=time.time() - cloud.home.settings.listing_seconds - 1)
    result = cloud.tick(late)
    assert work(result) == "20 drops", "each once, announced or listed"
    cloud.home.settle()
    after = Cursor.read(result.cursor)
    assert after.listed_at > late.listed_at
    assert skipped(cloud.tick(after))


def test_a_cursor_of_before_and_a_clock_that_went_back_list(cloud):
    cloud.day(1)
    for cursor in ('{"position": "", "attempts": {}}', Cursor(listed_at=time.time() + 10_000).text(), None):
        assert work(cloud.home.tick(cursor)) == "1 drops"


def test_a_listing_that_was_cut_is_finished_at_the_next_ticks(cloud, monkeypatch):
    for number in range(1, 6):
        cloud.day(number)
    cursor, found, real = Cursor(), set(), backlog.look
    monkeypatch.setattr(backlog, "look", lambda *arguments: real(*arguments, most=2))
    for _ in range(3):
        result = cloud.tick(cursor)
        found |= {result.run_requests[0].tags["dagster/asset_partition_range_end"]}
        cursor = Cursor.read(result.cursor)
    assert found == {"2017-02-02", "2017-02-04", "2017-02-05"}
    assert (cursor.position, cursor.lists(cloud.home.settings)) == ("", False)


def test_what_is_announced_does_not_wait_for_a_listing_that_was_cut(cloud, monkeypatch):
    real = backlog.look
    monkeypatch.setattr(backlog, "look", lambda *arguments: real(*arguments, most=1))
    cloud.day(1)
    cloud.day(2)
    cloud.send(cloud.day(3))
    result = cloud.tick(Cursor())
    assert work(result) == "2 drops"
    assert result.run_requests[0].tags["dagster/asset_partition_range_end"] == "2017-02-03"


def test_looks_between_two_listings_forget_no_attempts(cloud):
    """A drop whose event was lost, and whose run fails: only listings see it, and they count on."""
    cloud.day(1)
    cursor, asked = Cursor(), 0
    for _ in range(ATTEMPTS + 2):
        result = cloud.tick(replace(cursor, listed_at=0))
        asked += len(result.run_requests or ())
        cursor = Cursor.read(result.cursor)
        assert skipped(cloud.tick(cursor))
        cursor = Cursor.read(cloud.tick(cursor).cursor)
    assert asked == ATTEMPTS


@pytest.mark.usefixtures("no_listing")
def test_the_version_that_lies_there_now_is_taken(cloud):
    first = cloud.day(1, "old")
    newer = cloud.day(1, "newer")
    cloud.send(first)
    assert look(cloud).drops == (), "the queue was not read yet"
    assert work(cloud.tick()) == "1 drops"
    (drop,) = look(cloud).drops
    assert (drop.length, f'"{drop.etag}"') == (5, newer["data"]["eTag"])
    cloud.home.settle()
    assert skipped(cloud.tick())
    assert cloud.outcomes() == ["superseded"]


@pytest.mark.usefixtures("no_listing")
@pytest.mark.parametrize("announced", [True, False])
def test_an_event_older_than_what_is_settled_asks_for_no_run(cloud, announced):
    older, newer = cloud.day(1, "old"), cloud.day(1, "newer")
    if announced:
        cloud.send(newer)
        cloud.tick()
    cloud.home.settle()
    cloud.send(older)
    assert skipped(cloud.tick())
    assert cloud.outcomes() == (["settled", "superseded"] if announced else ["superseded"])


@pytest.mark.usefixtures("no_listing")
def test_a_blob_that_has_gone_is_not_waited_for(cloud):
    lost, deleted = cloud.day(1), cloud.day(2)
    for number in (1, 2):
        cloud.container.delete_blob(f"sales/sales_2017-02-{number:02d}.csv")
    cloud.send(cloud.grid.deleted("sales/sales_2017-02-02.csv"), lost, deleted)
    assert skipped(cloud.tick())
    assert cloud.outcomes() == ["deleted", "gone", "superseded"]


@pytest.mark.usefixtures("no_listing")
def test_a_renamed_blob_is_due_under_its_new_name(cloud):
    cloud.day(1)
    cloud.send(cloud.grid.renamed("sales/_temporary/0/part", "sales/sales_2017-02-01.csv"))
    assert work(cloud.tick()) == "1 drops"
    cloud.home.settle()
    assert skipped(cloud.tick())
    assert cloud.outcomes() == ["ignored(hidden_name)", "settled"]


@pytest.mark.usefixtures("no_listing")
def test_a_source_that_is_declared_no_more_is_ignored(cloud):
    cloud.send(cloud.upload("promotions/promotions_2017-01-30_week_05.parquet"))
    cloud.tick()
    without = cloud.home.contracts.model_copy(update={"sources": (cloud.home.contracts.target,)})
    assert look_at_announced(cloud.home.lake, open_landing(cloud.home.settings), without).drops == ()
    assert cloud.outcomes() == ["ignored(undeclared_source)"]


def test_a_look_ends_with_its_count_and_the_rest_waits(cloud):
    cloud.send(*(cloud.day(number) for number in range(1, 5)))
    cloud.tick()
    assert len(look(cloud, most=3).drops) == 3
    cloud.home.settle()
    assert look(cloud, most=3).seen == 4


def test_the_queue_is_drained_while_a_run_is_at_work(cloud):
    cloud.send(cloud.day(1))
    cloud.queue.send_message("poison")
    cloud.home.instance.add_run(dg.DagsterRun("score", status=dg.DagsterRunStatus.STARTED))
    assert "still at work" in skipped(cloud.tick())
    assert cloud.queue.get_queue_properties().approximate_message_count == 0
    assert cloud.outcomes() == ["announced"]
    assert cloud.home.lake.read(DEAD_LETTERS.name)["text"].to_pylist() == ["poison"]


def test_a_queue_that_cannot_be_used_is_named_and_the_tick_goes_on(cloud, monkeypatch):
    monkeypatch.setattr(queue, "ATTEMPTS", 1)
    cloud.send(cloud.day(1))
    assert work(cloud.tick()) == "1 drops"
    cloud.queue.delete_queue()
    assert work(cloud.tick()) == "1 drops", "what was announced before is still looked at"
    cloud.home.settle()
    why = skipped(cloud.tick())
    assert "everything that was announced" in why
    assert f"the queue {cloud.home.settings.events_queue_url} cannot be used (QueueNotFound)" in why
    cloud.day(2)
    assert work(cloud.tick(Cursor())) == "1 drops", "and listings go on"


def test_announced_drops_that_fail_wait_and_keep_their_count_between_listings(cloud):
    cloud.send(cloud.day(1))
    cursor = Cursor(listed_at=time.time())
    for _ in range(ATTEMPTS):
        result = cloud.tick(cursor)
        cursor = Cursor.read(result.cursor)
        cloud.home.instance.add_run(
            dg.DagsterRun("score", status=dg.DagsterRunStatus.FAILURE, tags=result.run_requests[0].tags)
        )
    assert f"failed {ATTEMPTS} times" in skipped(cloud.tick(cursor))
    (name,) = cursor.attempts
    assert result.run_requests[0].tags[BATCH_TAG] == name
    cloud.send(cloud.day(2))
    assert work(cloud.tick(cursor)) == "2 drops"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"events_queue_url": "https://a.queue.core.windows.net/q"}, "set ML_PLATFORM_LANDING_URL"),
        ({"events_queue_url": "https://a.queue.core.windows.net/q?sig=secret"}, "no token"),
        ({"events_queue_url": "http://a.queue.core.windows.net/q"}, "no address of a queue"),
        ({"events_queue_url": "https://a.queue.core.windows.net"}, "names no queue"),
        ({"events_queue_url": "https://a.queue.core.windows.net/q/more"}, "more than a queue"),
        ({"listing_seconds": 0}, "greater than or equal to 1"),
    ],
)
def test_a_queue_that_cannot_be_meant_is_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        Settings(**wrong)
