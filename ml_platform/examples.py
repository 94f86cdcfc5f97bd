"""Example series: a few that a person should look at.

Belongs here: choosing them and reading their history and forecast. Does not belong here: drawing (plots).
"""

from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake, names


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
    recent = (as_of - timedelta(days=92)).strftime("%Y-%m")
    history = lake.read(names.SERIES_PANEL, ["series_id", "date", "target"], among & (pc.field("month") >= recent))
    made = (pc.field("as_of") == pa.scalar(as_of, pa.date32())) & (pc.field("release_id") == release_id)
    return history, lake.read(names.FORECASTS, where=among & made), titles
