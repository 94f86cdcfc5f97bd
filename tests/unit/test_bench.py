"""The benchmarks' own parts: one ridge for all who fit it, a gate that refuses, results that come back, pages made of them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from bench import own, report, results
from bench.__main__ import SCRIPTS
from bench.generator import HORIZON, Profile
from bench.judge import Incomplete, cells, judge, objection
from bench.plan import Fleet, plan
from bench.rows import MEANS, Truth, write_rows
from bench.series_ridge import Design, Prior, coefficients, design, deviations, forecast, jitter
from bench.watch import Watch

SMALL = Profile(100, 300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder, SMALL, {"all": SMALL.series, "few": 12}, seed=5)
    return folder


def by_scikit_learn(rows: Design, prior: Prior) -> np.ndarray:
    """The same penalty as a plain ridge: (b - t)'P(b - t) is the length of a turned b, drawn to nothing."""
    x, z, weight = deviations(rows)
    own, shared = slice(0, -len(MEANS)), slice(-len(MEANS), None)
    x, z, pull = x[:, own], z - x[:, shared] @ prior.coefficients[shared], prior.rows * prior.gram[own, own]
    penalty = pull + np.diag(jitter(weight * x.T @ x + pull))
    target = np.linalg.solve(penalty, pull @ prior.coefficients[own])
    turn = np.linalg.inv(np.linalg.cholesky(penalty)).T
    found = Ridge(alpha=1.0, fit_intercept=False, solver="cholesky", tol=1e-12).fit(
        x @ turn, z - x @ target, sample_weight=np.full(len(z), weight)
    )
    return np.append(target + turn @ found.coef_, prior.coefficients[shared])


def test_kernel_series_by_series_and_scikit_learn_fit_the_same_ridge(world: Path) -> None:
    setup, pools = own.frozen(world / "all.parquet")
    made, betas = own.ridge(world / "all.parquet", setup, pools)
    ids = made["unique_id"].unique().tolist()
    priors = own.priors(setup, pools, tuple(f"{n:02d}" for n in range(50)))
    rows = pd.read_parquet(world / "few.parquet").groupby("unique_id")
    assert len(rows) == 12
    for name, series in rows:
        prior, found = priors[series["product"].iloc[0]], design(series, HORIZON)
        beta = coefficients(found, prior)
        assert beta == pytest.approx(betas[ids.index(name)], abs=1e-8, rel=1e-8)
        assert beta == pytest.approx(by_scikit_learn(found, prior), abs=1e-5, rel=1e-5)
        said = made.loc[made["unique_id"] == name, "mean"].to_numpy()
        assert forecast(found, beta) == pytest.approx(said, abs=1e-8)


def test_rows_are_whole_series_and_samples_are_nested(world: Path) -> None:
    everything, few = (pd.read_parquet(world / f"{name}.parquet") for name in ("all", "few"))
    assert everything["unique_id"].nunique() == SMALL.series
    assert few["unique_id"].nunique() == 12
    same = everything[everything["unique_id"].isin(few["unique_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, same)
    assert (few.groupby("unique_id")["y"].agg(lambda y: y.isna().sum()) == HORIZON).all()
    assert (few.groupby("unique_id")["ds"].agg(lambda ds: (ds.diff().dropna() == pd.Timedelta(days=1)).all())).all()


def frame(truth: Truth, mean: np.ndarray) -> pd.DataFrame:
    steps = np.tile(np.arange(1, HORIZON + 1), len(mean))
    return pd.DataFrame({"unique_id": np.repeat(truth.series, HORIZON), "step": steps, "mean": mean.ravel()})


def test_the_true_mean_has_no_regret_and_passes(world: Path) -> None:
    truth = Truth.load(world / "truth.npz")
    verdict = judge(cells(frame(truth, truth.mean), truth), truth)
    assert verdict.regret == pytest.approx(0, abs=1e-7)
    assert objection(verdict, truth) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda mean: 0 * mean, "weighted RMSSE"),
        (lambda mean: 0.7 * mean, "bias -"),
        (lambda mean: mean[::-1] * 3, "weighted RMSSE"),
    ],
)
def test_what_is_not_plausible_does_not_count(world: Path, change: object, why: str) -> None:
    truth = Truth.load(world / "truth.npz")
    said = cells(frame(truth, change(truth.mean)), truth)
    assert objection(judge(said, truth), truth).startswith(why)


@pytest.mark.parametrize("change", ["lost", "twice", "not a number"])
def test_what_is_not_complete_does_not_count(world: Path, change: str) -> None:
    truth = Truth.load(world / "truth.npz")
    whole = frame(truth, truth.mean.astype(float))
    broken = {
        "lost": whole.iloc[1:],
        "twice": pd.concat([whole, whole.iloc[:1]]),
        "not a number": whole.assign(mean=whole["mean"].where(whole.index != 7)),
    }[change]
    with pytest.raises(Incomplete, match=r"of 2800 cells are missing or not finite, \d+ rows came"):
        cells(broken, truth)


def test_the_watch_counts_what_still_runs_below_and_what_has_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass\nprint(1, flush=True)\ntime.sleep(60)"
    with Watch() as watch:
        running = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
        assert running.stdout
        running.stdout.readline()
        subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass"], check=True)
    running.kill()
    running.wait()
    running.stdout.close()
    assert watch.cpu >= 1.1
    assert watch.peak > 10 * 2**20


def test_results_come_back_with_their_circumstances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    about = {"date": "2026-11-22", "load": 0.1, "quiet": True}
    results.write("ets", about, [{"speed": 1234.56789}])
    assert results.read("ets") == (about, [{"speed": 1234.57}])
    assert results.read("peers") == ({}, [])
    assert {"date", "commit", "machine", "command", "load", "quiet"} <= results.circumstances().keys()


def test_a_plan_grows_with_series_and_days_of_the_measured_point() -> None:
    handed = {"shard": 32_000_000, "pools": 16_000_000, "part": 10_000_000}
    point = {"series": 1_000, "days": 1_000, "rows": 1_000_000, "workers": 1, "cpu": 10.0, "handed": handed}
    said = plan(
        [point, {**point, "workers": 2, "cpu": 99.0}, {**point, "days": 10, "cpu": 1.0}], Fleet(10_000, 2_000, 1_000, 4)
    )
    assert said["shards"] == "10 of 1,000 series, 0.06 GB of arrays each, 1 GB in all"
    assert said["CPU"] == "200 core-seconds, 1 minutes on 4 cores"
    assert said["pools pass"].startswith("2.0 MB of sums per shard")
    assert said["back to the driver"] == "0.1 GB of past forecasts, 10.0 kB per series"


def test_every_benchmark_is_a_module_that_says_what_it_does() -> None:
    for name in SCRIPTS:
        found = find_spec(f"bench.{name}")
        assert found
        assert found.origin
        assert "def main(" in Path(found.origin).read_text(encoding="utf-8")


def test_the_page_holds_what_the_results_say() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    for name, region in report.REGIONS.items():
        if results.read(name)[1]:
            assert region() in text, f"docs/benchmarks.md is older than {name}.jsonl: python -m bench.report"
