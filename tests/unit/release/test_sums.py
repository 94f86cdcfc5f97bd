"""Sums in the platform: trained with the fleet, carried by its release, written beside the forecasts they agree with."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from orchard import InProcess

from ml_platform import scoring
from ml_platform.candidates import Candidate
from ml_platform.examples import example_sums
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.gate import GateConfig
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import Panel, read_panel
from ml_platform.promotion import judge_candidate, release_candidate
from ml_platform.scoring import forecasts_spec, score, settled, sums_spec
from ml_platform.sums import sum_rows
from ml_platform.training import train_fleet
from ml_platform.updating import update_fleet

FIRST, STORES, ITEMS, LATER = date(2023, 1, 2), 4, 10, 70
TRAINED = FIRST + timedelta(days=229)
COUNT = STORES * ITEMS
NEWCOMER = COUNT  # has its first row after the training
CONFIG = ForecastConfig(
    series=("store", "item"),
    time="date",
    target="amount",
    frequency="D",
    horizon=7,
    segments=("department",),
    static=("department",),
    sums=(("store",), ("store", "department"), ()),
    families=("mean_28", "ses_05", "tsb"),
    folds=3,
)
MINT = CONFIG.model_copy(update={"reconcile": "mint"})
LEVELS = {"store": ["store"], "store x department": ["store", "department"], "total": []}
PANEL = pa.schema(
    [
        ("series_id", pa.string()),
        ("date", pa.date32()),
        ("target", pa.int64()),
        ("known_from", pa.date32()),
        ("month", pa.string()),
    ]
)


def day(later: int) -> date:
    return TRAINED + timedelta(days=later)


def series_ids(places: Sequence[int]) -> list[str]:
    return [f"{place:016x}" for place in places]


def sales() -> pd.DataFrame:
    """Counts of all stores and items, and of one that comes after the training; most are small, some are often zero."""
    frames = []
    for place in range(COUNT + 1):
        days = pd.date_range(FIRST, day(LATER)).date
        rng = np.random.default_rng(place)
        level = (0.3 + place % ITEMS) * (1 + 0.6 * (np.arange(len(days)) % 7 >= 5))
        frame = pd.DataFrame({"series_id": f"{place:016x}", "date": days, "target": rng.poisson(level)})
        frames.append(frame[frame["date"] > day(3)] if place == NEWCOMER else frame)
    return pd.concat(frames, ignore_index=True)


def panel(until: date) -> pa.Table:
    rows = sales()
    ahead = until + timedelta(days=CONFIG.horizon)
    rows = rows[rows["date"] <= ahead].assign(
        target=lambda own: own["target"].where(own["date"] <= until),
        month=lambda own: pd.to_datetime(own["date"]).dt.strftime("%Y-%m"),
        known_from=None,
    )
    return pa.Table.from_pandas(rows[PANEL.names], PANEL, preserve_index=False)


def catalogue(as_of: date) -> pa.Table:
    """Stores are numbers; the last item of each store has no department."""
    places = range(COUNT + (as_of > day(3)))
    departments = [("none of them" if place % 2 else "fresh", None)[place % ITEMS == ITEMS - 1] for place in places]
    return pa.table(
        {
            "series_id": series_ids(places),
            "store": pa.array([100 + place % STORES for place in places], pa.int64()),
            "item": [f"item {place}" for place in places],
            "shard": pa.array([place % 3 for place in places], pa.int32()),
            "first_date": pa.array([FIRST if place < COUNT else day(4) for place in places]),
            "last_date": pa.array([as_of] * len(places)),
            "active_days": pa.array([150 if place < COUNT else 3 for place in places], pa.int64()),
            "days_before_fold": pa.array([150 if place < COUNT else 0 for place in places], pa.int64()),
            "department": pa.array(departments, pa.string()),
            "state": ["active"] * len(places),
            "reason": pa.nulls(len(places), pa.string()),
        }
    )


def filled(world, config: ForecastConfig, until: date = TRAINED, upto: date | None = None):
    """A home with a panel and a promoted release."""
    world.lake.append(TableSpec("gold/series_panel", PANEL, ("month",)), panel(upto or until))
    world.put("silver/series_catalogue", catalogue(until))
    train_fleet(world.lake, catalogue(until), config, until, InProcess())
    candidate = Candidate(world.lake, world.registry, catalogue(until), config, until)
    judge_candidate(candidate)
    gate = GateConfig(bias={"excess": 0.9})
    done = release_candidate(candidate, gate)
    assert done.decision.promoted, done.decision.summary
    return world


@pytest.fixture(scope="module", params=[CONFIG, MINT], ids=["bottom_up", "mint"])
def house(request, new_world, tmp_path_factory, blank_mlflow):
    """A home whose release was trained with sums, and its configuration; the panel goes on after the training."""
    world = new_world(tmp_path_factory.mktemp("sums"), config=request.param)
    return filled(world, request.param, upto=day(LATER))


def scored(world, as_of: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts of series with their keys, and of sums with theirs, of a day that is scored where it was not yet."""
    score(world.lake, world.registry, catalogue(as_of), world.config, as_of)
    where = pc.field("as_of") == pa.scalar(as_of)
    series = world.lake.read(forecasts_spec(world.config).name, where=where).to_pandas()
    sums = world.lake.read(sums_spec(world.config).name, where=where).to_pandas()
    keys = sums["keys"].map(json.loads)
    named = sums.assign(**{name: keys.map(lambda own, name=name: own.get(name)) for name in ("store", "department")})
    return series.merge(catalogue(as_of).to_pandas()[["series_id", "store", "department"]], on="series_id"), named


@pytest.mark.parametrize("later", [0, 1, 5])
def test_every_sum_is_that_of_the_series_in_the_lake(house, later):
    series, sums = scored(house, day(later))
    for level, by in LEVELS.items():
        own = sums[sums["level"] == level]
        texts = series.assign(store=series["store"].astype(str))
        wanted = texts.groupby([*by, "step"], dropna=False)["mean"].agg(["sum", "size"]).reset_index()
        both = own.merge(wanted, on=[*by, "step"], validate="one_to_one") if by else own.merge(wanted, on="step")
        assert len(both) == len(own) == len(wanted), level
        np.testing.assert_allclose(both["mean"], both["sum"], rtol=1e-9)
        assert (both["series"] == both["size"]).all()
        assert own["series"].sum() == CONFIG.horizon * (COUNT + (later > 3))
    bounds = sums[["lo_95", "lo_80", "hi_80", "hi_95"]].to_numpy()
    assert (np.diff(bounds, axis=1) >= 0).all()
    assert (bounds >= 0).all()
    assert not sums.duplicated(["sum_id", "step"]).any()


def test_series_without_an_attribute_have_a_sum_of_their_own(house):
    _, sums = scored(house, day(0))
    lost = sums[(sums["level"] == "store x department") & sums["department"].isna()]
    assert sorted(lost["store"].unique()) == ["101", "103"]
    assert (lost.groupby("step")["series"].sum() == COUNT // ITEMS).all()


def test_series_without_a_model_of_their_own_are_counted_in_their_sums(house):
    _, before = scored(house, day(0))
    _, after = scored(house, day(5))
    assert before["fallback"].sum() == 0
    total = after[after["level"] == "total"]
    assert (total["fallback"] == 1).all()
    assert (total["series"] == COUNT + 1).all()


def test_a_series_that_cannot_be_forecast_is_left_out_of_its_sums_and_counted(house, monkeypatch):
    def with_one_broken(*arguments):
        shard = read_panel(*arguments).shard
        return Panel(shard.take(np.arange(len(shard)) != 2), (shard.series_id[2],))

    monkeypatch.setattr(scoring, "read_panel", with_one_broken)
    series, sums = scored(house, day(2))
    total = sums[sums["level"] == "total"].sort_values("step")
    assert (total["quarantined"] == 1).all()
    assert (total["series"] == COUNT - 1).all()
    np.testing.assert_allclose(total["mean"], series.groupby("step")["mean"].sum(), rtol=1e-9)
    stores = sums[(sums["level"] == "store") & (sums["step"] == 1)].set_index("store")["quarantined"]
    assert stores.to_dict() == {"100": 0, "101": 0, "102": 1, "103": 0}


def test_scoring_again_adds_nothing(house):
    scored(house, day(0))
    before = [house.lake.version(spec(CONFIG).name) for spec in (forecasts_spec, sums_spec)]
    again = score(house.lake, house.registry, catalogue(day(0)), house.config, day(0))
    assert not again.written
    assert again.sums == {"store": 28, "store x department": 42, "total": 7}
    assert [house.lake.version(spec(CONFIG).name) for spec in (forecasts_spec, sums_spec)] == before


def test_a_run_that_ended_between_the_two_tables_is_completed(house, monkeypatch):
    append = Lake.append

    def dies(self, spec, *arguments, **named):
        if spec.name == forecasts_spec(CONFIG).name:
            raise RuntimeError("killed")
        return append(self, spec, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append", dies)
        with pytest.raises(RuntimeError, match="killed"):
            scored(house, day(6))
    assert settled(house.lake, house.config, day(6)) is None
    series, sums = scored(house, day(6))
    total = sums[sums["level"] == "total"].sort_values("step")
    assert len(total) == CONFIG.horizon
    np.testing.assert_allclose(total["mean"], series.groupby("step")["mean"].sum(), rtol=1e-9)


def test_intervals_of_sums_hold_what_comes(house):
    """Sums of nine weeks after the training, all by the release of its day."""
    rows, inside = sales(), {80: [], 95: []}
    for later in range(0, LATER - 7, 7):
        _, sums = scored(house, day(later))
        keys = catalogue(day(later)).to_pandas()[["series_id", "store", "department"]]
        truth = rows.merge(keys.assign(store=keys["store"].astype(str)), on="series_id")
        for level, by in LEVELS.items():
            came = truth.groupby([*by, "date"], dropna=False)["target"].sum().reset_index()
            both = sums[sums["level"] == level].merge(came, on=[*by, "date"], validate="one_to_one")
            for nominal, found in inside.items():
                found.extend(both["target"].between(both[f"lo_{nominal}"], both[f"hi_{nominal}"]))
    assert len(inside[80]) == 9 * 7 * 11
    assert 0.74 <= np.mean(inside[80]) <= 0.88
    assert 0.91 <= np.mean(inside[95]) <= 0.99


def test_the_release_carries_all_that_sums_need(house):
    """Without the tables of the training, the release forecasts the same sums."""
    _, wanted = scored(house, day(0))
    fleet = house.registry.load(wanted["release_id"].iloc[0])
    panel_now = read_panel(house.lake, catalogue(day(0)), house.config, day(0))
    made = predict(fleet, panel_now.shard)
    _, again = sum_rows(fleet, panel_now.shard, made, catalogue(day(0)), house.config.sums)
    order = ["sum_id", "step"]
    one, two = wanted.sort_values(order), again.to_pandas().sort_values(order)
    for name in ("mean", "lo_95", "lo_80", "hi_80", "hi_95"):
        np.testing.assert_array_equal(one[name], two[name])


def test_examples_are_the_total_and_the_largest_sums(house):
    _, sums = scored(house, day(0))
    release = sums["release_id"].iloc[0]
    history, forecasts, titles = example_sums(house.lake, house.config, day(0), release)
    total = next(iter(titles))
    assert titles[total] == "total"
    assert len(titles) == 3
    assert set(forecasts["series_id"].to_pylist()) == set(titles) == set(history["series_id"].to_pylist())
    rows = history.to_pandas()
    shown = rows[rows["series_id"] == total].set_index("date")["target"]
    known = set(catalogue(day(0))["series_id"].to_pylist())
    rows = sales()
    truth = rows[rows["series_id"].isin(known)].groupby("date")["target"].sum()
    pd.testing.assert_series_equal(shown.astype(int), truth.loc[shown.index], check_names=False)


def test_a_fleet_that_is_updated_keeps_what_it_knows_of_sums(new_world, tmp_path, blank_mlflow):
    world = filled(new_world(tmp_path, config=CONFIG), CONFIG, upto=day(1))
    update_fleet(world.lake, world.registry, catalogue(day(1)), CONFIG, day(1))
    pools = world.lake.read("gold/fleet_pools").to_pandas()
    of_sums = pools[pools["name"].str.startswith("sums/")]
    order = ["name", "segment", "item"]
    days = [own.drop(columns="as_of").sort_values(order, ignore_index=True) for _, own in of_sums.groupby("as_of")]
    one, two = days
    pd.testing.assert_frame_equal(one, two)
    assert len(one)


@pytest.mark.parametrize("shards", [1, 7])
def test_the_number_of_shards_does_not_matter(new_world, tmp_path, shards):
    pools = []
    for number in (3, shards):
        world = new_world(tmp_path / str(number), config=CONFIG)
        world.lake.append(TableSpec("gold/series_panel", PANEL, ("month",)), panel(TRAINED))
        whole = catalogue(TRAINED)
        own = pa.array([place % number for place in range(whole.num_rows)], pa.int32())
        table = whole.set_column(whole.column_names.index("shard"), "shard", own)
        train_fleet(world.lake, table, CONFIG, TRAINED, InProcess())
        rows = world.lake.read("gold/fleet_pools").to_pandas().sort_values(["name", "segment", "item"])
        pools.append(rows[rows["name"].str.startswith("sums/")])
    np.testing.assert_allclose(pools[0]["value"], pools[1]["value"], rtol=1e-9, atol=1e-9)


def test_a_changed_attribute_is_another_training(new_world, tmp_path):
    """Sums by an attribute that is no segment: nothing else that training reads changes with it."""
    config = CONFIG.model_copy(update={"segments": ()})
    world = new_world(tmp_path, config=config)
    world.lake.append(TableSpec("gold/series_panel", PANEL, ("month",)), panel(TRAINED))
    whole = catalogue(TRAINED)
    moved = pa.array(["fresh", *whole["department"].to_pylist()[:-1]], pa.string())
    other = whole.set_column(whole.column_names.index("department"), "department", moved)
    one, two, three = (train_fleet(world.lake, own, config, TRAINED, InProcess()) for own in (whole, whole, other))
    assert (one.unchanged, two.unchanged, three.unchanged) == (False, True, False)


def test_a_release_without_sums_says_so(world):
    plain = CONFIG.model_copy(update={"sums": ()})
    filled(world, plain)
    report = score(world.lake, world.registry, catalogue(TRAINED), CONFIG, TRAINED)
    assert report.untrained == tuple(LEVELS)
    assert report.sums == {}
    assert not world.lake.exists(sums_spec(CONFIG).name)
    assert Path(world.lake.uri(forecasts_spec(CONFIG).name)).exists()
