"""Persons: a key that was erased is recognised by its digest, because the list of erasures must not be a list of persons.

Belongs here: the secret, digests, and finding keys in values, rows and texts. Does not belong here: what becomes of such rows (door, eraser, landed).
"""

import csv
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.contracts import SourceContract
from ml_platform.durable import put_in_place
from ml_platform.lake import Lake, erasures
from ml_platform.lake.store import folder
from ml_platform.values import reader

GONE = "[erased]"
QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
DECIMAL = re.compile(r"[+-]?\d{1,25}(\.\d*|(\.\d*)?[eE][+-]?\d{1,2})", re.ASCII)
WORDS = re.compile(r"[^\s,;|:=\"'{}\[\]()]+")


class ErasureError(ValueError):
    """An erasure that cannot be done, or would not hold; names the source and the way out, never the value."""


def secret_file(lake: Lake) -> Path:
    """Where the secret of a home lies, beside its lake and not in it."""
    return folder(lake, "..").resolve() / "secrets" / "erasure.key"


def secret_of(lake: Lake) -> bytes:
    """The secret; ErasureError where it is lost: without it nothing that was erased could be recognised."""
    try:
        return secret_file(lake).read_bytes()
    except FileNotFoundError:
        raise ErasureError(
            f"{secret_file(lake)} is missing: erased keys are recognised by it, and nothing gets in without. Restore it from a backup"
        ) from None


def make_secret(lake: Lake) -> bytes:
    """The secret, made once, for the owner's eyes alone."""
    place = secret_file(lake)
    if not place.exists():
        if erasures.read(lake):
            return secret_of(lake)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        put_in_place(unfinished, place)
    return secret_of(lake)


@dataclass(frozen=True)
class Persons:
    """Erased keys of one source: digests by column. Empty where there are none, and then nothing costs anything."""

    contract: SourceContract
    digests: Mapping[str, frozenset[str]]
    secret: bytes

    @classmethod
    def erased(cls, lake: Lake, contract: SourceContract) -> "Persons":
        """Everyone who was erased from a source, or is about to be; ErasureError where they could not be recognised."""
        found = erasures.read(lake, contract.name, erasures.LAKE)
        columns = {one.column for one in found}
        if lost := sorted(columns - set(contract.columns)):
            raise ErasureError(
                f"keys were erased from column '{lost[0]}' of source '{contract.name}', which its contract does not have any more: "
                "declare it again, nullable if need be, so that they stay out"
            )
        digests = {name: frozenset(one.digest for one in found if one.column == name) for name in columns}
        return cls(contract, digests, secret_of(lake) if found else b"")

    @classmethod
    def one(cls, contract: SourceContract, column: str, digest: str, secret: bytes) -> "Persons":
        return cls(contract, {column: frozenset([digest])}, secret)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def among(self, table: pa.Table) -> pa.Array:
        """Per row, whether a column holds an erased key; columns that the table lacks hold none."""
        found = pa.repeat(pa.scalar(value=False), table.num_rows)
        for name in self.digests:
            if name in table.column_names:
                found = pc.or_(found, self.in_values(name, table[name]))
        return found

    def in_values(self, column: str, values: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Per value of the column's type, whether it is an erased key."""
        texts = values.cast(pa.string())
        plain = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        packed = plain.dictionary_encode()
        known = pa.array([self.is_key(column, text) for text in packed.dictionary.to_pylist()], pa.bool_())
        return pc.fill_null(known.take(packed.indices), fill_value=False)

    def in_row(self, raw: str) -> bool:
        """Whether a refused row, as quarantine keeps it, holds an erased key in its column; one that is no row, in any of its words."""
        try:
            pairs = json.loads(raw, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            return self.in_line(raw)
        if not isinstance(pairs, _Pairs):
            return self.in_line(raw)
        return any(self.is_key(name, text) for name, value in pairs if name in self.digests for text in _texts(value))

    def in_line(self, line: str) -> bool:
        """Whether any field, quoted text or word of a line is an erased key: where columns cannot be told apart, all of them count."""
        form = self.contract.format
        fields: list[str] = []
        try:
            fields = next(csv.reader([line], delimiter=form.delimiter, quotechar=form.quote or None), [])
        except csv.Error:
            fields = line.split(form.delimiter)
        texts = {*fields, *line.split(form.delimiter), *WORDS.findall(line)}
        texts |= {one or other for one, other in QUOTED.findall(line)}
        return any(self._is_anyone(text) for text in texts)

    def redacted(self, text: str, *, words: bool = False) -> str:
        """A message without erased keys: those in what it quotes, and `words` everywhere."""
        text = QUOTED.sub(lambda found: self._redacted_quote(found[0], found[1] or found[2] or ""), text)
        return self._redacted_words(text) if words else text

    def _redacted_quote(self, whole: str, inner: str) -> str:
        return whole.replace(inner, GONE) if self._is_anyone(inner) else self._redacted_words(whole)

    def _redacted_words(self, text: str) -> str:
        return WORDS.sub(lambda found: GONE if self._is_anyone(found[0]) else found[0], text)

    def _is_anyone(self, text: str) -> bool:
        return any(self.is_key(name, text) for name in self.digests)

    def is_key(self, column: str, text: str | None) -> bool:
        """Whether a text is an erased key of a column, however it is spelled: 2457.0 is refused as a whole number, and is a key all the same."""
        if text is None or column not in self.digests:
            return False
        plain, known = text.strip(), self.digests[column]
        if self._digest(column, plain) in known:
            return True
        typed = self._typed[column](_whole(plain) if self.contract.columns[column].type == "int64" else plain)
        return typed is not None and self._digest(column, str(typed)) in known

    @cached_property
    def _typed(self) -> dict[str, Any]:
        """Readers of the columns' types: 02457 is 2457."""
        return {name: reader(self.contract.columns[name], "UTC") for name in self.digests}

    def _digest(self, column: str, text: str) -> str:
        return digest_of(self.secret, self.contract.name, column, text)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every key that it has, also those that occur twice."""


def _whole(text: str) -> str:
    """A decimal text that is a whole number, without its fraction and exponent; any other text as it is."""
    number = Decimal(text) if DECIMAL.fullmatch(text) else None
    return text if number is None or number != number.to_integral_value() else str(int(number))


def _texts(value: object) -> Iterator[str]:
    """Every plain value in a JSON value, as text."""
    if isinstance(value, _Pairs):
        value = [one for _, one in value]
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))
    elif value is not None:
        yield str(value)


def digest_of(secret: bytes, source: str, column: str, text: str) -> str:
    """A keyed digest: another one for each source and column, so that persons cannot be followed from one to the other."""
    return hmac.digest(secret, f"{source}\0{column}\0{text}".encode(errors="surrogatepass"), hashlib.sha256).hex()


def key_digest(secret: bytes, contract: SourceContract, column: str, value: str) -> str:
    """The digest of a key as a person writes it; ErasureError where the column is not personal or the value is none of its type."""
    require_personal(contract, column)
    typed = reader(contract.columns[column], "UTC")(value.strip())
    if typed is None or not value.strip():
        raise ErasureError(
            f"the value is no {contract.columns[column].type}, which column '{column}' of source '{contract.name}' holds"
        )
    return digest_of(secret, contract.name, column, str(typed))


def require_personal(contract: SourceContract, column: str) -> None:
    """ErasureError where the contract does not declare the column to be a person's key."""
    if column not in contract.personal:
        known = ", ".join(contract.personal) or "none"
        raise ErasureError(
            f"column '{column}' of source '{contract.name}' is not declared as a person's key (declared: {known}): add it to `personal` in its contract"
        )


def spelled(persons: Persons, column: str, values: Iterable[pa.ChunkedArray]) -> list[Any]:
    """The values by which a table holds an erased key: with blanks around it, there can be several."""
    found: dict[Any, None] = {}
    for one in values:
        unique = pc.unique(one)
        found.update(dict.fromkeys(unique.filter(persons.in_values(column, unique)).to_pylist()))
    return list(found)
