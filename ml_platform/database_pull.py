"""Pulls from a database as contracts declare them.

Belongs here: what may be said of a pull, and which sources can have one. Does not belong here: pulling (pull), the URL of a
database (settings).
"""

from collections.abc import Iterator, Mapping
from typing import Self

from pydantic import Field, model_validator

from ml_platform.columns import Column, Identifier, Strict
from ml_platform.delivery import Delivery
from ml_platform.file_format import Format

COUNTED = ("int64", "timestamp")


class Pull(Strict):
    """Rows of a table or query that are read once their watermark is greater than what has landed before.

    `overlap`: seconds of a timestamp, numbers of an integer; `lag` in seconds, `every` in minutes.
    """

    database: Identifier
    table: str | None = Field(default=None, min_length=1, description="`name` or `schema.name`")
    query: str | None = Field(default=None, min_length=1, description="a SELECT, in the place of a table")
    watermark: str
    tie_breaker: tuple[str, ...] = Field(
        default=(), description="columns that order rows of one watermark; empty: the key"
    )
    overlap: int = Field(default=600, ge=0, le=10**12, description="how far back each pull looks again")
    lag: int = Field(default=0, ge=0, le=10**9, description="rows younger than this are left for a later pull")
    whole_days: bool = Field(default=False, description="whether only business days that are over are pulled")
    rows_per_file: int = Field(default=1_000_000, ge=1, description="rows of one landed file, about")
    every: int = Field(default=15, ge=1, description="minutes between two pulls")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("name where the rows come from: either `table` or `query`")
        return self

    def faults(
        self, kind: str, form: Format, path: str, columns: Mapping[str, Column], delivery: Delivery
    ) -> Iterator[str]:
        """Why a source of this kind, format, path, columns and delivery cannot be pulled."""
        if kind != "events":
            yield "pull: brings increments, and each delivery of a snapshot replaces all before it: make it `kind: events`"
        if form.type != "parquet":
            yield f"pull: writes Parquet, and the format is {form.type}: set `format: {{type: parquet}}`"
        if path.count("*") != 1 or not path.endswith(".parquet"):
            yield f"pull: writes what a file holds where `*` stands, and '{path}' has not exactly one: write for example rows_{{day}}_*.parquet"
        if delivery.complete != "file":
            yield f"pull: writes whole files and nothing beside them, so that `complete: {delivery.complete}` would wait for ever: leave it out"
        for name in (self.watermark, *self.tie_breaker):
            if name not in columns:
                yield f"pull: column '{name}' is used but not declared; declared are {', '.join(columns)}"
        if found := columns.get(self.watermark):
            yield from self._watermark_faults(found)

    def _watermark_faults(self, column: Column) -> Iterator[str]:
        if column.type not in COUNTED:
            yield f"pull: the watermark '{self.watermark}' is a {column.type}: it must be one of {', '.join(COUNTED)}"
        if column.nullable:
            yield f"pull: the watermark '{self.watermark}' cannot be nullable: a row without one would never be read"
        if (self.lag or self.whole_days) and column.type != "timestamp":
            yield f"pull: lag and whole_days are about time, and the watermark '{self.watermark}' is a {column.type}: leave them out"
