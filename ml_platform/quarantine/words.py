"""Words: what a rule asks for, and why a refusal cannot be released.

Belongs here: sentences for people, and the questions behind them. Does not belong here: deciding (desk), applying rules (rules, fates).
"""

from dataclasses import dataclass
from functools import cached_property

from ml_platform.columns import Column
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake.ledger import LOADED, QUARANTINED, LedgerRow
from ml_platform.landing import list_drops
from ml_platform.quarantine.records import BRONZE, Record, read_records
from ml_platform.settlement import InForce


def rule_in_words(rule: str, contract: SourceContract) -> str:
    """What today's contract asks for where this rule was broken."""
    kind, _, name = rule.partition(":")
    if name:
        return _of_column(kind, name, contract.columns.get(name))
    for lookup in contract.lookups:
        if lookup.missing == rule:
            return f"{', '.join(lookup.match)} must be known to source '{lookup.source}'"
    return _OF_FILES.get(rule, f"rule '{rule}'").format(
        columns=", ".join(contract.columns),
        path=contract.path,
        form=contract.format.type,
        share=f"{contract.max_quarantined:.0%}",
    )


_OF_FILES = {
    "malformed_row": "a line must have as many fields as the header",
    "unknown_format": "a file's name must match '{path}'",
    "outside_calendar": "a file's day must not lie after the calendar",
    "missing_columns": "a file must have all columns: {columns}",
    "unexpected_columns": "a file must have these columns, each once, and no others: {columns}",
    "wrong_types": "columns must hold texts, numbers or times",
    "empty_file": "a file must not be empty",
    "unreadable_csv": "a file must be readable as {form}",
    "unreadable_parquet": "a file must be readable as {form}",
    "unreadable": "a file must be readable",
    "vanished": "a file must stay until it is read",
    "too_many_refused": "at most {share} of a file's rows may be refused",
}


def _of_column(kind: str, name: str, column: Column | None) -> str:
    if column is None:
        return f"{name} is no column of today's contract"
    unit = f" {column.unit}" if column.unit else ""
    limits = {
        "impossible": "must not be beyond 10^15, unless `min` or `max` allow it",
        "far_from_its_day": "must not lie farther from the file's day than `late_days` and `early_days` say",
        "nul_in": "must not hold the character NUL",
        "empty": "must not be empty" if not column.nullable else None,
        "below_minimum": None if column.min is None else f"must be at least {column.min:g}{unit}",
        "above_maximum": None if column.max is None else f"must be at most {column.max:g}{unit}",
        "not_allowed": f"must be one of {', '.join(column.allowed)}" if column.allowed else None,
        f"not_{column.type}": f"must be a value of type {column.type}",
    }
    return f"{name} {limits.get(kind) or f'is no longer held to {kind} by the contract'}"


@dataclass(frozen=True)
class Situation:
    """What decides whether refusals of a source can be released: its contract and ledger, and which versions of its files lie in landing."""

    door: Ingestion

    @property
    def contract(self) -> SourceContract:
        return self.door.contract

    @cached_property
    def known(self) -> dict[str, Record]:
        return {one.quarantine_id: one for one in read_records(self.door.lake, self.contract.name)}

    @cached_property
    def in_force(self) -> InForce:
        return InForce.read(self.door.lake, self.contract)

    @cached_property
    def landed(self) -> set[str]:
        return {drop.drop_id for drop in list_drops(self.door.landing, self.contract)}

    def file_of(self, record: Record) -> Record | None:
        """The open refusal of a row's whole file."""
        whole = (one for one in self.known.values() if one.drop_id == record.drop_id and one.whole and one.open)
        return None if record.whole else next(whole, None)

    def newer(self, drop: LedgerRow) -> LedgerRow | None:
        """What is in force in a drop's place and came after it."""
        places = (
            self.in_force.current.values()
            if self.contract.kind == "snapshot"
            else [self.in_force.current.get(drop.path)]
        )
        return next((one for one in places if one and one.first_seen_at > drop.first_seen_at), None)


def no_decision(record: Record, situation: Situation) -> str | None:
    """Why nothing can be decided about a refusal alone; None where it can."""
    if record.stage == BRONZE and (whole := situation.file_of(record)):
        return f"its file is refused as a whole: decide about the file, {whole.quarantine_id}"
    return None


def no_release(record: Record, situation: Situation) -> str | None:
    """Why a refusal cannot be released; None where it can be tried."""
    if record.stage != BRONZE:
        return (
            f"there is nothing to join it with: {rule_in_words(record.rule, situation.contract)}, and it is not. "
            "It leaves quarantine by itself with the first run after it is; or discard it"
        )
    if record.drop is None:
        return "the ledger does not know its file: run `ml-platform run ingest`"
    return _no_file(record.drop, situation) if record.whole else _no_row(record.drop)


def options(record: Record, situation: Situation) -> list[str]:
    """What can be done about a refusal, in words with commands."""
    if not record.open:
        return [f"nothing: it was {record.state} by {record.decided_by} ({record.reason})"]
    if alone := no_decision(record, situation):
        return [alone]
    discard = f'keep it out for good: `ml-platform quarantine discard {record.quarantine_id} --reason "..."`'
    if why := no_release(record, situation):
        return [f"it cannot be released by hand: {why}", discard]
    again = f'let it through the door again, once its cause is removed: `ml-platform quarantine release {record.quarantine_id} --reason "..."`'
    correct = "with a corrected value: add `--set COLUMN=VALUE`"
    return [again, *([] if record.whole else [correct]), discard]


def _no_row(drop: LedgerRow) -> str | None:
    return None if drop.state == LOADED else f"its file is {drop.state} ({drop.reason}): what is in force now rules"


def _no_file(drop: LedgerRow, situation: Situation) -> str | None:
    if drop.state != QUARANTINED:
        return f"its file was settled again since: it is {drop.state}"
    if newer := situation.newer(drop):
        return f"{newer.path} was loaded after it (drop {newer.drop_id}): the newer version rules"
    if drop.drop_id not in situation.landed:
        return f"this version of {drop.path} does not lie in landing any more: land the file again"
    return None
