"""MLflow: one run and one model version per release, and the aliases of the model.

Belongs here: every call to MLflow. Does not belong here: release files (manifest, registry), the decision to move an alias (promotion).
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

PICTURES = "pictures"  # of a run's artifacts
NOTE = "mlflow.note.content"  # what MLflow shows on the page of a run, in Markdown
CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.store.tracking")


@contextmanager
def _quiet() -> Iterator[None]:
    """Opening the store creates about 60 tables and says so, line by line; warnings still pass."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


@contextmanager
def _made_by_another() -> Iterator[None]:
    """What two processes make at the same moment is made once."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@dataclass(frozen=True)
class Training:
    """What the run of a training shows: a name that is its own (the fingerprint), a title, parameters, metrics, the tables it read with their versions, and pictures (PNG by name)."""

    name: str
    title: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tables: Mapping[str, int]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelVersions:
    """The versions of one MLflow model; a version is found by its tag `release_id`, so nothing is ever registered twice."""

    tracking_uri: str
    artifacts: Path
    model: str

    @cached_property
    def client(self) -> "MlflowClient":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        where = urlparse(self.tracking_uri)
        if where.scheme == "sqlite":
            Path(where.path.replace("//", "/")).parent.mkdir(parents=True, exist_ok=True)
        with _quiet():
            from mlflow import MlflowClient

            # both: whatever else this process does with MLflow must not decide where our versions go
            client = MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)
            client.get_experiment_by_name(self.model)  # the store opens with the first call
        return client

    def find(self, release_id: str) -> "ModelVersion | None":
        """The version of a release; None before it was registered."""
        found = self.client.search_model_versions(f"name = '{self.model}' and tags.release_id = '{release_id}'")
        return next(iter(sorted(found, key=lambda one: int(one.version))), None)

    def register(self, release_id: str, source: Path, training: "Training", tags: Mapping[str, str]) -> str:
        """The version of a release, made with the run of its training where it is missing; a run left by a crash is used again."""
        known = self.find(release_id)
        if known is not None:
            return str(known.version)
        self._ensure_model()
        run = self._run(training, tags)
        everything = {**tags, "release_id": release_id}
        made = self.client.create_model_version(self.model, self._source(source, run), run, tags=everything)
        return str(made.version)

    def place_of(self, release_id: str) -> str | None:
        """Where MLflow's UI shows the run that a release's version comes from, below its address."""
        found = self.find(release_id)
        if found is None:
            return None
        return f"experiments/{self.client.get_run(found.run_id).info.experiment_id}/runs/{found.run_id}"

    def _source(self, folder: Path, run: str) -> str:
        """Where the version's bytes lie: a copy among the run's artifacts, below the release's id, because a training may have two releases.

        MLflow puts a file of its own into what it loads, which the release's folder must not hold.
        """
        self.client.log_artifacts(run, str(folder), folder.name)
        return f"{self.client.get_run(run).info.artifact_uri}/{folder.name}"

    def _run(self, training: "Training", tags: Mapping[str, str]) -> str:
        """One run per training: parameters, metrics, tables read. Metrics of a second release of the same training take the place of the first's."""
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        experiment = self._experiment()
        left = self.client.search_runs([experiment], f"tags.training = '{training.name}'", max_results=1)
        run = left[0] if left else self._begun(experiment, training, tags)
        run_id, moment = str(run.info.run_id), int(run.info.start_time)
        known = set(run.data.params)
        self.client.log_batch(
            run_id,
            [Metric(name, value, moment, 0) for name, value in training.metrics.items()],
            [Param(name, text) for name, text in training.params.items() if name not in known],
        )
        if not run.inputs or not run.inputs.dataset_inputs:
            read = [
                Dataset(
                    name,
                    f"version {version}",
                    "delta_table",
                    json.dumps({"delta_table_name": name, "delta_table_version": version}),
                )
                for name, version in training.tables.items()
            ]
            self.client.log_inputs(run_id, [DatasetInput(one) for one in read])
        if training.pictures and not self.client.list_artifacts(run_id, PICTURES):
            self._draw(run_id, training.pictures)
        self.client.set_terminated(run_id)
        return run_id

    def _draw(self, run_id: str, pictures: Mapping[str, bytes]) -> None:
        with TemporaryDirectory() as folder:
            for name, content in pictures.items():
                (Path(folder) / f"{name}.png").write_bytes(content)
            self.client.log_artifacts(run_id, folder, PICTURES)

    def _begun(self, experiment: str, training: "Training", tags: Mapping[str, str]) -> "Run":
        link = tags.get("dagster.url")
        note = {NOTE: f"[This run in Dagster]({link})"} if link else {}
        own = {**tags, **note, "training": training.name}
        return self.client.create_run(experiment, run_name=training.title, tags=own)

    def _experiment(self) -> str:
        known = self.client.get_experiment_by_name(self.model)
        if known is not None:
            return str(known.experiment_id)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        with _made_by_another():
            return str(self.client.create_experiment(self.model, artifact_location=self.artifacts.resolve().as_uri()))
        made = self.client.get_experiment_by_name(self.model)
        assert made is not None, "another process has made it"
        return str(made.experiment_id)

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            with _made_by_another():
                self.client.create_registered_model(
                    self.model,
                    description="Fleets of series models; a version's source is a copy of its release folder.",
                )

    def tags_of(self, alias: str) -> dict[str, Any]:
        """The tags of the version that an alias names (release_id, as_of); empty where nobody set it."""
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.client.get_model_version_by_alias(self.model, alias).tags)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return {}
            raise

    def point(self, alias: str, release_id: str) -> bool:
        """Let an alias name the version of a release; False where it does already."""
        if self.tags_of(alias).get("release_id") == release_id:
            return False
        version = self.find(release_id)
        if version is None:
            raise LookupError(
                f"release {release_id} has no version of model {self.model}: materialize promoted_release of its as-of day first"
            )
        self.client.set_registered_model_alias(self.model, alias, version.version)
        return True

    def lift(self, alias: str) -> bool:
        """Let an alias name nothing; False where it does already."""
        if not self.tags_of(alias):
            return False
        self.client.delete_registered_model_alias(self.model, alias)
        return True
