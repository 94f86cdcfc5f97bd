"""Several processes at once: every commit of a table counts once, and a drop is loaded by one of them."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from fault_checker import violations
from fault_crowd import COMMITS, SPEC, append_all, imported, ingest_at_once
from fault_feed import Feed, ingest

from ml_platform.lake import Lake

pytestmark = pytest.mark.faults
WRITERS, ROUNDS = 8, 50


def test_eight_writers_of_one_table_lose_and_double_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WRITERS, mp_context=context) as pool:
        for done in [pool.submit(append_all, str(tmp_path), writer) for writer in range(WRITERS)]:
            done.result(300)
    lake = Lake(str(tmp_path))
    found = sorted((row["writer"], row["number"]) for row in lake.read(SPEC.name).to_pylist())
    assert found == [(writer, number) for writer in range(WRITERS) for number in range(COMMITS)]
    versions = [commit.version for commit in lake.commits_after(SPEC.name, 0)]
    assert len(versions) == WRITERS * COMMITS
    assert all(after == before + 1 for before, after in pairwise(versions))


def test_the_same_drops_from_two_workers_are_loaded_once(tmp_path: Path) -> None:
    feed, context = Feed(tmp_path, seed=8), multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, mp_context=context, initializer=imported) as pool:
        barrier = manager.Barrier(2)
        for _ in range(ROUNDS):
            feed.land(2)
            for done in [pool.submit(ingest_at_once, str(tmp_path), barrier) for _ in range(2)]:
                done.result(120)
    for _ in range(3):
        ingest(Lake(str(feed.lake)), feed.landing)
    assert violations(feed.lake, feed.landing, feed.history) == []
