"""Sealing: what a release of a day is made of, gathered from the lake.

Belongs here: tables, evidence, origin and card of a release. Does not belong here: writing and signing it (registry), whether it is used (promotion).
"""

import getpass
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.card_figures import make_card
from ml_platform.coverage import Coverage
from ml_platform.drift import INPUT_PROFILE
from ml_platform.evaluation import Cells, arrange, segment_labels
from ml_platform.forecasting import ForecastConfig
from ml_platform.gate import Decision
from ml_platform.judging import day_rows, whole_day
from ml_platform.lake import Lake, names
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.registry import Origin, ReleaseContents, fleet_tables
from ml_platform.training import KERNEL, inputs_key

INPUTS = (names.SERIES_PANEL, names.CANDIDATE_FLEET, names.FOLD_METRICS)
SAID_ELSEWHERE = (
    "as_of",
    "fingerprint",
    "updated_from",
    "choice",
    "settings",
    "beside",
)  # columns of a fleet that its release holds otherwise
LOCK = Path(__file__).parents[1] / "requirements.lock"


@dataclass(frozen=True)
class ReleaseTables:
    """The fleet of a day, how it was judged (no rows of an update), and its configuration."""

    fleet: pa.Table
    evaluation: pa.Table
    config: ForecastConfig
    as_of: date


def contents_of(
    lake: Lake,
    catalogue: pa.Table,
    made: ReleaseTables,
    decision: Decision,
    evidence: Mapping[str, object],
    identity: str,
) -> ReleaseContents:
    """Everything that the release of a day is made of."""
    as_of, config = made.as_of, made.config
    pools = whole_day(lake, names.FLEET_POOLS, as_of).drop_columns(["as_of"])
    folds = day_rows(lake, names.FOLD_METRICS, as_of).drop_columns(["as_of"])
    cells = (
        arrange(day_rows(lake, names.JUDGED_FOLD, as_of), segment_labels(catalogue, config))
        if made.evaluation.num_rows
        else None
    )
    profile = day_rows(lake, INPUT_PROFILE.name, as_of) if lake.exists(INPUT_PROFILE.name) else None
    fleet = fleet_tables(made.fleet, pools, config)
    return ReleaseContents(
        as_of=as_of,
        parameters=made.fleet.drop_columns([name for name in SAID_ELSEWHERE if name in made.fleet.column_names]),
        pools=pools,
        fold_metrics=folds,
        evaluation=made.evaluation.drop_columns(["as_of"]),
        config=config,
        evidence=evidence,
        origin=Origin(
            created_by=identity or whoever(),
            created_at=datetime.now(UTC),
            code_commit=code_commit(),
            kernel=KERNEL,
            lock_sha256=lock_digest(),
        ),
        data_versions=data_versions(lake, as_of),
        folds=_folds(cells, folds),
        gate={
            "kind": decision.kind,
            "verdict": "promoted" if decision.promoted else "stopped",
            "stopped_by": ", ".join(decision.stopped_by),
        },
        card=make_card(fleet, cells, made.evaluation, profile, decision, as_of),
    )


def whoever() -> str:
    """The user of this machine who runs the process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "unknown"


def lock_digest(lock: Path = LOCK) -> str:
    """sha256 of the lock of packages; `unknown` where the library is installed without its project."""
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "unknown"


def code_commit(folder: Path = Path(__file__).parent) -> str:
    """The git commit of the code, with `-dirty` when files differ from it; `unknown` outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def data_versions(lake: Lake, as_of: date) -> dict[str, int]:
    """Versions of the tables that the fleet was made from, as its commit says, and of the gold tables that it lies in."""
    told = lake.last_metadata(names.CANDIDATE_FLEET, inputs_key(as_of))
    gold = {name: version for name in INPUTS if (version := lake.version(name)) is not None}
    if told:
        return {**gold, **told}
    silver = lake.last_metadata(INPUTS[0], INPUTS_KEY).get("tables", {}) if lake.exists(INPUTS[0]) else {}
    return {**gold, **{f"silver/{name}": version for name, version in silver.items()}}


def evidence_of(fleet: pa.Table, coverage: Coverage, decision: Decision) -> dict[str, object]:
    """The verdict with its rules, series by state, winners by family, and what the fleet was made from."""
    families = sorted(pc.value_counts(fleet["family"]).to_pylist(), key=lambda one: str(one["values"]))
    return {
        "promoted": decision.promoted,
        "kind": decision.kind,
        "settings": _one(fleet, "settings"),
        "rules": [rule.record for rule in decision.rules],
        "series": {"expected": coverage.expected, "states": dict(coverage.states), "missing": len(coverage.missing)},
        "families": {str(one["values"]): one["counts"] for one in families},
        "fingerprint": _one(fleet, "fingerprint"),
    }


def _one(fleet: pa.Table, column: str) -> str | None:
    """The value that all rows of a fleet have."""
    found = fleet[column].drop_null().unique().to_pylist() if column in fleet.column_names else []
    return str(found[0]) if found else None


def _folds(cells: Cells | None, metrics: pa.Table) -> dict[str, str]:
    """Dates of the fold that judged, and how many folds chose."""
    if cells is None or not cells.ids:
        return {}
    span = pc.min_max(cells.table["date"]).as_py()
    choosing = max(pc.count_distinct(metrics["fold"]).as_py() - 1, 0)
    return {"judged": f"{span['min']} to {span['max']}", "chosen_on": f"{choosing} folds before it"}
