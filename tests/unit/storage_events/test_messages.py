"""Messages of a storage queue: every envelope and wrapping, rules of arrival, and texts that nobody should trust."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml_platform.emulation.event_grid import Event, EventGrid, cloud_event, message
from ml_platform.lake.announcements import Announcement
from ml_platform.storage_events.messages import MOST_BYTES, BlobName, MessageError, StorageEvent, parse, plain_etag
from ml_platform.storage_events.outcomes import Scope, announcements

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCOPE = Scope("landing", "", frozenset({"sales", "oj"}), "shop")
SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "events"
GRID = EventGrid("shop", "landing")
NAME = "sales/店舗 A%20.csv"
CREATED = GRID.created(NAME, '"0x8DE28F21C0FFEE1"', 12)


def changed(event: Event, **data: Any) -> Event:
    return {**event, "data": {**event["data"], **data}}


def without(event: Event, *names: str) -> Event:
    return {name: value for name, value in event.items() if name not in names}


def only(text: str) -> StorageEvent:
    (found,) = parse(text).events
    return found


def rows(event: Event, scope: Scope = SCOPE) -> list[Announcement]:
    return list(announcements(only(message(event)), scope, NOW))


def told(event: Event, scope: Scope = SCOPE) -> list[tuple[str | None, str | None, str]]:
    return [(row.source, row.path, row.outcome) for row in rows(event, scope)]


WRAPPINGS: dict[str, Callable[[Event], str]] = {
    "object": message,
    "list": lambda event: json.dumps([event]),
    "ascii": json.dumps,
    "base64": lambda event: message(event, packed=True),
    "base64 in lines": lambda event: base64.encodebytes(message(event).encode()).decode(),
    "base64 with a mark": lambda event: base64.b64encode(b"\xef\xbb\xbf" + message(event).encode()).decode(),
    "mark and spaces": lambda event: f"\ufeff \n{message(event)}\n",
}


@pytest.mark.parametrize("wrapped", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("envelope", [dict, cloud_event], ids=["event grid", "cloud events"])
def test_every_wrapping_of_both_envelopes_says_the_same(
    wrapped: Callable[[Event], str], envelope: Callable[[Event], Event]
) -> None:
    found = only(wrapped(envelope(CREATED)))
    assert found == only(message(CREATED))
    assert (found.at, found.etag, found.length) == (BlobName("landing", NAME), "0x8DE28F21C0FFEE1", 12)
    assert (found.event_id, found.account, found.api) == (CREATED["id"], "shop", "PutBlob")


def test_a_list_brings_every_event_in_it() -> None:
    events = [GRID.created(f"sales/{number}.csv", "e", 1) for number in range(3)]
    assert [one.event_id for one in parse(message(*events, packed=True)).events] == [one["id"] for one in events]


def test_fields_that_nobody_knows_and_diagnostics_change_nothing() -> None:
    more = {**changed(CREATED, storageDiagnostics="text now", newField=[1]), "extra": {"deep": [None]}}
    (before,), (after,) = rows(CREATED), rows(more)
    assert before.row_id == after.row_id


def test_a_time_with_seven_digits_is_read_in_utc() -> None:
    event = {**CREATED, "eventTime": "2026-11-21T03:00:03.1415926+02:00"}
    assert only(message(event)).event_time == datetime(2026, 11, 21, 1, 0, 3, 141592, tzinfo=UTC)


@pytest.mark.parametrize("text", ['"0xA"', "0xA", 'W/"0xA"'])
def test_an_etag_is_plain_however_it_was_quoted(text: str) -> None:
    assert plain_etag(text) == "0xA"


BROKEN: dict[str, tuple[str, str]] = {
    "nothing": ("", "neither JSON nor base64"),
    "words": ("hello, world", "neither JSON nor base64"),
    "half an object": (message(CREATED)[:-5], "at character"),
    "base64 of words": (base64.b64encode(b"hello").decode(), "neither JSON nor base64"),
    "base64 of bytes": (base64.b64encode(b"\xff\xfe\x00").decode(), "does not decode"),
    "too long": (json.dumps([CREATED] * 200), f"more than {MOST_BYTES} characters"),
    "deep": ("[" * 60_000, "nested too deeply"),
    "deep objects": ('{"a":' * 10_000, "nested too deeply"),
    "an empty list": ("[]", "empty list"),
    "a number": ("[1]", "no object"),
    "a list in a list": ("[[]]", "no object"),
    "no number of JSON": ('{"id": NaN}', "NaN is no number"),
    "no id": (message(without(CREATED, "id")), "id: Field required"),
    "an empty id": (message({**CREATED, "id": ""}), "id: "),
    "an endless id": (message({**CREATED, "id": "x" * 300}), "id: "),
    "no subject": (message(without(CREATED, "subject")), "subject: Field required"),
    "a subject that is no text": (message({**CREATED, "subject": 7}), "subject: "),
    "half a character": (json.dumps({**CREATED, "subject": "/blobServices\ud800"}), "subject: "),
    "no data": (message(without(CREATED, "data")), "data: Field required"),
    "data that are a list": (message({**CREATED, "data": []}), "valid dictionary"),
    "no api": (message({**CREATED, "data": without(CREATED["data"], "api")}), "api: Field required"),
    "a length that is no number": (message(changed(CREATED, contentLength="12")), "contentLength: "),
    "a length below nothing": (message(changed(CREATED, contentLength=-1)), "contentLength: "),
    "a length that no table holds": (message(changed(CREATED, contentLength=1 << 63)), "contentLength: "),
    "a truth as a length": (message(changed(CREATED, contentLength=True)), "contentLength: "),
    "a sequencer that is a number": (message(changed(CREATED, sequencer=17)), "sequencer: "),
    "no time": (message({**CREATED, "eventTime": "yesterday"}), "eventTime: "),
    "a time without a zone": (message({**CREATED, "eventTime": "2026-11-21T01:00:00"}), "eventTime: "),
    "a time before all": (message({**CREATED, "eventTime": "0001-01-01T00:00:00+23:00"}), "eventTime: "),
    "an arrival of nothing": (message({**CREATED, "subject": ""}), "subject: "),
    "another cloud": (message({**cloud_event(CREATED), "specversion": "2.0"}), "specversion: "),
    "a rename from nowhere": (message(changed(GRID.renamed("sales/a", "sales/b"), sourceUrl=None)), "sourceUrl: "),
    "a rename from no text": (
        message(changed(GRID.renamed("sales/a", "sales/b"), sourceUrl="https://x/landing/%ff")),
        "sourceUrl: ",
    ),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_event_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        parse(text)


def test_a_broken_part_of_a_list_stops_no_other() -> None:
    found = parse(message(CREATED, without(CREATED, "id"), GRID.deleted("sales/a")))
    assert [one.type[-7:] for one in found.events] == ["Created", "Deleted"]
    assert found.fault == "event 2 of 3: id: Field required"


@pytest.mark.parametrize(
    ("api", "outcome"),
    [
        *((api, "announced") for api in ("FlushWithClose", "PutBlob", "PutBlockList", "CopyBlob")),
        ("CreateFile", "ignored(not_committed)"),
        ("PutPage", "ignored(other_api)"),
        ("", "ignored(other_api)"),
    ],
)
def test_only_a_commit_is_an_arrival(api: str, outcome: str) -> None:
    assert told(changed(CREATED, api=api)) == [("sales", NAME, outcome)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sales/_SUCCESS", "marker"),
        ("sales/.a.csv.17", "hidden_name"),
        ("sales/_temporary/0/a.csv", "hidden_name"),
        ("sales/../../etc/passwd", "hidden_name"),
        ("strange/a.csv", "undeclared_source"),
        ("/sales/a.csv", "undeclared_source"),
        ("a.csv", "undeclared_source"),
        ("sales", "undeclared_source"),
        ("sales/", "undeclared_source"),
    ],
)
@pytest.mark.parametrize("arrival", [True, False])
def test_names_that_are_no_drops_are_ignored_with_a_reason(name: str, reason: str, arrival: bool) -> None:
    event = GRID.created(name, "e", 0) if arrival else GRID.deleted(name)
    assert told(event) == [(None, name, f"ignored({reason})")]


def test_events_of_other_places_are_ignored_with_a_reason() -> None:
    elsewhere = EventGrid("shop", "lake").created("sales/a.csv", "e", 1)
    assert told(elsewhere) == [(None, "lake/sales/a.csv", "ignored(other_container)")]
    other = EventGrid("shop2", "landing").created("sales/a.csv", "e", 1)
    assert told(other) == [(None, "sales/a.csv", "ignored(other_account)")]
    assert told(other, replace(SCOPE, account=None)) == [("sales", "sales/a.csv", "announced")]
    below = replace(SCOPE, prefix="in/shop/")
    assert told(GRID.created("in/shop/sales/a", "e", 1), below) == [("sales", "sales/a", "announced")]
    assert told(GRID.created("in/shops/sales/a", "e", 1), below) == [
        (None, "landing/in/shops/sales/a", "ignored(other_prefix)")
    ]
    assert told({**CREATED, "eventType": "Microsoft.Storage.BlobTierChanged"}) == [
        ("sales", NAME, "ignored(other_type)")
    ]


def test_a_rename_is_an_arrival_and_a_departure() -> None:
    assert told(GRID.renamed("sales/old %.csv", NAME)) == [
        ("sales", NAME, "announced"),
        ("sales", "sales/old %.csv", "departed"),
    ]
    (arrival, departure) = rows(GRID.renamed("oj/_temporary/0/part", "oj/week=1/part"))
    assert (arrival.outcome, arrival.etag, arrival.length) == ("announced", None, None)
    assert departure.outcome == "ignored(hidden_name)"


def test_a_deletion_is_recorded_without_an_etag() -> None:
    (row,) = rows(GRID.deleted("sales/a.csv"))
    assert (row.outcome, row.etag, row.path) == ("deleted", None, "sales/a.csv")


SAMPLE_ROWS = {
    "01_blob_created_adls_flushwithclose.eventgrid.json": [("oj/week=153/oj_sales.parquet", "announced")],
    "02_blob_created_adls_flushwithclose.cloudevents.json": [("oj/week=153/oj_sales.parquet", "announced")],
    "03_blob_created_putblocklist.eventgrid.json": [("oj/week=154/oj_sales.csv", "announced")],
    "04_batch_duplicate_out_of_order.eventgrid.json": [
        ("oj/week=153/oj_sales.parquet", "announced"),
        ("oj/week=153/oj_sales.parquet", "ignored(not_committed)"),
        ("oj/week=153/oj_sales.parquet", "announced"),
        ("oj/week=153/oj_sales.parquet", "announced"),
        ("oj/_SUCCESS", "ignored(marker)"),
        ("oj/week=155/店舗 A.parquet", "announced"),
        ("oj/week=152/oj_sales.parquet", "deleted"),
    ],
    "05_blob_renamed_adls.eventgrid.json": [
        ("oj/week=156/part-00000.parquet", "announced"),
        ("oj/_temporary/0/part-00000.parquet", "ignored(hidden_name)"),
    ],
    "06_subscription_validation.eventgrid.json": [(None, "ignored(other_type)")],
}


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/data/events")
@pytest.mark.parametrize(("name", "wanted"), SAMPLE_ROWS.items())
@pytest.mark.parametrize("packed", [False, True])
def test_the_samples(name: str, wanted: list[tuple[str | None, str]], packed: bool) -> None:
    text = (SAMPLES / name).read_text(encoding="utf-8")
    found = parse(base64.b64encode(text.encode()).decode() if packed else text)
    made = [row for event in found.events for row in announcements(event, replace(SCOPE, account="stmlpdev"), NOW)]
    assert [(row.path, row.outcome) for row in made] == wanted
    assert not found.fault


@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/data/events")
def test_one_sample_in_both_envelopes_is_one_row() -> None:
    names = list(SAMPLE_ROWS)[:2]
    events = [only((SAMPLES / name).read_text(encoding="utf-8")) for name in names]
    assert len({row.row_id for event in events for row in announcements(event, SCOPE, NOW)}) == 1
