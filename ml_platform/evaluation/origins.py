"""Earlier origins: how fleets made alike did against the same champion on judged folds of older days.

Belongs here: gold/judged_blocks. Does not belong here: what the sums say (noise).
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.evaluation.cells import Cells
from ml_platform.evaluation.noise import Blocks
from ml_platform.lake import Lake, schemas

MOST = 8  # origins, the newest first
SUMS = ("loss", "mass", "champion_loss", "champion_mass")


@dataclass(frozen=True)
class Meeting:
    """Which fleet met which champion: how it was made, and the training that made the champion's choice first."""

    settings: str
    beside: str


def store_blocks(lake: Lake, as_of: date, meeting: Meeting, cells: Cells, found: Blocks) -> bool:
    """Keep the sums of a day for later ones; False where they are there already."""
    spec, size = schemas.JUDGED_BLOCKS, len(found.sums)
    fixed = {"as_of": as_of, "settings": meeting.settings, "beside": meeting.beside, "first_date": cells.first_date}
    columns = {name: pa.array([value] * size, spec.schema.field(name).type) for name, value in fixed.items()}
    codes = np.arange(size)
    columns |= {"segment": pa.array([cells.segments[one] for one in codes // cells.weeks], pa.string())}
    columns |= {"week": pa.array(codes % cells.weeks, pa.int64())}
    columns |= {name: pa.array(found.sums[:, place]) for place, name in enumerate(SUMS)}
    rows = pa.table([columns[name] for name in spec.schema.names], spec.schema)
    kept = (
        lake.read(spec.name, where=_of(meeting, pc.field("as_of") == pa.scalar(as_of)))
        if lake.exists(spec.name)
        else None
    )
    if kept is not None and kept.num_rows and kept.sort_by(_ORDER).equals(rows.sort_by(_ORDER)):
        return False
    where = f"as_of = '{as_of.isoformat()}' and settings = '{meeting.settings}' and beside = '{meeting.beside}'"
    lake.replace(spec, rows, where)
    return True


_ORDER = [("segment", "ascending"), ("week", "ascending")]


def earlier_blocks(lake: Lake, as_of: date, meeting: Meeting, first: date, root: bool) -> list[Blocks]:
    """Sums of older days on which a fleet made like this one met the same champion; no date counts in two of them."""
    spec = schemas.JUDGED_BLOCKS
    if not lake.exists(spec.name):
        return []
    rows = lake.read(spec.name, where=_of(meeting, pc.field("as_of") < pa.scalar(as_of)))
    found, begins = list[Blocks](), first
    for day in sorted(rows["as_of"].unique().to_pylist(), reverse=True):
        own = rows.filter(pc.equal(rows["as_of"], pa.scalar(day)))
        if day >= begins or len(found) == MOST:  # its fold ends with its as-of day
            continue
        sums = np.stack([own[name].to_numpy() for name in SUMS], axis=1)
        found.append(Blocks(sums, np.zeros(len(sums), np.int64), root))
        begins = own["first_date"][0].as_py()
    return found


def _of(meeting: Meeting, day: pc.Expression) -> pc.Expression:
    return day & (pc.field("settings") == meeting.settings) & (pc.field("beside") == meeting.beside)
