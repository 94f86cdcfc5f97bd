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
from ml_platform.lake import Lake
from ml_platform.registry.card import to_html
from ml_platform.registry.manifest import Folder, Manifest, Origin, ReleaseError, read_folder, seal, write_folder
from ml_platform.registry.pyfunc import mlmodel
from ml_platform.registry.signing import KeyFile, Signer
from ml_platform.registry.versions import ModelVersions

if TYPE_CHECKING:
    from ml_platform.audit import Audit
    from ml_platform.forecasting import Fleet


OWNER = ".environment"  # says whose store it is
KEYS = ("series_id", "contender", "level", "name", "segment", "item", "family", "fold")


@dataclass(frozen=True)
class ReleaseContents:
    """Everything a release is made of: tables of one as-of day (no column `as_of` needed), configuration, evidence, origin, and its card in Markdown."""

    as_of: date
    parameters: pa.Table
    pools: pa.Table
    fold_metrics: pa.Table
    evaluation: pa.Table
    config: ForecastConfig
    evidence: Mapping[str, object]
    origin: Origin
    data_versions: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, str] = field(default_factory=dict)
    card: str = ""


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
class Registry:
    """Release folders below `root` and the MLflow model `model` at `tracking_uri`, whose artifacts lie in `artifacts`.

    keys: folder of the keys that are trusted, `keys` beside the releases where nothing else is said. signer: who seals; the key of that folder where nobody else is given. identity: in whose name; empty: the
    user of this machine. run: what the runs in MLflow say of the work they are of, such as its id in Dagster.
    """

    root: Path
    tracking_uri: str
    artifacts: Path
    model: str = "fleet"
    keys: Path | None = None
    signer: Signer | None = None
    identity: str = ""
    environment: str = "dev"
    run: Mapping[str, str] = field(default_factory=dict)

    def audit(self, lake: Lake) -> "Audit":
        """The chain of decisions about releases in the lake of the same environment."""
        from ml_platform.audit import Audit  # it signs its rows as releases are signed

        return Audit(lake, self.environment, self.key_folder, self.signer)

    def receive(self, folder: Folder) -> bool:
        """Take over a release of another store as it is, byte by byte; False where it is here already."""
        self._claim()
        release_id = folder.manifest.release_id
        if (self.root / release_id).exists():
            self.verify(release_id)
            return False
        write_folder(self.root, folder.manifest, folder.files, folder.signature)
        self.verify(release_id)
        return True

    @property
    def key_folder(self) -> Path:
        return self.keys or self.root.parent / "keys"

    @cached_property
    def versions(self) -> ModelVersions:
        """The MLflow side; importing MLflow takes seconds, so it begins with the first use."""
        return ModelVersions(self.tracking_uri, self.artifacts, self.model)

    def build(self, contents: ReleaseContents) -> Release:
        """Seal a fleet as a folder; the same contents again give the same release and write nothing.

        ReleaseError anywhere but in dev: the other environments use what was sealed and judged there.
        """
        if self.environment != "dev":
            raise ReleaseError(
                f"environment {self.environment} seals no releases: train in dev, and ml-platform promote RELEASE --to {self.environment}"
            )
        self._claim()
        files = _files(contents)
        manifest = seal(
            contents.as_of, self.model, files, contents.origin, contents.data_versions, contents.folds, contents.gate
        )
        known = self._with_content(manifest)
        if known:
            return Release(self.verify(known), self.root / known, created=False)
        signature = (self.signer or KeyFile(self.key_folder)).sign(manifest.to_bytes())
        return Release(manifest, write_folder(self.root, manifest, files, signature), created=True)

    def _claim(self) -> None:
        """A store belongs to the environment that first wrote into it: who works for another one by a wrong setting is refused."""
        path = self.root.parent / OWNER
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.environment, encoding="utf-8")
        found = path.read_text(encoding="utf-8").strip()
        if found != self.environment:
            raise ReleaseError(
                f"{self.root} is the store of environment {found}, and this process works for {self.environment}: "
                "look at ML_PLATFORM_HOME, ML_PLATFORM_HOMES and ML_PLATFORM_ENVIRONMENT"
            )

    def _with_content(self, wanted: Manifest) -> str | None:
        for path in sorted(self.root.glob(f"{wanted.as_of}-*/manifest.json")):
            try:
                found = Manifest.model_validate_json(path.read_bytes())
            except ValueError:
                continue  # a damaged neighbour is refused when it is used, it does not stop a new release
            if found.content == wanted.content and path.parent.name == found.release_id:  # a copy has another name
                return found.release_id
        return None

    def verify(self, release_id: str) -> Manifest:
        """Check every byte of a release; ReleaseError names the file that is changed, missing or foreign."""
        return self.folder(release_id).manifest

    def folder(self, release_id: str) -> Folder:
        """The verified bytes of a release."""
        return read_folder(self.root, release_id, self.key_folder)

    def load(self, release_id: str) -> "Fleet":
        """The fleet of a release, from exactly the bytes that were verified."""
        return self.open(release_id).fleet

    def open(self, release_id: str) -> "Sealed":
        """All of a release that is used, from exactly the bytes that were verified."""
        found = self.folder(release_id)
        return Sealed(release_id, found.files, found.manifest)

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
    manifest: Manifest

    @cached_property
    def parameters(self) -> pa.Table:
        return pq.read_table(io.BytesIO(self.files["parameters.parquet"]))

    @cached_property
    def fold_metrics(self) -> pa.Table:
        return pq.read_table(io.BytesIO(self.files["fold_metrics.parquet"]))

    @cached_property
    def fleet(self) -> "Fleet":
        pools = pq.read_table(io.BytesIO(self.files["pools.parquet"]))
        config = parse_config(yaml.safe_load(self.files["forecast.yaml"]), f"release {self.release_id}, forecast.yaml")
        return fleet_tables(self.parameters, pools, config)

    @cached_property
    def evidence(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.files["evidence.json"])
        return found


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
        "MLmodel": mlmodel(contents.config).encode(),
        "card.md": contents.card.encode(),
        "card.html": to_html(contents.card, f"Release of {contents.as_of}").encode(),
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
