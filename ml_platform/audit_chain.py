"""The audit's chain: what a row is bound by, and the signed head that stands for the newest one.

Belongs here: hashes, the head's file. Does not belong here: appending (audit), proving (audit_proof).
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ml_platform.durable import put_in_place

GENESIS = "0" * 64
HASHED = ("number", "at", "environment", "action", "release_id", "actor", "reason", "details", "previous")
BOUND = ("as_of", "release_id", "promoted", "decided_at", "approved_by", "rules", "evidence", "decision", "reason")


def digest_of(row: Mapping[str, Any]) -> str:
    """sha256 over the columns that a row is bound by, in their order, times in UTC to the microsecond."""
    told = [row[name].astimezone(UTC).isoformat() if name == "at" else row[name] for name in HASHED]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def details_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says beside its columns; nothing where that is no JSON."""
    try:
        found = json.loads(row["details"] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def digest_of_decision(rows: Sequence[Mapping[str, Any]]) -> str:
    """sha256 over all rows of a commit to gold/promoted_release."""
    told = sorted(json.dumps([_plain(row.get(name)) for name in BOUND], ensure_ascii=False) for row in rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


class Head(BaseModel):
    """Number and hash of the newest row, signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    hash: str
    signature: str

    @property
    def bound(self) -> str:
        """What is signed."""
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True)
class HeadFile:
    """Where the head is kept."""

    path: Path

    def read(self) -> Head | None:
        """What it says; None where there is none, a head that nothing follows where it cannot be read."""
        try:
            return Head.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return Head(number=0, hash="", signature="")

    def write(self, head: Head) -> None:
        """Put it in place, unless a newer one is there."""
        known = self.read()
        if known is not None and known.number >= head.number:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        building = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        building.write_text(head.model_dump_json())
        put_in_place(building, self.path)
