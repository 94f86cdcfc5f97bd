"""Tests of erasure in landing: files without a person's rows, in each format, with every other row as it was.

Belongs here: what is rewritten, what is proven, what ingestion makes of it. Does not belong here: the lake (tests of the eraser).
"""

import gzip
import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import ContainerClient

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.emulation.azurite import Azurite
from ml_platform.erasure import landed
from ml_platform.erasure.eraser import Request
from ml_platform.erasure.landed import LandingEraser, LandingReport
from ml_platform.erasure.persons import ErasureError
from ml_platform.formats import Limits
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, erasures, ledger
from ml_platform.landing import LocalLanding
from ml_platform.landing.blob import BlobLanding

YEAR = Calendar(date(2024, 1, 1), date(2024, 12, 31))
PERSON = "ann@example.org"
VISITS: dict[str, Any] = {
    "name": "visits",
    "kind": "events",
    "description": "Visits.",
    "owner": "team:a",
    "path": "visits_{day}*",
    "format": {"type": "csv"},
    "columns": {
        "visit": {"type": "int64"},
        "person": {"type": "string"},
        "at": {"type": "date"},
        "note": {"type": "string", "nullable": True},
    },
    "key": ["visit"],
    "time": {"column": "at"},
    "personal": ["person"],
    "max_quarantined": 0.9,
    "panel": {"target": True},
}
NAME = "visits_2024-01-05"


class Home:
    """One source in a home of its own."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.root, self.contract = root, SourceContract.model_validate({**VISITS, **changes})
        others = [] if self.contract.panel.target else [SourceContract.model_validate({**VISITS, "name": "others"})]
        self.contracts = Contracts(sources=(self.contract, *others))
        self.lake, self.landing = Lake(str(root / "lake")), root / "landing"

    @property
    def eraser(self) -> LandingEraser:
        return LandingEraser(self.lake, LocalLanding(self.landing), self.contracts, Limits())

    def land(self, name: str, content: bytes | str, at: int = 0) -> Path:
        path = self.landing / "visits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        moment = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + at
        os.utime(path, (moment, moment))
        return path

    def ingest(self) -> None:
        door = Ingestion(self.lake, LocalLanding(self.landing), self.contract, "run", YEAR)
        door.run(door.due(YEAR.first, YEAR.last))

    def visits(self) -> list[int]:
        return sorted(self.lake.read("bronze/raw_visits")["visit"].to_pylist())

    def erase(self) -> LandingReport:
        return self.eraser.erase(request())


def request() -> Request:
    return Request("visits", "person", "Ada", "asked for", value=PERSON)


CSV = (
    f'visit,person,at,note\r\n1,bob,2024-01-05,"two\nlines, {PERSON}"\r\n2,{PERSON},2024-01-05,"hers\nalone"\r\n\r\n'
    f'3, "{PERSON}",2024-01-05\r\n4,\'{PERSON},2024-01-05,x,y\r\n5," {PERSON} ",not a date,\r\n6,zoë,2024-01-05,"say ""hi"""\r\n7,carl,never,'
)
LEFT = f'visit,person,at,note\r\n1,bob,2024-01-05,"two\nlines, {PERSON}"\r\n\r\n6,zoë,2024-01-05,"say ""hi"""\r\n7,carl,never,'


@pytest.mark.parametrize(
    ("ending", "form", "pack"),
    [
        (".csv", {"type": "csv"}, lambda text: text.encode()),
        (".csv", {"type": "csv", "encoding": "utf-16"}, lambda text: text.encode("utf-16")),
        (".csv.gz", {"type": "csv"}, lambda text: gzip.compress(text.encode(), mtime=0)),
        (
            ".csv",
            {"type": "csv", "delimiter": ";", "encoding": "latin-1"},
            lambda text: text.replace(",", ";").encode("latin-1"),
        ),
    ],
)
def test_csv_keeps_every_other_byte(tmp_path: Path, ending: str, form: dict[str, Any], pack: Any) -> None:
    home = Home(tmp_path, format=form)
    path = home.land(NAME + ending, pack(CSV))
    home.ingest()
    found = home.eraser.survey(request())
    assert [(one.path, one.rows, one.problem) for one in found.files] == [(f"visits/{NAME}{ending}", 4, "")]
    assert path.read_bytes() == pack(CSV)
    home.erase()
    assert path.read_bytes() == pack(LEFT)
    home.ingest()
    assert home.visits() == [1, 6]
    rows = {row.state: row for row in ledger.of_source(home.lake, "visits")}
    assert (rows["loaded"].rows_in, rows["loaded"].rows_quarantined, rows["replaced"].rows_in) == (3, 1, 7)


def test_without_a_header_the_contract_names_the_columns(tmp_path: Path) -> None:
    home = Home(tmp_path, format={"type": "csv", "header": False, "quote": ""})
    path = home.land(f"{NAME}.csv", f"1,{PERSON},2024-01-05,\n2,bob,2024-01-05,{PERSON}\n")
    home.erase()
    assert path.read_text() == f"2,bob,2024-01-05,{PERSON}\n"


def test_json_lines(tmp_path: Path) -> None:
    home = Home(tmp_path, format={"type": "jsonl"})
    rows = [
        {"visit": n, "person": who, "at": "2024-01-05", "note": None} for n, who in enumerate(("bob", PERSON, "zoë"))
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    broken = [
        f'{{"visit": 7, "person": "{PERSON}", "person": "bob", "at": "2024-01-05"}}',
        f'{{"visit": 8, "person": "{PERSON}"',
        '{"visit": 9',
    ]
    path = home.land(f"{NAME}.jsonl", "\n".join([*lines, "", *broken]) + "\n")
    assert home.erase().files[0].rows == 3
    assert path.read_text() == "\n".join([lines[0], lines[2], "", broken[2]]) + "\n"


def test_parquet_keeps_its_types_and_metadata(tmp_path: Path) -> None:
    home = Home(tmp_path, format={"type": "parquet"}, columns={**VISITS["columns"], "person": {"type": "int64"}})
    schema = pa.schema(
        [("visit", pa.int32()), ("person", pa.float64()), ("at", pa.date32()), ("note", pa.large_string())],
        {"made": "by hand"},
    )
    rows = [{"visit": n, "person": float(who), "at": date(2024, 1, 5), "note": "x"} for n, who in enumerate((4, 77, 5))]
    path = home.land(f"{NAME}.parquet", b"")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="gzip")
    found = home.eraser.erase(Request("visits", "person", "Ada", "asked for", value="77"))
    assert found.files[0].rows == 1
    left = pq.read_table(path)
    assert left["visit"].to_pylist() == [0, 2]
    assert left.schema.equals(schema, check_metadata=True)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "GZIP"


def test_each_run_leaves_a_row_and_a_repetition_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.land(f"{NAME}.csv", CSV)
    assert home.eraser.survey(request()).erasure is None
    assert erasures.read(home.lake) == []
    home.erase()
    assert home.erase().files == ()
    (row,) = erasures.read(home.lake)
    assert (row.place, row.rows, row.pending, row.requested_by) == ("landing", {f"visits/{NAME}.csv": 4}, False, "Ada")
    assert PERSON not in str(row)


def test_of_snapshots_the_newest_delivery_still_rules(tmp_path: Path) -> None:
    """An older delivery is rewritten: settled again, it would take the place of the newer one, which must come after it."""
    home = Home(tmp_path, kind="snapshot", path="*.csv", time=None, panel={})
    home.land("a.csv", f"visit,person,at,note\n1,{PERSON},2024-01-05,\n2,bob,2024-01-05,\n", at=1)
    home.ingest()
    home.land("b.csv", "visit,person,at,note\n3,bob,2024-01-05,\n", at=2)
    home.ingest()
    assert home.visits() == [3]
    home.erase()
    home.ingest()
    home.ingest()
    assert home.visits() == [3]
    assert PERSON not in (home.landing / "visits" / "a.csv").read_text()


def test_twins_stay_twins(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for part in ("", "_again"):
        home.land(f"{NAME}{part}.csv.gz", gzip.compress(CSV.encode(), mtime=9))
    home.ingest()
    home.erase()
    home.ingest()
    assert home.visits() == [1, 6]
    assert sorted(row.state for row in ledger.of_source(home.lake, "visits")) == [
        "duplicate",
        "duplicate",
        "loaded",
        "replaced",
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("notes.txt", f"call {PERSON} back", True),
        ("notes.txt", "call bob back", False),
        (f"{NAME}.csv", f"visit,who\n1,{PERSON}\n", True),
        (f"{NAME}.csv.gz", b"\x1f\x8bbroken", True),
        (f"{NAME}.csv", b"visit,person,at,note\n\xff\xfe", True),
    ],
)
def test_what_cannot_be_read_is_named_and_left(tmp_path: Path, name: str, content: bytes | str, problem: bool) -> None:
    home = Home(tmp_path)
    path = home.land(name, content)
    before = path.read_bytes()
    found = home.erase()
    assert [one.path for one in found.problems] == ([f"visits/{name}"] if problem else [])
    assert path.read_bytes() == before
    assert found.erasure is None


def test_in_a_container_files_are_found_and_left(tmp_path: Path, azurite_server: Azurite) -> None:
    home = Home(tmp_path)
    client = ContainerClient(azurite_server.blob_url, f"c{uuid.uuid4().hex}", credential=azurite_server.key)
    with client as container:
        container.create_container()
        for name, content in (
            (f"{NAME}.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
            (f"{NAME}.csv", b"visit,person,at,note\n"),
        ):
            container.upload_blob(f"in/visits/{name}", content)
        eraser = replace(home.eraser, landing=BlobLanding(container, "in/"))
        found = [(one.path, one.rows, one.problem) for one in eraser.survey(request()).files]
        assert found == [(f"visits/{NAME}.csv.gz", 4, "")]
        with pytest.raises(ErasureError, match=r"is a container, whose files this command does not rewrite") as raised:
            eraser.erase(request())
        assert PERSON not in str(raised.value)
        assert container.download_blob(f"in/visits/{NAME}.csv.gz").readall() == gzip.compress(CSV.encode(), mtime=0)
    assert erasures.read(home.lake) == []


def test_a_file_whose_bytes_a_manifest_promises_is_named_and_left(tmp_path: Path) -> None:
    home = Home(tmp_path, landing={"complete": "manifest"})
    path = home.land(f"{NAME}.csv", CSV)
    (problem,) = home.erase().problems
    assert problem.problem == "_manifest.json of its folder promises its bytes: correct both by hand"
    assert path.read_bytes() == CSV.encode()
    assert erasures.read(home.lake) == []


class Crash(BaseException):
    """The process dies here."""


def test_a_crash_leaves_every_file_whole_and_the_next_run_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, calls = Home(tmp_path), []
    for day in (5, 6, 7):
        home.land(f"visits_2024-01-0{day}.csv", CSV)
    like = landed._like

    def dies(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise Crash
        like(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(landed, "_like", dies)
        with pytest.raises(Crash):
            home.erase()
    contents = sorted(path.read_bytes() for path in (home.landing / "visits").iterdir())
    assert contents == sorted([LEFT.encode(), CSV.encode(), CSV.encode()])
    (row,) = erasures.read(home.lake)
    assert row.pending
    home.erase()
    assert {path.read_bytes() for path in (home.landing / "visits").iterdir()} == {LEFT.encode()}
    (row,) = erasures.read(home.lake)
    assert (row.pending, sum(row.rows.values())) == (False, 12)


def test_a_rewriting_that_would_lose_rows_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    path = home.land(f"{NAME}.csv", CSV)
    monkeypatch.setattr(landed, "rewritten", lambda path, persons: LEFT.replace("6,zoë", "9,zoë").encode())
    found = home.erase()
    assert [one.problem for one in found.problems] == ["rewritten it would lose other rows: correct it by hand"]
    assert path.read_bytes() == CSV.encode()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_replaced_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, like = Home(tmp_path), landed._like
    path = home.land(f"{NAME}.csv", CSV)

    def replaced(old: Path, new: Path) -> None:
        like(old, new)
        path.write_text("visit,person,at,note\n8,dora,2024-01-05,\n")

    monkeypatch.setattr(landed, "_like", replaced)
    found = home.erase()
    assert [one.problem for one in found.problems] == ["it was replaced in the meantime: run the command again"]
    assert "dora" in path.read_text()
