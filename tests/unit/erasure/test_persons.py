"""Tests of persons: an erased key is recognised in every spelling and place, and nothing else is.

Belongs here: digests, values, refused rows and texts. Does not belong here: tables and files.
"""

import json
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml_platform.contracts import SourceContract
from ml_platform.erasure.door import silenced, without
from ml_platform.erasure.persons import ErasureError, Persons, key_digest, make_secret, secret_file
from ml_platform.formats import UnreadableError
from ml_platform.lake import Lake
from ml_platform.rules import REFUSED, Screened

VISITS: dict[str, Any] = {
    "name": "visits",
    "kind": "snapshot",
    "description": "Visits.",
    "owner": "team:a",
    "path": "*.csv",
    "format": {"type": "csv", "delimiter": ";"},
    "columns": {"number": {"type": "int64"}, "name": {"type": "string"}},
    "key": ["number"],
    "personal": ["number", "name"],
}
CONTRACT, SECRET = SourceContract.model_validate(VISITS), b"s" * 32


def persons(column: str, value: str) -> Persons:
    return Persons.one(CONTRACT, column, key_digest(SECRET, CONTRACT, column, value), SECRET)


ANN, NUMBER = persons("name", "Ann O'Neil"), persons("number", "2457")


@pytest.mark.parametrize("text", ["2457", "+2457", "02457", " 2457 "])
def test_one_key_has_many_spellings(text: str) -> None:
    assert NUMBER.is_key("number", text)
    assert key_digest(SECRET, CONTRACT, "number", text) in NUMBER.digests["number"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("number", "24570"),
        ("number", "-2457"),
        ("number", ""),
        ("name", "2457"),
        ("number", "2457.5"),
        ("number", "2457.0.0"),
        ("number", "2_457"),
    ],
)
def test_others_are_others(column: str, text: str) -> None:
    assert not NUMBER.is_key(column, text)


@pytest.mark.parametrize("text", ["2457.0", "+02457.000 ", "2457.", "2.457e3", "24570E-1", f"2457.{'0' * 90}"])
def test_a_whole_number_with_a_fraction_is_refused_and_is_a_key_all_the_same(text: str) -> None:
    """Tools that know floats alone write keys like that."""
    assert NUMBER.is_key("number", text)
    assert NUMBER.in_row(json.dumps({"number": text, "name": "x"}))
    assert NUMBER.in_line(f"1;{text.strip()};x;y")
    named = persons("name", "2457")
    assert not named.is_key("name", text), "a text is a text"


def test_a_digest_says_nothing_without_the_secret_and_differs_by_source_and_column() -> None:
    other = SourceContract.model_validate({**VISITS, "name": "others"})
    found = {
        key_digest(secret, contract, column, "2457")
        for secret in (SECRET, b"t" * 32)
        for contract in (CONTRACT, other)
        for column in ("number", "name")
    }
    assert len(found) == 8


def test_values_of_a_column() -> None:
    assert NUMBER.in_values("number", pa.chunked_array([[2457, None], [1], []], pa.int64())).to_pylist() == [
        True,
        False,
        False,
    ]
    assert ANN.in_values("name", pa.array([" Ann O'Neil", "ann o'neil", None])).to_pylist() == [True, False, False]
    assert ANN.in_values("name", pa.array([], pa.string())).to_pylist() == []


@pytest.mark.parametrize(
    ("raw", "held"),
    [
        ('{"number": "02457", "name": "x"}', True),
        ('{"number": 2457.0}', True),
        ('{"number": "1", "name": "2457"}', False),
        ('{"number": "1", "number": 2457}', True),
        ('{"number": [1, {"deep": 2457}]}', True),
        ('{"other": {"number": 2457}}', False),
        ('{"number": 2457', True),
        ("1;x;2457", True),
        ('1;"x;2457"', True),
        ("12457;x", False),
        ("2457", True),
        ("[2457]", True),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_refused_rows(raw: str, held: bool) -> None:
    assert NUMBER.in_row(raw) is held


@pytest.mark.parametrize("line", ["1;Ann O'Neil", '1; "Ann O\'Neil" ;x', '{"name": "Ann O\'Neil", ', "1;Ann O'Neil;;;"])
def test_a_key_of_several_words_is_found_in_a_broken_line(line: str) -> None:
    assert ANN.in_row(line)


def test_reasons_lose_what_they_quote_alone() -> None:
    why = UnreadableError(
        "missing_columns", "columns ['a'] are missing in 2457 rows; the file has ['2457', 'x', \"'2457'\", 'a 2457']", 3
    )
    found = silenced(NUMBER, why)
    assert (
        str(found)
        == "columns ['a'] are missing in 2457 rows; the file has ['[erased]', 'x', \"'[erased]'\", 'a [erased]']"
    )
    assert (found.rule, found.rows) == ("missing_columns", 3)
    assert NUMBER.redacted("found [2457, 24570]", words=True) == "found [[erased], 24570]"


def test_the_door_counts_what_it_leaves_out() -> None:
    accepted = pa.table({"number": [1, 2457, 2457], "name": ["a", "b", "c"], "row_number": [2, 3, 4]})
    refused = pa.Table.from_pylist(
        [{"row_number": 5, "rule": "r", "value": "v", "raw": json.dumps({"number": n})} for n in (1, 2457)],
        schema=REFUSED,
    )
    found = without(NUMBER, Screened(accepted, refused))
    assert (found.accepted["row_number"].to_pylist(), found.refused.num_rows, found.erased, found.rows) == (
        [2],
        1,
        (2, 1),
        5,
    )
    nobody = Persons(CONTRACT, {}, b"")
    whole = Screened(accepted, refused)
    assert without(nobody, whole) is whole


def test_the_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    first = make_secret(lake)
    assert (make_secret(lake), len(first)) == (first, 32)
    assert stat.S_IMODE(secret_file(lake).stat().st_mode) == 0o600
    assert tmp_path / "lake" not in secret_file(lake).parents
    assert make_secret(Lake(str(tmp_path / "other" / "lake"))) != first


def test_a_column_that_is_not_personal_has_no_digest() -> None:
    with pytest.raises(ErasureError, match="add it to `personal` in its contract"):
        key_digest(SECRET, SourceContract.model_validate({**VISITS, "personal": ["name"]}), "number", "1")
