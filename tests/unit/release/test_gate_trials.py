"""The gate against challengers of which the truth is known: bad ones are stopped for the right reason, good ones and refreshes pass, chance does not."""

import dataclasses
import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from gate_town import HORIZON, KINDS, Town

from ml_platform.coverage import count_coverage
from ml_platform.evaluation import arrange, evaluate, recipe_forecast, segment_labels
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.gate import Decision, Facts, GateConfig, decide
from ml_platform.gate.rules import FIRST, NEW, REFRESH, RULES
from ml_platform.incumbents import released
from ml_platform.lake import TableSpec
from ml_platform.registry import ReleaseError, champion_as_of, fleet_tables
from ml_platform.scoring import score

SEEDS = [
    pytest.param(one, marks=[pytest.mark.faults] if one >= 8 else []) for one in range(20)
]  # the rest is in `make faults`
NULLS, NULLS_PASSED = 100, 5
OLD_FAMILIES = ("seasonal_naive",)


def settled(town: Town, mlflow: Path) -> Town:
    town.home.mkdir(parents=True)
    shutil.copy(mlflow, town.home / "mlflow.db")
    town.settle()
    return town


def judged(town: Town) -> pd.DataFrame:
    rows = town.lake.read("gold/judged_fold").to_pandas()
    return rows[rows["as_of"] == town.last]


def put(town: Town, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the rows of the newest day."""
    table = town.lake.read(name)
    schema = table.schema
    own = table.to_pandas()
    own = change(own[own["as_of"] == town.last].copy())
    made = pa.Table.from_pandas(own, schema, preserve_index=False)
    by = ("as_of",) if name in ("gold/input_profile", "gold/fold_metrics") else ()
    town.lake.replace(TableSpec(name, schema, by), made, f"as_of = '{town.last}'")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, blank_mlflow: Path) -> Town:
    """A town with a champion of two weeks before, and a refresh of it that was trained and not judged."""
    town = settled(Town(tmp_path_factory.mktemp("town") / "home"), blank_mlflow)
    before = town.last - dt.timedelta(days=HORIZON)
    town.train(before)
    assert town.release(before).decision.promoted
    town.train(town.last, town.beside(town.last))
    return town


@pytest.fixture
def town(base: Town, tmp_path: Path) -> Town:
    shutil.copytree(base.home, tmp_path / "home")
    return dataclasses.replace(base, home=tmp_path / "home")


def test_the_refresh_that_all_of_them_are_made_of_passes(town: Town) -> None:
    decision = town.release(town.last).decision
    assert (decision.kind, decision.promoted) == (REFRESH, True), decision.summary


def forecasts(change: Callable[[pd.DataFrame], pd.Series]) -> Callable[[Town], None]:
    """Other forecasts in the judged fold; intervals go along."""

    def planted(town: Town) -> None:
        def changed(rows: pd.DataFrame) -> pd.DataFrame:
            mean = change(rows)
            for name in ("lo_80", "hi_80", "lo_95", "hi_95"):
                rows[name] = rows[name] - rows["mean"] + mean
            return rows.assign(mean=mean, point=mean)

        put(town, "gold/judged_fold", changed)

    return planted


def kind(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows["series_id"].astype(int) % 3 == KINDS.index(name)


def week(rows: pd.DataFrame) -> pd.Series:
    return (rows["step"] - 1) // 7


def bounds(**factors: float | None) -> Callable[[Town], None]:
    """Bounds so many times as far from the mean; None: they are missing."""

    def planted(town: Town) -> None:
        def changed(rows: pd.DataFrame) -> pd.DataFrame:
            for name, factor in factors.items():
                far = np.nan if factor is None else (rows[name] - rows["mean"]) * factor
                rows[name] = rows["mean"] + far
            return rows

        put(town, "gold/judged_fold", changed)

    return planted


def leaked_family(town: Town) -> None:
    """A family that saw the future, and a fleet that is all of it: the weights do give the forecasts."""

    def changed(rows: pd.DataFrame) -> pd.DataFrame:
        near = rows["actual"] + 0.1
        return rows.assign(
            **{name: near for name in rows.columns if name.startswith("family_") and rows[name].notna().any()},
            mean=near,
            point=near,
        )

    put(town, "gold/judged_fold", changed)


def fleet(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Town], None]:
    return lambda town: put(town, "gold/candidate_fleet", change)


def overfitted(town: Town) -> None:
    """For every series the family that was best on the folds that chose, alone."""
    folds = town.lake.read("gold/fold_metrics").to_pandas()
    folds = folds[(folds["as_of"] == town.last) & (folds["fold"] < folds["fold"].max())]
    errors = folds.groupby(["series_id", "family"])["squared_error"].sum().unstack()  # noqa: PD010
    best = errors.idxmin(axis=1)

    def weighed(rows: pd.DataFrame) -> pd.DataFrame:
        texts = [f'{{"weights": {{"{best[one]}": 1.0}}}}' for one in rows["series_id"]]
        return rows.assign(parameters=texts, choice="new")

    fleet(weighed)(town)
    own = rows_of_fleet(town)
    cells = arrange(
        town.lake.read("gold/judged_fold").filter(
            pa.compute.equal(town.lake.read("gold/judged_fold")["as_of"], town.last)
        ),
        segment_labels(town.catalogue(town.last), town.config),
    )
    said = dict(
        zip(
            zip(cells.table["series_id"].to_pylist(), cells.table["step"].to_pylist(), strict=True),
            recipe_forecast(cells, own.fleet),
            strict=True,
        )
    )
    forecasts(
        lambda rows: pd.Series([said[key] for key in zip(rows["series_id"], rows["step"], strict=True)], rows.index)
    )(town)


def rows_of_fleet(town: Town) -> Incumbent:
    of_day = pa.compute.field("as_of") == pa.scalar(town.last)
    rows, pools = (town.lake.read(name, where=of_day) for name in ("gold/candidate_fleet", "gold/fleet_pools"))
    return Incumbent(fleet_tables(rows, pools, town.config), rows["settings"][0].as_py())


def shorter(rows: pd.DataFrame) -> pd.DataFrame:
    """The fold of a fleet whose data ended a week ago."""
    return rows.assign(actual=rows["actual"].where(rows["step"] <= 7))


BAD: dict[str, tuple[Callable[[Town], None], set[str]]] = {
    "worse mean": (forecasts(lambda rows: rows["floor_seasonal_naive"]), {"error_against_champion", "error_against_floor"}),
    "one bad segment": (forecasts(lambda rows: rows["mean"].where(~kind(rows, "wine"), rows["mean"] * 1.6)), {"worst_segment", "bias"}),
    "one segment by chance": (
        forecasts(lambda rows: rows["mean"].where(~kind(rows, "wine"), rows["floor_seasonal_naive"])),
        {"error_against_champion"},
    ),
    "a fifth too much": (forecasts(lambda rows: rows["mean"] * 1.2), {"bias"}),
    "a fifth too little": (forecasts(lambda rows: rows["mean"] * 0.75), {"bias"}),
    "a segment too little": (forecasts(lambda rows: rows["mean"].where(~kind(rows, "bread"), rows["mean"] * 0.7)), {"bias"}),
    "weeks that cancel": (forecasts(lambda rows: rows["mean"] * np.where(week(rows) == 0, 1.25, 0.75)), {"bias"}),
    "all zero": (forecasts(lambda rows: rows["mean"] * 0.0), {"error_against_floor", "bias"}),
    "leaked future": (forecasts(lambda rows: rows["actual"] + 0.2 * (rows["mean"] - rows["actual"])), {"plausible_gain", "recomputed"}),
    "a family that leaks": (leaked_family, {"plausible_gain"}),
    "forecasts of another fleet": (forecasts(lambda rows: rows["mean"] * 1.001), {"recomputed"}),
    "over-fitted to the folds": (overfitted, {"error_against_champion"}),
    "intervals of no width": (bounds(lo_80=0.0, hi_80=0.0, lo_95=0.0, hi_95=0.0), {"interval_coverage"}),
    "intervals upside down": (bounds(lo_80=-1.0, hi_80=-1.0), {"interval_coverage"}),
    "intervals that say nothing": (bounds(lo_80=9.0, hi_80=9.0, lo_95=9.0, hi_95=9.0), {"interval_coverage"}),
    "intervals that are missing": (bounds(lo_95=None, hi_95=None), {"interval_coverage"}),
    "a series that is missing": (fleet(lambda rows: rows.iloc[1:]), {"coverage"}),
    "a series that is there twice": (fleet(lambda rows: pd.concat([rows, rows.iloc[:1]])), {"coverage"}),
    "a fallback without a reason": (fleet(lambda rows: rows.assign(state=["fallback", *rows["state"].iloc[1:]])), {"coverage"}),
    "judged rows without a forecast": (forecasts(lambda rows: rows["mean"].where(rows["series_id"] != "007")), {"coverage"}),
    "stale data": (lambda town: put(town, "gold/judged_fold", shorter), {"freshness"}),
    "hardly anything to judge by": (
        lambda town: put(town, "gold/judged_fold", lambda rows: rows[rows["series_id"] < "030"]),
        {"minimum_actuals"},
    ),
    "another unit": (
        lambda town: put(town, "gold/input_profile", lambda rows: rows.assign(mean=rows["mean"].where(rows["window"] < 0, rows["mean"] * 12))),
        {"input_drift"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_challenger_is_stopped_for_the_right_reason(town: Town, name: str) -> None:
    plant, reasons = BAD[name]
    before = champion_as_of(town.lake, town.last, same_day=False)
    plant(town)
    decision = town.release(town.last).decision
    assert not decision.promoted
    assert reasons <= set(decision.stopped_by), decision.summary
    assert champion_as_of(town.lake, town.last, same_day=True) == before
    assert town.registry.versions.tags_of("champion")["release_id"] == before.release_id


def test_every_rule_of_a_training_is_planted_once() -> None:
    planted = set().union(*(reasons for _, reasons in BAD.values()))
    of_updates = {"recipe_of_champion", "age_of_training"}
    assert set(RULES) - of_updates - planted == {"share_improved"}, "which tests of the rules alone show"


def test_bytes_that_were_changed_forecast_nothing(town: Town) -> None:
    made = town.release(town.last)
    path = made.release.folder / "parameters.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"parameters\.parquet does not have the sha256"):
        score(town.lake, town.registry, town.catalogue(town.last), town.config, town.last)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_refresh_passes_and_so_does_a_better_recipe(tmp_path: Path, blank_mlflow: Path, seed: int) -> None:
    """An old recipe is champion; a new one with all families beats it; two weeks on, the same choice fitted anew passes, too."""
    old = settled(Town(tmp_path / "home", seed=1000 + seed, families=OLD_FAMILIES), blank_mlflow)
    days = [old.last - dt.timedelta(days=HORIZON * back) for back in (2, 1, 0)]
    old.train(days[0])
    weak = GateConfig(error_against_floor={"blocks": False}, bias={"blocks": False}, worst_segment={"blocks": False})
    assert old.release(days[0], weak).decision.kind == FIRST
    new = dataclasses.replace(old, families=())
    decisions = list[Decision]()
    for day in days[1:]:
        new.train(day, new.beside(day), keep=day == days[2])
        decisions.append(new.release(day).decision)
    told = "; ".join(one.summary for one in decisions)
    assert [(one.kind, one.promoted) for one in decisions] == [(NEW, True), (REFRESH, True)], told


def bootstrapped(town: Town, seed: int) -> pd.DataFrame:
    """The history before the judged fold in blocks of four weeks, drawn with replacement; weekdays stay where they are."""
    rng, known = np.random.default_rng(seed), town.days - HORIZON
    starts = rng.integers(0, (known - 28) // 7 + 1, town.days // 28 + 1) * 7
    order = np.concatenate([np.arange(start, start + 28) for start in starts])[: town.days]
    wide = {
        name: town.panel[name].to_numpy().reshape(town.items, town.days)[:, order].ravel()
        for name in ("units", "value")
    }
    return town.panel.assign(**wide)


def null_decision(town: Town, champion: Incumbent, cells_table: pa.Table, seed: int, folder: Path) -> Decision:
    """Train on such a history; what its choice says of the true fold meets the champion."""
    other = Town(folder, town.seed, town.items, town.days)
    other.__dict__["panel"] = bootstrapped(town, seed)
    other.settle()
    other.train(town.last)
    choice, catalogue = rows_of_fleet(other), town.catalogue(town.last)
    cells = arrange(cells_table, segment_labels(catalogue, town.config))
    mean = pa.array(recipe_forecast(cells, choice.fleet))
    table = cells.table
    for name in ("mean", "point"):
        table = table.set_column(table.column_names.index(name), name, mean)
    found = evaluate(dataclasses.replace(cells, table=table), town.config, town.last, champion, "champion")
    return decide(found, count_coverage(catalogue, choice.fleet.rows), GateConfig(), Facts(NEW))


def nulls(town: Town, champion: Incumbent, number: int, folder: Path) -> int:
    rows = town.lake.read("gold/judged_fold")
    own = rows.filter(pa.compute.equal(rows["as_of"], pa.scalar(town.last)))
    return sum(null_decision(town, champion, own, seed, folder / str(seed)).promoted for seed in range(number))


def test_chance_is_not_promoted(town: Town, tmp_path: Path) -> None:
    champion = champion_as_of(town.lake, town.last, same_day=False)
    assert nulls(town, released(town.registry, champion), 15, tmp_path / "nulls") <= 1


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_a_hundred_chances_five_at_most_are_promoted(tmp_path: Path, blank_mlflow: Path, seed: int) -> None:
    town = settled(Town(tmp_path / "home", seed=seed), blank_mlflow)
    before = town.last - dt.timedelta(days=HORIZON)
    town.train(before)
    town.release(before, GateConfig(bias={"blocks": False}))
    town.train(town.last, town.beside(town.last))
    champion = champion_as_of(town.lake, town.last, same_day=False)
    assert nulls(town, released(town.registry, champion), NULLS, tmp_path / "nulls") <= NULLS_PASSED
