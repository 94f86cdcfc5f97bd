"""Environments: dev, qa and prod, each with a lake, a store of releases and a registry of its own.

Belongs here: opening one, environments.yaml, the way a release takes from one into the next. Does not belong here: who has to agree (approvals),
judging (promotion), what an environment lies on (settings).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from ml_platform.audit import Audit
from ml_platform.coverage import count_states
from ml_platform.failpoints import reach
from ml_platform.lake import Lake, names
from ml_platform.promotion import move_champion
from ml_platform.registry import Registry
from ml_platform.registry.pointer import PROMOTED, Standing, decide, decision_row, seen, standings
from ml_platform.registry.versions import Training
from ml_platform.rule_files import read_rules
from ml_platform.scoring import try_out
from ml_platform.settings import Settings

ORDER = ("dev", "qa", "prod")
FILE = "environments.yaml"


class StageError(ValueError):
    """A step between environments that cannot be taken; names the environment, the release and the way out."""


class ApprovalRule(BaseModel):
    """Who has to agree before a release is used in an environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    approvals: int = Field(default=0, ge=0, description="people who have to approve")
    own_training: bool = Field(default=True, description="whether somebody may approve what was sealed in their name")
    own_request: bool = Field(default=True, description="whether somebody may approve what they asked for")
    expires_days: float = Field(default=7.0, gt=0, description="days after which a request lapses")
    approvers: tuple[str, ...] = Field(default=(), description="names that may approve; empty: anybody")


class Rules(BaseModel):
    """environments.yaml: the rule of each environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dev: ApprovalRule = ApprovalRule()
    qa: ApprovalRule = ApprovalRule()
    prod: ApprovalRule = ApprovalRule(approvals=1, own_training=False, own_request=False)

    def of(self, environment: str) -> ApprovalRule:
        found: ApprovalRule = getattr(self, environment)
        return found


def load_rules(path: Path) -> Rules:
    """Read environments.yaml; an absent file means the defaults. Raises StageError with the path and the key of every fault."""
    return read_rules(path, Rules, StageError)


@dataclass(frozen=True)
class Environment:
    """One of ORDER: where its data and its releases lie, and who has to agree there."""

    name: str
    lake: Lake
    registry: Registry
    rule: ApprovalRule

    @classmethod
    def open(cls, settings: Settings, name: str, model: str) -> "Environment":
        """The environment of this name as the settings place it."""
        if name not in ORDER:
            raise StageError(f"no environment is called '{name}': there are {', '.join(ORDER)}")
        own = settings.of(name)
        registry = Registry(
            own.releases,
            own.mlflow_uri,
            own.mlflow_artifacts,
            model,
            keys=own.key_folder,
            identity=own.identity,
            environment=name,
        )
        return cls(name, Lake(own.lake), registry, load_rules(own.configs / FILE).of(name))

    @property
    def audit(self) -> Audit:
        return self.registry.audit(self.lake)

    @property
    def before(self) -> str:
        """The environment that releases come from."""
        place = ORDER.index(self.name)
        if not place:
            raise StageError(f"{self.name} takes no releases over: it trains its own, ml-platform run retrain")
        return ORDER[place - 1]

    def named(self, begins: str) -> str:
        """The one release here whose id is this, or begins so; StageError where there is none, or more than one."""
        known, text = standings(self.lake), begins.strip()
        found = [one for one in known if text and one.startswith(text)]
        if text in known or len(found) == 1:
            return text if text in known else found[0]
        what = f"fits {len(found)} releases, such as {', '.join(sorted(found)[:3])}" if found else "is no release"
        way = (
            ""
            if self.name == ORDER[0] or found
            else f", or take it there first, ml-platform promote RELEASE --to {self.name}"
        )
        raise StageError(f"'{begins}' {what} of {self.name}: ml-platform releases list --in {self.name}{way}")

    def standing(self, release_id: str) -> Standing:
        """Where a release stands here; StageError where nothing was decided about it."""
        found = standings(self.lake).get(release_id)
        if found is None:
            raise StageError(
                f"release {release_id} was never decided about in {self.name}: ml-platform releases list --in {self.name}"
            )
        return found


@dataclass(frozen=True)
class Carried:
    """What carrying a release over did: whether its bytes are new here, whether it was decided now, what it forecast on this environment's data."""

    release_id: str
    as_of: date
    environment: str
    received: bool
    decided: bool
    alias_moved: bool
    smoke: Mapping[str, Any]
    seconds: float


def require_used(source: Environment, release_id: str) -> Standing:
    """StageError where a release is not used in the environment that it shall come from."""
    found = source.standing(release_id)
    if not found.promoted:
        raise StageError(
            f"release {release_id} is {found.decision} in {source.name} ({found.reason or 'no reason given'}): only what is used there goes further"
        )
    return found


def carry(
    source: Environment, target: Environment, release_id: str, actor: str, reason: str, *,
    approved: Sequence[str] = (), once: str = "",
) -> Carried:  # fmt: skip
    """Take a release from one environment into the next: copy its bytes, verify them, forecast with it on the data there, and move the pointer.

    approved: who has agreed; the rule of the target says how many have to. once: names the request, so that it moves the pointer once and never again.
    Each step finds what is done, so a repetition after a crash completes it. One commit to gold/promoted_release of the target decides; the alias in MLflow and the
    audit follow it. Raises ReleaseError for changed bytes, ConflictError where another release was decided about meanwhile.
    """
    if len(set(approved)) < target.rule.approvals:
        raise StageError(
            f"{target.name} asks for {target.rule.approvals} approvals, release {release_id} has {len(set(approved))}: "
            f"ml-platform promote {release_id} --to {target.name} --by NAME --reason WHY"
        )
    begun, after = time.perf_counter(), seen(target.lake)
    require_used(source, release_id)
    folder = source.registry.folder(release_id)
    received = target.registry.receive(folder)
    reach("promotion.sealed")
    smoke = smoke_score(target, release_id)
    manifest = folder.manifest
    tags = {"as_of": manifest.as_of.isoformat(), "code_commit": manifest.origin.code_commit, "from": source.name}
    training = Training(release_id, f"{manifest.as_of} from {source.name}", {}, {}, manifest.data_versions)
    version = target.registry.versions.register(release_id, target.registry.root / release_id, training, tags)
    target.registry.versions.point("challenger", release_id)
    reach("promotion.registered")
    told = {"from": source.name, "smoke": smoke, "signed_by": folder.signature.key_id, "model_version": version}
    counted = count_states(target.registry.open(release_id).parameters).to_pylist()
    row_evidence: dict[str, object] = {**manifest.lineage, **told, "fleet": counted}
    row = decision_row(manifest.as_of, release_id, PROMOTED, actor, reason, row_evidence, used=True)
    decided = not is_used(target, release_id) and decide(target.lake, [row], after, once)
    reach("promotion.decided")
    target.audit.follow()
    reach("promotion.audited")
    moved = move_champion(target.lake, target.registry)
    seconds = round(time.perf_counter() - begun, 3)
    return Carried(release_id, manifest.as_of, target.name, received, decided, moved, smoke, seconds)


def is_used(target: Environment, release_id: str) -> bool:
    """Whether an environment uses a release, on some day."""
    found = standings(target.lake).get(release_id)
    return found is not None and found.promoted


def smoke_score(target: Environment, release_id: str) -> dict[str, Any]:
    """Forecast every series of the environment's newest day with a release, and write nothing.

    Returns as_of, series by outcome and rows. Raises StageError where the environment has no data, ScoringError where forecasts do not cover it.
    """
    lake, sealed = target.lake, target.registry.open(release_id)
    if not (lake.exists(names.SERIES_PANEL) and lake.exists(names.SERIES_CATALOGUE)):
        raise StageError(
            f"environment {target.name} has no data to try release {release_id} on: "
            f"ML_PLATFORM_ENVIRONMENT={target.name} ml-platform run score, then promote again"
        )
    catalogue = lake.read(names.SERIES_CATALOGUE)
    as_of = pc.max(catalogue["last_date"]).as_py()
    tried = try_out(lake, sealed, catalogue, sealed.fleet.config, as_of)
    return {"as_of": as_of.isoformat(), "rows": tried.rows, **dict(tried.series)}
