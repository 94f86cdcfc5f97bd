"""Landed bytes: a file as it lies there, unpacked and counted while it is read.

Belongs here: gzip, encodings and the cap on what a file may become. Does not belong here: rows and columns (a module per format).
"""

import codecs
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ml_platform.file_format import Format
from ml_platform.formats.limits import Limits
from ml_platform.formats.opened import UnreadableError

GZIP = b"\x1f\x8b"
STARTS = 5  # bytes that tell what a file is, whatever its name says
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
OTHERS = {
    GZIP: "it is gzip: set `compression: gzip`, or name it .gz",
    b"PAR1\x15": "it is a Parquet file: set `type: parquet`",
    b"PK\x03\x04": "it is a ZIP archive, as Excel writes one: take the table out of it",
}


class Landed:
    """Bytes of a file, unpacked where it is gzip; UnreadableError where that fails or becomes more than the limit."""

    def __init__(self, path: Path, form: Format, limits: Limits) -> None:
        self._limits, self.count = limits, 0
        self._closing = file = path.open("rb")
        packed = form.is_gzip(path.name)
        self._file = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        try:
            self._require_kind(file.peek(STARTS), form, packed=packed)
        except UnreadableError:
            self.__exit__()
            raise

    def _require_kind(self, start: bytes, form: Format, *, packed: bool) -> None:
        """UnreadableError where the first bytes are those of something else than the contract says."""
        if packed and not start.startswith(GZIP):
            text = "it is not gzip: pack it, name it without .gz, or set `compression: none`"
            raise UnreadableError("unreadable_gzip", text)
        if what := _something_else(self._unpacked(self._file.peek, STARTS), form, packed=packed):
            raise UnreadableError(f"unreadable_{form.type}", what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._closing.close()

    def read(self, size: int) -> bytes:
        return self._counted(self._file.read, size)

    def readline(self, size: int) -> bytes:
        return self._counted(self._file.readline, size)

    def _counted(self, method: Callable[[int], bytes], size: int) -> bytes:
        found = self._unpacked(method, size)
        self.count += len(found)
        self._limits.require_expanded(self.count)
        return found

    def _unpacked(self, method: Callable[[int], bytes], size: int) -> bytes:
        try:
            return method(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as why:
            raise UnreadableError("unreadable_gzip", f"not a whole gzip file: {why}") from None


def _something_else(start: bytes, form: Format, *, packed: bool) -> str | None:
    """What a file is by its first bytes, where that is not a text of its encoding."""
    if packed and start.startswith(GZIP):
        return "it is gzip within gzip: pack it once"
    if start.startswith(UTF_16) and not codecs.lookup(form.encoding).name.startswith(("utf-16", "utf-32")):
        return "it is UTF-16: write it as UTF-8" + (", or set `encoding: utf-16`" if form.type == "csv" else "")
    return next((words for magic, words in OTHERS.items() if start.startswith(magic)), None)


class Texts:
    """A landed CSV file as UTF-8, for Arrow to read; `ending` follows the last byte.

    UnreadableError where the bytes are no text of the encoding.
    """

    closed = False

    def __init__(self, landed: Landed, encoding: str, ending: bytes = b"") -> None:
        self._landed, self._ending, self._encoding = landed, ending, encoding
        self._plain = _is_utf8(encoding)
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        assert size > 0
        # a character of one byte becomes four at most
        while raw := self._landed.read(size if self._plain else max(size // 4, 1)):
            text = self._decode(raw)
            if found := raw if self._plain else text.encode(errors="replace"):
                return found
        self._decode(b"")
        ending, self._ending = self._ending, b""
        return ending

    def _decode(self, raw: bytes) -> str:
        try:
            return self._decoder.decode(raw, not raw)
        except (UnicodeError, ValueError) as why:
            near = self._landed.count - len(raw) + getattr(why, "start", 0)
            name = self._encoding.upper().replace("-", "")
            raise UnreadableError(
                "unreadable_csv", f"not a CSV file in {self._encoding}: invalid {name} near byte {near:,}"
            ) from None

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
