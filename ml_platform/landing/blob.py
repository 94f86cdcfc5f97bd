"""A landing area in a container of Azure Blob storage, or of Azurite.

Belongs here: listing, fetching and uploading blobs by the blob API alone. Does not belong here: credentials (opening), what a file means (drops).
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ml_platform.landing.drops import Changed, Drop, LandedFile, StorageError, Vanished, is_drop_path
from ml_platform.landing.protocol import PAGE, Page
from ml_platform.transient import is_transient, retried

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient

T = TypeVar("T")
LONGEST_NAME = 1024
ONCE: Mapping[str, Any] = {"retry_total": 0}  # patience is one thing, in one place (transient)
NO_ACCESS = (401, 403)


class BlobLanding:
    """Blobs of a container whose names begin with a prefix (empty, or ending in `/`), one folder per source below it."""

    def __init__(self, container: "ContainerClient", prefix: str = "") -> None:
        self._container, self._prefix = container, prefix

    def pages(self, folder: str, mark: str = "", size: int = PAGE) -> Iterator[Page]:
        """In the order of the service, a request per page."""
        while True:
            page = self._page(folder, mark, size)
            yield page
            if not page.mark:
                return
            mark = page.mark

    def stat(self, path: str) -> LandedFile | None:
        from azure.core.exceptions import ResourceNotFoundError

        if not _is_name(self._prefix + path) or not path:
            return None
        try:
            found = self._asked(f"asking for {path}", lambda: self._blob(path).get_blob_properties(**ONCE))
        except ResourceNotFoundError:
            return None
        return None if _is_folder(path, found.size, found.metadata) else self._file(path, found)

    @contextmanager
    def fetch(self, file: LandedFile | Drop) -> Iterator[Path]:
        """A copy in a temporary folder, of the listed version or none: the service compares its etag with every part that it sends."""
        with tempfile.TemporaryDirectory(prefix="drop-") as folder:
            # only the ending of a name says something; the name itself may be longer than a disk allows, or lead elsewhere
            copy = Path(folder) / ("drop.gz" if file.path.lower().endswith(".gz") else "drop")
            self._download(file, copy)
            if copy.stat().st_size != file.length:
                raise Changed(f"{file.path} has another length than when it was listed")
            yield copy

    def top(self) -> list[str]:
        def names() -> set[str]:
            found = self._container.walk_blobs(name_starts_with=self._prefix, delimiter="/", **ONCE)
            return {str(one.name).removeprefix(self._prefix) for one in found}

        found = self._asked("listing the folders", names)
        return sorted(
            name for name in found if name and f"{name}/" not in found
        )  # Data Lake lists a folder as a blob, too

    def put(self, path: str, file: Path) -> None:
        def upload() -> None:
            with file.open("rb") as data:
                self._blob(path).upload_blob(data, overwrite=True, **ONCE)

        self._asked(f"putting {path}", upload)

    def locate(self, path: str = "") -> str:
        return f"{self._container.url.split('?')[0]}/{self._prefix}{path}".rstrip("/")

    def _page(self, folder: str, mark: str, size: int) -> Page:
        def ask() -> Page:
            listed: Any = self._container.list_blobs(
                name_starts_with=f"{self._prefix}{folder}/", include=["metadata"], results_per_page=size, **ONCE
            ).by_page(mark or None)
            found = [(str(one.name)[len(self._prefix) :], one) for one in next(listed, ())]
            kept = [
                self._file(path, one)
                for path, one in found
                if is_drop_path(path) and not _is_folder(path, one.size, one.metadata)
            ]
            return Page(tuple(kept), listed.continuation_token or "")

        return self._asked(f"listing {folder}", ask)

    def _download(self, file: LandedFile | Drop, copy: Path) -> None:
        """Vanished, Changed; a transient error as it is, for the caller has more to repeat than this; OSError where this blob cannot be read."""
        from azure.core import MatchConditions
        from azure.core.exceptions import (
            ClientAuthenticationError,
            HttpResponseError,
            ResourceModifiedError,
            ResourceNotFoundError,
        )

        try:
            with copy.open("wb") as out:
                version = {"etag": f'"{file.etag}"', "match_condition": MatchConditions.IfNotModified}
                self._blob(file.path).download_blob(**version, **ONCE).readinto(out)
        except ResourceNotFoundError:
            raise Vanished(f"{file.path} has gone since it was listed") from None
        except ResourceModifiedError:  # also of a blob that is not there: without a version none matches
            if self.stat(file.path) is None:
                raise Vanished(f"{file.path} has gone since it was listed") from None
            raise Changed(f"{file.path} has changed since it was listed: there is a newer version") from None
        except HttpResponseError as why:
            if is_transient(why):
                raise
            if why.status_code in NO_ACCESS or isinstance(why, ClientAuthenticationError):
                raise self._unusable(f"reading {file.path}", why) from why
            raise OSError(_first_line(why)) from why

    def _asked(self, what: str, call: Callable[[], T]) -> T:
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            return retried(call, f"{what} in {self.locate()}")
        except ResourceNotFoundError as why:
            if getattr(why, "error_code", "") == "ContainerNotFound":
                raise self._unusable(what, why) from why
            raise
        except AzureError as why:
            raise self._unusable(what, why) from why

    def _unusable(self, what: str, why: Exception) -> StorageError:
        return StorageError(
            f"{what} in the landing area {self.locate()} is refused: {_first_line(why)}: check ML_PLATFORM_LANDING_URL, "
            "and that this identity may read and write blobs there"
        )

    def _blob(self, path: str) -> Any:
        return self._container.get_blob_client(self._prefix + path)

    def _file(self, path: str, found: "BlobProperties") -> LandedFile:
        """Listings give etags without quotes, answers about one blob with them."""
        return LandedFile(path, found.etag.strip('"'), found.size, found.last_modified, found.last_modified)


def _is_name(name: str) -> bool:
    """Whether the service takes it for a blob's name, and keeps it: clients resolve dots on their way."""
    is_text = name.encode(errors="replace").decode() == name
    return is_text and len(name) <= LONGEST_NAME and not {".", ".."}.intersection(name.split("/"))


def _is_folder(path: str, size: int, metadata: Mapping[str, str] | None) -> bool:
    """Accounts with a hierarchy list their folders as blobs without bytes."""
    marked = {name.lower(): value.lower() for name, value in (metadata or {}).items()}.get("hdi_isfolder") == "true"
    return size == 0 and (marked or path.endswith("/"))


def _first_line(why: Exception) -> str:
    return (str(why).splitlines() or [type(why).__name__])[0]
