"""A feed that tests of several files declare, each with what it changes.

Belongs here: a contract as YAML would give it. Does not belong here: files, homes (conftest).
"""

from typing import Any

READINGS: dict[str, Any] = {
    "name": "readings",
    "kind": "events",
    "description": "Readings.",
    "owner": "team:grid",
    "path": "readings_{day}*.csv",
    "format": {"type": "csv"},
    "columns": {"meter": {"type": "int64"}, "at": {"type": "timestamp"}},
    "key": ["meter", "at"],
    "time": {"column": "at"},
}

# any file name fits, and a file is all there is
SNAPSHOT: dict[str, Any] = {
    "name": "readings",
    "kind": "snapshot",
    "description": "Readings.",
    "owner": "team:grid",
    "path": "*",
    "format": {"type": "csv"},
    "key": ["meter"],
}
