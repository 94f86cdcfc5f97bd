"""Columns of a contract: their names, types and bounds.

Belongs here: what can be said of one column, and the base of all parts of a contract. Does not belong here: how columns make a source (contracts).
"""

import re
from functools import cached_property
from typing import Annotated, Self
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from ml_platform.lake.schemas import INSTANT

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
DECIMAL = re.compile(r"^decimal\((\d{1,2}),(\d{1,2})\)$")
PLAIN_TYPES = {
    "int64": pa.int64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": INSTANT,
}


def _identifier(text: str) -> str:
    if not NAME.match(text):
        raise ValueError(f"'{text}' is no name: use lower case letters, digits and _, a letter first")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError):
        raise ValueError(f"'{text}' is no IANA time zone such as Europe/Paris") from None
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
TimeZone = Annotated[str, AfterValidator(_timezone)]


class Strict(BaseModel):
    """A part of a contract: unknown keys are refused, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """One column: its type, whether it may be empty, and the values that are allowed in it."""

    type: str
    description: str = ""
    unit: str = ""
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] = ()

    @cached_property
    def arrow(self) -> pa.DataType:
        if found := DECIMAL.match(self.type.replace(" ", "")):
            return pa.decimal128(int(found[1]), int(found[2]))
        return PLAIN_TYPES[self.type]

    @model_validator(mode="after")
    def _bounds_are_for_numbers(self) -> Self:
        if self.type in PLAIN_TYPES and self.type != "int64" and (self.min, self.max) != (None, None):
            raise ValueError(f"min and max are for numbers, and the type is {self.type}: leave them out")
        return self

    @model_validator(mode="after")
    def _type_is_known(self) -> Self:
        found = DECIMAL.match(self.type.replace(" ", ""))
        if self.type not in PLAIN_TYPES and not found:
            raise ValueError(
                f"type '{self.type}' is unknown: use {', '.join(PLAIN_TYPES)} or decimal(p,s); money and measures are decimal"
            )
        if found and not 0 <= int(found[2]) < int(found[1]) <= 38:
            raise ValueError(
                f"type '{self.type}' cannot be: decimal(p,s) has up to 38 digits, fewer than p of them after the point"
            )
        return self
