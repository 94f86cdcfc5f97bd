"""A home whose files arrive in a container of Azurite: the same jobs, the same rows and the same ledger as from its folder."""

import uuid
from datetime import date

import pytest
from azure.storage.blob import ContainerClient
from typer.testing import CliRunner

from ml_platform.cli import app
from ml_platform.settings import Settings

DAY = date(2017, 3, 1)
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
PRODUCTS = "product_id,manufacturer_id,department,brand,product_category,product_type,package_size"
FILES = {
    "sales/sales_2017-03-01.csv": f"{HEADER}\n1,5,9,1,2,3.50,2017-03-01T17:00:00Z\n1,5,9,2,many,3.50,2017-03-01T17:00:00Z\n1,5,8,2,1,1.50,2017-03-01T17:00:00Z\n",
    "sales/sales_2017-03-02.csv": f"{HEADER}\n1,5,11,1,2,3.50,2017-03-02T17:00:00Z\n",
    "sales/notes.txt": "hello",
    "strange/file.csv": "x",
}
TABLES = ("bronze/raw_sales", "ops/ledger", "ops/quarantine", "silver/sales_history")


def test_what_arrives_in_a_container_ends_as_what_arrives_in_a_folder(
    tmp_path, open_platform, azurite_server, monkeypatch
):
    folder = Settings(home=tmp_path / "folder", workers=1, shards=2)
    for path, text in FILES.items():
        (folder.landing / path).parent.mkdir(parents=True, exist_ok=True)
        (folder.landing / path).write_text(text)
    with open_platform(folder) as platform:
        platform.succeed("ingest", DAY, date(2017, 3, 2))
        expected = platform.content(*TABLES)
    name = f"c{uuid.uuid4().hex}"
    url = f"{azurite_server.blob_url}/{name}/in"
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as container:
        container.create_container()
        for path, text in FILES.items():
            container.upload_blob(f"in/{path}", text)
    monkeypatch.setenv("ML_PLATFORM_STORAGE_KEY", azurite_server.key)
    cloud = Settings(home=tmp_path / "cloud", workers=1, shards=2, landing_url=url, storage_key=azurite_server.key)
    with open_platform(cloud) as platform:
        run = platform.succeed("ingest", DAY, date(2017, 3, 2))
        assert platform.content(*TABLES) == expected
        assert platform.materialized(run)["raw_sales"]["files_left_count"].value == 0
        assert not cloud.landing.exists()
        logged = "".join(entry.to_json() for entry in platform.instance.all_logs(run.run_id))
        assert azurite_server.key not in logged


@pytest.fixture
def cloud(tmp_path, azurite_server, monkeypatch):
    """The command line of a home whose files arrive in a container."""
    name = f"c{uuid.uuid4().hex}"
    for setting, value in {
        "HOME": str(tmp_path / "home"),
        "LANDING_URL": f"{azurite_server.blob_url}/{name}",
        "STORAGE_KEY": azurite_server.key,
    }.items():
        monkeypatch.setenv(f"ML_PLATFORM_{setting}", value)
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as container:
        container.create_container()
        yield container


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_line_lands_there_and_tells_what_lies_there(cloud, tmp_path, azurite_server):
    mine = tmp_path / "sales_2017-03-01.csv"
    mine.write_text(FILES["sales/sales_2017-03-01.csv"])
    code, text = run("land", "--source", "sales", str(mine))
    assert (code, text.replace("\n", "")) == (0, f"landed {cloud.url}/sales/sales_2017-03-01.csv")
    cloud.upload_blob("strange/file.csv", "x")
    code, text = run("status")
    assert code == 0
    assert "Files wait: 1 of sales (new: " in text
    assert "Of no contract, under landing/: strange/" in text
    by_name, by_place = (run("status", "--file", text) for text in (mine.name, f"{cloud.url}/sales/{mine.name}"))
    assert by_name == by_place
    assert "waits (new): it was not read yet" in by_name[1]
    code, text = run("doctor")
    assert f"landing area: {cloud.url}" in " ".join(text.split())
    assert azurite_server.key not in text


def test_a_container_that_is_not_there_is_named(cloud):
    cloud.delete_container()
    code, text = run("status")
    assert (code, "check ML_PLATFORM_LANDING_URL" in text, cloud.url in text) == (1, True, True)
    code, text = run("doctor")
    assert (code, "check ML_PLATFORM_LANDING_URL" in text) == (1, True)
