"""Messages: what the text of one queue message says, whichever envelope it came in.

Belongs here: Event Grid's schema and CloudEvents 1.0, plain or base64, distrusted. Does not belong here: what an event means for the landing
folder (outcomes), queues.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

MOST_BYTES = 64 << 10  # a storage queue holds no longer message
CREATED, DELETED, RENAMED = (f"Microsoft.Storage.Blob{word}" for word in ("Created", "Deleted", "Renamed"))
SUBJECT = "/blobServices/default/containers/"


class MessageError(ValueError):
    """A message that is no event; says why, without the values in it."""


@dataclass(frozen=True)
class BlobName:
    """Where a blob lies: its container, and its name there with every folder."""

    container: str
    name: str


@dataclass(frozen=True)
class StorageEvent:
    """One event of a storage account; `at` is None where its subject names no blob, `moved_from` only known of a renamed one."""

    event_id: str
    type: str
    account: str | None
    at: BlobName | None
    moved_from: BlobName | None = None
    api: str = ""
    etag: str | None = None
    length: int | None = None
    sequencer: str | None = None
    event_time: datetime | None = None


@dataclass(frozen=True)
class Parsed:
    """The events of one message, and what is wrong with the rest of it (empty: nothing)."""

    events: tuple[StorageEvent, ...]
    fault: str = ""


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as why:
        raise ValueError("the time lies outside the calendar") from why


Word = Annotated[str, Field(max_length=256)]
Long = Annotated[str, Field(max_length=4096)]
Instant = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc)]


class _Lenient(BaseModel):
    """Strict in types, and blind to fields that it does not know: the services add some without asking."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Data(_Lenient):
    api: Word
    eTag: Word | None = None  # noqa: N815  the name on the wire
    contentLength: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None  # noqa: N815
    sequencer: Word | None = None
    sourceUrl: Long | None = None  # noqa: N815


class _EventGrid(_Lenient):
    id: Annotated[Word, Field(min_length=1)]
    topic: Long = ""
    subject: Long
    eventType: Word  # noqa: N815
    eventTime: Instant | None = None  # noqa: N815
    data: object


class _CloudEvent(_Lenient):
    specversion: Literal["1.0"]
    id: Annotated[Word, Field(min_length=1)]
    source: Long
    subject: Long = ""
    type: Word
    time: Instant | None = None
    data: object


def parse(text: str) -> Parsed:
    """Every event of a message; a part that is none is a fault and stops no other. MessageError where the text holds no event at all."""
    found = _decoded(text)
    parts: list[Any] = found if isinstance(found, list) else [found]
    events, faults = list[StorageEvent](), list[str]()
    for number, part in enumerate(parts, 1):
        try:
            events.append(_event(part))
        except MessageError as why:
            faults.append(f"event {number} of {len(parts)}: {why}")
    if not events:
        raise MessageError("; ".join(faults) or "the message is an empty list")
    return Parsed(tuple(events), "; ".join(faults))


def plain_etag(etag: str) -> str:
    """An etag as the listing of a container gives it: services and headers put quotes around it, or not."""
    return etag.removeprefix("W/").strip('"')


def _decoded(text: str) -> object:
    if len(text) > MOST_BYTES:
        raise MessageError(f"the message has more than {MOST_BYTES} characters")
    try:
        return json.loads(_json_text(text), parse_constant=_no_number)
    except RecursionError:
        raise MessageError("the message is nested too deeply") from None
    except ValueError as why:
        raise MessageError(f"the message is neither JSON nor base64 of JSON: {_place(why)}") from None


def _json_text(text: str) -> str:
    """The JSON itself: no alphabet of base64 has the brackets that it begins with."""
    plain = text.removeprefix("\ufeff").strip()
    if plain[:1] in ("{", "["):
        return plain
    return base64.b64decode("".join(plain.split()), validate=True).decode("utf-8-sig").strip()


def _place(why: ValueError) -> str:
    if isinstance(why, json.JSONDecodeError):
        return f"{why.msg} at character {why.pos}"
    return "it does not decode" if isinstance(why, binascii.Error | UnicodeError) else str(why)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _event(part: object) -> StorageEvent:
    if not isinstance(part, Mapping):
        raise MessageError("it is no object")
    try:
        return _from_cloud(part) if "specversion" in part else _from_grid(part)
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        raise MessageError(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from None


def _from_grid(part: Mapping[str, Any]) -> StorageEvent:
    one = _EventGrid.model_validate(part)
    return _of(
        StorageEvent(one.id, one.eventType, _account(one.topic), _at(one.subject), event_time=one.eventTime), one.data
    )


def _from_cloud(part: Mapping[str, Any]) -> StorageEvent:
    one = _CloudEvent.model_validate(part)
    return _of(StorageEvent(one.id, one.type, _account(one.source), _at(one.subject), event_time=one.time), one.data)


def _of(event: StorageEvent, data: object) -> StorageEvent:
    """The event with its data; those of other types have shapes of their own, which nobody here needs."""
    if event.type not in (CREATED, DELETED, RENAMED):
        return event
    if event.at is None:
        raise MessageError(f"subject: it names no blob, which begins with {SUBJECT}<container>/blobs/")
    one = _Data.model_validate(data)
    return StorageEvent(
        event.event_id,
        event.type,
        event.account,
        event.at,
        _blob_of_url(one.sourceUrl) if event.type == RENAMED else None,
        one.api,
        plain_etag(one.eTag) if one.eTag else None,
        one.contentLength,
        one.sequencer or None,
        event.event_time,
    )


def _at(subject: str) -> BlobName | None:
    """Container and name, as they are: a subject is not percent-encoded, so `%20` in it is three characters of a name."""
    container, found, name = subject.removeprefix(SUBJECT).partition("/blobs/")
    return BlobName(container, name) if subject.startswith(SUBJECT) and found and container and name else None


def _blob_of_url(url: str | None) -> BlobName:
    """Where a renamed blob came from, which only a URL says; MessageError where it names no blob."""
    try:
        path = unquote(urlsplit(url or "").path, errors="strict")
    except ValueError:
        path = ""
    container, _, name = path.removeprefix("/").partition("/")
    if not container or not name:
        raise MessageError("data.sourceUrl: it names no blob")
    return BlobName(container, name)


def _account(resource: str) -> str | None:
    """The account in a resource id; None where it names none."""
    parts = resource.split("/")
    named = [after for before, after in pairwise(parts) if before.lower() == "storageaccounts"]
    return named[0] or None if named else None
