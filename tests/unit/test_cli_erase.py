"""`ml-platform erase` as a person types it: what it asks, what it shows, and that the key is nowhere in it."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from ml_platform.cli import app
from ml_platform.cli_erase import _eraser
from ml_platform.contract_files import load_contracts
from ml_platform.erasure.eraser import Request
from ml_platform.erasure.persons import ErasureError
from ml_platform.lake import Lake, erasures
from ml_platform.settings import Settings

CONTRACT = """
name: loads
kind: events
description: Loads.
owner: team:a
path: 'loads_{day}.csv'
format: {type: csv}
columns:
  site: {type: string}
  day: {type: date}
  load: {type: int64}
  person: {type: string}
key: [site, day]
time: {column: day}
personal: [person]
panel: {target: true}
"""
PERSON = "ann@example.org"
ASK = ("--source", "loads", "--column", "person", "--reason", "request 17", "--by", "Ada")


@pytest.fixture
def home(home_of: Callable[[str, str], Settings]) -> Settings:
    """A home whose bronze holds two persons; silver was never made, so that no engine starts."""
    home = home_of("loads", CONTRACT)
    folder = home.landing / "loads"
    (folder / "loads_2024-01-05.csv").write_text(f"site,day,load,person\na,2024-01-05,5,bob\nb,2024-01-05,6,{PERSON}\n")
    door = _eraser(home).door(load_contracts(home.configs)["loads"])
    door.run(door.due(home.calendar.first, home.calendar.last))
    return home


def run(*arguments: str, typed: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["erase", *arguments], env={"COLUMNS": "200"}, input=typed)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def persons(home: Settings) -> list[str]:
    return sorted(Lake(home.lake).read("bronze/raw_loads")["person"].to_pylist())


def test_help_teaches_by_example() -> None:
    code, text = run("--help")
    assert (code, "Example:" in text, "docs/erasure.md" in text) == (0, True, True)


def test_first_dry_then_for_good_then_again(home: Settings) -> None:
    code, text = run(*ASK, "--dry-run", typed=f"{PERSON}\n")
    assert code == 0
    assert "1 rows of bronze/raw_loads" in text
    assert persons(home) == [PERSON, "bob"]
    digest = text.split("digest ")[1].split()[0]
    code, text = run(*ASK, "--digest", digest)
    assert (code, "loads.person erased on " in text, PERSON in text) == (0, True, False)
    assert persons(home) == ["bob"]
    assert run(*ASK, "--value", PERSON)[1] == f"{text}Nothing was left to do: these are the rows of that day\n"
    assert len(erasures.read(Lake(home.lake))) == 1
    assert run() == (0, "Nothing is pending.\n")


def test_a_key_that_no_row_holds_is_said_to_be_one_and_kept_out_all_the_same(home: Settings) -> None:
    nobody = "No row holds the key: is it written as in the rows?"
    assert run(*ASK, "--dry-run", "--value", PERSON.upper())[1].endswith(f"{nobody}\n")
    assert run(*ASK, "--value", PERSON.upper())[1].endswith(f"{nobody} It never comes in now\n")
    assert persons(home) == [PERSON, "bob"]
    assert [one.place for one in erasures.read(Lake(home.lake))] == ["lake"]


def test_landing_has_its_own_turn_and_its_own_row(home: Settings) -> None:
    file = home.landing / "loads" / "loads_2024-01-05.csv"
    name = "loads/loads_2024-01-05.csv"
    assert run(*ASK, "--landing", "--dry-run", "--value", PERSON) == (0, f"{name}: 1 rows would be taken out\n")
    assert PERSON in file.read_text()
    assert run(*ASK, "--landing", "--value", PERSON) == (
        0,
        f"{name}: 1 rows taken out; the next run settles the file\n",
    )
    assert file.read_text() == "site,day,load,person\na,2024-01-05,5,bob\n"
    assert run(*ASK, "--landing", "--value", PERSON) == (0, "No landed file holds the key.\n")
    assert [one.place for one in erasures.read(Lake(home.lake))] == ["landing"]


def test_a_file_that_has_to_be_looked_at_is_an_exit_code(home: Settings) -> None:
    (home.landing / "loads" / "notes.txt").write_text(f"call {PERSON}")
    code, text = run(*ASK, "--landing", "--value", PERSON)
    assert code == 1
    assert "loads/notes.txt: LEFT: it cannot be read (missing_columns)" in text or "loads/notes.txt: LEFT:" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--source", "loads"), 2, "say whose rows and why"),
        ((*ASK[:4], "--value", "x"), 2, "say whose rows and why"),
        (("--source", "nobody", *ASK[2:], "--value", "x"), 1, "no source is called 'nobody'"),
        (
            ("--source", "loads", "--column", "load", *ASK[4:], "--value", "7"),
            1,
            "column 'load' of source 'loads' is not declared",
        ),
        ((*ASK, "--value", " "), 1, "say whose rows: either the value, or the digest of a dry run"),
        ((*ASK[:6], "--by", " ", "--value", "x"), 1, "nothing is erased without a name and a reason"),
    ],
)
def test_what_is_asked_unclearly_is_refused_in_words(
    home: Settings, arguments: tuple[str, ...], code: int, words: str
) -> None:
    found, text = run(*arguments)
    assert (found, words in " ".join(text.replace("│", " ").split())) == (code, True), text
    assert erasures.read(Lake(home.lake)) == []


def test_what_is_no_digest_is_refused() -> None:
    with pytest.raises(ErasureError, match="64 hexadecimal digits"):
        Request("sales", "household_id", "Ada", "request 17", digest="12")
