"""A fleet that took days in without training: what lets it through, what stops it, and what it forecasts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from orchard import InProcess
from ten_items import CONFIG, HORIZON, LATE, TRAINED, catalogue_of, day, fill, of, promote, registry_of, rows_of

from ml_platform.candidates import Candidate
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.gate import GateConfig
from ml_platform.gate.update import BY_UPDATE
from ml_platform.lake import Lake
from ml_platform.panel import read_panel
from ml_platform.panel_rows import PanelRows
from ml_platform.promotion import Promotion, judge_candidate, release_candidate
from ml_platform.registry import Registry, Training, champion_as_of
from ml_platform.scoring import ScoringReport, score
from ml_platform.training import train_fleet
from ml_platform.training_tables import CANDIDATE_FLEET, FLEET_POOLS
from ml_platform.updating import update_fleet

ROWS = rows_of()


class Home:
    """A lake, releases and MLflow, with a trained champion."""

    def __init__(self, folder: Path, config: ForecastConfig = CONFIG) -> None:
        self.folder, self.config = folder, config

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def registry(self) -> Registry:
        return registry_of(self.folder)

    def train(self) -> str:
        fill(self.lake, ROWS)
        train_fleet(self.lake, catalogue_of(ROWS, TRAINED), self.config, TRAINED, InProcess())
        return promote(self.lake, self.registry, TRAINED, self.config)

    def update(self, number: int) -> None:
        update_fleet(self.lake, self.registry, catalogue_of(ROWS, day(number)), self.config, day(number))

    def release(self, number: int, gate: GateConfig | None = None) -> Promotion:
        made = catalogue_of(ROWS, day(number))
        return release_candidate(
            Candidate(self.lake, self.registry, made, self.config, day(number)), gate or GateConfig()
        )

    def score(self, number: int) -> ScoringReport:
        return score(self.lake, self.registry, catalogue_of(ROWS, day(number)), self.config, day(number))

    def forecasts(self, number: int) -> pd.DataFrame:
        found = self.lake.read("gold/forecasts", where=of(day(number))).to_pandas()
        return found.set_index(["series_id", "step"]).sort_index()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, blank_mlflow: Path) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    release_id = home.train()
    shutil.copy(blank_mlflow, home.folder / "mlflow.db")
    folder = home.registry.root / release_id
    home.registry.versions.register(
        release_id, folder, Training(release_id, release_id, {}, {}, {}), {"as_of": TRAINED.isoformat()}
    )
    return home


@pytest.fixture
def home(trained: Home, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(trained.folder, tmp_path / "home")))


def champion(home: Home, number: int) -> str:
    found = champion_as_of(home.lake, day(number), same_day=True)
    assert found is not None
    return found.release_id


def stopped_by(promotion: Promotion) -> list[str]:
    return [rule.name for rule in promotion.decision.rules if not rule.passed]


def test_an_update_of_the_champion_becomes_champion(home: Home) -> None:
    before = champion(home, 0)
    home.update(1)
    made = home.release(1)
    assert made.decision.promoted, made.decision.summary
    assert champion(home, 1) == made.release.release_id != before
    assert champion(home, 0) == before
    assert home.registry.versions.tags_of("champion")["release_id"] == made.release.release_id
    (row,) = home.lake.read("gold/promoted_release", where=of(day(1))).to_pylist()
    assert row["approved_by"] == BY_UPDATE
    assert [rule["name"] for rule in json.loads(row["rules"])] == ["recipe_of_champion", "age_of_training", "coverage"]
    evidence = home.registry.evidence(made.release.release_id)
    assert evidence["updated_from"] == evidence["champion"] == before
    assert evidence["trained"] == {"release_id": before, "as_of": TRAINED.isoformat()}
    assert evidence["fingerprint"] == home.lake.read("gold/candidate_fleet", where=of(day(1)))["fingerprint"][0].as_py()


def test_a_repetition_writes_nothing(home: Home) -> None:
    home.update(1)
    first, versions = home.release(1), home.lake.version("gold/promoted_release")
    home.update(1)
    again = home.release(1)
    assert (again.release.release_id, again.recorded, again.alias_moved) == (first.release.release_id, False, False)
    assert home.lake.version("gold/promoted_release") == versions


def test_days_of_one_run_are_released_one_after_the_other(home: Home) -> None:
    trained = champion(home, 0)
    for number in (1, 2, 4):
        home.update(number)
    releases = [home.release(number).release.release_id for number in (1, 2, 4)]
    found = [home.registry.evidence(one) for one in releases]
    assert [one["updated_from"] for one in found] == [trained, *releases[:2]]
    assert {json.dumps(one["trained"]) for one in found} == {json.dumps(found[0]["trained"])}
    rows = home.registry.parameters(releases[2]).to_pylist()
    assert next(row["state"] for row in rows if row["series_id"] == LATE) == "fallback", (
        "new since the training, and let through"
    )


def _other_weights(rows: pa.Table) -> pa.Table:
    """One series forecasts with one family alone."""
    texts = rows["parameters"].to_pylist()
    place = rows["series_id"].to_pylist().index("002")
    texts[place] = json.dumps({**json.loads(texts[place]), "weights": {"ses_05": 0.5, "mean_56": 0.5}})
    return rows.set_column(rows.column_names.index("parameters"), "parameters", pa.array(texts))


def test_an_update_with_other_weights_is_stopped_and_publishes_nothing(home: Home) -> None:
    before = champion(home, 0)
    home.update(1)
    rows = _other_weights(home.lake.read("gold/candidate_fleet", where=of(day(1))))
    home.lake.replace(CANDIDATE_FLEET, rows, f"as_of = '{day(1)}'")
    made = home.release(1)
    assert stopped_by(made) == ["recipe_of_champion"]
    assert "1 series and 0 pools differ (first: 002)" in made.decision.summary
    assert champion(home, 1) == before
    assert home.score(1).release_id == before
    home.update(2)
    origin = home.lake.read("gold/candidate_fleet", where=of(day(2)))["updated_from"].unique().to_pylist()
    assert origin == [before]


def test_an_update_with_other_pools_is_stopped(home: Home) -> None:
    home.update(1)
    pools = home.lake.read("gold/fleet_pools", where=of(day(1)))
    doubled = pc.if_else(pc.equal(pools["name"], "steps"), pc.multiply(pools["value"], 2.0), pools["value"])
    home.lake.replace(FLEET_POOLS, pools.set_column(4, "value", doubled), f"as_of = '{day(1)}'")
    assert stopped_by(home.release(1)) == ["recipe_of_champion"]


def test_an_update_of_an_old_training_is_stopped_until_the_next_one(home: Home) -> None:
    for number, limit, expected in (
        (1, 1 / HORIZON, []),
        (2, 1 / HORIZON, ["age_of_training"]),
        (8, 1.0, ["age_of_training"]),
    ):
        home.update(number)
        made = home.release(number, GateConfig(age_of_training={"horizons": limit}))
        assert stopped_by(made) == expected, made.decision.summary
    assert "trained as of 2022-04-02" in made.decision.summary, (
        "the age is that of the training, not of the last update"
    )


def test_an_update_that_lacks_a_series_is_stopped(home: Home) -> None:
    home.update(4)
    rows = home.lake.read("gold/candidate_fleet", where=of(day(4)))
    home.lake.replace(CANDIDATE_FLEET, rows.filter(pc.not_equal(rows["series_id"], "002")), f"as_of = '{day(4)}'")
    assert stopped_by(home.release(4)) == ["coverage"]


def test_a_day_that_was_updated_is_trained_and_judged_as_any_other(home: Home) -> None:
    home.update(1)
    home.release(1)
    home.update(2)
    updated = home.release(2)
    train_fleet(home.lake, catalogue_of(ROWS, day(2)), CONFIG, day(2), InProcess())
    judged = judge_candidate(Candidate(home.lake, home.registry, catalogue_of(ROWS, day(2)), CONFIG, day(2)))
    assert judged.champion is not None
    assert judged.champion.as_of == day(1), "a release of the day itself is no opponent"
    assert judged.fleet("champion")["weighted_rmsse"] is not None
    made = home.release(2, GateConfig(bias={"excess": 1.0}))
    assert made.release.release_id != updated.release.release_id
    (row,) = home.lake.read(
        "gold/promoted_release", where=pc.field("release_id") == made.release.release_id
    ).to_pylist()
    assert row["approved_by"] == "gate"


def test_an_updated_fleet_forecasts_without_its_history(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.update(3)
    made = home.release(3)
    shard = read_panel(home.lake, catalogue_of(ROWS, day(3)), CONFIG, day(3)).shard
    whole = predict(home.registry.load(made.release.release_id), shard).to_pandas()
    scanned = list[object]()
    monkeypatch.setattr(PanelRows, "scan", lambda *arguments: scanned.append(arguments))
    report = home.score(3)
    assert not scanned
    assert (report.release_id, report.written) == (made.release.release_id, True)
    assert report.series == {"scored": 10, "new_since_training": 0, "quarantined": 0}
    whole, found = whole.set_index(["series_id", "step"]).sort_index(), home.forecasts(3)
    assert (found["family"] == whole["family"]).all()
    for name in ("mean", "point", "lo_95", "lo_80", "hi_80", "hi_95"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-9, atol=1e-9)


def test_fresh_coefficients_reach_the_forecasts(home: Home) -> None:
    home.score(5)
    stale = home.forecasts(5)
    home.update(5)
    home.release(5)
    home.score(5)
    both = home.forecasts(5)
    fresh = both[both["release_id"] == champion(home, 5)]
    assert len(fresh) == len(stale) == 10 * HORIZON
    assert not np.allclose(fresh["mean"].loc["000"], stale["mean"].loc["000"], rtol=1e-6)
    carried_over = [each["mean"].loc["003"] for each in (fresh, stale)]
    np.testing.assert_allclose(*carried_over, rtol=1e-9)


def test_models_of_others_are_fitted_to_the_history(tmp_path: Path, blank_mlflow: Path) -> None:
    families = ("mean_56", {"name": "line", "sklearn": "linear_model.LinearRegression"})
    config = ForecastConfig.model_validate({**CONFIG.model_dump(), "families": families, "known_future": ()})
    home = Home(tmp_path, config)
    home.train()
    shutil.copy(blank_mlflow, tmp_path / "mlflow.db")
    home.update(2)
    made = home.release(2)
    assert home.score(2).release_id == made.release.release_id
    shard = read_panel(home.lake, catalogue_of(ROWS, day(2)), config, day(2)).shard
    whole = predict(home.registry.load(made.release.release_id), shard).to_pandas().set_index(["series_id", "step"])
    np.testing.assert_allclose(home.forecasts(2)["mean"], whole["mean"].sort_index(), rtol=1e-9)
