"""Sealing: what a release of a day is made of, gathered from the lake.

Belongs here: tables, evidence, origin and card of a release. Does not belong here: writing and signing it (registry), whether it is used (promotion).
"""

import getpass
import hashlib
import subprocess
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.candidates import Candidate
from ml_platform.card_figures import make_card
from ml_platform.coverage import Coverage
from ml_platform.evaluation import Cells
from ml_platform.gate import Decision
from ml_platform.lake import Lake, names
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.registry import Origin, ReleaseContents
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


def contents_of(
    candidate: Candidate, evaluation: pa.Table, decision: Decision, evidence: Mapping[str, object]
) -> ReleaseContents:
    """Everything that the release of a candidate is made of. evaluation: how it was judged; no rows for an update."""
    rows, as_of = candidate.rows, candidate.as_of
    cells = candidate.cells if evaluation.num_rows else None
    folds = candidate.table(names.FOLD_METRICS).drop_columns(["as_of"])
    return ReleaseContents(
        as_of=as_of,
        parameters=rows.drop_columns([name for name in SAID_ELSEWHERE if name in rows.column_names]),
        pools=candidate.pools.drop_columns(["as_of"]),
        fold_metrics=folds,
        evaluation=evaluation.drop_columns(["as_of"]),
        config=candidate.config,
        evidence=evidence,
        origin=Origin(
            created_by=candidate.registry.identity or whoever(),
            created_at=datetime.now(UTC),
            code_commit=code_commit(),
            kernel=KERNEL,
            lock_sha256=lock_digest(),
        ),
        data_versions=data_versions(candidate.lake, as_of),
        folds=_folds(cells, folds),
        gate={
            "kind": decision.kind,
            "verdict": "promoted" if decision.promoted else "stopped",
            "stopped_by": ", ".join(decision.stopped_by),
        },
        card=make_card(candidate.own.fleet, cells, evaluation, candidate.profile, decision, as_of),
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


def evidence_of(candidate: Candidate, coverage: Coverage, decision: Decision) -> dict[str, object]:
    """The verdict with its rules, series by state, winners by family, and what the fleet was made from."""
    families = sorted(pc.value_counts(candidate.rows["family"]).to_pylist(), key=lambda one: str(one["values"]))
    return {
        "promoted": decision.promoted,
        "kind": decision.kind,
        "settings": candidate.said("settings"),
        "rules": [rule.record for rule in decision.rules],
        "series": {"expected": coverage.expected, "states": dict(coverage.states), "missing": len(coverage.missing)},
        "families": {str(one["values"]): one["counts"] for one in families},
        "fingerprint": candidate.said("fingerprint"),
    }


def _folds(cells: Cells | None, metrics: pa.Table) -> dict[str, str]:
    """Dates of the fold that judged, and how many folds chose."""
    if cells is None or not cells.ids:
        return {}
    span = pc.min_max(cells.table["date"]).as_py()
    choosing = max(pc.count_distinct(metrics["fold"]).as_py() - 1, 0)
    return {"judged": f"{span['min']} to {span['max']}", "chosen_on": f"{choosing} folds before it"}
