"""Source contracts: what a declared feed looks like, read from YAML and refused where it is unclear.

Belongs here: keys, times, paths and rules of a source, and how sources become a panel. Does not belong here: a single column (columns),
reading YAML (contract_files) or drops (formats), applying rules (rules, preparation) or how to forecast (forecasting.config).
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from ml_platform.columns import Column, Identifier, Strict, TimeZone
from ml_platform.database_pull import Pull
from ml_platform.delivery import Delivery
from ml_platform.expect import Expect
from ml_platform.file_format import Format
from ml_platform.lake.schemas import INSTANT
from ml_platform.lake.store import TableSpec

RESERVED = ("drop_id", "drop_day", "row_number", "ingested_at", "month", "fate", "rule", "_rescued")
PROVENANCE = {"drop_id": pa.string(), "drop_day": pa.date32(), "row_number": pa.int64(), "ingested_at": INSTANT}
RESCUED = "_rescued"


class ContractError(ValueError):
    """A configuration file is missing, unreadable or contradicts itself."""


class EventTime(Strict):
    """The column that says when a row happened, the zone of texts without an offset, and the zone of the business day."""

    column: str
    timezone: TimeZone = "UTC"
    business_timezone: TimeZone = "UTC"
    late_days: int = Field(default=366, ge=0, description="days that a row may lie before its drop day")
    early_days: int = Field(default=31, ge=0, description="days that a row may lie after its drop day")


class Validity(Strict):
    """First and last date (both included) for which a row holds."""

    start: str
    end: str


class Condition(Strict):
    """A named condition on one column: it is null, or it is one of some values."""

    rule: Identifier
    column: str
    null: bool = False
    values: tuple[str | int, ...] = ()


class Lookup(Strict):
    """Columns taken from a snapshot source; rows that find nothing there are quarantined under the rule `missing`."""

    source: Identifier
    match: tuple[str, ...]
    take: tuple[str, ...]
    missing: Identifier


class Duplicates(Strict):
    """How rows with one key become one: the newest row, with the greatest value of each column in `greatest`."""

    greatest: tuple[str, ...] = ()


class Deletes(Strict):
    """The values of a column by which a row takes its key away instead of bringing one."""

    column: str
    values: tuple[bool | int | str, ...] = Field(min_length=1)


class Covariate(Strict):
    """A known-future column of the panel, made from the rows that hold for a series on a date.

    share: the share of the lookup's members of the series whose `column` is not one of `unless`; mean: the mean of `column`.
    """

    name: Identifier
    kind: Literal["share", "mean"]
    column: str
    unless: tuple[str, ...] = ()


class Panel(Strict):
    """What a source adds to the panel: the target (with its weight), or covariates.

    `scope`: key columns; where a source has no row at all for a value of them, its covariates are missing and not 0.
    """

    target: bool = False
    covariates: tuple[Covariate, ...] = ()
    scope: tuple[str, ...] = ()


class SourceContract(Strict):
    """One declared feed. `{day}` in `path` is the drop day as YYYY-MM-DD, `*` any text without a slash."""

    name: Identifier
    kind: Literal["events", "snapshot"]
    description: str
    owner: str = Field(
        pattern=r"^team:[a-z][a-z0-9-]*$|^[^@\s]+@[^@\s]+$",
        description="team:name or an e-mail address, as Dagster takes it",
    )
    path: str
    format: Format
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    time: EventTime | None = None
    validity: Validity | None = None
    lookups: tuple[Lookup, ...] = ()
    exclude: tuple[Condition, ...] = ()
    notice: tuple[Condition, ...] = Field(default=(), description="conditions that are kept, and counted")
    duplicates: Duplicates = Duplicates()
    deletes: Deletes | None = Field(default=None, description="which rows take their key out of silver")
    drops_per_day: int = Field(default=1, ge=1, description="loaded drops that make a day complete")
    max_quarantined: float = Field(
        default=0.5, ge=0, le=1, description="share of a file's rows; where more are refused, the whole file is"
    )
    may_be_empty: bool = Field(default=False, description="whether a file without a row is loaded, and not refused")
    drift: Literal["freeze", "evolve", "rescue"] = Field(
        default="freeze", description="what a file with other columns than these becomes"
    )
    expect: Expect = Expect()
    landing: Delivery = Delivery()
    personal: tuple[str, ...] = Field(default=(), description="columns that hold a person's key, which can be erased")
    panel: Panel = Panel()
    pull: Pull | None = Field(default=None, description="where files come from if nobody lands them")

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        taken = [name for lookup in self.lookups for name in lookup.take]
        own = [
            *self.key,
            *(lookup_key for lookup in self.lookups for lookup_key in lookup.match),
            *self.duplicates.greatest,
        ]
        own += [self.time.column] if self.time else []
        own += [self.validity.start, self.validity.end] if self.validity else []
        own += [*(c.column for c in self.panel.covariates), *self.panel.scope]
        own += [self.deletes.column] if self.deletes else []
        own += self.personal
        for name in own:
            if name not in self.columns:
                raise ValueError(f"column '{name}' is used but not declared; declared are {', '.join(self.columns)}")
        for condition in (*self.exclude, *self.notice):
            if condition.column not in {*self.columns, *taken}:
                raise ValueError(
                    f"rule '{condition.rule}' needs column '{condition.column}', which is neither declared nor taken by a lookup"
                )
        for name in (*self.columns, *taken):
            if name in RESERVED or (name == "date" and not self._is_own_date(name)):
                raise ValueError(f"column '{name}' is reserved for what the platform adds to each row: rename it")
        if doubled := {name for name in taken if name in self.columns or taken.count(name) > 1}:
            raise ValueError(f"lookups take {sorted(doubled)}, which the source or another lookup has already")
        return self

    @model_validator(mode="after")
    def _persons_can_be_erased(self) -> Self:
        for name in self.personal:
            if self.columns[name].type not in ("int64", "string"):
                raise ValueError(f"personal: column '{name}' is no key of a person: its type is int64 or string")
            if name in (*self.panel.scope, *(one.column for one in self.panel.covariates)):
                raise ValueError(
                    f"personal: column '{name}' is part of the panel, which is kept for ever: leave it out there"
                )
        return self

    @model_validator(mode="after")
    def _deletes_can_be_told(self) -> Self:
        if self.deletes is None:
            return self
        if self.deletes.column in self.key:
            raise ValueError(
                f"deletes: column '{self.deletes.column}' is part of the key: a delete would meet no other row"
            )
        wanted = {"string": str, "int64": int, "bool": bool}.get(self.columns[self.deletes.column].type)
        if odd := [value for value in self.deletes.values if type(value) is not wanted]:
            kind = self.columns[self.deletes.column].type
            raise ValueError(f"deletes: {odd} are no values of column '{self.deletes.column}', whose type is {kind}")
        return self

    def _is_own_date(self, name: str) -> bool:
        """Whether a column is what the platform would put into `date` anyway."""
        dated = self.time.column if self.time else self.validity.start if self.validity else None
        return name == dated and self.columns[name].type == "date"

    @model_validator(mode="after")
    def _rows_have_an_identity(self) -> Self:
        times = [self.time.column] if self.time else [self.validity.start, self.validity.end] if self.validity else []
        for name in (*self.key, *times):
            if self.columns[name].nullable:
                raise ValueError(f"column '{name}' is part of the key or the time of a row: it cannot be nullable")
        for name in times:
            if self.columns[name].type not in (("timestamp", "date") if self.time else ("date",)):
                raise ValueError(
                    f"column '{name}' says when a row holds: its type is {'timestamp' if self.time else 'date'}"
                )
        if self.time and self.columns[times[0]].type == "date" and self.time.business_timezone != "UTC":
            raise ValueError(f"column '{times[0]}' is a date already: leave `business_timezone` out")
        return self

    @model_validator(mode="after")
    def _times_are_clear(self) -> Self:
        if self.kind == "events" and (self.time is None) == (self.validity is None):
            raise ValueError(
                "an events source declares either `time` (a row happened then) or `validity` (a row holds from, to)"
            )
        if self.kind == "events" and "{day}" not in self.path:
            raise ValueError("the path of an events source names its drop day: write {day} where it stands")
        return self

    @model_validator(mode="after")
    def _can_be_pulled(self) -> Self:
        if self.pull and (
            faults := list(self.pull.faults(self.kind, self.format, self.path, self.columns, self.landing))
        ):
            raise ValueError("; ".join(faults))
        return self

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Columns that name something and measure nothing."""
        matched = (name for lookup in self.lookups for name in lookup.match)
        return frozenset((*self.key, *matched, *self.panel.scope))

    @property
    def bronze(self) -> str:
        return f"raw_{self.name}"

    @property
    def silver(self) -> str:
        return f"{self.name}_history" if self.kind == "events" else f"{self.name}_current"

    @cached_property
    def path_pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\{day\}|\*)", self.path)
        known = {"{day}": r"(?P<day>\d{4}-\d{2}-\d{2})", "*": r"[^/]*"}
        return re.compile("^" + "".join(known.get(part, re.escape(part)) for part in parts) + "$")

    @cached_property
    def bronze_spec(self) -> TableSpec:
        columns = {name: column.arrow for name, column in self.columns.items()} | PROVENANCE
        by_day = ("drop_day",) if self.kind == "events" else ()
        return TableSpec(
            f"bronze/{self.bronze}",
            pa.schema(list(columns.items())),
            by_day,
            f"{self.description} As landed, with provenance.",
        )

    @cached_property
    def fingerprint(self) -> str:
        """Changes where the contract of its rows changes, not with how files arrive or when they are odd: silver tables made under another one are made anew."""
        return hashlib.sha256(self.model_dump_json(exclude={"expect", "landing", "pull"}).encode()).hexdigest()[:16]


class Contracts(Strict):
    """All sources of one configuration folder, checked against each other."""

    sources: tuple[SourceContract, ...]

    def __getitem__(self, name: str) -> SourceContract:
        for source in self.sources:
            if source.name == name:
                return source
        raise ContractError(f"no source is called '{name}'; declared are {', '.join(s.name for s in self.sources)}")

    @property
    def target(self) -> SourceContract:
        """The source that carries the target of the panel."""
        return next(source for source in self.sources if source.panel.target)

    @property
    def covariates(self) -> tuple[SourceContract, ...]:
        return tuple(source for source in self.sources if source.panel.covariates)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources have one name: {sorted(names)}")
        if sum(source.panel.target for source in self.sources) != 1:
            raise ValueError("exactly one source carries the target: set `panel: {target: true}` there")
        if self.target.time is None:
            raise ValueError(f"source '{self.target.name}' carries the target, so it needs `time`")
        for source in self.sources:
            for lookup in source.lookups:
                other = self[lookup.source]
                if set(lookup.match) != set(other.key):
                    raise ValueError(
                        f"source '{source.name}' looks up '{other.name}' by {list(lookup.match)}: its key is {list(other.key)}"
                    )
                lost = [c for c in (*lookup.match, *lookup.take) if c not in other.columns]
                if other.kind != "snapshot" or lost:
                    raise ValueError(
                        f"source '{source.name}' looks up '{other.name}', which must be a snapshot with the columns {lost or list(lookup.take)}"
                    )
        return self
