"""A database: statements of a pull over one consistent look at it, and its errors in words without secrets.

Belongs here: the only code that touches SQLAlchemy. Does not belong here: files and windows, the URL's place (settings).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus
from zoneinfo import ZoneInfo

import pyarrow as pa
from pydantic import SecretStr

from ml_platform.contracts import SourceContract
from ml_platform.database_pull import Pull
from ml_platform.pull.typed import array_of
from ml_platform.pull.windows import instant_of
from ml_platform.transient import Passing

if TYPE_CHECKING:
    from sqlalchemy import ColumnClause, ColumnElement, Connection, Engine, FromClause, Select
    from sqlalchemy.exc import SQLAlchemyError

BATCH = 1 << 15
VARIABLE = "ML_PLATFORM_DATABASES"
# one look for all statements of a pull; other databases keep their default, in which the bounds of a window hold as well
SNAPSHOTS: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    "mysql": {"isolation_level": "REPEATABLE READ"},
    "mariadb": {"isolation_level": "REPEATABLE READ"},
    "oracle": {"isolation_level": "SERIALIZABLE"},
}
# what another attempt may find gone: connections, resources, conflicts (classes and codes of SQLSTATE)
PASSING_STATES = ("08", "40001", "40P01", "53", "57P01", "57P02", "57P03")
PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED")
REFUSALS = ("authentication failed", "does not exist")  # some drivers have no code for them
NO_SECRETS = ("host", "port", "driver", "charset", "sslmode", "connect_timeout", "application_name")  # in a URL's query


class PullError(RuntimeError):
    """A pull that cannot be; names source, database, and the way out, and no secret."""


class PassingError(PullError, Passing):
    """One that may be gone in a moment."""


@dataclass(frozen=True)
class Database:
    """One of the databases of the settings, asked for one source."""

    name: str
    url: SecretStr
    contract: SourceContract

    @property
    def place(self) -> str:
        return f"source '{self.contract.name}', database '{self.name}'"

    @contextmanager
    def look(self) -> Iterator["Look"]:
        """A consistent look at the source; PullError, or PassingError where another attempt may do."""
        engine = self._engine()
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with engine.execution_options(**SNAPSHOTS.get(engine.dialect.name, {})).connect() as connection:
                yield Look(connection, self)
        except SQLAlchemyError as why:
            raise self._in_words(why) from None
        finally:
            engine.dispose()

    def _engine(self) -> "Engine":
        try:
            from sqlalchemy import create_engine
            from sqlalchemy.exc import SQLAlchemyError
            from sqlalchemy.pool import NullPool
        except ImportError:
            raise PullError(f"{self.place}: SQLAlchemy is missing: pip install 'ml-platform[sql]'") from None
        try:
            return create_engine(self.url.get_secret_value(), poolclass=NullPool)
        except ImportError as why:
            raise PullError(
                f"{self.place}: the driver {why.name} that its URL names is not installed: install it"
            ) from None
        except (SQLAlchemyError, ValueError, TypeError) as why:
            raise PullError(
                f"{self.place}: its URL in {VARIABLE} cannot be used ({type(why).__name__}): "
                "write it as dialect+driver://user:password@host:port/database"
            ) from None

    def _in_words(self, why: "SQLAlchemyError") -> PullError:
        from sqlalchemy.exc import OperationalError

        origin = getattr(why, "orig", None)
        said = self._without_secrets(str(origin or type(why).__name__).strip().split("\n")[0])
        if _passes(why):
            return PassingError(
                f"{self.place}: the database does not answer ({said}): check that it runs, and its URL in {VARIABLE}"
            )
        if isinstance(why, OperationalError) and any(one in said for one in REFUSALS):
            return PullError(f"{self.place}: the database refuses ({said}): check its URL in {VARIABLE}")
        return PullError(
            f"{self.place}: the database cannot do it ({said}): check {origin_of(self.pull)}, the columns and the watermark of the contract"
        )

    def _without_secrets(self, text: str) -> str:
        """Drivers repeat parts of the URL."""
        from sqlalchemy import make_url

        url = make_url(self.url.get_secret_value())
        hidden = [one for name, one in url.query.items() if name.lower() not in NO_SECRETS]
        given = [value for one in hidden for value in ([one] if isinstance(one, str) else one)]
        secrets = [self.url.get_secret_value(), *([str(url.password)] if url.password else []), *given]
        for secret in sorted({form for one in secrets for form in (one, quote(one), quote_plus(one))}, key=len)[::-1]:
            text = text.replace(secret, "***") if secret else text
        return text

    @property
    def pull(self) -> Pull:
        assert self.contract.pull
        return self.contract.pull


@dataclass(frozen=True)
class Look:
    """One transaction that reads a source."""

    connection: "Connection"
    database: Database

    @property
    def pull(self) -> Pull:
        return self.database.pull

    @property
    def contract(self) -> SourceContract:
        return self.database.contract

    def newest(self, limit: int | None) -> int | None:
        """The greatest watermark, `limit` at most; None where there is no row. PullError where rows cannot be told apart by it."""
        from sqlalchemy import func, select

        self._require_columns()
        self._require_watermarks()
        value = None if self._greatest is None else self._mark(self._greatest)
        if value is None or limit is None or value <= limit:
            return value
        found = select(func.max(self._watermark())).select_from(self._origin())
        found = found.where(self._watermark() <= self._bound(limit))
        return None if (below := self.connection.execute(found).scalar()) is None else self._mark(below)

    @cached_property
    def _greatest(self) -> Any:
        """The greatest watermark as the driver gives it: with a zone, without one, as a number."""
        from sqlalchemy import func, select

        return self.connection.execute(select(func.max(self._watermark())).select_from(self._origin())).scalar()

    def _mark(self, found: Any) -> int:
        """A watermark as a whole number."""
        column = self.contract.columns[self.pull.watermark]
        wanted = {"int64": (int,), "timestamp": (datetime, str) if self._is_sqlite else (datetime,)}[column.type]
        values = array_of([found], column, self._timezone)
        if type(found) not in wanted or values.type != column.arrow:
            raise PullError(
                f"{self.database.place}: the watermark '{self.pull.watermark}' is declared as {column.type}, and "
                f"{origin_of(self.pull)} has {type(found).__name__} there: declare another column, or cast it in a query"
            )
        return int(values.cast(pa.int64())[0].as_py())

    def _bound(self, value: int) -> "ColumnElement[Any]":
        """A watermark as a bound value of the column's own kind."""
        from sqlalchemy import BigInteger, DateTime, literal

        if self.contract.columns[self.pull.watermark].type == "int64":
            return literal(value, BigInteger())
        instant = instant_of(value)
        if isinstance(self._greatest, datetime) and self._greatest.tzinfo:
            return literal(instant, DateTime(timezone=True))
        return literal(instant.astimezone(ZoneInfo(self._timezone)).replace(tzinfo=None), DateTime())

    @property
    def _timezone(self) -> str:
        return self.contract.time.timezone if self.contract.time else "UTC"

    @property
    def _is_sqlite(self) -> bool:
        """It has no type for times: they are texts in SQLAlchemy's form."""
        return self.connection.dialect.name == "sqlite"

    def count(self, start: int | None, end: int, *, after: bool = False) -> int:
        """Rows from watermark `start` (after it, where asked so) to `end`, both included."""
        from sqlalchemy import func, select

        where = self._between(start, end, after=after)
        return int(self.connection.execute(select(func.count()).select_from(self._origin()).where(*where)).scalar_one())

    def rows(self, start: int | None, end: int) -> Iterator[Sequence[Sequence[Any]]]:
        """Batches of rows by watermark, then by the tie breaker, in the order of the contract's columns; streamed where the driver can."""
        from sqlalchemy import column, select

        ties = self.pull.tie_breaker or self.contract.key
        order = [self._watermark(), *(column(name) for name in ties if name != self.pull.watermark)]
        columns: list[ColumnClause[Any]] = [column(name) for name in self.contract.columns]
        statement = select(*columns).select_from(self._origin()).where(*self._between(start, end)).order_by(*order)
        with self.connection.execute(statement, execution_options={"yield_per": BATCH}) as result:
            for batch in result.partitions():
                yield [tuple(row) for row in batch]

    def _origin(self) -> "FromClause":
        from sqlalchemy import column, table, text

        columns: list[ColumnClause[Any]] = [column(name) for name in self.contract.columns]
        if self.pull.table:
            schema, _, name = self.pull.table.rpartition(".")
            return table(name, *columns, schema=schema or None)
        assert self.pull.query
        # a colon is no parameter here, and a comment at the end must not swallow what follows
        query = self.pull.query.strip().rstrip(";").replace(":", "\\:")
        return text(f"{query}\n").columns(*columns).subquery("pulled")

    def _watermark(self) -> "ColumnElement[Any]":
        from sqlalchemy import column

        return column(self.pull.watermark)

    def _between(self, start: int | None, end: int, *, after: bool = False) -> list["ColumnElement[bool]"]:
        watermark = self._watermark()
        upper = [watermark <= self._bound(end)]
        if start is None:
            return upper
        return [*upper, watermark > self._bound(start) if after else watermark >= self._bound(start)]

    def _require_columns(self) -> None:
        from sqlalchemy import literal_column, select

        statement: Select[Any] = select(literal_column("*")).select_from(self._origin()).limit(0)
        found = list(self.connection.execute(statement).keys())
        if missing := [name for name in self.contract.columns if name not in found]:
            raise PullError(
                f"{self.database.place}: {origin_of(self.pull)} has no column {', '.join(map(repr, missing))}: "
                f"correct the contract, or select it under that name; there are {', '.join(found)}"
            )

    def _require_watermarks(self) -> None:
        from sqlalchemy import literal, select

        without = select(literal(1)).select_from(self._origin()).where(self._watermark().is_(None)).limit(1)
        if self.connection.execute(without).first():
            raise PullError(
                f"{self.database.place}: {origin_of(self.pull)} has rows without a value in the watermark '{self.pull.watermark}', "
                "which would never be read: fill it, or leave these rows out with a query"
            )


def origin_of(pull: Pull) -> str:
    """Where the rows come from, in words."""
    return f"table '{pull.table}'" if pull.table else "the query of the contract"


def _passes(why: "SQLAlchemyError") -> bool:
    """Whether another attempt may find it gone: a closed list."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if not isinstance(why, DBAPIError):
        return False
    state, of_sqlite = getattr(why.orig, "sqlstate", None), getattr(why.orig, "sqlite_errorname", None)
    if why.connection_invalidated:
        return True
    if state or of_sqlite:
        return (state or "").startswith(PASSING_STATES) or (of_sqlite or "").startswith(PASSING_SQLITE)
    # without a code: the connection was never made, or was lost
    return isinstance(why, OperationalError | InterfaceError) and not any(one in str(why.orig) for one in REFUSALS)
