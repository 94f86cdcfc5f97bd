"""Succession: rows of a replaced drop go over to the oldest duplicate that has its bytes.

Belongs here: what an heir takes over, and from where. Does not belong here: which drops are replaced, and who is an heir (settlement); the commit (ingestion).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.bronze import Bronze, conformed
from ml_platform.lake import Lake, decisions
from ml_platform.lake.decisions import RELEASED
from ml_platform.lake.ledger import LOADED, LedgerRow
from ml_platform.settlement import Batch, InForce, Settled, refusals


@dataclass(frozen=True)
class Succession:
    """What becomes of duplicates whose twin a run replaces. Their files may be gone from landing: nothing is read again."""

    lake: Lake
    bronze: Bronze
    run_id: str

    def complete(self, batch: Batch, in_force: InForce) -> Batch:
        """The batch with the heirs of drops that it replaces: at its end, because it may replace a duplicate, too, or bring the bytes anew."""
        for old in batch.replaced_rows():
            for one in self._settled(old, in_force, batch):
                in_force.put(one.row)
                batch.add(one)
        return batch

    def _settled(self, old: LedgerRow, in_force: InForce, batch: Batch) -> Iterator[Settled]:
        """The oldest duplicate with the rows, and the others as its duplicates."""
        first, *others = in_force.duplicates_of(old) or (None,)
        if first is None:
            return
        yield self._inherited(old, self._again(first, in_force), batch)
        for other in others:
            yield Settled(replace(self._again(other, in_force), reason=f"same bytes as {first.path}"))

    def _again(self, row: LedgerRow, in_force: InForce) -> LedgerRow:
        return replace(row, attempt=row.attempt + 1, run_id=self.run_id, settled_at=in_force.clock.next())

    def _inherited(self, old: LedgerRow, heir: LedgerRow, batch: Batch) -> Settled:
        """The heir in the old drop's place: with the rows as they stand, and since when they are known, released and erased ones included."""
        row = replace(
            heir,
            state=LOADED,
            reason=None,
            rows_in=old.rows_in,
            rows_loaded=old.rows_loaded,
            rows_quarantined=old.rows_quarantined,
            rows_duplicate=0,
            rows_erased=old.rows_erased,
        )
        rows, refused = self._held(old, batch)
        at = rows.column_names.index("drop_id")
        rows = rows.set_column(at, rows.schema.field(at), pa.repeat(row.drop_id, rows.num_rows))
        return Settled(row, rows, refusals(row, refused.select(["row_number", "rule", "value", "raw"]).to_pylist()))

    def _held(self, old: LedgerRow, batch: Batch) -> tuple[pa.Table, pa.Table]:
        """Rows and refusals of a drop: in the batch where it came into force just now, else in the lake."""
        own = next((one for one in reversed(batch.settled) if one.row.drop_id == old.drop_id), None)
        if own is not None and own.rows is not None and own.refused is not None:
            return own.rows, own.refused
        here = (pc.field("drop_day") == old.drop_day) & (pc.field("drop_id") == old.drop_id)
        left = (pc.field("drop_id") == old.drop_id) & (pc.field("stage") == "bronze") & (pc.field("state") != RELEASED)
        refused = decisions.refusals(self.lake, left & pc.field("row_number").is_valid())
        rows = conformed(self.lake.read(self.bronze.spec.name, where=here), self.bronze.spec)
        return rows.cast(self.bronze.spec.schema), refused
