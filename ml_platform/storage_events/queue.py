"""Queues: where messages wait until they are deleted.

Belongs here: the protocol, and Azure's queue behind it. Does not belong here: what a message says (messages), what is done with it (intake).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import SecretStr

from ml_platform.addresses import is_loopback
from ml_platform.transient import TransientError, retried

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

T = TypeVar("T")
PAGE = 32  # the service gives no more at once
HIDDEN_SECONDS = 120  # a message that is not deleted by then comes again
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 10, 2  # a tick has a minute
ONCE: Mapping[str, Any] = {"retry_total": 0}  # patience is one thing, in one place (transient)
NOT_OURS = ("MessageNotFound", "PopReceiptMismatch")  # deleted before, or handed out again


class QueueUnavailableError(RuntimeError):
    """The queue cannot be reached, or refuses; says which one and why, and that what is in it stays there."""


@dataclass(frozen=True)
class Message:
    """A message as it was received for the `dequeue_count`th time; its handle lets this reader delete it."""

    message_id: str
    text: str
    dequeue_count: int
    handle: str = field(default="", repr=False)


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
        from azure.storage.queue import QueueClient

        if is_loopback(self.url) and not self.key:
            raise QueueUnavailableError(
                "Azurite knows no identities: set ML_PLATFORM_STORAGE_KEY to the key of its account"
            )
        credential = self.key.get_secret_value() if self.key else DefaultAzureCredential()
        return QueueClient.from_queue_url(
            self.url, credential=credential, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS
        )

    def receive(self, count: int) -> list[Message]:
        def ask() -> list[Message]:
            found = self._client.receive_messages(
                messages_per_page=min(count, PAGE), max_messages=count, visibility_timeout=HIDDEN_SECONDS, **ONCE
            )
            return [Message(one.id, str(one.content), one.dequeue_count or 0, one.pop_receipt or "") for one in found]

        return self._asked(ask)

    def delete(self, message: Message) -> None:
        from azure.core.exceptions import HttpResponseError

        def ask() -> None:
            try:
                self._client.delete_message(message.message_id, message.handle, **ONCE)
            except HttpResponseError as why:
                if getattr(why, "error_code", None) not in NOT_OURS:
                    raise

        self._asked(ask)

    def _asked(self, call: Callable[[], T]) -> T:
        """Errors of the client without its request, which can carry more than a log should."""
        from azure.core.exceptions import AzureError

        try:
            return retried(call, "asking the queue", attempts=ATTEMPTS)
        except (AzureError, TransientError) as why:
            error = why.__cause__ if isinstance(why, TransientError) else why
            reason = getattr(error, "error_code", None) or type(error).__name__
            raise QueueUnavailableError(
                f"the queue {self.url} cannot be used ({reason}): what is in it stays there, and listings find files without it"
            ) from None
