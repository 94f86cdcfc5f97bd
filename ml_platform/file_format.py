"""File formats as contracts declare them.

Belongs here: how a source's files are written, and which declarations contradict each other. Does not belong here: opening
files (formats).
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from ml_platform.columns import Strict

OF_CSV = ("delimiter", "quote", "encoding", "decimal", "header")


class Format(Strict):
    """How a file is written. All but `type` and `compression` is for CSV alone; JSON lines are UTF-8 with a point in numbers."""

    type: Literal["csv", "jsonl", "parquet"]
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1, description="empty: no cell is quoted")
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    header: bool = Field(default=True, description="false: columns come in the contract's order")
    compression: Literal["auto", "none", "gzip"] = Field(
        default="auto", description="auto: gzip where the name ends in .gz"
    )

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> Self:
        changed = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.type != "csv" and (wrong := changed.intersection(OF_CSV)):
            raise ValueError(f"{', '.join(sorted(wrong))}: for CSV alone, and the type is {self.type}: leave it out")
        if self.type == "parquet" and self.compression == "gzip":
            raise ValueError("compression: a Parquet file is compressed inside: leave it out")
        return self

    @model_validator(mode="after")
    def _marks_are_apart(self) -> Self:
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if not mark.isascii() or mark in ("\n", "\r"):
                raise ValueError(f"{name}: {mark!r} cannot part or quote cells: use one ASCII character of a line")
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.quote!r}")
        return self

    def is_gzip(self, name: str) -> bool:
        """Whether a file of this name is gzip."""
        return self.compression == "gzip" or (self.compression == "auto" and name.lower().endswith(".gz"))
