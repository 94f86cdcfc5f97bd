"""News of the panel where steps are hours, weeks and months: what is read since, and that it comes to the same as the whole history."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from orchard import InProcess
from ten_items import fleet_of, of, promote, registry_of

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import read_panel
from ml_platform.training import train_fleet
from ml_platform.updating import UpdateReport, update_fleet
from ml_platform.updating_tables import read_statistics

BEGIN = {"h": pd.Timestamp("2024-01-10"), "W-MON": pd.Timestamp("2019-01-07"), "MS": pd.Timestamp("2001-01-01")}
STEPS = {"h": 24 * 50, "W-MON": 200, "MS": 200}


def configuration(frequency: str, missing: str) -> ForecastConfig:
    season = {"h": 24, "W-MON": 4, "MS": 12}[frequency]
    fields = {"series": ["meter"], "time": "at", "target": "kwh", "frequency": frequency, "horizon": season}
    more = {"season_lengths": [season], "missing": missing, "families": ["ses_05", "ridge"], "interval_origins": 4}
    return ForecastConfig.model_validate({**fields, **more})


class Meters:
    """Five meters, one of which begins late and within a day, in a lake with a champion."""

    def __init__(self, folder: Path, config: ForecastConfig) -> None:
        self.lake, self.registry, self.config = Lake(str(folder / "lake")), registry_of(folder), config
        rng, frames = np.random.default_rng(1), []
        times = pd.date_range(BEGIN[config.frequency], periods=STEPS[config.frequency], freq=config.frequency)
        for meter in range(5):
            own = times[len(times) // 2 + 7 :] if meter == 4 else times
            rhythm = np.arange(len(own)) % config.horizon / config.horizon
            frames.append(
                pd.DataFrame({"series_id": f"m{meter}", "at": own, "kwh": 3 + meter + rhythm + rng.random(len(own))})
            )
        self.rows = pd.concat(frames, ignore_index=True)

    def write(self, days: list[dt.date]) -> None:
        subdaily, rows = (
            self.config.subdaily,
            self.rows[self.rows["at"] < pd.Timestamp(days[-1]) + pd.Timedelta(days=1)],
        )
        kind = pa.timestamp("us", "UTC") if subdaily else pa.date32()
        at = rows["at"].dt.tz_localize("UTC") if subdaily else rows["at"].dt.date
        values = {"date": pa.array(at, kind), "target": pa.array(rows["kwh"])}
        month = rows["at"].dt.strftime("%Y-%m").to_list()
        late = {"known_from": pa.nulls(len(rows), pa.date32()), "month": month}
        panel = pa.table({"series_id": rows["series_id"].to_list(), **values, **late})
        spec = TableSpec("gold/series_panel", panel.schema, ("month",))
        first = (
            "2000-01" if len(days) == 1 else f"{days[0]:%Y-%m}"
        )  # the stage writes anew from the month of the day before
        kept = panel.filter(pa.compute.greater_equal(panel["month"], first))
        self.lake.replace(spec, kept, f"month >= '{first}'")

    def catalogue(self, as_of: dt.date) -> pa.Table:
        found = self.rows[self.rows["at"].dt.date <= as_of].groupby("series_id", as_index=False)
        days = found["at"].agg(first=lambda at: at.min().date(), active=lambda at: at.dt.date.nunique())
        ids, size = days["series_id"].to_list(), len(days)
        dates = {
            "first_date": pa.array(days["first"], pa.date32()),
            "active_days": pa.array(days["active"], pa.int64()),
            "days_before_fold": pa.array(days["active"], pa.int64()),
        }
        shards = {"shard": pa.array([0] * size, pa.int32()), "state": ["active"] * size}
        return pa.table({"series_id": ids, "meter": ids, **dates, **shards})

    def train(self, as_of: dt.date) -> str:
        self.write([as_of])
        train_fleet(self.lake, self.catalogue(as_of), self.config, as_of, InProcess())
        return promote(self.lake, self.registry, as_of, self.config)

    def update(self, since: dt.date, as_of: dt.date) -> UpdateReport:
        self.write([since, as_of])
        report = update_fleet(self.lake, self.registry, self.catalogue(as_of), self.config, as_of)
        promote(self.lake, self.registry, as_of, self.config)
        return report


def assert_as_from_history(meters: Meters, release: str, as_of: dt.date) -> None:
    fleet = fleet_of(meters.lake, as_of, meters.config)
    fingerprint = meters.lake.read("gold/candidate_fleet", where=of(as_of))["fingerprint"][0].as_py()
    stored = read_statistics(meters.lake, as_of, fleet, fingerprint)
    shard = read_panel(meters.lake, meters.catalogue(as_of), meters.config, as_of).shard
    anew = Statistics.of(meters.registry.load(release), shard)
    assert stored is not None
    assert stored.statistics.recorded == anew.recorded
    one, two = (
        each.forecasts().sort_by([("series_id", "ascending"), ("step", "ascending")])
        for each in (stored.statistics, anew)
    )
    for name in ("mean", "lo_80", "hi_80"):
        np.testing.assert_allclose(one[name].to_numpy(), two[name].to_numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("missing", ["zero", "gap"])
@pytest.mark.parametrize(
    ("frequency", "days", "seen"),
    [
        ("h", ["2024-02-20", "2024-02-21", "2024-02-22", "2024-02-25"], [0, 24, 72]),
        ("W-MON", ["2022-09-11", "2022-09-18", "2022-09-20", "2022-10-09"], [0, 0, 3]),
        ("MS", ["2016-12-31", "2017-01-31", "2017-03-10", "2017-04-30"], [0, 1, 2]),
    ],
)
def test_steps_of_any_length_are_taken_in(
    frequency: str, days: list[str], seen: list[int], missing: str, tmp_path: Path
) -> None:
    """`seen`: steps that an update takes in of each series; the first one makes all from their history."""
    meters = Meters(tmp_path, configuration(frequency, missing))
    dates = [dt.date.fromisoformat(day) for day in days]
    release, before = meters.train(dates[0]), 0
    for since, as_of, steps in zip(dates, dates[1:], seen, strict=False):
        report = meters.update(since, as_of)
        assert (report.advanced, report.made_anew) == ((0, 5) if since == dates[0] else (5, 0))
        if since != dates[0]:
            assert report.recorded.rows - before == 5 * steps
            assert report.states == ({"fitted": 5} if steps else {"carried_over": 5})
        before = report.recorded.rows
        assert_as_from_history(meters, release, as_of)


def test_a_correction_of_an_hour_is_seen(tmp_path: Path) -> None:
    meters = Meters(tmp_path, configuration("h", "gap"))
    days = [dt.date(2024, 2, 20) + dt.timedelta(days=number) for number in range(3)]
    release = meters.train(days[0])
    meters.update(days[0], days[1])
    one = (meters.rows["series_id"] == "m2") & (meters.rows["at"] == pd.Timestamp("2024-02-11 05:00"))
    assert one.sum() == 1
    meters.rows.loc[one, "kwh"] += 4
    report = meters.update(days[1], days[2])
    assert (report.advanced, report.made_anew) == (4, 1)
    assert_as_from_history(meters, release, days[2])
