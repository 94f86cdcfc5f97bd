"""Erasure through Dagster: the job `erase` by digest, an erasure that the next run completes, and what Dagster itself keeps."""

import csv
from datetime import date

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml_platform.erasure.eraser import Eraser, Request
from ml_platform.lake import erasures
from ml_platform.settings import Settings
from resources.configuration import ConfigurationResource
from resources.erasure import eraser_of
from resources.landing import LandingResource
from resources.spark import SparkResource

DAY = date(2017, 3, 1)
HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
ANN, BOB, CARL = 77004411, 77004422, 77004433
COLUMNS = ("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size")


def land(settings: Settings) -> None:
    lines = [
        f"{who},5,{basket},1,2,3.50,{DAY}T17:00:00Z" for basket, who in enumerate((ANN, BOB, CARL, ANN, BOB, CARL))
    ]
    path = settings.landing / "sales" / f"sales_{DAY}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines, f"{ANN},5,9,1,-1,3.50,{DAY}T17:00:00Z"]) + "\n")
    products = settings.landing / "products" / "products.parquet"
    products.parent.mkdir(parents=True, exist_ok=True)
    row = dict(zip(COLUMNS, (1, 7, "GROCERY", "National", "SOUP", "TINS", "1"), strict=True))
    pq.write_table(pa.Table.from_pylist([row]), products)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, open_platform):
    settings = Settings(home=tmp_path_factory.mktemp("shop"), workers=1, shards=2)
    land(settings)
    with open_platform(settings) as platform:
        platform.succeed("ingest", DAY)
        yield platform


def eraser(platform) -> Eraser:
    settings = platform.settings
    resources = (
        ConfigurationResource(folder=str(settings.configs)),
        LandingResource(folder=str(settings.landing), first_day=str(settings.first_day)),
        SparkResource(),
    )
    return eraser_of(platform.lake, *resources, "by hand", lambda text: None)


def request(household: int) -> Request:
    return Request("sales", "household_id", "Ada", "request 17", value=str(household))


def run_job(platform, **config) -> dg.ExecuteInProcessResult:
    job = platform.defs.resolve_job_def("erase")
    return job.execute_in_process(
        run_config={"ops": {"erase_key": {"config": config}}}, instance=platform.instance, raise_on_error=False
    )


def households(platform) -> set[int]:
    return set(platform.lake.read("silver/sales_history")["household_id"].to_pylist())


def kept_bytes(platform) -> bytes:
    """Everything that Dagster has written: its databases and logs."""
    files = [path for path in platform.settings.dagster_home.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def test_the_job_erases_by_digest_and_keeps_no_key(shop):
    digest = eraser(shop).survey(request(ANN)).digest
    order = {"source": "sales", "column": "household_id", "by": "Ada", "reason": "request 17"}
    assert run_job(shop, **order, digest=digest).success
    assert households(shop) == {BOB, CARL}
    (row,) = [one for one in shop.lake.read("ops/ledger").to_pylist() if one["source"] == "sales"]
    assert (row["rows_in"], row["rows_loaded"], row["rows_quarantined"], row["rows_erased"]) == (7, 4, 0, 3)
    assert str(ANN).encode() not in kept_bytes(shop)

    assert run_job(shop, **order, digest=digest, landing=True).success
    with (shop.settings.landing / "sales" / f"sales_{DAY}.csv").open(newline="") as file:
        assert {int(one["household_id"]) for one in csv.DictReader(file)} == {BOB, CARL}
    shop.succeed("ingest", DAY)
    assert households(shop) == {BOB, CARL}
    newest = {one["state"]: one for one in shop.lake.read("ops/ledger").to_pylist() if one["source"] == "sales"}
    assert (newest["loaded"]["rows_in"], newest["loaded"]["rows_loaded"]) == (4, 4)
    assert [one.place for one in erasures.read(shop.lake)] == ["lake", "landing"]


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("way", ["the next run", "the job"])
def test_an_erasure_that_was_cut_off_is_completed(shop, monkeypatch, way):
    who = BOB if way == "the job" else CARL

    def dies(*arguments: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Eraser, "_erase_silver", dies)
        with pytest.raises(Crash):
            eraser(shop).erase(request(who))
    assert who in households(shop)
    if way == "the job":
        assert run_job(shop).success
    else:
        shop.succeed("ingest", DAY)
    assert erasures.pending(shop.lake) == []
    assert who not in households(shop)


def test_a_job_that_is_filled_in_unclearly_fails_in_words(shop):
    result = run_job(shop, source="sales", column="store_id", digest="0" * 64, by="Ada", reason="x")
    assert not result.success
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert any("column 'store_id' of source 'sales' is not declared" in str(error.cause or error) for error in errors)
