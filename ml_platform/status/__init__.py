"""The state of a home in figures: drops, rows, series, errors, release, freshness.

Belongs here: the dataclasses and the functions that read them from the lake. Does not belong here: printing them (console) or changing
anything.
"""

from ml_platform.status.model import (
    Alert,
    Fate,
    FleetStatus,
    PublishedStatus,
    Refusal,
    RefusedFile,
    ReleaseStatus,
    Score,
    SourceStatus,
    Status,
    Verdict,
)
from ml_platform.status.read import read_status, refusals_at, scores

__all__ = [
    "Alert",
    "Fate",
    "FleetStatus",
    "PublishedStatus",
    "Refusal",
    "RefusedFile",
    "ReleaseStatus",
    "Score",
    "SourceStatus",
    "Status",
    "Verdict",
    "read_status",
    "refusals_at",
    "scores",
]
