"""Releases: fleets as immutable folders, and their versions and aliases in MLflow.

Belongs here: building, verifying and loading a release, MLflow versions, the champion as of a day. Does not belong here: whether a release may be promoted (gate, promotion).
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.config import parse_config
from ml_platform.lake import Lake, schemas
from ml_platform.registry.manifest import Manifest, read_folder, seal, write_folder
from ml_platform.registry.versions import ModelVersions

if TYPE_CHECKING:
    from ml_platform.forecasting import Fleet


KEYS = ("series_id", "contender", "level", "name", "segment", "item", "family", "fold")


@dataclass(frozen=True)
class ReleaseContents:
    """Everything a release is made of: tables of one as-of day (no column `as_of` needed), configuration, evidence and origin."""

    as_of: date
    parameters: pa.Table
    pools: pa.Table
    fold_metrics: pa.Table
    evaluation: pa.Table
    config: ForecastConfig
    evidence: Mapping[str, object]
    code_commit: str = "unknown"
    data_versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """A sealed fleet on disk; `created` is False when it was there already."""

    manifest: Manifest
    folder: Path
    created: bool

    @property
    def release_id(self) -> str:
        return self.manifest.release_id


@dataclass(frozen=True)
class Champion:
    """The promoted release that a day uses."""

    as_of: date
    release_id: str


@dataclass(frozen=True)
class Registry:
    """Release folders below `root` and the MLflow model `model` at `tracking_uri`, whose artifacts lie in `artifacts`."""

    root: Path
    tracking_uri: str
    artifacts: Path
    model: str = "fleet"

    @cached_property
    def versions(self) -> ModelVersions:
        """The MLflow side; importing MLflow takes seconds, so it begins with the first use."""
        return ModelVersions(self.tracking_uri, self.artifacts, self.model)

    def build(self, contents: ReleaseContents) -> Release:
        """Seal a fleet as a folder; the same contents again give the same release and write nothing."""
        files = _files(contents)
        manifest = seal(contents.as_of, self.model, files, contents.code_commit, contents.data_versions)
        known = self._with_content(manifest)
        if known:
            return Release(self.verify(known), self.root / known, created=False)
        return Release(manifest, write_folder(self.root, manifest, files), created=True)

    def _with_content(self, wanted: Manifest) -> str | None:
        for path in sorted(self.root.glob(f"{wanted.as_of}-*/manifest.json")):
            try:
                found = Manifest.model_validate_json(path.read_bytes())
            except ValueError:
                continue  # a damaged neighbour is refused when it is used, it does not stop a new release
            if found.content == wanted.content:
                return path.parent.name
        return None

    def verify(self, release_id: str) -> Manifest:
        """Check every byte of a release; ReleaseError names the file that is changed, missing or foreign."""
        return read_folder(self.root, release_id)[0]

    def load(self, release_id: str) -> "Fleet":
        """The fleet of a release, from exactly the bytes that were verified."""
        return self.open(release_id).fleet

    def open(self, release_id: str) -> "Sealed":
        """All of a release that is used, from exactly the bytes that were verified."""
        return Sealed(release_id, read_folder(self.root, release_id)[1])

    def parameters(self, release_id: str) -> pa.Table:
        """The parameter rows of a release after verification: series_id, family, state, reason, parameters, detail."""
        return self.open(release_id).parameters

    def evidence(self, release_id: str) -> dict[str, object]:
        """Gate verdict, coverage and counts that the release was sealed with."""
        return self.open(release_id).evidence


@dataclass(frozen=True)
class Sealed:
    """The verified bytes of a release's files, read when they are asked for."""

    release_id: str
    files: Mapping[str, bytes]

    @cached_property
    def parameters(self) -> pa.Table:
        return pq.read_table(io.BytesIO(self.files["parameters.parquet"]))

    @cached_property
    def fleet(self) -> "Fleet":
        pools = pq.read_table(io.BytesIO(self.files["pools.parquet"]))
        config = parse_config(yaml.safe_load(self.files["forecast.yaml"]), f"release {self.release_id}, forecast.yaml")
        return fleet_tables(self.parameters, pools, config)

    @cached_property
    def evidence(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.files["evidence.json"])
        return found


def champion_as_of(lake: Lake, day: date, same_day: bool) -> Champion | None:
    """The promoted release with the greatest as-of day up to `day`; of several of one day the one decided last.

    `same_day` False leaves out releases of `day` itself: a repeated judgement meets the same opponent (DESIGN section 3).
    """
    name = schemas.PROMOTED_RELEASE.name
    if not lake.exists(name):
        return None
    past = pc.field("as_of") <= pa.scalar(day) if same_day else pc.field("as_of") < pa.scalar(day)
    rows = lake.read(name, ["as_of", "release_id", "decided_at"], past & pc.field("promoted")).to_pylist()
    newest = max(rows, key=lambda row: (row["as_of"], row["decided_at"], row["release_id"]), default=None)
    return Champion(newest["as_of"], newest["release_id"]) if newest else None


def fleet_tables(parameters: pa.Table, pools: pa.Table, config: ForecastConfig) -> "Fleet":
    """A Fleet from its parameter rows and its pool rows (name, segment, item, value), as lake and release hold them."""
    from ml_platform.forecasting.fleet import POOL_SCHEMA, ROWS_SCHEMA, Fleet

    names = pc.unique(pools["name"]).to_pylist()
    tables = {
        name: pools.filter(pc.equal(pools["name"], name)).select(POOL_SCHEMA.names).cast(POOL_SCHEMA) for name in names
    }
    return Fleet(parameters.select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA), tables, config)


def _files(contents: ReleaseContents) -> dict[str, bytes]:
    config = contents.config.model_dump(mode="json")
    return {
        "parameters.parquet": _parquet(contents.parameters),
        "pools.parquet": _parquet(contents.pools),
        "fold_metrics.parquet": _parquet(contents.fold_metrics),
        "evaluation.parquet": _parquet(contents.evaluation),
        "forecast.yaml": yaml.safe_dump(config, sort_keys=True, allow_unicode=True).encode(),
        "evidence.json": (json.dumps(contents.evidence, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode(),
    }


def _parquet(table: pa.Table) -> bytes:
    """The same bytes for the same rows in any order: sorted by every key column there is, one row group, no metadata."""
    keys = [name for name in KEYS if name in table.column_names]
    ordered = table.sort_by([(name, "ascending") for name in keys]) if keys else table
    out = io.BytesIO()
    pq.write_table(
        ordered.replace_schema_metadata().combine_chunks(),
        out,
        compression="zstd",
        row_group_size=max(table.num_rows, 1),
    )
    return out.getvalue()
