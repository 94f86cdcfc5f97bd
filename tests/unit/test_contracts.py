"""Tests of source contracts: what is refused, and that every refusal names the file and the field.

Belongs here: reading and cross-checking contracts. Does not belong here: what contracts do to data.
"""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from ml_platform.contract_files import load_contracts, read_yaml
from ml_platform.contracts import ContractError, Contracts, SourceContract
from ml_platform.settings import PACKAGED_CONFIGS

READINGS: dict[str, Any] = {
    "name": "readings",
    "kind": "events",
    "description": "Readings of meters.",
    "owner": "team:grid",
    "path": "readings_{day}_*.csv",
    "format": {"type": "csv"},
    "columns": {
        "meter_id": {"type": "int64"},
        "read_at": {"type": "timestamp"},
        "units": {"type": "int64", "min": 0},
        "amount": {"type": "decimal(12, 2)", "nullable": True},
        "note": {"type": "string", "nullable": True},
    },
    "key": ["meter_id", "read_at"],
    "time": {"column": "read_at"},
    "lookups": [{"source": "meters", "match": ["meter_id"], "take": ["street"], "missing": "unknown_meter"}],
    "panel": {"target": True},
}
METERS: dict[str, Any] = {
    "name": "meters",
    "kind": "snapshot",
    "description": "Meters.",
    "owner": "grid@example.org",
    "path": "meters.parquet",
    "format": {"type": "parquet"},
    "columns": {"meter_id": {"type": "int64"}, "street": {"type": "string"}},
    "key": ["meter_id"],
}
GONE = object()


def changed(source: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`source` with dotted paths set, or removed where the value is GONE."""
    made = deepcopy(source)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = made
        for name in parents:
            place = place[name]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return made


def written(folder: Path, *sources: dict[str, Any]) -> Path:
    (folder / "sources").mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(sources):
        (folder / "sources" / f"{number}_{source['name']}.yaml").write_text(yaml.safe_dump(source))
    return folder


def test_good_contracts_load_and_know_each_other(tmp_path: Path) -> None:
    contracts = load_contracts(written(tmp_path, READINGS, METERS))
    assert contracts.target.name == "readings"
    assert contracts.covariates == ()
    readings, meters = contracts["readings"], contracts["meters"]
    assert (readings.bronze, readings.silver, meters.silver) == ("raw_readings", "readings_history", "meters_current")
    assert readings.columns["amount"].arrow == pa.decimal128(12, 2)
    assert readings.bronze_spec.partition_by == ("drop_day",)
    assert meters.bronze_spec.partition_by == ()
    assert readings.bronze_spec.schema.names[-4:] == ["drop_id", "drop_day", "row_number", "ingested_at"]
    with pytest.raises(ContractError, match="no source is called 'x'; declared are readings, meters"):
        contracts["x"]


def test_the_packaged_contracts_load() -> None:
    assert {one.name for one in load_contracts(PACKAGED_CONFIGS / "retail").sources} == {
        "sales",
        "products",
        "promotions",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: this key is unknown"),
        ({"columns.units.colour": "red"}, "columns.units.colour: this key is unknown"),
        ({"name": "Readings"}, "name: 'Readings' is no name"),
        ({"owner": "me"}, "owner: String should match"),
        ({"description": GONE}, "description: Field required"),
        ({"kind": "stream"}, "kind: Input should be 'events' or 'snapshot'"),
        ({"format.type": "xml"}, "format.type: Input should be 'csv', 'jsonl' or 'parquet'"),
        ({"format.delimiter": "§"}, "format: delimiter: '§' cannot part or quote cells"),
        ({"format.quote": ","}, "format: delimiter and quote are both ','"),
        ({"format.decimal": ";"}, "format.decimal: Input should be '.' or ','"),
        ({"format": {"type": "jsonl", "delimiter": ";"}}, "format: delimiter: for CSV alone, and the type is jsonl"),
        (
            {"format": {"type": "parquet", "compression": "gzip"}},
            "format: compression: a Parquet file is compressed inside",
        ),
        ({"drift": "melt"}, "drift: Input should be 'freeze', 'evolve' or 'rescue'"),
        ({"columns._rescued": {"type": "string"}}, "column '_rescued' is reserved"),
        ({"format.delimiter": ";;"}, "format.delimiter: String should have at most 1 character"),
        ({"columns.units.type": "float"}, "columns.units: type 'float' is unknown: use int64"),
        ({"columns.amount.type": "decimal(40,2)"}, r"columns.amount: type 'decimal\(40,2\)' cannot be"),
        ({"columns.amount.type": "decimal(2,2)"}, r"columns.amount: type 'decimal\(2,2\)' cannot be"),
        ({"columns.note.min": 0}, "columns.note: min and max are for numbers"),
        ({"key": ["meter_id", "nobody"]}, "column 'nobody' is used but not declared; declared are"),
        ({"time.column": "nobody"}, "column 'nobody' is used but not declared"),
        ({"duplicates": {"greatest": ["nobody"]}}, "column 'nobody' is used but not declared"),
        ({"personal": ["nobody"]}, "column 'nobody' is used but not declared"),
        ({"personal": ["amount"]}, "personal: column 'amount' is no key of a person: its type is int64 or string"),
        (
            {"personal": ["note"], "panel": {"target": True, "scope": ["note"]}},
            "personal: column 'note' is part of the panel",
        ),
        ({"deletes": {"column": "nobody", "values": ["D"]}}, "column 'nobody' is used but not declared"),
        ({"deletes": {"column": "note", "values": []}}, "deletes.values: "),
        ({"deletes": {"column": "note", "values": ["D", 1]}}, r"deletes: \[1\] are no values of column 'note'"),
        ({"deletes": {"column": "units", "values": [True]}}, r"deletes: \[True\] are no values of column 'units'"),
        ({"deletes": {"column": "meter_id", "values": [1]}}, "deletes: column 'meter_id' is part of the key"),
        ({"panel": {"target": True, "scope": ["nobody"]}}, "column 'nobody' is used but not declared"),
        ({"columns.meter_id.nullable": True}, "column 'meter_id' is part of the key or the time"),
        ({"columns.read_at.nullable": True}, "column 'read_at' is part of the key or the time"),
        ({"time.column": "units"}, "column 'units' says when a row holds: its type is timestamp"),
        ({"time.timezone": "Mars/Olympus"}, "time.timezone: 'Mars/Olympus' is no IANA time zone"),
        ({"time.business_timezone": ""}, "time.business_timezone: '' is no IANA time zone"),
        ({"time": GONE}, "declares either `time`"),
        ({"validity": {"start": "read_at", "end": "read_at"}}, "declares either `time`"),
        ({"path": "readings.csv"}, "names its drop day: write {day}"),
        ({"exclude": [{"rule": "odd", "column": "nobody"}]}, "rule 'odd' needs column 'nobody'"),
        ({"notice": [{"rule": "Odd", "column": "units"}]}, "notice.0.rule: 'Odd' is no name"),
        ({"columns.drop_id": {"type": "string"}}, "column 'drop_id' is reserved"),
        ({"columns.month": {"type": "int64"}}, "column 'month' is reserved"),
        ({"columns.date": {"type": "date"}}, "column 'date' is reserved"),
        ({"columns.street": {"type": "string"}}, r"lookups take \['street'\], which the source"),
        ({"max_quarantined": 2}, "max_quarantined: Input should be less than or equal to 1"),
        ({"drops_per_day": 0}, "drops_per_day: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = written(
        tmp_path,
        changed({**READINGS, "validity": None}, changes) if "validity" in changes else changed(READINGS, changes),
    )
    with pytest.raises(ContractError, match=message) as found:
        load_contracts(folder)
    assert str(next((folder / "sources").glob("*.yaml"))) in str(found.value)


def test_all_wrong_fields_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"kind: .*; owner: "):
        load_contracts(written(tmp_path, changed(READINGS, {"kind": "x", "owner": "x"})))


def test_a_date_column_may_be_the_time_and_takes_no_zone(tmp_path: Path) -> None:
    by_date = changed(READINGS, {"columns.date": {"type": "date"}, "time": {"column": "date"}})
    assert load_contracts(written(tmp_path / "good", by_date, METERS)).target.name == "readings"
    zoned = changed(by_date, {"time.business_timezone": "Europe/Paris"})
    with pytest.raises(ContractError, match="column 'date' is a date already"):
        load_contracts(written(tmp_path / "bad", zoned, METERS))


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([METERS], "exactly one source carries the target"),
        ([READINGS, METERS, changed(READINGS, {"name": "second"})], "exactly one source carries the target"),
        ([READINGS, METERS, METERS], "two sources have one name"),
        ([READINGS], "no source is called 'meters'"),
        ([changed(READINGS, {"lookups": []}), changed(METERS, {"panel": {"target": True}})], "exactly one source"),
        (
            [changed(READINGS, {"panel": {}}), changed(METERS, {"panel": {"target": True}})],
            "source 'meters' carries the target, so it needs `time`",
        ),
        ([READINGS, changed(METERS, {"columns.street": GONE})], "must be a snapshot with the columns"),
        (
            [READINGS, changed(METERS, {"columns.house": {"type": "string"}, "key": ["meter_id", "house"]})],
            "looks up 'meters' by",
        ),
        (
            [
                READINGS,
                changed(
                    METERS,
                    {"kind": "events", "path": "m_{day}", "columns.d": {"type": "date"}, "time": {"column": "d"}},
                ),
            ],
            "must be a snapshot",
        ),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(
    tmp_path: Path, sources: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ContractError, match=message) as found:
        load_contracts(written(tmp_path, *sources))
    assert str(tmp_path / "sources") in str(found.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "is no YAML"), (b"- 1", "must hold a mapping of names to values, not list"), (b"a: \xff", "is no YAML")],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ContractError, match=re.escape(str(tmp_path / "x.yaml")) + f" {message}"):
        read_yaml(tmp_path / "x.yaml")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="does not exist"):
        read_yaml(tmp_path / "x.yaml")
    with pytest.raises(ContractError, match="write one YAML file per source"):
        load_contracts(tmp_path)


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("readings_2024-01-05_a.csv", "2024-01-05"),
        ("readings_2024-01-05_.csv", "2024-01-05"),
        ("readings_2024-01-05.csv", None),
        ("readings_2024-01-05_a/b.csv", None),
        ("x/readings_2024-01-05_a.csv", None),
        ("readings_2024-1-5_a.csv", None),
        ("readings_2024-01-05_aXcsv", None),
    ],
)
def test_a_path_pattern_takes_the_day_and_no_slash(name: str, day: str | None) -> None:
    found = SourceContract.model_validate(READINGS).path_pattern.match(name)
    assert (found and found["day"]) == day


def test_the_fingerprint_changes_with_the_contract_and_only_then() -> None:
    one = SourceContract.model_validate(READINGS)
    assert one.fingerprint == SourceContract.model_validate(deepcopy(READINGS)).fingerprint
    assert one.fingerprint != SourceContract.model_validate(changed(READINGS, {"columns.units.min": 1})).fingerprint


def test_a_contract_does_not_change() -> None:
    contracts = Contracts.model_validate({"sources": [READINGS, METERS]})
    with pytest.raises(ValueError, match="frozen"):
        contracts["readings"].name = "x"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["more.yml", "more.YAML", "more.Yml"])
def test_a_contract_with_another_ending_is_refused_and_not_overlooked(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, READINGS, METERS)
    (folder / "sources" / "README.md").write_text("notes")
    assert len(load_contracts(folder).sources) == 2
    (folder / "sources" / name).write_text("name: more")
    with pytest.raises(
        ContractError, match=rf"sources/{name}: a source contract is a file that ends in \.yaml: rename it"
    ):
        load_contracts(folder)
