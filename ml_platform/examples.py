"""Example series, and example sums: a few that a person should look at.

Belongs here: choosing them and reading their history and forecast. Does not belong here: drawing (plots).
"""

import json
from datetime import date, timedelta
from itertools import chain, zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.coverage import NOT_EXPECTED
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake, names
from ml_platform.sums import catalogue_sums, sum_ids

RECENT = timedelta(days=92)


def example_forecasts(
    lake: Lake, config: ForecastConfig, as_of: date, release_id: str, number: int = 6
) -> tuple[pa.Table, pa.Table, dict[str, str]]:
    """History, forecasts and titles of series spread over the fleet by how often they are active, the most active first."""
    known = lake.read(names.SERIES_CATALOGUE, where=pc.field("state") == "active").sort_by(
        [("active_days", "descending"), ("series_id", "ascending")]
    )
    places = [round(place * (known.num_rows - 1) / max(number - 1, 1)) for place in range(min(number, known.num_rows))]
    chosen = known.take(places).to_pylist()
    titles = {row["series_id"]: " / ".join(str(row[name]) for name in config.series) for row in chosen}
    among = pc.field("series_id").isin(list(titles))
    recent = (as_of - RECENT).strftime("%Y-%m")
    history = lake.read(names.SERIES_PANEL, ["series_id", "date", "target"], among & (pc.field("month") >= recent))
    made = (pc.field("as_of") == pa.scalar(as_of, pa.date32())) & (pc.field("release_id") == release_id)
    return history, lake.read(names.FORECASTS, where=among & made), titles


def example_sums(
    lake: Lake, config: ForecastConfig, as_of: date, release_id: str, number: int = 3
) -> tuple[pa.Table, pa.Table, dict[str, str]]:
    """History, forecasts and titles of sums, as of series: the largest of each level in turn, fewest columns first, so that the total comes first.

    Their history is that of the series as the newest catalogue has them.
    """
    made = (pc.field("as_of") == pa.scalar(as_of, pa.date32())) & (pc.field("release_id") == release_id)
    rows = lake.read(names.FORECAST_SUMS, where=made)
    titles = _largest(rows, number)
    known = lake.read(names.SERIES_CATALOGUE)
    known = known.filter(pc.invert(pc.is_in(known["state"], pa.array(NOT_EXPECTED, pa.string()))))
    recent = pc.field("month") >= (as_of - RECENT).strftime("%Y-%m")
    panel = lake.dataset(names.SERIES_PANEL, coded=["series_id"]).to_table(
        columns=["series_id", "date", "target"], filter=recent & pc.field("target").is_valid()
    )
    history = _added_up(panel, known, config, list(titles))
    forecasts = rows.filter(pc.is_in(rows["sum_id"], pa.array(list(titles), pa.string())))
    return history, forecasts.rename_columns([one.replace("sum_id", "series_id") for one in rows.column_names]), titles


def _largest(rows: pa.Table, number: int) -> dict[str, str]:
    """Titles of the largest sums by sum_id, one of each level in turn."""
    first = (
        rows.filter(pc.equal(rows["step"], 1)).sort_by([("mean", "descending"), ("sum_id", "ascending")]).to_pylist()
    )
    levels = sorted({(len(json.loads(row["keys"])), row["level"]) for row in first})
    ranked = [[row for row in first if row["level"] == level] for _, level in levels]
    chosen = [row for row in chain(*zip_longest(*ranked)) if row is not None][:number]
    return {row["sum_id"]: _title(row["level"], json.loads(row["keys"])) for row in chosen}


def _title(level: str, keys: dict[str, str | None]) -> str:
    return " / ".join(f"{name} {value or 'none'}" for name, value in keys.items()) or level


def _added_up(panel: pa.Table, known: pa.Table, config: ForecastConfig, wanted: list[str]) -> pa.Table:
    """Targets of a panel, whose series are coded, by sum and date, of some sums: series_id (of the sum), date, target."""
    coded = panel["series_id"].unify_dictionaries().combine_chunks()
    ids = known["series_id"].combine_chunks()
    places = pc.fill_null(pc.index_in(coded.dictionary, ids), -1).to_numpy(zero_copy_only=False)
    place, dates = places[coded.indices.to_numpy()], panel["date"].combine_chunks().dictionary_encode()
    there, targets = place >= 0, panel["target"].cast(pa.float64()).to_numpy()
    place, day, targets = place[there], dates.indices.to_numpy()[there], targets[there]
    tables = []
    for sums in catalogue_sums(known, np.asarray(ids.to_pylist(), dtype=object), config.sums):
        cells = sums.codes[place] * len(dates.dictionary) + day
        size = len(sums) * len(dates.dictionary)
        seen = np.flatnonzero(np.bincount(cells, minlength=size))
        series = np.asarray(sum_ids(sums), dtype=object)[seen // len(dates.dictionary)]
        columns = [pa.array(series, pa.string()), dates.dictionary.take(pa.array(seen % len(dates.dictionary)))]
        added = pa.array(np.bincount(cells, targets, size)[seen])
        tables.append(pa.table([*columns, added], names=["series_id", "date", "target"]))
    both = pa.concat_tables(tables)
    return both.filter(pc.is_in(both["series_id"], pa.array(wanted, pa.string())))
