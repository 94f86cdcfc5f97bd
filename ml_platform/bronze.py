"""Bronze: the table of a source as it stands on disk, with the columns that drift has added to it.

Belongs here: which columns a source's bronze table has, and which new ones it takes. Does not belong here: which differences a
file may have (formats.matching), commits (ingestion).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from ml_platform.contracts import RESCUED, SourceContract
from ml_platform.formats import Limits, UnreadableError
from ml_platform.lake import Lake, TableSpec

DRIFT = {"ml_platform.drift": "added"}  # the mark in the Delta schema of a column that no contract declares
UNFIT = frozenset(" ,;{}()\n\t=")  # what Delta allows in no name of a column


@dataclass
class Bronze:
    """The spec of a bronze table: the contract's columns and provenance, then added columns, which are nullable texts.

    The schema of the Delta table is the only memory of what was added. `new` columns are not on disk yet.
    """

    spec: TableSpec
    limits: Limits = field(default_factory=Limits)
    new: tuple[str, ...] = ()

    @classmethod
    def read(cls, lake: Lake, contract: SourceContract, limits: Limits) -> "Bronze":
        """From the table on disk, in its order, where there is one; columns stay when a source's drift mode changes."""
        base = contract.bronze_spec
        found = pa.schema(lake.table(base.name).schema().to_arrow()) if lake.exists(base.name) else base.schema
        added = [one.name for one in found if one.name not in base.schema.names and _is_marked(one)]
        if contract.drift == "rescue" and RESCUED not in added:
            added.append(RESCUED)
        known = {one.name: one for one in base.schema} | {name: _added(name) for name in added}
        order = dict.fromkeys([*(name for name in found.names if name in known), *known])
        new = tuple(name for name in added if name not in found.names)
        return cls(replace(base, schema=pa.schema([known[name] for name in order])), limits, new)

    def admit(self, names: Sequence[str], rows: int) -> None:
        """Take columns at the end, before `store` puts them on disk; UnreadableError, and none of them, where one does not fit."""
        known = self.spec.schema.names
        fresh = [name for name in names if name not in known]
        taken = [name.lower() for name in (*known, RESCUED, *fresh)]
        if unfit := [name for name in fresh if not name or UNFIT.intersection(name) or taken.count(name.lower()) > 1]:
            raise UnreadableError(
                "unexpected_columns",
                f"columns {unfit[:20]} are new and cannot be added (no name, one of {sorted(UNFIT)!r} in it, or but for its case "
                "the name of another column): rename them, declare them, or set `drift: rescue`",
                rows,
            )
        if fresh:
            self.limits.require_columns(len(known) + len(fresh), "with its new columns the table has", rows)
            schema = pa.schema([*self.spec.schema, *(_added(name) for name in fresh)])
            self.spec, self.new = replace(self.spec, schema=schema), (*self.new, *fresh)

    def store(self, lake: Lake) -> None:
        """Make the table, or add its new columns, in a commit of their own: without rows they change nothing that a reader sees."""
        if self.new:
            lake.migrate(self.spec)
        lake.ensure(self.spec)
        self.new = ()


def _added(name: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata=DRIFT)


def _is_marked(column: pa.Field) -> bool:
    return bool(column.type == pa.string() and (column.metadata or {}).get(b"ml_platform.drift"))


def conformed(table: pa.Table, spec: TableSpec) -> pa.Table:
    """Rows in the table's columns: those of before it was widened have no value in what came later."""
    if table.column_names == spec.schema.names:
        return table
    columns = [
        table[one.name] if one.name in table.column_names else pa.nulls(table.num_rows, one.type) for one in spec.schema
    ]
    return pa.table(columns, schema=spec.schema)
