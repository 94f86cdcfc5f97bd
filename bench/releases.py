"""A release of ten thousand series: promoting it, loading all its models and rolling back to it, beside one MLflow model per series in the same store.

Belongs here: seconds of each step. Does not belong here: training, trying the release on an environment's data (that is scoring), figures that a test relies on.
The peer registers and loads some models of one regression each; its figures are scaled to as many as the release has, which is kind: its store grows.
Packages are imported and the stores opened before the clock starts.
"""

import argparse
import logging
import tempfile
import time
import warnings
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from bench import results
from bench.clock import Clock
from bench.fleet import configuration
from bench.generator import Profile
from bench.increment_day import world
from ml_platform.environments import ApprovalRule, Environment
from ml_platform.forecasting import Fleet
from ml_platform.forecasting.pipeline import train
from ml_platform.lake import Lake, schemas
from ml_platform.promotion import move_champion
from ml_platform.registry import Origin, Registry, ReleaseContents, Training
from ml_platform.registry.pointer import PROMOTED, decide, decision_row, seen
from ml_platform.takeback import rollback
from ml_platform.training_tables import FOLD_METRICS, pool_rows

AS_OF = date(2026, 11, 22)


def environment(home: Path, name: str) -> Environment:
    """An environment with an open MLflow store."""
    own = home / name
    registry = Registry(
        own / "releases", f"sqlite:///{own}/mlflow.db", own / "mlflow", keys=home / "keys", environment=name
    )
    _ = registry.versions.client
    return Environment(name, Lake(str(own / "lake")), registry, ApprovalRule())


def promote(source: Environment, target: Environment, release_id: str, clock: Clock) -> None:
    """What `ml-platform promote` does, without trying the release on data."""
    folder = clock("verify", lambda: source.registry.folder(release_id))
    clock("copy and verify", lambda: target.registry.receive(folder))
    training = Training(release_id, release_id, {}, {}, {})
    versions, root = target.registry.versions, target.registry.root
    clock("register", lambda: versions.register(release_id, root / release_id, training, {"as_of": str(AS_OF)}))
    row = decision_row(AS_OF, release_id, PROMOTED, "bench", "bench", {}, used=True)
    clock("pointer", lambda: decide(target.lake, [row], seen(target.lake)))
    clock("audit", target.audit.follow)
    clock("alias", lambda: move_champion(target.lake, target.registry))


def sealed(here: Environment, fleet: Fleet) -> str:
    """A release of a fleet, with nothing judged."""
    contents = ReleaseContents(
        as_of=AS_OF,
        parameters=fleet.rows,
        pools=pool_rows(fleet, AS_OF).drop_columns(["as_of"]),
        fold_metrics=FOLD_METRICS.schema.empty_table().drop_columns(["as_of"]),
        evaluation=schemas.fleet_evaluation(fleet.config.intervals).schema.empty_table(),
        config=fleet.config,
        evidence={},
        origin=Origin(created_by="bench", created_at=datetime.now(UTC)),
    )
    return here.registry.build(contents).release_id


def one_model_per_series(folder: Path, models: int) -> dict[str, float]:
    """Seconds that MLflow takes per series: to log and register a small regression with an alias, to load it by that alias, and to set the alias again."""
    import mlflow
    from sklearn.linear_model import Ridge

    mlflow.set_tracking_uri(f"sqlite:///{folder}/peer.db")
    client, rng = mlflow.MlflowClient(), np.random.default_rng(1)
    model = Ridge().fit(rng.normal(size=(50, 8)), rng.normal(size=50))
    experiment = client.create_experiment("peer", artifact_location=(folder / "peer").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        start = time.perf_counter()
        for number in range(models):
            name = f"series-{number}"
            made = mlflow.sklearn.log_model(
                model, name=name, registered_model_name=name, pip_requirements=[], serialization_format="skops"
            )
            client.set_registered_model_alias(name, "champion", made.registered_model_version)
        promoted = time.perf_counter() - start
    start = time.perf_counter()
    for number in range(models):
        mlflow.sklearn.load_model(f"models:/series-{number}@champion")
    loaded, start = time.perf_counter() - start, time.perf_counter()
    for number in range(models):
        client.set_registered_model_alias(f"series-{number}", "champion", "1")
    moved = time.perf_counter() - start
    return {"promote": promoted / models, "load": loaded / models, "roll back": moved / models}


def main() -> None:
    """Train a fleet, seal it, promote it, load it, roll back to it; then the peer; print and write docs/benchmarks/releases.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--models", type=int, default=100, help="that the peer registers and loads")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    about = results.circumstances()
    config = configuration(["mean_56", "ses_05", "ridge"])
    fleet = train(world(Profile(options.series, options.days), config), config)[0]
    with tempfile.TemporaryDirectory(prefix="bench-releases-") as folder:
        home, clock = Path(folder), Clock()
        source, target = environment(home, "dev"), environment(home, "qa")
        small = sealed(source, replace(fleet, rows=fleet.rows.slice(0, 10)))
        promote(source, target, small, Clock())  # warm
        release_id = sealed(source, fleet)
        promote(source, target, release_id, clock)
        own = {"promote": sum(clock.seconds.values())}
        load = Clock()
        load("load", lambda: target.registry.load(release_id))
        rollback(target, "bench", "bench", to=small)
        load("roll back", lambda: rollback(target, "bench", "bench", to=release_id))
        own |= load.seconds
        bytes_ = sum(one.stat().st_size for one in (target.registry.root / release_id).iterdir())
        peer = {name: each * options.series for name, each in one_model_per_series(home, options.models).items()}
    rows: list[dict[str, object]] = [
        {"what": name, "release": own[name], "one_model_each": peer[name], "times": peer[name] / own[name]}
        for name in own
    ]
    about |= {
        "series": options.series,
        "bytes": bytes_,
        "models": options.models,
        "steps": {k: round(v, 4) for k, v in clock.seconds.items()},
    }
    for row in rows:
        print(row)
    print(about["steps"], f"{bytes_:,} bytes")
    print(f"written: {results.write('releases', about, rows).relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
