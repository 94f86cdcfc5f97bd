"""The clock of a source: when its drops are settled, one after the other, whatever the machine's clock says.

Belongs here: the order of settling, by which the newest row of a key wins. Does not belong here: times that only tell a person when something was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow.compute as pc

from ml_platform.lake import ledger
from ml_platform.lake.ledger import LedgerRow
from ml_platform.lake.store import Lake

NEVER = datetime.min.replace(tzinfo=UTC)
TICK = timedelta(microseconds=1)


@dataclass
class Clock:
    """Moments that are later than all before them, in the ledger and here; whoever asks for one holds the source's turn, or the lake alone."""

    newest: datetime = NEVER

    @classmethod
    def of(cls, lake: Lake, source: str) -> "Clock":
        """Going on from the ledger's newest row of a source."""
        return cls(pc.max(ledger.columns_of(lake, source, ["settled_at"])["settled_at"]).as_py() or NEVER)

    @classmethod
    def after(cls, rows: Iterable[LedgerRow]) -> "Clock":
        """The same, where the source's rows were read before."""
        return cls(max((row.settled_at for row in rows), default=NEVER))

    def next(self, moment: datetime | None = None) -> datetime:
        """`moment` (now, where none is given), or just after the newest one where it is not later than that."""
        self.newest = max(moment or datetime.now(UTC), self.newest + TICK)
        return self.newest
