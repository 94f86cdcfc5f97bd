"""MLflow's python_function flavour of a release: a folder that `mlflow.pyfunc.load_model` takes, without a pickle.

Belongs here: the file MLmodel, the loader that it names, predicting from a table. Does not belong here: forecasting (forecasting.api), runs and versions (versions).
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ml_platform.forecasting import ForecastConfig, forecast_with
from ml_platform.registry.manifest import read_copy
from ml_platform.series import series_id


def mlmodel(config: ForecastConfig) -> str:
    """The file MLmodel: the loader, and the columns that go in and come out. It names no version of anything, so that equal releases have equal bytes.

    It has no signature of MLflow's: that would refuse keys of another type, and drop covariates that it does not list.
    """
    columns = {
        "keys": list(config.series),
        "time": config.time,
        "target": config.target,
        "known_future": list(config.known_future),
        "static": list(config.static),
        "forecasts": ["date", "step", "mean", "point", *config.interval_columns, "family"],
    }
    flavors = {"python_function": {"loader_module": __name__}}
    return str(yaml.safe_dump({"flavors": flavors, "metadata": columns}, sort_keys=True))


class FleetModel:
    """A release as a model: rows of history in, forecasts out."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder, self.keys = folder, keys

    @cached_property
    def sealed(self) -> Any:
        from ml_platform.registry.store import Sealed

        found = read_copy(self.folder, self.keys)
        return Sealed(found.manifest.release_id, found.files, found.manifest)

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Forecast the steps after the history in the table.

        model_input: key columns, time, target, covariates and static attributes, one row per series and time; rows without a target are the future, whose
        covariates are known. params: `as_of`, the last observed time, where it is not the newest one with a target.
        """
        fleet = self.sealed.fleet
        config, rows = fleet.config, pd.DataFrame(model_input)
        seen = rows[config.target].notna()
        static = rows[[*config.series, *config.static]].drop_duplicates(list(config.series)) if config.static else None
        needed = [*config.series, config.time, *config.known_future]
        future = rows.loc[~seen, needed] if config.known_future and not seen.all() else None
        as_of = (params or {}).get("as_of")
        return forecast_with(fleet, rows[seen], future, static, as_of=as_of, identify=series_id)


def _load_pyfunc(path: str) -> FleetModel:
    """What MLflow calls; the folder's bytes are verified before anything of it is used, with the keys that this installation trusts."""
    from ml_platform.settings import read_settings

    model = FleetModel(Path(path), read_settings().key_folder)
    assert model.sealed.manifest
    return model
