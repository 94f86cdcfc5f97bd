"""A small fleet whose days come one after the other: ten items, units per day, one that falls silent and one that comes late.

Belongs here: panel, catalogue and release for tests of updating. Does not belong here: what they ask of it.
"""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.lake import Lake, TableSpec, schemas
from ml_platform.registry import Origin, Registry, ReleaseContents, fleet_tables

FIRST, DAYS, HORIZON = dt.date(2022, 1, 3), 100, 7
TRAINED = FIRST + dt.timedelta(days=89)
LAST = FIRST + dt.timedelta(days=DAYS - 1)
SILENT, LATE = "003", "009"  # without a row after the training; begins after it
CONFIG = ForecastConfig(
    series=("item",),
    time="date",
    target="units",
    frequency="D",
    horizon=HORIZON,
    missing="gap",
    known_future=("offer",),
    static=("kind",),
    segments=("kind",),
    families=("mean_56", "ses_05", "ridge"),
    interval_origins=6,
)


def day(number: int) -> dt.date:
    """So many days after the training."""
    return TRAINED + dt.timedelta(days=number)


def rows_of() -> pd.DataFrame:
    """Daily rows (series_id, date, units, offer, known_from); units are missing after the last day, where only offers are known."""
    rng, frames = np.random.default_rng(4), []
    for item in range(10):
        days = pd.date_range(FIRST, periods=DAYS + HORIZON)
        units = rng.poisson(2 + item % 3 + 2 * (days.dayofweek.to_numpy() == 5)) + rng.random(len(days)).round(3)
        frame = pd.DataFrame({"series_id": f"{item:03d}", "date": days, "units": units + 0.25})
        frame["offer"] = ((days.dayofyear.to_numpy() + item) % 9 == 0) * 1.0
        frame["known_from"] = FIRST
        late = TRAINED + dt.timedelta(days=2)
        kept = {3: days.date <= TRAINED, 9: days.date > late}.get(item, rng.random(len(days)) < 0.9)
        frames.append(frame[kept | ((days.date > LAST) & (item != 3))])
    rows = pd.concat(frames, ignore_index=True)
    return rows.assign(units=rows["units"].where(rows["date"].dt.date <= LAST))


def catalogue_of(rows: pd.DataFrame, as_of: dt.date) -> pa.Table:
    found = rows[(rows["date"].dt.date <= as_of) & rows["units"].notna()]
    fold = pd.Timestamp(as_of - dt.timedelta(days=HORIZON))
    before = {"before": lambda days: (days <= fold).sum()}
    found = found.groupby("series_id", as_index=False)["date"].agg(min="min", max="max", size="size", **before)
    ids = found["series_id"].to_list()
    return pa.table(
        {
            "series_id": ids,
            "item": ids,
            "shard": pa.array(np.arange(len(ids)) % 3, pa.int32()),
            "first_date": pa.array(found["min"].dt.date, pa.date32()),
            "last_date": pa.array(found["max"].dt.date, pa.date32()),
            "active_days": pa.array(found["size"], pa.int64()),
            "days_before_fold": pa.array(found["before"], pa.int64()),
            "kind": ["even" if int(one) % 2 == 0 else "odd" for one in ids],
            "state": ["active"] * len(ids),
        }
    )


def fill(lake: Lake, rows: pd.DataFrame, first: str = "2000-01") -> None:
    """Write the months of the panel from `first` on, as the stage that makes it does."""
    months = rows["date"].dt.strftime("%Y-%m")
    rows = rows[months >= first]
    panel = pa.table(
        {
            "series_id": rows["series_id"].to_list(),
            "date": pa.array(rows["date"].dt.date, pa.date32()),
            "target": pa.array(rows["units"], from_pandas=True),
            "offer": pa.array(rows["offer"], from_pandas=True),
            "known_from": pa.array(rows["known_from"], pa.date32()),
            "month": months[months >= first].to_list(),
        }
    )
    lake.replace(TableSpec("gold/series_panel", panel.schema, ("month",)), panel, f"month >= '{first}'")


def registry_of(home: Path) -> Registry:
    return Registry(home / "releases", f"sqlite:///{home}/mlflow.db", home / "mlflow")


def promote(lake: Lake, registry: Registry, as_of: dt.date, config: ForecastConfig = CONFIG) -> str:
    """Let the fleet of a day be champion, without a gate."""
    rows = lake.read("gold/candidate_fleet", where=of(as_of))
    contents = ReleaseContents(
        as_of=as_of,
        parameters=rows.drop_columns(["as_of", "fingerprint", "updated_from"]),
        pools=lake.read("gold/fleet_pools", where=of(as_of)).drop_columns(["as_of"]),
        fold_metrics=pa.table({"series_id": pa.array([], pa.string())}),
        evaluation=schemas.fleet_evaluation(config.intervals).schema.empty_table(),
        config=config,
        evidence={"fingerprint": rows["fingerprint"][0].as_py()},
        origin=Origin(created_by="test", created_at=dt.datetime.now(dt.UTC)),
    )
    release_id = registry.build(contents).release_id
    row = {"as_of": as_of, "release_id": release_id, "promoted": True, "decided_at": dt.datetime.now(dt.UTC)}
    lake.append(schemas.PROMOTED_RELEASE, pa.Table.from_pylist([row], schema=schemas.PROMOTED_RELEASE.schema))
    return release_id


def of(as_of: dt.date) -> pc.Expression:
    return pc.field("as_of") == pa.scalar(as_of)


def fleet_of(lake: Lake, as_of: dt.date, config: ForecastConfig = CONFIG) -> Fleet:
    """The fleet of a day as the lake has it."""
    fleet, pools = (lake.read(f"gold/{name}", where=of(as_of)) for name in ("candidate_fleet", "fleet_pools"))
    return fleet_tables(fleet, pools, config)


def states_of(lake: Lake, as_of: dt.date) -> dict[str, tuple[str, str | None]]:
    rows = fleet_of(lake, as_of).rows.to_pylist()
    return {row["series_id"]: (row["state"], row["reason"]) for row in rows}
