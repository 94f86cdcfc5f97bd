"""Event Grid on this machine: the events that a storage account would send, made by hand; Azurite sends none.

Belongs here: events in both envelopes, and their text in a queue. Does not belong here: reading them (storage_events).
"""

import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

Event = dict[str, Any]
BLOBS = "Microsoft.Storage.Blob"


@dataclass
class EventGrid:
    """Events of one account, each with an id of its own and a greater sequencer than the one before."""

    account: str
    container: str
    sent: int = field(default=0, init=False)

    def created(self, name: str, etag: str, length: int, api: str = "PutBlob") -> Event:
        """A version of a blob was written."""
        data = {"api": api, "eTag": etag, "contentLength": length, "blobType": "BlockBlob", "url": self._url(name)}
        return self._event("Created", name, data)

    def deleted(self, name: str, api: str = "DeleteBlob") -> Event:
        return self._event("Deleted", name, {"api": api, "blobType": "BlockBlob", "url": self._url(name)})

    def renamed(self, old: str, new: str) -> Event:
        """As accounts with folders say it: the new name in the subject, the old one in a URL, neither etag nor length."""
        data = {"api": "RenameFile", "sourceUrl": self._url(old), "destinationUrl": self._url(new)}
        return self._event("Renamed", new, data)

    def _event(self, kind: str, name: str, data: Event) -> Event:
        self.sent += 1
        return {
            "topic": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{self.account}",
            "subject": f"/blobServices/default/containers/{self.container}/blobs/{name}",
            "eventType": f"{BLOBS}{kind}",
            "id": str(uuid.uuid4()),
            "data": {**data, "sequencer": f"{self.sent:032x}", "storageDiagnostics": {"batchId": str(uuid.uuid4())}},
            "dataVersion": "",
            "metadataVersion": "1",
            "eventTime": datetime.now(UTC).isoformat(),
        }

    def _url(self, name: str) -> str:
        return f"https://{self.account}.dfs.core.windows.net/{self.container}/{quote(name)}"


def cloud_event(event: Event) -> Event:
    """The same event as CloudEvents 1.0."""
    renamed = {"source": "topic", "type": "eventType", "time": "eventTime", "id": "id", "subject": "subject"}
    return {"specversion": "1.0", **{new: event[old] for new, old in renamed.items()}, "data": event["data"]}


def message(*events: Event, packed: bool = False) -> str:
    """The text of a queue message: one event as an object, several as a list; `packed` as base64."""
    text = json.dumps(events[0] if len(events) == 1 else events, ensure_ascii=False)
    return base64.b64encode(text.encode()).decode() if packed else text
