"""run_forecast: files in and out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ml_platform.forecasting import ConfigError, InputError, forecast
from ml_platform.jobs.forecast import run_forecast


@pytest.fixture
def config(tmp_path: Path, make) -> Path:
    path = tmp_path / "forecast.yaml"
    path.write_text(yaml.safe_dump(make.config().model_dump(mode="json")))
    return path


@pytest.fixture
def plain(tmp_path: Path, make) -> Path:
    """Without attributes."""
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(make.config(static=[], segments=[]).model_dump(mode="json")))
    return path


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_give_what_the_call_gives(tmp_path: Path, make, config: Path, suffix: str) -> None:
    history = make.counts(series=4)
    table, kinds = (
        write(frame, tmp_path / f"{name}.{suffix}") for name, frame in (("h", history), ("s", make.kinds(history)))
    )
    out = tmp_path / "deep" / f"out.{suffix}"
    report = run_forecast(config, table, None, kinds, out)
    got = pd.read_csv(out, parse_dates=["date"]) if suffix == "csv" else pd.read_parquet(out)
    wanted = forecast(history, static=make.kinds(history), config=make.config()).forecasts
    assert (report.rows, report.series, report.states) == (28, 4, {"fitted": 4})
    np.testing.assert_allclose(got["mean"], wanted["mean"])
    assert got["date"].tolist() == wanted["date"].tolist()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_what_was_filled_and_when_forecasts_begin_is_told(tmp_path: Path, make) -> None:
    history = make.counts(series=4).assign(price=1.0)
    given = tmp_path / "given.yaml"
    given.write_text(json.dumps(make.config(known_future=["price"], static=[], segments=[]).model_dump(mode="json")))
    report = run_forecast(given, write(history, tmp_path / "h.csv"), None, None, tmp_path / "o.csv")
    assert report.filled == {"carried_forward": 4}
    assert report.first == str(history["day"].max() + pd.Timedelta(days=1))


def test_keys_of_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    """007 is no 7, and NA is Namibia; a field without anything is no key."""
    rows = "".join(f"{key},2021-03-{day:02d},{day}\n" for key in ("007", "7", "NA") for day in range(1, 29))
    (tmp_path / "h.csv").write_text(f"shop,day,units\n{rows}")
    given = tmp_path / "given.yaml"
    given.write_text("{series: [shop], time: day, target: units, frequency: D, horizon: 2, families: [mean_28]}")
    run_forecast(given, tmp_path / "h.csv", None, None, tmp_path / "o.csv", as_of="2021-03-20")
    out = (tmp_path / "o.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in out[1::2]] == [[key, "2021-03-21"] for key in ("007", "7", "NA")]
    (tmp_path / "h.csv").write_text(f"shop,day,units\n{rows},2021-03-01,4\n")
    with pytest.raises(InputError, match="history row 85 has no key in 'shop'; 1 row has none"):
        run_forecast(given, tmp_path / "h.csv", None, None, tmp_path / "o.csv")


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, make, plain: Path) -> None:
    table = write(make.counts(series=2), tmp_path / "h.csv")
    with pytest.raises(InputError, match=r"nowhere\.csv: there is no such file"):
        run_forecast(plain, tmp_path / "nowhere.csv", None, None, tmp_path / "o.csv")
    with pytest.raises(InputError, match=r"o\.xlsx: files end in .parquet or .csv"):
        run_forecast(plain, table, None, None, tmp_path / "o.xlsx")
    with pytest.raises(ConfigError, match="nothing"):
        run_forecast(tmp_path / "nothing.yaml", table, None, None, tmp_path / "o.csv")
    table.write_text(table.read_text().replace("2021-03-02", "yesterday", 1))
    report = run_forecast(plain, table, None, None, tmp_path / "o.csv")
    assert report.states["quarantined"] == 1
    assert report.refused == ("0 / item 00: history row 2: day is 'yesterday' (no_time)",)


def csv_bytes(make) -> bytes:
    return make.counts(series=2).to_csv(index=False).encode()


def parquet_bytes(make) -> bytes:
    return make.counts(series=2).to_parquet()


SPOILED = {
    "empty csv": ("h.csv", lambda make: b"", "the file is empty"),
    "empty parquet": ("h.parquet", lambda make: b"", "the file is empty"),
    "blank csv": ("h.csv", lambda make: b"\n\n", "the file holds no columns"),
    "csv as parquet": ("h.parquet", csv_bytes, "the file is no Parquet"),
    "parquet as csv": ("h.csv", parquet_bytes, "the file is Parquet: name it .parquet"),
    "half a parquet": ("h.parquet", lambda make: parquet_bytes(make)[:900], "the Parquet file is damaged"),
    "binary csv": ("h.csv", lambda make: bytes(range(255, 0, -1)), "the file is not UTF-8 text"),
    "latin csv": ("h.csv", lambda make: csv_bytes(make).replace(b"item", b"\xe4"), "the file is not UTF-8 text"),
    "one long row": ("h.csv", lambda make: csv_bytes(make) + b"1,2,3,4,5,6,7\n", "as many fields.*saw 7"),
    "all rows long": (
        "h.csv",
        lambda make: csv_bytes(make).replace(b"\n", b",9\n").replace(b"value,9", b"value"),
        "the rows have more fields",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path, make, config: Path, case: str) -> None:
    name, content, message = SPOILED[case]
    (tmp_path / name).write_bytes(content(make))
    with pytest.raises(InputError, match=rf"{name}: .*{message}"):
        run_forecast(config, tmp_path / name, None, None, tmp_path / "o.csv")


@pytest.mark.parametrize("layout", ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d"])
def test_dates_in_another_layout_are_refused(tmp_path: Path, make, config: Path, layout: str) -> None:
    history = make.counts(series=2)
    table = write(history.assign(day=history["day"].dt.strftime(layout)), tmp_path / "h.csv")
    first = history["day"].iloc[0].strftime(layout)
    with pytest.raises(InputError, match=rf"h\.csv: the column 'day'.*ISO 8601: '?{first}'? in data row 1"):
        run_forecast(config, table, None, None, tmp_path / "o.csv")


def test_where_forecasts_cannot_be_written_is_told_before_any_work(tmp_path: Path, make, config: Path) -> None:
    table = write(make.counts(series=2), tmp_path / "h.csv")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"file.o\.csv cannot be written \(.*\): name a file in a folder of yours"):
        run_forecast(config, table, None, None, tmp_path / "file" / "o.csv")
    with pytest.raises(InputError, match=r"folder\.csv is a folder: name a file in it"):
        run_forecast(config, table, None, None, tmp_path / "folder.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv", "forecast.yaml", "h.csv"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("site;item;day;units", "columns are parted by ';': write them with commas"),
        ("site\titem\tday\tunits", r"columns are parted by '\\t'"),
        ("site,item,day,units,units", r"the header names \['units'\] more than once"),
    ],
)
def test_a_header_of_another_kind_is_explained(tmp_path: Path, make, config: Path, header: str, words: str) -> None:
    (tmp_path / "h.csv").write_text(f"{header}\n0,a,2021-03-01,1,2\n")
    with pytest.raises(InputError, match=words):
        run_forecast(config, tmp_path / "h.csv", None, None, tmp_path / "o.csv")
