"""`make mlflow`: the MLflow UI on the store of this home.

Belongs here: starting MLflow's own server where the settings say the store lies. Does not belong here: what is in it (registry.versions).
"""

import os
import subprocess
import sys

from ml_platform.settings import read_settings

PORT = "5000"


def command(port: str = PORT) -> list[str]:
    """MLflow's server on 127.0.0.1, with the store and the artifacts of the environment."""
    settings = read_settings()
    places = ["--backend-store-uri", settings.mlflow_uri, "--artifacts-destination", str(settings.mlflow_artifacts)]
    return [sys.executable, "-m", "mlflow", "server", *places, "--host", "127.0.0.1", "--port", port, "--workers", "1"]


def main() -> None:
    """Run the server until it ends; its errors are MLflow's own."""
    settings = read_settings()
    (settings.root / "mlflow").mkdir(parents=True, exist_ok=True)
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1")
    raise SystemExit(subprocess.call(command(sys.argv[1] if len(sys.argv) > 1 else PORT)))


if __name__ == "__main__":
    main()
