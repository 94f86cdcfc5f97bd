"""What the terminal shows of a full home: every figure that a person asks for is there, once, with its unit."""

from datetime import UTC, date, datetime

import pytest
from rich.console import Console

from ml_platform import console as show
from ml_platform.console_events import show_events
from ml_platform.console_run import show_outcome
from ml_platform.console_status import show_status
from ml_platform.drop_warnings import ROWS, DropWarning
from ml_platform.lake.announcements import DeadLetter
from ml_platform.landing import WaitingFiles
from ml_platform.status import (
    Alert,
    Fate,
    FleetStatus,
    PublishedStatus,
    Refusal,
    RefusedFile,
    ReleaseStatus,
    Score,
    SourceStatus,
    Status,
    Verdict,
)
from ml_platform.status.runs import RunOutcome

DAY, THEN = date(2017, 12, 17), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = (
    Verdict("fleet_bias", 0.02, 0.1, True, "off by +2.0% [fine]"),
    Verdict("coverage", 1.0, 1.0, False, "all but one"),
)
CHAMPION = ReleaseStatus(DAY, "2017-12-17-abc", True, THEN, None, RULES[:1])
STATUS = Status(
    sources=(SourceStatus("meter", {"loaded": 351, "quarantined": 1}, 1_400_000, 1_399_990, 10, 0, 0, DAY, THEN),),
    complete_day=DAY,
    fates=(Fate("meter", "silver", "kept", "", 1_300_000), Fate("meter", "silver", "excluded", "unit", 99_990)),
    refusals=(Refusal("meter", "bronze", "empty_file", 1, "a[1].csv"),),
    catalogue={"active": 3},
    fleet=FleetStatus(DAY, {"fitted": 3, "fallback": 1}, {"too_short": 1}, {"tsb": 2, "ses": 1}),
    scores=(
        Score("challenger", 0.7884, 0.0095, 1.2, 0.253, -0.021, {"80": 0.812, "95": 0.949}),
        Score("floor_mean_182", 0.796, 0.0, None, None, None, {}),
    ),
    champion=CHAMPION,
    judged=ReleaseStatus(DAY, "2017-12-17-def", False, THEN, "ann", RULES),
    published=PublishedStatus(DAY, "2017-12-17-abc", THEN, 4, 56),
    refused_files=(RefusedFile("meter/a[1].csv", "empty_file: the file has no bytes", THEN),),
    alerts=(Alert(THEN, "score", "0123", "forecasts", "no space left\nTraceback"),),
    missing_days=(date(2017, 12, 3),),
    unpublished=(date(2017, 12, 18), date(2017, 12, 19)),
    waiting_files=(
        WaitingFiles("meter", "new", 1200, "meter/a[1]\x1b[31m.csv: it was not read yet", THEN, due=True),
        WaitingFiles("meter", "no_success", 1, "meter/b[2].csv: its folder holds no _SUCCESS yet", THEN),
    ),
    warnings=(DropWarning("meter", ROWS, DAY, "1,994 rows, usual is 2,296 to 4,515"),) * 7,
    lagging={"meter": 2},
    cut_off={"meter": 1},
    undeclared=("metre",),
    events={"settled": 6, "ignored(marker)": 2},
    dead_letters=(DeadLetter("m", "a [b]\x1b[31m\n c", "event 1 of 1: it is [no] object", 1, THEN),),
)


def shown(status: Status) -> str:
    console = Console(width=160, highlight=False)
    with console.capture() as captured:
        show_status(console, status)
    return captured.get()


@pytest.mark.parametrize(
    "words",
    [
        "351 loaded, 1 quarantined",
        "1,400,000",
        "excluded  unit",
        "a[1].csv",
        "Series by state, as of 2017-12-17",
        "too_short",
        "challenger",
        "0.7884",
        "0.95 %",
        "-2.1 %",
        "81.2 %",
        "25.3 %",
        "simple: mean 182",
        "Champion 2017-12-17-abc, as of 2017-12-17: promoted by the gate",
        "Newest verdict 2017-12-17-def, as of 2017-12-17: not promoted by ann",
        "passed  fleet_bias: off by +2.0% [fine]",
        "failed  coverage: all but one",
        "56 forecasts of 4 series",
        "meter/a[1].csv empty_file: the file has no bytes 2026-01-02 03:04:05",
        "2026-01-02 03:04:05 score forecasts no space left",
        "Forecasts lag: 2 complete days up to 2017-12-19 are not published",
        "Days without a complete delivery: 1 between the first and the newest (2017-12-03)",
        "Files wait: 1,200 of meter (new: meter/a[1]\\x1b[31m.csv: it was not read yet), the oldest since 2026-01-02 03:04:05 UTC: due, `make ui` or `ml-platform run score` reads it",
        "Files wait: 1 of meter (no_success: meter/b[2].csv: its folder holds no _SUCCESS yet), since 2026-01-02 03:04:05 UTC: not due yet",
        "meter Sun 2017-12-17 1,994 rows, usual is 2,296 to 4,515",
        "and 2 more",
        "Silver lags behind bronze (drops: 2 meter)",
        "A crash cut commits off from the ledger (1 meter)",
        "Refusals are open: 1, most of them empty_file: `ml-platform quarantine list --source meter --rule empty_file`",
        "Of no contract, under landing/: metre",
        "Newest complete day 2017-12-17; newest drop settled 2026-01-02 03:04:05 UTC",
    ],
)
def test_a_full_home(words: str) -> None:
    assert " ".join(words.split()) in " ".join(shown(STATUS).split())


def test_a_champion_that_is_the_newest_verdict_is_shown_once() -> None:
    text = shown(Status(sources=STATUS.sources, champion=CHAMPION, judged=CHAMPION))
    assert (text.count(CHAMPION.release_id), "Newest verdict" in text) == (1, False)


def test_before_the_first_training_the_catalogue_gives_the_states() -> None:
    text = shown(Status(sources=STATUS.sources, catalogue={"active": 3, "new": 1}))
    assert "75.0%" in text


def test_before_the_first_training_it_says_how_to_train() -> None:
    assert "`ml-platform run retrain`" in shown(Status(sources=STATUS.sources, complete_day=DAY))
    assert "retrain" not in shown(STATUS)


def test_seconds_mark_the_whole_runs() -> None:
    watch = show.Stopwatch()
    watch.note("ingest", "raw_meter", 1.25)
    watch.note("ingest", "whole run", 2.0)
    console = Console(width=100)
    with console.capture() as captured:
        show.show_seconds(console, watch)
    assert [line.split() for line in captured.get().splitlines() if "ingest" in line] == [
        ["ingest", "raw_meter", "1.2"],
        ["ingest", "whole", "run", "2.0"],
    ]


def test_storage_events_and_dead_letters_without_their_control_characters() -> None:
    console = Console(width=160, highlight=False)
    with console.capture() as empty:
        show_events(console, Status())
    with console.capture() as captured:
        show_events(console, STATUS)
    assert not empty.get()
    words = " ".join(captured.get().split())
    assert "ignored(marker) 2" in words
    assert "2026-01-02 03:04:05 event 1 of 1: it is [no] object a [b]\\x1b[31m c" in words
    assert "1 in ops/dead_letters" in words


def ended(job: str, outcome: RunOutcome) -> str:
    console = Console(width=160, highlight=False)
    with console.capture() as captured:
        show_outcome(console, job, outcome)
    return captured.get()


def test_a_run_ends_with_what_it_settled_refused_and_decided() -> None:
    rows = {"rows_in": 1_017, "rows_loaded": 1_008, "rows_quarantined": 9, "rows_duplicate": 0, "rows_erased": 0}
    judged = (CHAMPION, ReleaseStatus(DAY, "2017-12-17-def", False, THEN, "gate", RULES))
    text = ended("everything", RunOutcome({"loaded": 2, "quarantined": 1}, rows, judged, STATUS.published))
    assert text.splitlines() == [
        "Files settled: 2 loaded, 1 quarantined; 1,017 rows in: 1,008 loaded, 9 quarantined.",
        "Some of it was refused: `ml-platform quarantine list` says what and why.",
        "Fleet as of 2017-12-17: promoted, release 2017-12-17-abc.",
        "Fleet as of 2017-12-17: not promoted (coverage); the champion stays.",
        "Published as of 2017-12-17: 56 forecasts of 4 series, release 2017-12-17-abc",
    ]
    nothing = RunOutcome({}, {}, (CHAMPION,) * 7, None)
    assert ended("ingest", nothing).startswith("No file was due: everything that landed on those days is settled.\n")
    assert ended("retrain", nothing).endswith("... and 2 fleets of earlier days\n")
