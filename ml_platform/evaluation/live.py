"""Live: what was really forecast at the cut of the judged fold, and published.

Belongs here: reading it from gold/forecasts. Does not belong here: judging it (figures).
"""

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.evaluation.cells import Cells
from ml_platform.lake import Lake, names


def live_forecasts(lake: Lake, cells: Cells) -> pa.Table | None:
    """series_id, date, mean and release_id of the newest forecasts published before the first judged date that reach beyond it; None without any."""
    if not cells.ids or not (lake.exists(names.PUBLISHED) and lake.exists(names.FORECASTS)):
        return None
    first = cells.first_date
    reach = first - (cells.last_date - first) - timedelta(days=1)
    between = (pc.field("as_of") < pa.scalar(first)) & (pc.field("as_of") >= pa.scalar(reach))
    pointers = sorted(
        lake.read(names.PUBLISHED, where=between).to_pylist(), key=lambda row: (row["as_of"], row["published_at"])
    )
    if not pointers:
        return None
    newest = pointers[-1]
    own = (pc.field("as_of") == pa.scalar(newest["as_of"])) & (pc.field("release_id") == newest["release_id"])
    return lake.read(names.FORECASTS, ["series_id", "date", "mean", "release_id"], own).combine_chunks()
