"""Queues: where messages wait until they are deleted.

Belongs here: the protocol, and Azure's queue behind it. Does not belong here: what a message says (messages), what is done with it (intake).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

PAGE = 32  # the service gives no more at once
HIDDEN_SECONDS = 120  # a message that is not deleted by then comes again
CONNECT_SECONDS, READ_SECONDS, RETRIES, PAUSE_SECONDS = 5, 10, 1, 1  # a tick has a minute


class QueueUnavailableError(RuntimeError):
    """The queue cannot be reached, or refuses; says which one and why, and that what is in it stays there."""


@dataclass(frozen=True)
class Message:
    """A message as it was received for the `dequeue_count`th time; its receipt lets this reader delete it."""

    message_id: str
    text: str
    dequeue_count: int
    receipt: str = field(default="", repr=False)


class EventQueue(Protocol):
    """Messages that come again until they are deleted; in any order, and any of them more than once."""

    def receive(self, count: int) -> list[Message]:
        """At most `count` messages that nobody else sees for a while, none where none wait; QueueUnavailableError."""
        ...

    def delete(self, message: Message) -> None:
        """Take a message out for good; one that is gone or was handed out again is left alone. QueueUnavailableError."""
        ...


@dataclass(frozen=True)
class AzureQueue:
    """A queue of a storage account by its URL; without a key by the identity of this process (DefaultAzureCredential)."""

    url: str
    key: SecretStr | None = None

    @cached_property
    def _client(self) -> "QueueClient":
        from azure.identity import DefaultAzureCredential
        from azure.storage.queue import LinearRetry, QueueClient

        credential = self.key.get_secret_value() if self.key else DefaultAzureCredential()
        return QueueClient.from_queue_url(
            self.url,
            credential=credential,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retry_policy=LinearRetry(backoff=PAUSE_SECONDS, retry_total=RETRIES, random_jitter_range=0),
        )

    def receive(self, count: int) -> list[Message]:
        with self._words():
            found = self._client.receive_messages(
                messages_per_page=min(count, PAGE), max_messages=count, visibility_timeout=HIDDEN_SECONDS
            )
            return [Message(one.id, str(one.content), one.dequeue_count or 0, one.pop_receipt or "") for one in found]

    def delete(self, message: Message) -> None:
        from azure.core.exceptions import HttpResponseError

        with self._words():
            try:
                self._client.delete_message(message.message_id, message.receipt)
            except HttpResponseError as why:
                if getattr(why, "error_code", None) not in ("MessageNotFound", "PopReceiptMismatch"):
                    raise

    @contextmanager
    def _words(self) -> Iterator[None]:
        """Errors of the client without its request, which can carry more than a log should."""
        from azure.core.exceptions import AzureError

        try:
            yield
        except AzureError as why:
            reason = getattr(why, "error_code", None) or type(why).__name__
            raise QueueUnavailableError(
                f"the queue {self.url} cannot be used ({reason}): nothing in it is lost, and the listing finds files without it"
            ) from None
