"""Tests of drift: what becomes of a file whose columns are not the contract's, in every mode, down to the rows in bronze.

Belongs here: new, missing, renamed, retyped, reordered and doubled columns. Does not belong here: broken files (test_corpus).
"""

import json
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from feeds import SNAPSHOT

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.formats import Limits
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, LakeError, ledger
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, LedgerRow
from ml_platform.lake.schemas import QUARANTINE
from ml_platform.landing import LocalLanding

YEAR = (date(2024, 1, 1), date(2024, 12, 31))
BASE = ["meter", "units", "note", "drop_id", "drop_day", "row_number", "ingested_at"]
FIRST = [
    {"meter": 1, "units": 10, "note": "a"},
    {"meter": 2, "units": 20, "note": None},
]  # what a file as declared gives


def contract(drift: str, **changes: Any) -> SourceContract:
    return SourceContract.model_validate(
        {
            **SNAPSHOT,
            "columns": {
                "meter": {"type": "int64"},
                "units": {"type": "int64"},
                "note": {"type": "string", "nullable": True},
            },
            "drift": drift,
            **changes,
        }
    )


@dataclass(frozen=True)
class Source:
    """A source with its landing folder; every file that lands is ingested at once, and must balance."""

    root: Path
    contract: SourceContract
    limits: Limits = field(default_factory=Limits)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    def land(self, name: str, content: str | bytes) -> LedgerRow:
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        one = Ingestion(
            self.lake, LocalLanding(self.root / "landing"), self.contract, "run", Calendar(*YEAR), limits=self.limits
        )
        report = one.run(one.due(*YEAR))
        assert all(check.passed for check in report.checks)
        (row,) = report.rows
        self.balance(row)
        return row

    def balance(self, row: LedgerRow) -> None:
        """Rows in = loaded + quarantined + duplicate, in the ledger and in the tables that it speaks of."""
        assert row.balanced
        assert self.lake.count("bronze/raw_readings", pc.field("drop_id") == row.drop_id) == row.rows_loaded
        refused = [one for one in self.quarantine() if one["drop_id"] == row.drop_id and one["row_number"] is not None]
        assert len(refused) in (row.rows_quarantined, 0 if row.state == QUARANTINED else row.rows_quarantined)

    def quarantine(self) -> list[dict[str, Any]]:
        return self.lake.read(QUARANTINE.name).to_pylist() if self.lake.exists(QUARANTINE.name) else []

    def names(self) -> list[str]:
        return self.lake.dataset("bronze/raw_readings").schema.names

    def rows(self) -> list[dict[str, Any]]:
        table = self.lake.read("bronze/raw_readings").sort_by("row_number")
        return table.select([name for name in table.column_names if name not in BASE[3:]]).to_pylist()


@dataclass(frozen=True)
class Outcome:
    """Where a file ends: refused whole for a reason, or loaded with rows and, by line, refused ones."""

    reason: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    refused: tuple[tuple[int, str], ...] = ()


def loaded(*rows: dict[str, Any], refused: tuple[tuple[int, str], ...] = ()) -> Outcome:
    return Outcome("", rows, refused)


def row(meter: int, units: int, note: str | None = None, **more: Any) -> dict[str, Any]:
    return {"meter": meter, "units": units, "note": note, **more}


MISSING, UNEXPECTED = Outcome("missing_columns"), Outcome("unexpected_columns")
# name: content, and what it becomes with freeze, evolve and rescue
CASES: dict[str, tuple[str, Outcome, Outcome, Outcome]] = {
    "new column without values": (
        "meter,units,note,colour\n1,10,a,\n2,20,,\n",
        UNEXPECTED,
        loaded(row(1, 10, "a", colour=None), row(2, 20, colour=None)),
        loaded(row(1, 10, "a", _rescued=None), row(2, 20, _rescued=None)),
    ),
    "new column with values": (
        "meter,colour,units,note\n1,red,10,a\n2,007,20,\n",
        UNEXPECTED,
        loaded(row(1, 10, "a", colour="red"), row(2, 20, colour="007")),
        loaded(row(1, 10, "a", _rescued={"colour": "red"}), row(2, 20, _rescued={"colour": "007"})),
    ),
    "two new columns": (
        'meter,units,note,colour,size\n1,10,a,red,"1,5"\n2,20,,,2\n',
        UNEXPECTED,
        loaded(row(1, 10, "a", colour="red", size="1,5"), row(2, 20, colour=None, size="2")),
        loaded(row(1, 10, "a", _rescued={"colour": "red", "size": "1,5"}), row(2, 20, _rescued={"size": "2"})),
    ),
    "missing nullable column": (
        "meter,units\n1,10\n2,20\n",
        MISSING,
        loaded(row(1, 10), row(2, 20)),
        loaded(row(1, 10, _rescued=None), row(2, 20, _rescued=None)),
    ),
    "missing required column": ("meter,note\n1,a\n2,\n", MISSING, MISSING, MISSING),
    "renamed nullable column": (
        "meter,units,remark\n1,10,a\n2,20,\n",
        MISSING,
        loaded(row(1, 10, remark="a"), row(2, 20, remark=None)),
        loaded(row(1, 10, _rescued={"remark": "a"}), row(2, 20, _rescued=None)),
    ),
    "renamed required column": ("meter,amount,note\n1,10,a\n2,20,\n", MISSING, MISSING, MISSING),
    "some rows retyped": (
        "meter,units,note\n1,10,a\n2,twenty,b\n3,30,c\n",
        loaded(row(1, 10, "a"), row(3, 30, "c"), refused=((3, "not_int64:units"),)),
        loaded(row(1, 10, "a"), row(3, 30, "c"), refused=((3, "not_int64:units"),)),
        loaded(row(1, 10, "a", _rescued=None), row(3, 30, "c", _rescued=None), refused=((3, "not_int64:units"),)),
    ),
    "all rows retyped": (
        "meter,units,note\n1,10.5,a\n2,20.5,\n",
        *[Outcome("too_many_refused", (), ((2, "not_int64:units"), (3, "not_int64:units")))] * 3,
    ),
    "reordered columns": (
        "note,meter,units\na,1,10\n,2,20\n",
        loaded(row(1, 10, "a"), row(2, 20)),
        loaded(row(1, 10, "a"), row(2, 20)),
        loaded(row(1, 10, "a", _rescued=None), row(2, 20, _rescued=None)),
    ),
    "a name in another case": (
        "meter,units,Note\n1,10,a\n2,20,\n",
        MISSING,
        UNEXPECTED,  # no table holds note beside Note: Spark would not know one from the other
        loaded(row(1, 10, _rescued={"Note": "a"}), row(2, 20, _rescued=None)),
    ),
    "a column twice": ("meter,units,units,note\n1,10,11,a\n2,20,21,\n", UNEXPECTED, UNEXPECTED, UNEXPECTED),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("place", "drift"), [(0, "freeze"), (1, "evolve"), (2, "rescue")])
def test_twelve_differences_in_three_modes(tmp_path: Path, name: str, place: int, drift: str) -> None:
    content, expected = CASES[name][0], CASES[name][1:][place]
    source = Source(tmp_path, contract(drift))
    settled = source.land("readings.csv", content)
    found = [{**one, "_rescued": json.loads(one["_rescued"])} if one.get("_rescued") else one for one in source.rows()]
    assert (settled.reason or "").split(":")[0] == expected.reason
    assert settled.state == (QUARANTINED if expected.reason else LOADED)
    assert found == list(expected.rows)
    refused = [(one["row_number"], one["rule"]) for one in source.quarantine() if one["row_number"] is not None]
    assert sorted(refused) == list(expected.refused)
    assert settled.rows_in == content.count("\n") - 1 == len(expected.rows) + settled.rows_quarantined


def test_columns_that_came_stay_and_rows_without_them_are_empty(tmp_path: Path) -> None:
    source = Source(tmp_path, contract("evolve", kind="events", path="{day}.csv", time={"column": "at"}, columns={
        "meter": {"type": "int64"}, "at": {"type": "timestamp"},
    }))  # fmt: skip
    at = "2024-01-05T10:00:00Z"
    source.land("2024-01-01.csv", f"meter,at\n1,{at}\n")
    source.land("2024-01-02.csv", f"meter,at,b,a\n2,{at},x,y\n")
    source.land("2024-01-03.csv", f"a,meter,at\nz,3,{at}\n")
    source.land("2024-01-04.csv", f"c,meter,at\nw,4,{at}\n")
    table = source.lake.read("bronze/raw_readings").sort_by("meter")
    assert table.column_names[-3:] == ["b", "a", "c"]
    assert table.select(["a", "b", "c"]).to_pydict() == {
        "a": [None, "y", "z", None],
        "b": [None, "x", None, None],
        "c": [None, None, None, "w"],
    }
    assert source.land("2024-01-02.csv", f"meter,at,d\n5,{at},q\n").state == LOADED
    assert source.lake.count("bronze/raw_readings") == 4
    assert source.names()[-4:] == ["b", "a", "c", "d"]


def test_rows_and_ledger_share_one_commit_and_new_columns_come_before_it(tmp_path: Path) -> None:
    source = Source(tmp_path, contract("evolve"))
    source.land("one.csv", "meter,units,note,colour\n1,10,a,red\n")
    (row,) = ledger.of_source(source.lake, "readings")
    table = source.lake.table("bronze/raw_readings")
    assert [one["operation"] for one in reversed(table.history())] == ["CREATE TABLE", "ADD COLUMN", "WRITE"]
    (commit,) = [c for c in source.lake.commits_after("bronze/raw_readings", -1) if ledger.LEDGER_KEY in c.metadata]
    assert commit.version == row.table_version == 2
    assert source.lake.reader_version("bronze/raw_readings") == 1


def test_a_crash_after_the_columns_were_added_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, content = Source(tmp_path, contract("evolve")), "meter,units,note,colour\n1,10,a,red\n"
    with monkeypatch.context() as patch:
        patch.setattr(Ingestion, "_commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            source.land("one.csv", content)
    assert source.names()[-1] == "colour"
    assert source.rows() == []
    assert source.land("one.csv", content).state == LOADED
    assert source.rows() == [row(1, 10, "a", colour="red")]


def test_files_of_one_batch_evolve_the_table_together(tmp_path: Path) -> None:
    landing = tmp_path / "landing" / "readings"
    landing.mkdir(parents=True)
    for number, name in enumerate(["red", "blue", "Red"]):
        (landing / f"2024-01-0{number + 1}.csv").write_text(f"meter,at,{name}\n{number},2024-01-01T00:00:00Z,x\n")
    evolving = contract("evolve", kind="events", path="{day}.csv", time={"column": "at"}, columns={
        "meter": {"type": "int64"}, "at": {"type": "timestamp"},
    })  # fmt: skip
    source = Source(tmp_path, evolving)
    one = Ingestion(source.lake, LocalLanding(tmp_path / "landing"), evolving, "run", Calendar(*YEAR))
    states = [(row.state, (row.reason or "").split(":")[0]) for row in one.run(one.due(*YEAR)).rows]
    assert states == [(LOADED, ""), (LOADED, ""), (QUARANTINED, "unexpected_columns")]
    assert source.lake.read("bronze/raw_readings").sort_by("meter").select(["red", "blue"]).to_pylist() == [
        {"red": "x", "blue": None},
        {"red": None, "blue": "x"},
    ]


def test_columns_stay_when_the_mode_changes(tmp_path: Path) -> None:
    source = Source(tmp_path, contract("evolve"))
    source.land("1.csv", "meter,units,note,colour\n1,10,a,red\n")
    rescuing = replace(source, contract=contract("rescue"))
    rescuing.land("2.csv", "meter,units,note,colour\n2,20,b,blue\n")
    assert rescuing.rows() == [row(2, 20, "b", colour=None, _rescued='{"colour": "blue"}')]
    frozen = replace(source, contract=contract("freeze"))
    frozen.land("3.csv", "meter,units,note\n3,30,c\n")
    assert frozen.rows() == [row(3, 30, "c", colour=None, _rescued=None)]
    assert frozen.names() == [*BASE, "colour", "_rescued"]
    declared = {**frozen.contract.model_dump()["columns"], "colour": {"type": "string", "nullable": True}}
    adopted = replace(source, contract=contract("freeze", columns=declared))
    adopted.land("4.csv", "colour,meter,units,note\ngreen,4,40,d\n")
    assert adopted.rows() == [row(4, 40, "d", colour="green", _rescued=None)]
    assert adopted.names() == frozen.names()


def test_a_table_that_lacks_a_declared_column_is_refused_as_before(tmp_path: Path) -> None:
    Source(tmp_path, contract("evolve")).land("1.csv", "meter,units,note\n1,10,a\n")
    wider = {**contract("evolve").model_dump()["columns"], "more": {"type": "string", "nullable": True}}
    with pytest.raises(LakeError, match="the table on disk does not have the schema"):
        Source(tmp_path, contract("evolve", columns=wider)).land("2.csv", "meter,units,note\n1,10,b\n")


@pytest.mark.parametrize("name", ["drop_id", "Meter", "a b", "a;b", "", "_rescued", "ROW_NUMBER"])
def test_new_columns_that_no_table_can_hold_refuse_the_file(tmp_path: Path, name: str) -> None:
    source, content = Source(tmp_path, contract("evolve")), f"meter,units,note,{name}\n1,10,a,x\n"
    settled = source.land("1.csv", content)
    assert (settled.reason or "").startswith("unexpected_columns: columns")
    assert "set `drift: rescue`" in (settled.reason or "")
    assert source.names() == BASE
    rescuing = replace(source, root=tmp_path / "second", contract=contract("rescue"))
    rescuing.land("1.csv", content)
    assert rescuing.rows() == [row(1, 10, "a", _rescued=json.dumps({name: "x"}))]


def test_a_table_does_not_grow_beyond_the_limit_of_columns(tmp_path: Path) -> None:
    source = Source(tmp_path, contract("evolve"), Limits(columns=8))
    assert source.land("1.csv", "meter,units,note,a\n1,10,a,x\n").state == LOADED
    settled = source.land("2.csv", "meter,units,note,b\n1,10,a,x\n")
    assert (settled.state, settled.rows_in) == (QUARANTINED, 1)
    assert "too_many_columns: with its new columns the table has 9 columns" in (settled.reason or "")
    assert "ML_PLATFORM_MAX_COLUMNS" in (settled.reason or "")


def test_a_file_that_is_refused_or_known_adds_no_column(tmp_path: Path) -> None:
    source = Source(tmp_path, contract("evolve"))
    assert source.land("1.csv", "meter,units,note,a\nx,y,z,q\n").state == QUARANTINED
    assert source.names() == BASE
    source.land("2.csv", "meter,units,note\n1,10,a\n")
    assert source.land("3.csv", "meter,units,note\n1,10,a\n").state == DUPLICATE


def test_quarantined_rows_keep_what_no_column_of_the_contract_holds(tmp_path: Path) -> None:
    for drift, kept in (("evolve", {"colour": "red"}), ("rescue", {"_rescued": '{"colour": "red"}'})):
        source = Source(tmp_path / drift, contract(drift))
        source.land("1.csv", "meter,units,note,colour\n1,10,a,\nx,20,b,red\n")
        (refused,) = source.quarantine()
        assert json.loads(refused["raw"]) == {"meter": "x", "units": "20", "note": "b", **kept}


def test_headerless_files_are_read_by_position(tmp_path: Path) -> None:
    form = {"type": "csv", "header": False}
    source = Source(tmp_path, contract("rescue", format=form))
    source.land("1.csv", "1,10,a,x,y\n2,20,,,\n")
    assert source.rows() == [row(1, 10, "a", _rescued='{"column_4": "x", "column_5": "y"}'), row(2, 20, _rescued=None)]
    source.land("2.csv", "3,30\n")
    assert source.rows() == [row(3, 30, _rescued=None)]
    evolving = Source(tmp_path / "evolve", contract("evolve", format=form))
    evolving.land("1.csv", "1,10,a,x\n")
    assert evolving.rows() == [row(1, 10, "a", column_4="x")]
    frozen = Source(tmp_path / "freeze", contract("freeze", format=form))
    for content, rule in (("1,10,a,x\n", "unexpected_columns"), ("1,10\n", "missing_columns")):
        assert (frozen.land("1.csv", content).reason or "").startswith(rule)


def test_json_lines_and_parquet_drift_alike(tmp_path: Path) -> None:
    lines = (
        b'{"meter": 1, "units": 10, "size": 1.10, "tags": ["a"]}\n{"meter": 2, "units": 20, "note": "b", "ok": true}\n'
    )
    table = pa.table(
        {"meter": [1, 2], "units": [10, 20], "size": [1.5, None], "tags": [["a"], None], "raw": [b"\xff", None]}
    )
    pq.write_table(table, tmp_path / "file")
    for kind, content, first, second in (
        ("jsonl", lines, {"size": "1.10", "tags": '["a"]'}, {"ok": "true"}),
        ("parquet", (tmp_path / "file").read_bytes(), {"size": "1.5", "tags": '["a"]', "raw": '"ff"'}, {}),
    ):
        form = {"type": kind}
        note = "b" if kind == "jsonl" else None
        rescuing = Source(tmp_path / kind / "rescue", contract("rescue", format=form))
        rescuing.land("1", content)
        assert [json.loads(one["_rescued"] or "{}") for one in rescuing.rows()] == [first, second]
        evolving = Source(tmp_path / kind / "evolve", contract("evolve", format=form))
        evolving.land("1", content)
        everything = dict.fromkeys([*first, *second])
        assert evolving.rows() == [row(1, 10, **{**everything, **first}), row(2, 20, note, **{**everything, **second})]
        assert (
            Source(tmp_path / kind / "f", contract("freeze", format=form)).land("1", content).reason or ""
        ).startswith("unexpected_columns" if kind == "jsonl" else "missing_columns")
