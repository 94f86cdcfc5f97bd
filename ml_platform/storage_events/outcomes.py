"""Outcomes: what an event means for the landing folder.

Belongs here: which events are arrivals or departures, of which source, and why others are ignored. Does not belong here: reading messages
(messages), what the table already holds (lake.announcements).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ml_platform.lake.announcements import ANNOUNCED, DELETED, DEPARTED, Announcement, ignored
from ml_platform.storage_events import messages
from ml_platform.storage_events.messages import BlobName, StorageEvent

COMMITS = ("FlushWithClose", "PutBlob", "PutBlockList", "CopyBlob")
MARKER = "_SUCCESS"


@dataclass(frozen=True)
class Scope:
    """The landing folder as a place in a storage account: container, beginning of names in it (empty, or ending in `/`) and declared sources.

    `account`: None where the address does not tell it; then events of every account count.
    """

    container: str
    prefix: str
    sources: frozenset[str]
    account: str | None = None

    def path(self, blob: BlobName) -> str:
        """A blob's path below the landing folder; of one elsewhere its container and name."""
        here = blob.container == self.container and blob.name.startswith(self.prefix)
        return blob.name.removeprefix(self.prefix) if here else f"{blob.container}/{blob.name}"

    def refusal(self, blob: BlobName, account: str | None) -> str | None:
        """Why a blob is no drop of this landing folder; None where it may be one."""
        if account and self.account and account.lower() != self.account.lower():
            return "other_account"
        if blob.container != self.container:
            return "other_container"
        if not blob.name.startswith(self.prefix):
            return "other_prefix"
        source, _, name = self.path(blob).partition("/")
        if source not in self.sources or not name:
            return "undeclared_source"
        if name.rpartition("/")[2] == MARKER:
            return "marker"
        return "hidden_name" if any(part.startswith((".", "_")) for part in name.split("/")) else None


def announcements(event: StorageEvent, scope: Scope, received_at: datetime) -> Iterator[Announcement]:
    """Rows of ops/storage_events that an event makes: one, or of a renamed blob its arrival and its departure."""
    if event.at is None or event.type not in (messages.CREATED, messages.DELETED, messages.RENAMED):
        yield _row(event, scope, event.at, ignored("other_type"), received_at)
    elif event.type == messages.CREATED:
        yield _row(event, scope, event.at, _of_created(event.api), received_at)
    elif event.type == messages.DELETED:
        yield _row(event, scope, event.at, DELETED, received_at)
    else:
        yield _row(event, scope, event.at, ANNOUNCED, received_at)
        yield _row(event, scope, event.moved_from, DEPARTED, received_at)


def _of_created(api: str) -> str:
    """On accounts with folders a file is created first and written afterwards: nothing is committed at the first of the two."""
    return ANNOUNCED if api in COMMITS else ignored("not_committed" if api == "CreateFile" else "other_api")


def _row(event: StorageEvent, scope: Scope, blob: BlobName | None, outcome: str, received_at: datetime) -> Announcement:
    refused = scope.refusal(blob, event.account) if blob else None
    path = scope.path(blob) if blob else None
    return Announcement(
        event_id=event.event_id,
        source=path.partition("/")[0] if path and not refused else None,
        path=path,
        etag=event.etag,
        length=event.length,
        sequencer=event.sequencer,
        api=event.api or event.type,
        event_time=event.event_time,
        received_at=received_at,
        outcome=ignored(refused) if refused else outcome,
    )
