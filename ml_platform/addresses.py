"""Addresses of blob storage, read from a setting and refused where they are unclear.

Belongs here: the parts of such an address. Does not belong here: reaching it (landing).
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EXAMPLE = "https://ACCOUNT.blob.core.windows.net/CONTAINER, or http://127.0.0.1:PORT/ACCOUNT/CONTAINER for Azurite"


@dataclass(frozen=True)
class BlobAddress:
    """A container of an account, and what the names of its blobs begin with (empty, or ending in `/`)."""

    account_url: str
    container: str
    prefix: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """ValueError with the way out. Tokens are refused: an address is shown, a secret is not."""
        url = urlsplit(text)
        local = url.hostname in LOOPBACK
        if url.query or url.fragment or "@" in url.netloc:
            raise ValueError(
                "an address holds no token and no password: set it without, and give the identity a role on the container"
            )
        if not url.hostname or url.scheme not in (("http", "https") if local else ("https",)):
            raise ValueError(f"it is no address of a container: set it to {EXAMPLE}")
        parts = [unquote(part) for part in url.path.split("/") if part]
        account, inside = (parts[:1], parts[1:]) if local else ([], parts)
        if not inside or (local and not account) or {".", ".."}.intersection(parts):
            raise ValueError(f"it names no container: set it to {EXAMPLE}")
        account_url = "/".join([f"{url.scheme}://{url.netloc}", *account])
        return cls(account_url, inside[0], "".join(f"{part}/" for part in inside[1:]))

    @property
    def is_local(self) -> bool:
        """Whether it is an emulator of this machine, which knows no identities."""
        return urlsplit(self.account_url).hostname in LOOPBACK
