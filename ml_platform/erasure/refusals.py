"""Refusals of erased persons: what quarantine, its decisions and the alerts hold of them.

Belongs here: finding and removing it there. Does not belong here: bronze and the ledger (eraser), new refusals (door).
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.erasure.persons import GONE, Persons
from ml_platform.lake import Lake, decisions
from ml_platform.lake.decisions import RELEASED
from ml_platform.lake.schemas import ALERTS, DECISIONS, QUARANTINE
from ml_platform.lake.store import in_predicate

Row = dict[str, Any]


def refused(lake: Lake, persons: Persons) -> list[Row]:
    """Refused rows that hold an erased key, whatever was decided about them."""
    rows = decisions.refusals(lake, pc.field("source") == persons.contract.name).to_pylist()
    return [row for row in rows if row["row_number"] is not None and persons.in_row(row["raw"] or "")]


def counted(rows: list[Row]) -> Mapping[str, int]:
    """Rows per drop that its ledger row counts as quarantined: a released one is loaded, and silver counts its own."""
    return Counter(row["drop_id"] for row in rows if row["stage"] == "bronze" and row["state"] != RELEASED)


def remove_refused(lake: Lake, persons: Persons) -> None:
    """Take the rows out of ops/quarantine, and quoted keys out of the reasons of whole files."""
    found = decisions.refusals(lake, pc.field("source") == persons.contract.name).to_pylist()
    gone = {row["quarantine_id"] for row in refused(lake, persons)}
    kept = [_redacted(row, persons) for row in found if row["quarantine_id"] not in gone]
    if kept != found:
        data = pa.Table.from_pylist(kept, schema=QUARANTINE.schema)
        lake.replace(QUARANTINE, data, f"source = '{persons.contract.name}'")


def _redacted(row: Row, persons: Persons) -> Row:
    return row if row["row_number"] is not None else {**row, "value": persons.redacted(row["value"] or "")}


def remove_corrections(lake: Lake, persons: Persons) -> None:
    """Take keys that a person set by hand out of the log of decisions."""
    if not lake.exists(DECISIONS.name):
        return
    found = lake.read(DECISIONS.name, where=pc.field("source") == persons.contract.name).to_pylist()
    clean = {row["quarantine_id"]: {**row, "corrections": without_keys(row["corrections"], persons)} for row in found}
    changed = [clean[row["quarantine_id"]] for row in found if clean[row["quarantine_id"]] != row]
    if changed:
        data = pa.Table.from_pylist(changed, schema=DECISIONS.schema)
        lake.replace(DECISIONS, data, in_predicate("quarantine_id", [row["quarantine_id"] for row in changed]))


def remove_alerts(lake: Lake, persons: Persons) -> None:
    """Take keys out of the messages of failed runs: a check that fails shows some values."""
    if not lake.exists(ALERTS.name):
        return
    found = lake.read(ALERTS.name).to_pylist()
    clean = [{**row, "message": persons.redacted(row["message"] or "", words=True)} for row in found]
    runs = {row["run_id"] for row, old in zip(clean, found, strict=True) if row != old}
    if runs:  # those alone: a sensor may add another one at any time
        data = pa.Table.from_pylist([row for row in clean if row["run_id"] in runs], schema=ALERTS.schema)
        lake.replace(ALERTS, data, in_predicate("run_id", sorted(runs)))


def without_keys(corrections: str | None, persons: Persons) -> str | None:
    """Corrections (JSON, values by column) without erased keys."""
    if not corrections:
        return corrections
    values = json.loads(corrections)
    return json.dumps(
        {name: GONE if persons.in_row(json.dumps({name: value})) else value for name, value in values.items()},
        ensure_ascii=False,
    )


def clean_metadata(text: str, persons: Persons) -> str:
    """The metadata of a commit without erased keys: what was set by hand, and reasons that quote a file."""
    try:
        rows = json.loads(text)
    except ValueError:
        return text
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return text
    return json.dumps([_clean(row, persons) for row in rows], ensure_ascii=False)


def _clean(row: Row, persons: Persons) -> Row:
    if "corrections" in row:
        return {**row, "corrections": without_keys(row["corrections"], persons)}
    return {**row, "reason": persons.redacted(row["reason"])} if row.get("reason") else row
