"""Training: the panel of an as-of day becomes a candidate fleet in the lake, shard by shard.

Belongs here: what is read, the two passes over shards, the commits. Does not belong here: the models (forecasting), where jobs run (compute).
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import __version__
from ml_platform.compute import Compute
from ml_platform.drift import INPUT_PROFILE, profile_rows
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent, settings_of
from ml_platform.forecasting.pipeline import Trained
from ml_platform.forecasting.selection import KEPT, overall
from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel import Panel, without
from ml_platform.sums import catalogue_sums
from ml_platform.training_passes import Fitted, Passes, Stands, Watch
from ml_platform.training_tables import (
    CANDIDATE_FLEET,
    FAILED,
    FLEET_POOLS,
    FOLD_METRICS,
    Made,
    Opponent,
    choice_of,
    fleet_rows,
    fold_rows,
    judged_fold,
    judged_rows,
    pool_rows,
    with_champion,
)

log = logging.getLogger(__name__)

KERNEL_VERSION = "14"  # raise when the same inputs give another fleet
KERNEL = f"{__version__}/{KERNEL_VERSION}"


@dataclass(frozen=True)
class TrainingReport:
    """What a training did: series by state and by family, the selection, seconds per stage, table versions.

    unchanged: a fleet with this fingerprint was there, nothing was written. strategies: segments by the way they chose. scores: nested
    weighted RMSSE per strategy, and of what was chosen. failed: series that fail by themselves and are quarantined for it, with the reason.
    """

    as_of: date
    fingerprint: str
    unchanged: bool
    states: Mapping[str, int]
    families: Mapping[str, int]
    strategies: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def train_fleet(
    lake: Lake,
    catalogue: pa.Table,
    config: ForecastConfig,
    as_of: date,
    compute: Compute,
    incumbent: Incumbent | None = None,
    keep: bool = False,
) -> TrainingReport:
    """Train the fleet of an as-of day from gold/series_panel and write its gold tables.

    `catalogue` holds the series as of that day, `incumbent` is the champion's choice, which stands where no other is better beyond noise, and
    everywhere with `keep`. A fleet with the same fingerprint (configuration, code, arrays read, champion's recipe) is kept and nothing is committed,
    unless series of it failed, or it should have kept the champion's choice and did not. Series that fail by themselves are quarantined, and the
    rest is trained as if they did not exist. Raises PanelError where panel and catalogue do not fit, JobError where every shard fails.
    """
    watch, passes = Watch(), Passes(lake, catalogue, config, as_of, compute)
    with watch.stage("read"):
        held = [passes.read()]
        fingerprint = _fingerprint(held[0], catalogue, config, as_of, incumbent)
        profile, read = profile_rows(held[0].shard, config, as_of), _versions(lake)
    kept = _kept(lake, as_of, fingerprint, keep)
    if kept is not None:
        return _report(as_of, fingerprint, kept, watch, unchanged=True)
    own = settings_of(config, KERNEL)
    alike = incumbent if incumbent is not None and incumbent.settings == own else None
    fitted = passes.run(held, Stands(alike, keep), watch)
    refitted = None
    if incumbent is not None and alike is None:
        with watch.stage("champion"):
            refitted = _refitted(passes, incumbent, fitted.failed)
    with watch.stage("tables"):
        tables = [(INPUT_PROFILE, profile), *_tables(fitted, as_of, fingerprint, _Beside(own, incumbent, refitted))]
    with watch.stage("write"):
        for spec in (CANDIDATE_FLEET, judged_fold(config)):
            lake.migrate(spec)
        note = {inputs_key(as_of): json.dumps(read)}
        versions = {spec.name: lake.replace(spec, table, f"as_of = '{as_of}'", metadata=note) for spec, table in tables}
    report = _report(as_of, fingerprint, tables[-1][1], watch, trained=fitted.trained, versions=versions)
    return replace(report, failed=fitted.failed)


def inputs_key(as_of: date) -> str:
    """Under which the commit of a fleet says what it was trained on."""
    return f"ml_platform.inputs.{as_of.isoformat()}"


def _versions(lake: Lake) -> dict[str, int]:
    """Version of the panel, and of the silver tables that it was made from, by its own record."""
    silver = lake.last_metadata(SERIES_PANEL, INPUTS_KEY).get("tables", {})
    return {SERIES_PANEL: lake.version(SERIES_PANEL) or 0, **{f"silver/{name}": one for name, one in silver.items()}}


def _fingerprint(
    panel: Panel, catalogue: pa.Table, config: ForecastConfig, as_of: date, incumbent: Incumbent | None
) -> str:
    """sha256 over the configuration, the code's version, the day, the champion's recipe, the arrays that training reads and the sums that series belong to."""
    shard = panel.shard
    versions = "".join(f"|{one.version}" for one in config.adapters)
    beside = f"|{incumbent.recipe}" if incumbent else ""
    digest = hashlib.sha256(
        f"{config.model_dump_json()}{versions}|{__version__}|{KERNEL_VERSION}{beside}|{as_of}|{shard.segments}|{panel.refused}".encode()
    )
    digest.update("|".join(shard.series_id).encode())
    for array in (shard.y, shard.known, shard.active, shard.weight, shard.segment, shard.times):
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for one in catalogue_sums(catalogue, shard.series_id, config.sums):
        digest.update("|".join(one.labels).encode() + one.codes.tobytes())
    return digest.hexdigest()


def _kept(lake: Lake, as_of: date, fingerprint: str, keep: bool) -> pa.Table | None:
    """The rows of a fleet with this fingerprint that is all it should be; None where there is none."""
    if not lake.exists(CANDIDATE_FLEET.name):
        return None
    lake.migrate(CANDIDATE_FLEET)
    columns = ["family", "state", "reason", "fingerprint", "choice"]
    rows = lake.read(CANDIDATE_FLEET.name, columns, pc.field("as_of") == pa.scalar(as_of))
    same = set(rows["fingerprint"].unique().to_pylist()) == {fingerprint}
    whole = FAILED not in rows["reason"].unique().to_pylist()
    return rows if same and whole and (not keep or rows["choice"].unique().to_pylist() == [KEPT]) else None


@dataclass(frozen=True)
class _Beside:
    """What a fleet was trained beside: how it was made itself, the champion, and the champion's judged rows where it was made otherwise."""

    settings: str
    incumbent: Incumbent | None
    refitted: pa.Table | None

    @property
    def recipe(self) -> str | None:
        return self.incumbent.recipe if self.incumbent else None


def _refitted(passes: Passes, incumbent: Incumbent, failed: Mapping[str, str]) -> pa.Table | None:
    """Judged rows of the champion, made anew with its own settings at the same cut; None where they cannot be made any more."""
    own = replace(passes, config=incumbent.fleet.config, catalogue=without(passes.catalogue, failed))
    try:
        fitted = own.run([own.read()], Stands(incumbent, keep=True), Watch())
    except (ValueError, RuntimeError, LookupError, pa.ArrowException) as why:
        # whatever an older recipe asks for and does not find, today's fleet is trained; the gate finds no champion's rows, and says so
        log.warning("the champion cannot be fitted again with its own settings: %s", why)
        return None
    opponent = Opponent(incumbent.settings)
    return pa.concat_tables([judged_rows(one, fitted.times, passes.as_of, opponent) for one in fitted.trained])


def _tables(fitted: Fitted, as_of: date, fingerprint: str, beside: _Beside) -> list[tuple[TableSpec, pa.Table]]:
    """The tables of a fleet, candidate_fleet last: its commit completes the training."""
    config = fitted.fleet.config
    judged = pa.concat_tables(
        [
            judged_rows(one, fitted.times, as_of, Opponent(beside.settings, beside.recipe, champion))
            for one, champion in zip(fitted.trained, fitted.beside, strict=True)
        ]
    )
    judged = judged if beside.refitted is None else with_champion(judged, beside.refitted)
    made = Made(fingerprint, choice_of(fitted), beside.settings, beside.recipe)
    return [
        (FOLD_METRICS, fold_rows(fitted.trained, as_of)),
        (judged_fold(config), judged),
        (FLEET_POOLS, pool_rows(fitted.fleet, as_of)),
        (CANDIDATE_FLEET, fleet_rows(fitted.fleet, fitted.refused, fitted.failed, as_of, made).sort_by("series_id")),
    ]


def _report(
    as_of: date, fingerprint: str, rows: pa.Table, watch: Watch, *,
    unchanged: bool = False, trained: Sequence[Trained] = (), versions: Mapping[str, int] | None = None,
) -> TrainingReport:  # fmt: skip
    states, families = (Counter(rows[name].drop_null().to_pylist()) for name in ("state", "family"))
    strategies, scores = overall([one.selection for one in trained]) if trained else ({}, {})
    return TrainingReport(
        as_of=as_of,
        fingerprint=fingerprint,
        unchanged=unchanged,
        states=dict(sorted(states.items())),
        families=dict(sorted(families.items())),
        strategies=strategies,
        scores=scores,
        seconds=watch.seconds,
        versions=versions or {},
    )
