"""From a queue into tables: repetition, disorder, poison, and a crash at every step."""

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.storage.queue import QueueClient
from pydantic import SecretStr

from ml_platform.emulation.azurite import Azurite
from ml_platform.emulation.event_grid import Event, EventGrid, cloud_event, message
from ml_platform.emulation.memory_queue import MemoryQueue
from ml_platform.lake import Lake, announcements
from ml_platform.lake.announcements import Announcement
from ml_platform.lake.schemas import DEAD_LETTERS, STORAGE_EVENTS
from ml_platform.storage_events import AzureQueue, Intake, Message, QueueUnavailableError, Scope, drain, intake

SCOPE = Scope("landing", "", frozenset({"sales"}), "shop")
PATH = "sales/sales_2017-02-01.csv"


class Crash(BaseException):
    """The process ends here: nothing catches it."""


@dataclass(frozen=True)
class Desk:
    """A queue, a lake, and an account that announces."""

    queue: MemoryQueue
    lake: Lake
    grid: EventGrid

    def send(self, *texts: Event | str) -> None:
        for text in texts:
            self.queue.send(text if isinstance(text, str) else message(text))

    def drain(self, **bounds: Any) -> Intake:
        return drain(self.queue, self.lake, SCOPE, **bounds)

    def versions(self, count: int, path: str = PATH) -> list[Event]:
        return [self.grid.created(path, f"e{number}", number) for number in range(1, count + 1)]

    def state(self) -> list[tuple[Any, ...]]:
        """Every row without the time it came in; one that is there twice shows twice."""
        if not self.lake.exists(STORAGE_EVENTS.name):
            return []
        rows = self.lake.read(STORAGE_EVENTS.name).drop_columns(["received_at"]).to_pylist()
        return sorted(tuple(map(str, row.values())) for row in rows)

    def commits(self) -> int:
        return len(self.lake.commits_after(STORAGE_EVENTS.name, 0))

    def dead(self) -> list[tuple[str, str, str]]:
        rows = self.lake.read(DEAD_LETTERS.name).to_pylist() if self.lake.exists(DEAD_LETTERS.name) else []
        return sorted((row["message_id"], row["text"], row["reason"]) for row in rows)


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    return Desk(MemoryQueue(), Lake(str(tmp_path / "lake")), EventGrid("shop", "landing"))


def outcomes(desk: Desk) -> list[tuple[str, str]]:
    rows = desk.lake.read(STORAGE_EVENTS.name).to_pylist()
    return sorted((row["etag"] or row["path"], row["outcome"]) for row in rows)


def test_an_empty_queue_makes_nothing(desk: Desk) -> None:
    assert desk.drain().words() == "0 messages: nothing"
    assert not desk.lake.exists(STORAGE_EVENTS.name)
    assert not desk.lake.exists(DEAD_LETTERS.name)


def test_a_thousand_duplicates_are_one_row_and_are_counted(desk: Desk) -> None:
    (event,) = desk.versions(1)
    for number in range(1000):
        desk.send(cloud_event(event) if number % 2 else event)
    taken = desk.drain()
    assert (taken.messages, dict(taken.outcomes), taken.duplicates) == (1000, {"announced": 1}, 999)
    assert taken.words() == "1000 messages: 1 announced, 999 known already"
    assert len(desk.state()) == desk.commits() == 1
    assert not len(desk.queue)


def test_one_id_with_other_content_is_another_row(desk: Desk) -> None:
    (event,) = desk.versions(1)
    desk.send(event, {**event, "data": {**event["data"], "eTag": "other"}})
    assert desk.drain().outcomes["announced"] == 2


def test_events_that_name_no_blob_are_counted_once_too(desk: Desk) -> None:
    event = {**desk.versions(1)[0], "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "subject": ""}
    desk.send(event, event)
    desk.drain()
    desk.send(event)
    assert desk.drain().duplicates == 1
    assert [row[1:3] + row[-2:-1] for row in desk.state()] == [("None", "None", "ignored(other_type)")]


def test_five_hundred_orders_end_in_one_state() -> None:
    grid, now = EventGrid("shop", "landing"), datetime(2026, 11, 21, tzinfo=UTC)
    events = [grid.created(PATH, f"e{n}", n) for n in range(5)]
    events += [grid.created("sales/b", "b", 1), grid.deleted("sales/b"), grid.renamed("sales/c", "sales/d")]
    rows = [row for one in events for row in intake._read(Message("m", message(one), 1), SCOPE, now)[0]]
    wanted = {row.row_id: row.outcome for row in announcements.superseded(rows)}
    assert sorted(wanted.values()) == ["announced"] * 2 + ["deleted", "departed"] + ["superseded"] * 5
    order = random.Random(7)
    for _ in range(500):
        known: list[Announcement] = []
        shuffled = order.sample([*rows, *rows], 2 * len(rows))
        for row in shuffled:  # one at a time, as if each came alone, twice
            if row.row_id not in {one.row_id for one in known}:
                known = announcements.superseded([*known, row])
        assert {row.row_id: row.outcome for row in known} == wanted


@pytest.mark.parametrize("seed", range(4))
def test_the_table_does_not_remember_the_order(desk: Desk, tmp_path: Any, seed: int) -> None:
    events = [*desk.versions(5), desk.grid.deleted("sales/b"), desk.grid.renamed("sales/c", PATH)]
    desk.send(*events)
    desk.drain()
    other = replace(desk, queue=MemoryQueue(), lake=Lake(str(tmp_path / "other")))
    other.send(*random.Random(seed).sample(events * 2, 2 * len(events)))
    other.drain(batch=3)
    assert other.state() == desk.state()
    assert [outcome for _, outcome in outcomes(desk)].count("announced") == 1, "the rename is the newest of its path"


def test_sequencers_of_other_lengths_compare_as_numbers_would(desk: Desk) -> None:
    older, newer = desk.versions(2)
    older["data"]["sequencer"], newer["data"]["sequencer"] = "0" * 40 + "9F", "1a0"
    desk.send(newer, older)
    desk.drain()
    assert outcomes(desk) == [("e1", "superseded"), ("e2", "announced")]


def test_an_event_without_a_sequencer_waits_to_be_looked_at(desk: Desk) -> None:
    first, second = desk.versions(2)
    del first["data"]["sequencer"]
    desk.send(second, first)
    desk.drain()
    assert outcomes(desk) == [("e1", "announced"), ("e2", "announced")]


def test_what_is_ignored_supersedes_nothing(desk: Desk) -> None:
    (version,) = desk.versions(1)
    desk.send(version, desk.grid.created(PATH, "e2", 0, api="CreateFile"))
    desk.drain()
    assert outcomes(desk) == [("e1", "announced"), ("e2", "ignored(not_committed)")]


def test_a_version_that_comes_after_a_later_one_is_superseded(desk: Desk) -> None:
    older, newer = desk.versions(2)
    desk.send(newer)
    desk.drain()
    (open_,) = announcements.waiting(desk.lake)
    announcements.close(desk.lake, {open_.row_id: announcements.SETTLED})
    desk.send(older)
    assert desk.drain().outcomes == {"superseded": 1}
    assert announcements.waiting(desk.lake) == []


def test_poison_goes_to_the_dead_letters_and_stops_no_other(desk: Desk) -> None:
    good = desk.versions(2, "sales/a") + desk.versions(1, "sales/b")
    desk.send(good[0], "no event", good[1], "[]", message(good[2], {"id": "half"}))
    taken = desk.drain()
    assert (taken.messages, taken.dead, dict(taken.outcomes)) == (5, 3, {"announced": 2, "superseded": 1})
    assert [(name, reason[:22]) for name, _, reason in desk.dead()] == [
        ("m2", "the message is neither"),
        ("m4", "the message is an empt"),
        ("m5", "event 2 of 2: subject:"),
    ]
    assert not len(desk.queue)


def test_a_long_text_is_cut(desk: Desk) -> None:
    desk.send("x" * 100_000)
    desk.drain()
    ((_, text, _),) = desk.dead()
    assert text == "x" * intake.LONGEST_TEXT


def test_a_text_that_no_table_holds_is_spelt_out(desk: Desk) -> None:
    desk.send("half \ud800", message(*desk.versions(1)).replace(PATH, "sales/\\ud800"))
    assert desk.drain().dead == 2
    assert desk.dead()[0][1] == "half \\ud800"


def test_a_message_that_never_ends_is_taken_out(desk: Desk) -> None:
    desk.send(*desk.versions(1))
    for _ in range(intake.MOST_DELIVERIES):
        desk.queue.receive(1)
        desk.queue.hand_back()
    assert desk.drain().dead == 1
    assert "received 21 times" in desk.dead()[0][2]
    assert not len(desk.queue)
    assert desk.state() == []


STEPS: dict[str, tuple[Any, str, bool]] = {
    "before the events are written": (announcements, "_write", False),
    "after the events are written": (announcements, "_write", True),
    "before the dead letters are written": (announcements, "bury", False),
    "after the dead letters are written": (announcements, "bury", True),
    "before the first is deleted": (MemoryQueue, "delete", False),
    "after the first is deleted": (MemoryQueue, "delete", True),
}


@pytest.mark.parametrize(("place", "name", "done"), STEPS.values(), ids=STEPS)
def test_a_crash_at_any_step_neither_loses_nor_doubles(
    desk: Desk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, done: bool
) -> None:
    versions = desk.versions(3)
    texts = [message(versions[1]), "poison", message(versions[2]), message(versions[0])]
    calm = replace(desk, queue=MemoryQueue(), lake=Lake(str(tmp_path / "calm")))
    for one in (desk, calm):
        one.send(*texts)
    calm.drain()
    real = getattr(place, name)

    def crash(*arguments: Any) -> None:
        if done:
            real(*arguments)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(place, name, crash)
        with pytest.raises(Crash):
            desk.drain()
    assert len(desk.queue) >= 3
    desk.queue.hand_back()
    desk.drain()
    assert (desk.state(), desk.dead()) == (calm.state(), calm.dead())
    assert len(calm.state()) == 3
    assert len(calm.dead()) == 1
    assert not len(desk.queue)


def test_a_drain_ends_with_its_count_and_the_next_goes_on(desk: Desk) -> None:
    desk.send(*desk.versions(7))
    assert [desk.drain(most=5, batch=2).messages, len(desk.queue), desk.drain().messages] == [5, 2, 2]


def test_a_drain_ends_with_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(intake.time, "monotonic", lambda: next(clock))
    desk.send(*desk.versions(9))
    assert desk.drain(seconds=3, batch=2).messages == 4


@dataclass(frozen=True)
class Served:
    """A queue with a way to put messages in, and to make received ones visible again."""

    queue: Any
    send: Callable[[str], object]
    again: Callable[[Message], object]


@pytest.fixture(params=["memory", "azurite"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    if request.param == "memory":
        memory = MemoryQueue()
        yield Served(memory, memory.send, lambda _: memory.hand_back())
        return
    server: Azurite = request.getfixturevalue("azurite_server")
    name = f"q{uuid.uuid4().hex}"
    with QueueClient(server.queue_url, name, credential=server.key) as client:
        client.create_queue()
        yield Served(
            AzureQueue(f"{server.queue_url}/{name}", SecretStr(server.key)),
            client.send_message,
            lambda one: client.update_message(one.message_id, one.handle, visibility_timeout=0),
        )


def test_a_message_comes_until_it_is_deleted(served: Served) -> None:
    assert served.queue.receive(5) == []
    served.send("店舗 <&> A")
    (first,) = served.queue.receive(5)
    assert (first.text, first.dequeue_count) == ("店舗 <&> A", 1)
    assert served.queue.receive(5) == []
    served.again(first)
    (second,) = served.queue.receive(5)
    assert (second.message_id, second.dequeue_count) == (first.message_id, 2)
    served.queue.delete(first)  # its handle is not the newest
    served.again(second)
    (third,) = served.queue.receive(5)
    served.queue.delete(third)
    served.queue.delete(third)
    assert served.queue.receive(5) == []


def test_more_than_a_page_is_received_at_once(served: Served) -> None:
    for number in range(40):
        served.send(str(number))
    assert len({one.text for one in served.queue.receive(35)}) == 35
    assert len(served.queue.receive(35)) == 5


def test_both_queues_bring_the_same(served: Served, tmp_path: Any) -> None:
    lake, events = Lake(str(tmp_path / "lake")), EventGrid("shop", "landing")
    for number in range(3):
        served.send(message(events.created(PATH, f"e{number}", 1), packed=bool(number % 2)))
    served.send("poison")
    assert drain(served.queue, lake, SCOPE).words() == "4 messages: 1 announced, 2 superseded, 1 dead letters"
    assert drain(served.queue, lake, SCOPE).messages == 0


def test_a_queue_that_is_not_there_or_refuses_says_so_without_the_key(azurite_server: Azurite) -> None:
    key = azurite_server.key
    with pytest.raises(QueueUnavailableError, match="QueueNotFound") as missing:
        AzureQueue(f"{azurite_server.queue_url}/none", SecretStr(key)).receive(1)
    with pytest.raises(QueueUnavailableError, match="ServiceRequestError"):
        AzureQueue("http://127.0.0.1:9/devstoreaccount1/none", SecretStr(key)).receive(1)
    assert key not in str(missing.value) + repr(AzureQueue("http://x/y", SecretStr(key)))
