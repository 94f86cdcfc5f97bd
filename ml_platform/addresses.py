"""Addresses of blob storage and of queues, read from a setting and refused where they are unclear.

Belongs here: the parts of such an address. Does not belong here: reaching it (landing, storage_events).
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EXAMPLE = "https://ACCOUNT.blob.core.windows.net/CONTAINER, or http://127.0.0.1:PORT/ACCOUNT/CONTAINER for Azurite"

QUEUE_EXAMPLE = "https://ACCOUNT.queue.core.windows.net/QUEUE, or http://127.0.0.1:PORT/ACCOUNT/QUEUE for Azurite"


@dataclass(frozen=True)
class BlobAddress:
    """A container of an account, and what the names of its blobs begin with (empty, or ending in `/`)."""

    account_url: str
    container: str
    prefix: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """ValueError with the way out. Tokens are refused: an address is shown, a secret is not."""
        account_url, inside = _split(text, "container", EXAMPLE)
        return cls(account_url, inside[0], "".join(f"{part}/" for part in inside[1:]))

    @property
    def is_local(self) -> bool:
        return is_loopback(self.account_url)

    @property
    def account(self) -> str | None:
        """The name of the account; None where the address does not tell it, such as a domain of one's own."""
        if self.is_local:
            return self.account_url.rpartition("/")[2]
        host = urlsplit(self.account_url).hostname or ""
        return host.partition(".")[0] if ".blob." in host else None


@dataclass(frozen=True)
class QueueAddress:
    """A storage queue: the URL of its account, and its name."""

    account_url: str
    queue: str

    @classmethod
    def read(cls, text: str) -> Self:
        """ValueError with the way out; as of a container, without tokens."""
        account_url, inside = _split(text, "queue", QUEUE_EXAMPLE)
        if len(inside) > 1:
            raise ValueError(f"it names more than a queue: set it to {QUEUE_EXAMPLE}")
        return cls(account_url, inside[0])


def is_loopback(url: str) -> bool:
    """Whether it leads to an emulator of this machine, which knows no identities."""
    return urlsplit(url).hostname in LOOPBACK


def _split(text: str, what: str, example: str) -> tuple[str, list[str]]:
    """The URL of the account, and the parts of the path in it."""
    url = urlsplit(text)
    local = is_loopback(text)
    if url.query or url.fragment or "@" in url.netloc:
        raise ValueError(
            f"an address holds no token and no password: set it without, and give the identity a role on the {what}"
        )
    if not url.hostname or url.scheme not in (("http", "https") if local else ("https",)):
        raise ValueError(f"it is no address of a {what}: set it to {example}")
    parts = [unquote(part) for part in url.path.split("/") if part]
    account, inside = (parts[:1], parts[1:]) if local else ([], parts)
    if not inside or (local and not account) or {".", ".."}.intersection(parts):
        raise ValueError(f"it names no {what}: set it to {example}")
    return "/".join([f"{url.scheme}://{url.netloc}", *account]), inside
