"""MLflow loads a release as a model: rows, verified, and never a pickle."""

import datetime as dt
import shutil
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from gate_town import KINDS, Town

from ml_platform.forecasting import predict
from ml_platform.panel import read_panel
from ml_platform.registry import ReleaseError, pyfunc
from ml_platform.registry.pyfunc import FleetModel


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, blank_mlflow: Path) -> tuple[Town, str]:
    home = tmp_path_factory.mktemp("town") / "home"
    home.mkdir()
    shutil.copy(blank_mlflow, home / "mlflow.db")
    made = Town(home, items=30)
    made.settle()
    made.train(made.last)
    return made, made.release(made.last).release.release_id


def history_of(town: Town) -> pd.DataFrame:
    """The panel as somebody has it who knows no series ids: keys, dates, units and the kind of every item."""
    rows = town.panel.rename(columns={"series_id": "item"})
    return rows.assign(kind=[KINDS[int(one) % 3] for one in rows["item"]])


def test_what_mlflow_loads_forecasts_what_scoring_does(town: tuple[Town, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made, release_id = town
    monkeypatch.setenv("ML_PLATFORM_HOME", str(made.home))
    monkeypatch.setattr(pyfunc, "series_id", lambda values: values[0])  # the town calls its series by their items
    model = mlflow.pyfunc.load_model(str(made.registry.root / release_id))
    told = model.predict(history_of(made)).set_index(["item", "step"]).sort_index()
    panel = read_panel(made.lake, made.catalogue(made.last), made.config, made.last)
    known = predict(made.registry.load(release_id), panel.shard).to_pandas()
    names = {"series_id": [f"{one:03d}" for one in range(made.items)]}
    assert sorted(known["series_id"].unique()) == names["series_id"]
    expected = known.rename(columns={"series_id": "item"}).set_index(["item", "step"]).sort_index()
    for name in ("mean", "point", *made.config.interval_columns):
        np.testing.assert_allclose(told[name], expected[name], rtol=1e-6, err_msg=name)
    assert told["date"].min() == pd.Timestamp(made.last + dt.timedelta(days=1))
    assert not list(made.home.rglob("*.pkl"))


def test_the_alias_loads_the_champion(town: tuple[Town, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made, release_id = town
    monkeypatch.setenv("ML_PLATFORM_HOME", str(made.home))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, made.registry.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/fleet@champion")
    assert model._model_impl.sealed.release_id == release_id


def test_changed_bytes_are_not_loaded(town: tuple[Town, str], tmp_path: Path) -> None:
    made, release_id = town
    copy = tmp_path / "another name"
    shutil.copytree(made.registry.root / release_id, copy)
    assert FleetModel(copy, made.registry.key_folder).sealed.release_id == release_id
    path = copy / "pools.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=r"pools\.parquet does not have the sha256"):
        _ = FleetModel(copy, made.registry.key_folder).sealed
