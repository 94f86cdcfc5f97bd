"""The command line as a person types it; Dagster's side is played by a small module that prints the agreed events."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from ml_platform import doctor, launch
from ml_platform.cli import app
from ml_platform.lake import Lake
from ml_platform.lake.schemas import LEDGER
from ml_platform.landing import LandingStore
from ml_platform.launch import Event
from ml_platform.samples import complete_journey
from ml_platform.settings import Settings

FAKE = """
import json, os, sys, time
say = lambda **event: print(json.dumps(event), flush=True)
print("words of a library")
print("log of the run", file=sys.stderr)
if "hang" in os.environ.get("FAKE", ""):
    print("pid", os.getpid(), file=sys.stderr, flush=True)
    say(event="progress", step="waiting", message=str(os.getpid()))
    time.sleep(60)
for plan in sys.argv[1:]:
    job = plan.split(":")[0]
    say(event="run_start", step=job)
    say(event="step_start", step="raw_meter")
    say(event="step_end", step="raw_meter", seconds=1.5, success=True, message="3 [drops]")
    if os.environ.get("FAKE") == f"dies in {job}":
        sys.exit(3)
    say(event="run_end", success=os.environ.get("FAKE") != job, run_id="r1", message="step x failed")
    if os.environ.get("FAKE") == job:
        sys.exit(1)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Path:
    """A folder with a workspace and a stand-in for sensors.launch; the current folder lies below it."""
    folder = tmp_path / "project"
    (folder / "sensors").mkdir(parents=True)
    (folder / "below").mkdir()
    (folder / "workspace.yaml").touch()
    (folder / "sensors" / "__init__.py").touch()
    (folder / "sensors" / "launch.py").write_text(FAKE)
    monkeypatch.chdir(folder / "below")
    return folder


@pytest.fixture
def tiny_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's loader, told to land one file."""

    def land(landing: LandingStore, last_day: date, progress: complete_journey.Progress) -> list[str]:
        progress("sales", 1, 1)
        return [landing.locate(f"{last_day}.csv")]

    monkeypatch.setattr(complete_journey, "land_until", land)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("command", ["demo", "run", "land", "status", "doctor", "forecast"])
def test_help_teaches_by_example(command: str) -> None:
    code, text = run(command, "--help")
    assert (code, "Example:" in text, f"ml-platform {command}" in text or command == "doctor") == (0, True, True)


def test_without_a_command_the_help_names_the_first_steps() -> None:
    _, text = run()
    assert "ml-platform doctor" in text


@pytest.mark.usefixtures("tiny_sample")
def test_demo_runs_both_jobs_and_ends_with_the_figures(project: Path, settings: Settings) -> None:
    code, text = run("demo")
    assert code == 0, text
    assert text.count("raw_meter") == 4, "a line per step and run, and a row each in the table of seconds"
    assert "3 [drops]" in text, "messages are shown as they are, brackets too"
    for part in ("ingest", "retrain", "Seconds per stage", "make ui", "marts.forecast_latest"):
        assert part in text
    (log,) = (settings.dagster_home / "logs").iterdir()
    assert sorted(log.read_text().splitlines()) == ["log of the run", "words of a library"]


@pytest.mark.usefixtures("tiny_sample", "project")
@pytest.mark.parametrize(
    ("fake", "what"),
    [
        ("ingest", "job ingest for 2017-01-01 to 2017-12-17 failed: step x failed"),
        ("retrain", "job retrain for 2017-12-17 to 2017-12-17 failed: step x failed"),
        ("dies in ingest", "\n    log of the run\n"),
        ("dies in retrain", "exit code 3"),
    ],
)
def test_demo_fails_with_the_name_of_the_log(monkeypatch: pytest.MonkeyPatch, fake: str, what: str) -> None:
    monkeypatch.setenv("FAKE", fake)
    code, text = run("demo")
    assert code == 1
    assert what in text
    log = next(line.split("log: ")[1] for line in text.splitlines() if "log: " in line)
    assert Path(log).read_text()


def test_demo_outside_a_project_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run("demo")
    assert (code, "workspace.yaml" in text) == (1, True)


@pytest.fixture
def other_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of contracts with one source, which is not the sample's."""
    folder = tmp_path / "configs"
    (folder / "sources").mkdir(parents=True)
    text = "name: loads\nkind: events\ndescription: Loads.\nowner: team:a\npath: '{day}.csv'\nformat: {type: csv}\n"
    text += "columns: {site: {type: string}, day: {type: date}, load: {type: int64}}\nkey: [site, day]\n"
    (folder / "sources" / "loads.yaml").write_text(f"{text}time: {{column: day}}\npanel: {{target: true}}\n")
    monkeypatch.setenv("ML_PLATFORM_CONFIGS", str(folder))
    return folder


@pytest.mark.usefixtures("project", "other_configs")
@pytest.mark.parametrize("arguments", [["demo"], ["land", "--sample-days", "1"], ["land", "--until", "2017-01-01"]])
def test_the_sample_stays_out_of_a_home_of_other_data(settings: Settings, arguments: list[str]) -> None:
    code, text = run(*arguments)
    assert (code, "does not declare products, promotions, sales" in text) == (1, True), text
    assert not settings.landing.exists()


@pytest.mark.usefixtures("project")
def test_the_demo_needs_its_own_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_FIRST_DAY", "2017-06-01")
    code, text = run("demo")
    assert (code, "ML_PLATFORM_FIRST_DAY" in text) == (1, True), text


@pytest.mark.usefixtures("project")
def test_run_shows_steps_and_says_where_to_look(settings: Settings) -> None:
    code, text = run("run", "ingest", "--from", "2017-01-01", "--to", "2017-01-03")
    assert code == 0, text
    for part in ("ingest for 2017-01-01 to 2017-01-03", "raw_meter", "ml-platform status", "No file was due"):
        assert part in text


@pytest.mark.usefixtures("settings")
def test_a_misspelt_variable_is_named_by_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_HOEM", "/elsewhere")
    code, text = run("status")
    assert (code, "nothing reads ML_PLATFORM_HOEM; docs/settings.md lists the settings" in text) == (0, True), text


@pytest.mark.usefixtures("project")
def test_run_says_how_many_fleets_it_trains(settings: Settings) -> None:
    for day in (1, 2):
        landed = settings.landing / "sales" / f"sales_2017-01-0{day}.csv"
        landed.parent.mkdir(parents=True, exist_ok=True)
        landed.touch()
    code, text = run("run", "everything")
    assert (code, "everything for 2017-01-01 to 2017-01-02" in text) == (0, True), text
    assert text.index("Fleets to train: 2") < text.index("raw_meter")


@pytest.mark.usefixtures("project", "settings")
@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["ingest"], 1, "ml-platform land --source NAME FILE"),
        (["retrain"], 1, "ml-platform run ingest"),
        (["ingest", "--from", "2017-01-03", "--to", "2017-01-02"], 1, "--from and --to"),
        (["ingest", "--from", "2018-01-03", "--to", "2018-01-04"], 1, "ML_PLATFORM_LAST_DAY"),
        (["nothing"], 2, "'ingest', 'retrain', 'update', 'score', 'everything'"),
    ],
)
def test_run_names_what_is_wrong(arguments: list[str], code: int, hint: str) -> None:
    found, text = run("run", *arguments)
    assert (found, hint in " ".join(text.split())) == (code, True), text


def test_a_failed_run_ends_with_exit_code_1(project: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("FAKE", "ingest")
    code, text = run("run", "ingest", "--from", "2017-01-01", "--to", "2017-01-01")
    assert (code, "step x failed" in text, "Done" in text) == (1, True, False)


def test_what_another_run_left_in_the_log_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of another run\n")
    (end,) = launch.follow([sys.executable, "-c", "print('mine')"], tmp_path, dict(os.environ), tmp_path / "log")
    assert end.message == "the process ended with exit code 0 and no word\n    mine"


def test_of_a_traceback_only_the_error_is_shown(tmp_path: Path) -> None:
    code = "import sys; print('before', file=sys.stderr, flush=True)\ndef f(): raise ValueError('first\\nsecond')\nf()"
    (tmp_path / "log").write_text("of another run\n")
    (end,) = launch.follow([sys.executable, "-c", code], tmp_path, dict(os.environ), tmp_path / "log")
    assert end.message == "the process ended with exit code 1 and no word\n    ValueError: first\n    second"


def test_jobs_get_days_and_absolute_places(project: Path, settings: Settings, tmp_path: Path) -> None:
    (project / "sensors" / "launch.py").write_text(
        "import json, os, sys\nprint(json.dumps({'event': 'run_end', 'success': True, 'message': ' '.join([os.environ['ML_PLATFORM_HOME'], os.environ['ML_PLATFORM_CONFIGS'], *sys.argv[1:]])}))"
    )
    plans = [
        launch.Plan("ingest", date(2017, 1, 1), date(2017, 1, 3)),
        launch.Plan("score", date(2017, 1, 3), date(2017, 1, 3)),
    ]
    settings = settings.model_copy(update={"configs": Path("mine")})
    (end,) = launch.run_jobs(settings, project, plans, tmp_path / "log")
    places = f"{settings.root} {Path.cwd() / 'mine'}"
    assert end.message == f"{places} ingest:2017-01-01:2017-01-03 score:2017-01-03:2017-01-03"


def test_leaving_early_ends_the_process(
    project: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "hang")
    plan = launch.Plan("ingest", date(2017, 1, 1), date(2017, 1, 1))
    events = launch.run_jobs(settings, project, [plan], tmp_path / "log")
    pid = int(next(events).message)
    events.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_demo_that_is_told_to_stop_stops_its_run(project: Path, settings: Settings) -> None:
    settings.landing.mkdir(parents=True)
    code = "from ml_platform.samples import complete_journey as c; c.land_until = lambda *a, **k: []; from ml_platform.cli import app; app()"
    environment = {**os.environ, "FAKE": "hang", "ML_PLATFORM_HOME": str(settings.root)}
    with subprocess.Popen([sys.executable, "-c", code, "demo"], env=environment, stdout=subprocess.DEVNULL) as process:
        pid = _wait_for_pid(settings.dagster_home / "logs")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _wait_for_pid(folder: Path) -> int:
    """The process id that the stand-in writes to its log."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for log in folder.glob("*.log"):
            for line in log.read_text().splitlines():
                if line.startswith("pid "):
                    return int(line.split()[1])
        time.sleep(0.05)
    raise AssertionError("the run did not start")


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"event": "step_end", "step": "a", "seconds": 1.5, "unknown": 1}', Event("step_end", "a", 1.5)),
        ('{"event": "run_end", "success": false, "message": null}', Event("run_end", success=False)),
        ('{"other": 1}', None),
        ("[1]", None),
        ("words", None),
    ],
)
def test_lines_that_are_events(line: str, event: Event | None) -> None:
    assert launch.parse_event(line) == event


def test_land_puts_whole_files_of_a_declared_source(tmp_path: Path, settings: Settings) -> None:
    mine = tmp_path / "sales_2017-01-02.csv"
    mine.write_text("a,b\n1,2\n")
    assert run("land", "--source", "sales", str(mine)) == (0, f"landed {settings.landing}/sales/{mine.name}\n")
    assert [(p.name, p.read_text()) for p in (settings.landing / "sales").iterdir()] == [(mine.name, "a,b\n1,2\n")]


def test_a_file_with_another_name_lands_only_if_that_is_wanted(tmp_path: Path, settings: Settings) -> None:
    mine = tmp_path / "mine.csv"
    mine.touch()
    code, text = run("land", "--source", "sales", str(mine))
    assert (code, "path is 'sales_{day}.csv', for example sales_2026-01-31.csv" in text) == (1, True), text
    assert not (settings.landing / "sales").exists()
    assert run("land", "--source", "sales", str(mine), "--anyway")[0] == 0
    assert [p.name for p in (settings.landing / "sales").iterdir()] == ["mine.csv"]


def test_many_landed_files_are_counted(tmp_path: Path, settings: Settings) -> None:
    files = [tmp_path / f"sales_2017-01-{day}.csv" for day in range(10, 22)]
    for path in files:
        path.touch()
    assert run("land", "--source", "sales", *map(str, files))[1].endswith("01-19.csv\n... and 2 more\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--source", "nothing", "FILE"], "no source is called 'nothing'"),
        (["FILE"], "name both"),
        (["--source", "sales"], "name both"),
        (["--sample-days", "1", "--until", "2017-01-02"], "choose one"),
        (["--sample-days", "1", "--source", "sales", "FILE"], "choose one"),
        (["--until", "2017-01-02", "--source", "sales", "FILE"], "choose one"),
    ],
)
def test_land_names_what_is_wrong(tmp_path: Path, settings: Settings, arguments: list[str], hint: str) -> None:
    (tmp_path / "mine.csv").touch()
    code, text = run("land", *(str(tmp_path / "mine.csv") if one == "FILE" else one for one in arguments))
    assert code != 0
    assert hint in " ".join(text.split())


def test_land_sample_days_says_what_it_landed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(
        complete_journey, "land_next", lambda landing, days: [landing.locate(f"{n}.csv") for n in range(days)]
    )
    assert run("land", "--sample-days", "2") == (
        0,
        f"landed {settings.landing}/0.csv\nlanded {settings.landing}/1.csv\n",
    )
    monkeypatch.setattr(complete_journey, "land_next", lambda landing, days: [])
    assert "nothing to land" in run("land", "--sample-days", "2")[1]


def test_status_of_an_empty_home_says_how_to_begin(settings: Settings) -> None:
    code, text = run("status")
    assert (code, "ml-platform land" in text) == (0, True)


def test_status_as_words_and_as_json(settings: Settings) -> None:
    row = {"drop_id": "a", "source": "sales", "drop_day": date(2017, 1, 1), "state": "loaded", "table_version": 0}
    counts = {"rows_in": 1234, "rows_loaded": 1234, "rows_quarantined": 0, "rows_duplicate": 0, "rows_erased": 0}
    Lake(settings.lake).append(LEDGER, pa.Table.from_pylist([row | counts], schema=LEDGER.schema))
    _, text = run("status")
    assert "1,234" in text
    assert "Newest complete day 2017-01-01" in text
    found = json.loads(run("status", "--json")[1])
    assert (found["complete_day"], found["sources"][0]["rows_loaded"]) == ("2017-01-01", 1234)


@pytest.mark.parametrize(("required", "code"), [(True, 1), (False, 0)])
def test_doctor_fails_only_for_what_is_required(monkeypatch: pytest.MonkeyPatch, required: bool, code: int) -> None:
    monkeypatch.setattr(doctor, "examine", lambda *_: [doctor.Check("thing", False, "not here", "get it", required)])
    found, text = run("doctor")
    assert (found, "thing: not here" in text, "get it" in text) == (code, True, True)


def test_wrong_settings_are_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_PLATFORM_SHARDS", "0")
    monkeypatch.setenv("ML_PLATFORM_ENGINE", "hadoop")
    code, text = run("status")
    assert (code, "Traceback" in text) == (2, False)
    assert "ML_PLATFORM_SHARDS=0 cannot be used: it must be a whole number from 1 to 64" in text
    assert "ML_PLATFORM_ENGINE=hadoop cannot be used" in text


def test_forecast_reads_and_writes_files(tmp_path: Path) -> None:
    days = pd.date_range("2026-01-01", periods=84)
    pd.DataFrame({"site": "a", "day": days, "load": [float(n % 7) for n in range(84)]}).to_csv(
        tmp_path / "history.csv", index=False
    )
    (tmp_path / "forecast.yaml").write_text("series: [site]\ntime: day\ntarget: load\nfrequency: D\nhorizon: 7\n")
    files = ["--config", "forecast.yaml", "--history", "history.csv", "--out", "out/forecasts.parquet"]
    code, text = run("forecast", *(str(tmp_path / one) if "." in one else one for one in files))
    assert (code, "7 forecasts of 1 series" in text) == (0, True), text
    written = pd.read_parquet(tmp_path / "out" / "forecasts.parquet")
    assert written["step"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (written["date"].min(), written["site"].unique().tolist()) == (pd.Timestamp("2026-03-26"), ["a"])


def test_forecast_names_the_file_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "forecast.yaml").write_text("series: [site]\ntime: day\ntarget: load\nfrequency: D\nhorizon: 7\n")
    code, text = run(
        "forecast", "--config", str(tmp_path / "forecast.yaml"), "--history", str(tmp_path / "no.csv"), "--out", "o.csv"
    )
    assert (code, "no.csv" in text, "Traceback" in text) == (1, True, False)
