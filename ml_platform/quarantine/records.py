"""Records: refused rows and files as a person sees them, with their file's ledger row and what was decided.

Belongs here: reading and finding them. Does not belong here: changing anything (desk).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from ml_platform.lake import Lake, decisions, ledger
from ml_platform.lake.decisions import OPEN
from ml_platform.lake.ledger import LedgerRow

BRONZE = "bronze"


class QuarantineError(ValueError):
    """What was asked of the quarantine cannot be done; says why and what can."""


@dataclass(frozen=True)
class Record:
    """One refused row, or file (`row_number` is None): where, why, what came, and what was decided; `drop` is its ledger row."""

    quarantine_id: str
    source: str
    drop_id: str
    path: str
    stage: str
    row_number: int | None
    rule: str
    value: str | None
    raw: str | None
    state: str
    quarantined_at: datetime
    decided_by: str | None
    reason: str | None
    decided_at: datetime | None
    drop: LedgerRow | None

    @property
    def whole(self) -> bool:
        return self.row_number is None

    @property
    def open(self) -> bool:
        return self.state == OPEN

    @property
    def place(self) -> str:
        return self.path if self.whole else f"row {self.row_number} of {self.path}"


@dataclass(frozen=True)
class Selection:
    """Which records: those of ids (or their first letters), else all of a source, rule and state; None is any."""

    ids: tuple[str, ...] = ()
    source: str | None = None
    rule: str | None = None
    state: str | None = None

    def holds(self, record: Record) -> bool:
        asked = ((self.rule, record.rule), (self.state, record.state))
        return all(wanted is None or wanted == found for wanted, found in asked)

    def read(self, lake: Lake) -> list[Record]:
        """The records that are meant; QuarantineError where an id is unknown or fits several, and where nothing broke the rule."""
        if self.ids:
            return find(lake, self.ids)
        known = read_records(lake, self.source)
        rules = sorted({record.rule for record in known})
        if self.rule and self.rule not in rules:
            place = f" of source '{self.source}'" if self.source else ""
            raise QuarantineError(
                f"nothing{place} is in quarantine by rule '{self.rule}'; the rules there: {', '.join(rules) or 'none'}"
            )
        return [record for record in known if self.holds(record)]


def read_records(lake: Lake, source: str | None = None) -> list[Record]:
    """What was refused, by source, file and row. The log of decisions is asked itself: a table that a crash left behind shows no old state."""
    found = decisions.refusals(lake, None if source is None else pc.field("source") == source).to_pylist()
    sources = sorted({row["source"] for row in found})
    decided = {name: one for each in sources for name, one in decisions.of_source(lake, each).items()}
    drops = {row.drop_id: row for each in sources for row in ledger.of_source(lake, each)}
    made = [_record(row, drops.get(row["drop_id"])) for row in decisions.restated(found, decided)]
    return sorted(made, key=lambda one: (one.source, one.path, one.quarantined_at, one.row_number or 0, one.rule))


def find(lake: Lake, ids: Sequence[str]) -> list[Record]:
    """Records by id, each once; the first letters do where they fit one alone. QuarantineError where they fit none or several."""
    known = read_records(lake)
    found = {one.quarantine_id: one for text in ids for one in [_only(text, known)]}
    return list(found.values())


def _only(text: str, known: Sequence[Record]) -> Record:
    fitting = [one for one in known if text and one.quarantine_id.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    what = f"fits {len(fitting)} of them: write more of it" if fitting else "is none of them"
    raise QuarantineError(
        f"nothing in quarantine is meant by id '{text}', it {what}; see `ml-platform quarantine list`"
    )


def _record(row: dict[str, Any], drop: LedgerRow | None) -> Record:
    own = {name: row[name] for name in Record.__dataclass_fields__ if name != "drop"}
    return Record(**own, drop=drop)
