"""Resources vend plain objects of the library, made from the settings."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from ml_platform.compute import LocalCompute, SparkCompute
from ml_platform.forecasting import load_config
from ml_platform.formats import Limits
from ml_platform.landing import LocalLanding
from ml_platform.settings import Settings
from resources import build_resources, marts


@pytest.fixture
def resources(settings: Settings):
    return build_resources(settings)


def test_the_lake_lies_where_the_settings_say(resources, settings):
    assert resources["lake"].vend().root == settings.lake


def test_configuration_is_read_when_it_is_asked_for(resources, settings):
    configuration = resources["configuration"]
    assert [source.name for source in configuration.contracts().sources] == ["products", "promotions", "sales"]
    assert configuration.forecast().horizon == 14
    assert configuration.gate().bias.excess == 0.08


def test_landing_makes_the_ingestion_of_a_source(resources, settings):
    contract, lake = resources["configuration"].contracts()["sales"], resources["lake"].vend()
    made = resources["landing"].ingestion(lake, contract, "run", 5, print)
    assert (made.landing, made.contract, made.run_id, made.suite_rows) == (
        LocalLanding(settings.landing),
        contract,
        "run",
        5,
    )
    assert made.batch_rows == settings.batch_rows
    assert made.limits == Limits()


def test_an_address_makes_the_landing_area_a_container(azurite_server, tmp_path, monkeypatch):
    name = f"c{uuid.uuid4().hex}"
    monkeypatch.setenv("ML_PLATFORM_STORAGE_KEY", azurite_server.key)
    settings = Settings(
        home=tmp_path, landing_url=f"{azurite_server.blob_url}/{name}/in", storage_key=azurite_server.key
    )
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as container:
        container.create_container()
        container.upload_blob("in/sales/a.csv", b"a")
    found = build_resources(settings)
    contract = found["configuration"].contracts()["sales"]
    store = found["landing"].ingestion(found["lake"].vend(), contract, "run", 5, print).landing
    assert [file.path for page in store.pages("sales") for file in page.files] == ["sales/a.csv"]
    assert azurite_server.key not in f"{found['landing']!r} {found['landing'].model_dump_json()}"


def test_an_address_on_azure_is_opened_with_the_identity_of_the_process_and_nobody_logs_in(tmp_path, monkeypatch):
    monkeypatch.delenv("ML_PLATFORM_STORAGE_KEY", raising=False)
    url = "https://acc.blob.core.windows.net/landing/in"
    store = build_resources(Settings(home=tmp_path, landing_url=url))["landing"].vend()
    assert store.locate("sales/a.csv") == f"{url}/sales/a.csv"


def test_limits_of_files_come_from_the_settings(tmp_path):
    limits = {"max_file_bytes": 1, "max_rows": 2, "max_columns": 3, "max_cell_bytes": 4, "max_expanded_bytes": 5}
    landing = build_resources(Settings(home=tmp_path, **limits))["landing"]
    assert Limits(**landing.limits) == Limits(1, 2, 3, 4, 5)


def test_spark_makes_preparation_and_panel_inputs_on_its_engine(resources, settings):
    contracts, lake = resources["configuration"].contracts(), resources["lake"].vend()
    preparation = resources["spark"].preparation(lake, contracts, contracts["sales"], print)
    inputs = resources["spark"].panel_inputs(lake, contracts, resources["configuration"].forecast())
    assert (preparation.engine, inputs.engine, inputs.shards) == ("sail", "sail", settings.shards)
    assert inputs.progress("silent by default") is None


def test_compute_registry_and_warehouse(resources, settings):
    compute, registry = resources["compute"].vend(), resources["registry"].vend("other")
    assert isinstance(compute, LocalCompute)
    assert compute.workers == settings.workers
    assert (registry.root, registry.tracking_uri, registry.model) == (settings.releases, settings.mlflow_uri, "other")
    assert registry.artifacts == settings.mlflow_artifacts
    assert resources["warehouse"].vend().path == settings.warehouse


def test_shard_jobs_run_on_the_engine_where_the_settings_say_so(tmp_path):
    settings = Settings(home=tmp_path, training_compute="spark", engine="sc://cluster:15002", workers=3)
    told = []
    compute = build_resources(settings)["compute"].vend(told.append)
    assert compute == SparkCompute("sc://cluster:15002", 3, told.append)


def test_dbt_knows_its_project(resources):
    assert Path(resources["dbt"].project_dir) == marts.PROJECT
    assert Path(resources["dbt"].dbt_executable).exists()


def test_the_manifest_is_parsed_again_only_where_the_project_is_newer(settings, tmp_path, monkeypatch):
    config, project = load_config(settings.configs / "forecast.yaml"), tmp_path / "dbt"
    (project / "models").mkdir(parents=True)
    (project / "models" / "one.sql").write_text("select 1")
    parsed = []

    def parse(command, **_named):
        parsed.append(command)
        Path(command[command.index("--target-path") + 1], "manifest.json").write_text("{}")
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr(marts, "PROJECT", project)
    monkeypatch.setattr(marts, "MANIFEST", project / "target" / "manifest.json")
    monkeypatch.setattr(marts.subprocess, "run", parse)
    assert marts.manifest(config) == marts.MANIFEST
    marts.manifest(config)
    assert len(parsed) == 1
    later = marts.MANIFEST.stat().st_mtime + 5
    os.utime(project / "models" / "one.sql", (later, later))
    marts.manifest(config)
    assert len(parsed) == 2


def test_processes_that_start_together_all_read_a_whole_manifest(settings, tmp_path):
    """The web server and the daemon load the code location at the same moment, on a fresh clone, too."""
    project = shutil.copytree(marts.PROJECT, tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    code = """
import json, sys
from pathlib import Path
from ml_platform.forecasting import load_config
from resources import marts
marts.PROJECT, marts.MANIFEST = Path(sys.argv[1]), Path(sys.argv[1], "target", "manifest.json")
print(len(json.loads(marts.manifest(load_config(Path(sys.argv[2]))).read_bytes())["nodes"]))
"""
    command = [sys.executable, "-c", code, str(project), str(settings.configs / "forecast.yaml")]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {process.communicate()[0] for process in together}
    assert len(found) == 1
    assert int(found.pop()) > 10
    assert [path.name for path in (project / "target").iterdir()] == ["manifest.json"]


def test_a_project_that_does_not_parse_says_why(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(marts, "MANIFEST", tmp_path / "manifest.json")
    failed = type("Done", (), {"returncode": 2, "stdout": "Compilation Error in model x", "stderr": ""})()
    monkeypatch.setattr(marts.subprocess, "run", lambda *_args, **_named: failed)
    with pytest.raises(RuntimeError, match="Compilation Error in model x"):
        marts.manifest(load_config(settings.configs / "forecast.yaml"))
