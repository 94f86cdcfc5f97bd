"""Tests of refusals: bad files and rows are quarantined with their reasons and stop no others (promises R1, R5, R6).

Belongs here: what is refused, and how it is kept. Does not belong here: ways out of quarantine (tests of the quarantine), every broken file (test_corpus).
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_feed import AT, READINGS, YEAR, A, Feed

from ml_platform.contracts import SourceContract
from ml_platform.lake.ledger import LOADED, QUARANTINED
from ml_platform.lake.schemas import QUARANTINE


def test_whatever_a_file_holds_it_stops_no_other(feed: Feed) -> None:
    """Arrow knows no text for a tensor, and says so with an error of its own."""
    parquet = SourceContract.model_validate(
        {**READINGS, "path": "readings_{day}.parquet", "format": {"type": "parquet"}}
    )
    feed = replace(feed, one=replace(feed.one, contract=parquet))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, 2, 2)))
    folder = feed.root / "landing" / "readings"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(dict.fromkeys(parquet.columns, tensors)), folder / "readings_2024-01-05.parquet")
    feed.ingest()
    (row,) = feed.rows()
    assert (row.state, row.reason.split(":")[0]) == (QUARANTINED, "unreadable")


def test_bad_values_are_quarantined_with_file_row_rule_value_and_raw(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A, f"2,{AT},many", f"3,{AT},-4", f"4,{AT}", f"5,{AT},6", f"6,{AT},6")
    feed.ingest()
    (row,) = feed.rows()
    assert (row.state, row.rows_in, row.rows_loaded, row.rows_quarantined) == (LOADED, 6, 3, 3)
    assert feed.refusals() == [
        (row.path, 3, "not_int64:units", "many"),
        (row.path, 4, "below_minimum:units", "-4"),
        (row.path, 5, "malformed_row", "2 fields, the header has 3"),
    ]
    found = {r["row_number"]: r for r in feed.one.lake.read(QUARANTINE.name).to_pylist()}
    assert json.loads(found[3]["raw"]) == {"meter": "2", "at": AT, "units": "many"}
    assert found[5]["raw"] == f"4,{AT}"
    assert {(r["source"], r["stage"], r["state"], r["drop_id"]) for r in found.values()} == {
        ("readings", "bronze", "open", row.drop_id)
    }


def test_bad_files_are_quarantined_and_the_others_go_on(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    feed.land("what is this.txt", "x")
    (feed.root / "landing/readings/readings_2024-01-06.csv").write_bytes(b"")
    (feed.root / "landing/readings/readings_2024-01-07.csv").write_text("meter,at\n1,2\n1,3\n")
    (feed.root / "landing/readings/readings_2024-01-08.csv").write_bytes(b"meter,at,units\n\xff,1,1\n")
    feed.ingest()
    states = {
        row.path.removeprefix("readings/"): (row.state, (row.reason or "").split(":")[0], row.rows_in)
        for row in feed.rows()
    }
    assert states == {
        "readings_2024-01-05.csv": (LOADED, "", 1),
        "readings_2024-01-06.csv": (QUARANTINED, "empty_file", 0),
        "readings_2024-01-07.csv": (QUARANTINED, "missing_columns", 2),
        "readings_2024-01-08.csv": (QUARANTINED, "unreadable_csv", 0),
        "what is this.txt": (QUARANTINED, "unknown_format", 0),
    }
    assert [(path, number, rule) for path, number, rule, _ in feed.refusals()] == [
        (f"readings/{name}", None, reason)
        for name, (state, reason, _) in sorted(states.items())
        if state == QUARANTINED
    ]
    assert feed.one.due(*YEAR) == []


def test_a_name_that_is_no_text_is_quarantined(feed: Feed) -> None:
    feed.land("readings_2024-01-05.csv", A)
    Path(os.fsdecode(os.fsencode(feed.root / "landing/readings") + b"/readings_2024-01-06\xff.csv")).write_text("x")
    feed.ingest()
    assert sorted(feed.states()) == [LOADED, QUARANTINED]


def test_a_file_that_vanished_or_cannot_be_read_is_quarantined(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (5, 6, 7):
        feed.land(f"readings_2024-01-0{day}.csv", f"{day},{AT},{day}")
    drops = feed.one.due(*YEAR)
    (feed.root / "landing" / drops[0].path).unlink()
    whole = Path.open

    def locked(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.name == "readings_2024-01-06.csv":
            raise PermissionError(13, "Permission denied")
        return whole(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", locked)
        feed.one.run(drops)
    assert sorted((row.state, row.reason or "") for row in feed.rows()) == [
        (LOADED, ""),
        (QUARANTINED, "unreadable: the file cannot be read: Permission denied"),
        (QUARANTINED, "vanished: the file was gone when it was read"),
    ]
    assert feed.units() == [7]
    assert [rule for _, _, rule, _ in feed.refusals()] == ["vanished", "unreadable"]


def test_a_file_that_is_mostly_bad_is_refused_whole_and_the_others_go_on(feed: Feed) -> None:
    feed.land("readings_2024-01-04.csv", A)
    feed.land("readings_2024-01-05.csv", f"9,{AT},8", "x,y,z", "x,y,z")
    feed.ingest()
    good, bad = feed.rows()
    assert (good.state, bad.state) == (LOADED, QUARANTINED)
    assert bad.reason == "too_many_refused: 2 of 3 rows were refused, more than max_quarantined (50%) allows"
    assert (bad.rows_in, bad.rows_quarantined, bad.rows_loaded) == (3, 3, 0)
    assert feed.units() == [5]
    refused = feed.one.lake.read(QUARANTINE.name)["rule"].to_pylist()
    assert (len(refused), refused.count("too_many_refused")) == (3, 1)
    feed.land("readings_2024-01-05.csv", f"9,{AT},8")
    feed.ingest()
    assert feed.units() == [5, 8]
