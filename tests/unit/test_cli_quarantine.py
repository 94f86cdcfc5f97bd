"""`ml-platform quarantine` as a person types it: what it shows, what it decides, and with which exit code."""

import getpass
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from ml_platform.cli import app
from ml_platform.cli_quarantine import _quarantine
from ml_platform.contract_files import load_contracts
from ml_platform.lake import Lake, ledger
from ml_platform.quarantine import Record, read_records
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
  load: {type: int64, min: 0, unit: kW}
key: [site, day]
time: {column: day}
panel: {target: true}
"""
EVIL = "[red]a\x1b[31mb\u202ec[/]"


@pytest.fixture
def home(home_of: Callable[[str, str], Settings]) -> Settings:
    """A home with a good row, two refused ones and a refused file."""
    home = home_of("loads", CONTRACT)
    folder = home.landing / "loads"
    rows = ["a,2024-01-05,5", "b,2024-01-05,-4", f"c,2024-01-05,{EVIL}", "d,2024-01-05,1"]
    (folder / "loads_2024-01-05.csv").write_text("\n".join(["site,day,load", *rows]) + "\n")
    (folder / "notes.txt").write_text("x")
    contract = load_contracts(home.configs)["loads"]
    door = _quarantine(home).door(contract)
    door.run(door.due(home.calendar.first, home.calendar.last))
    return home


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["quarantine", *arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def record(home: Settings, rule: str) -> Record:
    (found,) = (one for one in read_records(Lake(home.lake)) if one.rule == rule)
    return found


def state(home: Settings, rule: str) -> str:
    return record(home, rule).state


def loaded(home: Settings) -> list[int]:
    return sorted(Lake(home.lake).read("bronze/raw_loads")["load"].to_pylist())


@pytest.mark.parametrize("command", ["list", "show", "release", "discard"])
def test_help_teaches_by_example(command: str) -> None:
    code, text = run(command, "--help")
    assert (code, "Example:" in text, f"ml-platform quarantine {command}" in text) == (0, True, True)


def test_an_empty_home_says_so(settings: Settings) -> None:
    assert run("list") == (0, "Nothing of that kind is in quarantine.\n")


def test_list_counts_first_and_names_each(home: Settings) -> None:
    code, text = run("list")
    assert code == 0
    counts, rows = text.split("The newest 3 of 3")
    for rule in ("below_minimum:load", "not_int64:load", "unknown_format"):
        assert rule in counts
        assert record(home, rule).quarantine_id in rows
    assert "whole file" in rows


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--rule", "unknown_format"], {"unknown_format"}),
        (["--source", "loads", "--rule", "below_minimum:load"], {"below_minimum:load"}),
        (["--state", "discarded"], {"not_int64:load"}),
        (["--state", "any"], {"below_minimum:load", "not_int64:load", "unknown_format"}),
        (["--source", "loads", "--state", "released"], set()),
    ],
)
def test_list_is_narrowed(home: Settings, options: list[str], shown: set[str]) -> None:
    run("discard", record(home, "not_int64:load").quarantine_id, "--reason", "why")
    _, text = run("list", *options)
    ids = {one.rule for one in read_records(Lake(home.lake)) if one.quarantine_id in text}
    assert ids == shown


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("--source", "others", "--rule", "unknown_format"), "no source is called 'others'"),
        (
            ("--source", "loads", "--rule", "nope"),
            "by rule 'nope'; the rules there: below_minimum:load, not_int64:load, ",
        ),
    ],
)
def test_a_name_that_means_nothing_is_no_success(home: Settings, names: tuple[str, ...], words: str) -> None:
    for command in (("list",), ("discard", "--reason", "why"), ("release", "--reason", "why")):
        code, text = run(*command, *names)
        assert (code, words in text) == (1, True), text


def test_list_has_a_limit_and_knows_its_states(home: Settings) -> None:
    assert "The newest 1 of 3" in run("list", "--limit", "1")[1]
    assert "None of them." in run("list", "--state", "released")[1]
    code, text = run("list", "--state", "gone")
    assert (code, "none of open, released, discarded, any" in " ".join(text.replace("│", "").split())) == (2, True)


def test_show_tells_everything_and_escapes_what_came(home: Settings) -> None:
    one = record(home, "not_int64:load")
    code, text = run("show", one.quarantine_id[:8])
    assert code == 0, text
    for part in (
        one.quarantine_id,
        "loads/loads_2024-01-05.csv",
        "not_int64:load: load must be a value of type int64",
        '  "site": "c",\n',
        f"quarantine release {one.quarantine_id}",
        f"quarantine discard {one.quarantine_id}",
        "--set COLUMN=VALUE",
    ):
        assert part in text, text
    for shown in (text, run("list")[1]):
        assert r"[red]a\x1b[31mb\u202ec[/]" in shown.replace("\\\\", "\\"), (
            "as letters, neither as colours nor as marks"
        )
        assert "\x1b[31m" not in shown
        assert "\u202e" not in shown


def test_show_of_a_file_and_of_what_is_decided(home: Settings) -> None:
    file = record(home, "unknown_format")
    text = run("show", file.quarantine_id)[1]
    assert "the whole file" in text
    assert "a file's name must match 'loads_{day}.csv'" in text
    run("discard", file.quarantine_id, "--by", "[b]Ada", "--reason", "not ours")
    text = run("show", file.quarantine_id)[1]
    assert "by [b]Ada: not ours" in text
    assert "nothing: it was discarded by [b]Ada (not ours)" in text


def test_release_with_a_corrected_value(home: Settings) -> None:
    one = record(home, "below_minimum:load")
    code, text = run("release", one.quarantine_id, "--reason", "read again", "--set", "load=4")
    assert (code, "1 decided, 0 decided before, 0 left as they are" in text) == (0, True), text
    assert loaded(home) == [1, 4, 5]
    after = record(home, "below_minimum:load")
    assert (after.state, after.decided_by, after.reason) == ("released", getpass.getuser(), "read again")
    code, text = run("release", one.quarantine_id, "--reason", "again", "--set", "load=5")
    assert (code, "0 decided, 1 decided before" in text, loaded(home)) == (0, True, [1, 4, 5])
    (row,) = [row for row in ledger.of_source(Lake(home.lake), "loads") if row.state == "loaded"]
    assert row.run_id == "ml-platform quarantine"


def test_what_cannot_be_released_is_said_with_exit_code_1(home: Settings) -> None:
    one = record(home, "below_minimum:load")
    code, text = run("release", one.quarantine_id, "--reason", "hope")
    assert (code, "stays open: it breaks the contract: load must be at least 0 kW" in text) == (1, True)
    assert one.raw not in text


def test_all_of_a_rule_at_once(home: Settings) -> None:
    code, _ = run("discard", "--source", "loads", "--rule", "below_minimum:load", "--reason", "why", "--by", "Ada")
    assert (code, state(home, "below_minimum:load"), state(home, "not_int64:load")) == (0, "discarded", "open")
    code, text = run("discard", "--source", "loads", "--rule", "below_minimum:load", "--reason", "why")
    assert (code, "0 decided" in text) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["release", "--reason", "x"], 2, "either ids, or --source together with --rule"),
        (["release", "ab", "--source", "loads", "--rule", "x", "--reason", "x"], 2, "either ids, or --source"),
        (["discard", "--rule", "x", "--reason", "x"], 2, "either ids, or --source together with --rule"),
        (["discard", "ab"], 2, "Missing option '--reason'"),
        (["discard", "zz", "--reason", "x"], 1, "nothing in quarantine is meant by id 'zz'"),
        (["discard", "zz", "--reason", " "], 1, "without a name and a reason"),
        (["release", "zz", "--reason", "x", "--set", "load"], 2, "has no '='"),
    ],
)
def test_what_is_asked_unclearly_is_refused_in_words(
    home: Settings, arguments: list[str], code: int, words: str
) -> None:
    found, text = run(*arguments)
    assert (found, words in " ".join(text.replace("│", "").split())) == (code, True), text


def test_a_column_that_is_none_is_named(home: Settings) -> None:
    code, text = run("release", record(home, "not_int64:load").quarantine_id, "--reason", "x", "--set", "loud=1")
    assert (code, "has no column loud to set: it has site, day, load" in text) == (1, True)


def test_a_system_without_users_asks_for_a_name(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no user")

    monkeypatch.setattr(getpass, "getuser", nobody)
    code, text = run("discard", record(home, "not_int64:load").quarantine_id, "--reason", "x")
    assert (code, "add --by NAME" in text) == (2, True)
