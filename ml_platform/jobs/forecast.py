"""Forecast files: history in, forecasts out, Parquet or CSV, without lake and orchestration.

Belongs here: reading and writing the files. Does not belong here: forecasting itself, the command line.
"""

import csv
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ml_platform.forecasting import ForecastConfig, InputError, forecast, load_config
from ml_platform.forecasting.times import lenient_times, read_times
from ml_platform.formats.csv_files import other_delimiter

PARQUET_MARK = b"PAR1"  # first bytes of every Parquet file


@dataclass(frozen=True)
class ForecastReport:
    """What run_forecast wrote: rows and series, series by state, the first time, where; series by how covariates after the origin were filled; what kept
    series out and where an adapter failed, one text for each series.
    """

    rows: int
    series: int
    states: dict[str, int]
    first: str
    out: Path
    filled: dict[str, int]
    refused: tuple[str, ...]
    failed: tuple[str, ...]


def run_forecast(
    config: str | Path,
    history: str | Path,
    future: str | Path | None,
    static: str | Path | None,
    out: str | Path,
    as_of: str | None = None,
) -> ForecastReport:
    """Forecast the series of a file from `as_of` on, or its newest time; the suffix (.parquet or .csv) of each path says its format.

    Raises ConfigError for the configuration and InputError for a file, naming it.
    """
    settings = load_config(config)
    _suffix(Path(out), must_exist=False)
    if Path(out).resolve() in {Path(path).resolve() for path in (history, future, static) if path}:
        raise InputError(f"{out} is one of the files to read: write the forecasts to another one")
    _require_place(Path(out))
    tables = [None if path is None else read_table(Path(path), settings) for path in (history, future, static)]
    if tables[0] is None:
        raise InputError("a history file is needed")
    result = forecast(tables[0], tables[1], tables[2], as_of=as_of, config=settings)
    write_table(result.forecasts, Path(out))
    states, filled = (_counted(result.ledger[name]) for name in ("state", "covariates"))
    first = str(result.forecasts["date"].min())
    out_of_it = result.ledger["state"] == "quarantined"
    refused, failed = (
        _named(result.ledger[rows], settings) for rows in (out_of_it, result.ledger["detail"].notna() & ~out_of_it)
    )
    return ForecastReport(len(result.forecasts), len(result.ledger), states, first, Path(out), filled, refused, failed)


def _require_place(path: Path) -> None:
    """The folder of a file that will be written, before any work is done for it. Raises InputError where it cannot be."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name a file in a folder of yours") from error


def _counted(column: pd.Series) -> dict[str, int]:
    """How often each text occurs that is not empty."""
    return {str(name): int(count) for name, count in column[column != ""].value_counts().items()}


def _named(ledger: pd.DataFrame, config: ForecastConfig) -> tuple[str, ...]:
    """Key, detail and, where there is one, the reason of each row of a ledger."""
    keys = zip(*(ledger[name].astype(str) for name in config.series), strict=True)
    told = zip(keys, ledger["detail"], ledger["reason"], strict=True)
    return tuple(f"{' / '.join(key)}: {detail}" + (f" ({reason})" if reason else "") for key, detail, reason in told)


def read_table(path: Path, config: ForecastConfig) -> pd.DataFrame:
    """A Parquet or CSV file; the time column of a CSV is parsed. Raises InputError naming the file."""
    suffix = _suffix(path)
    with path.open("rb") as file:
        start = file.read(len(PARQUET_MARK))
    if not start:
        raise InputError(f"{path}: the file is empty: write a header and at least one row")
    if (start == PARQUET_MARK) != (suffix == ".parquet"):
        held, name = ("Parquet", ".parquet") if suffix == ".csv" else ("no Parquet", ".csv if it is text")
        raise InputError(f"{path}: the file is {held}: name it {name}")
    return _read_parquet(path) if suffix == ".parquet" else _read_csv(path, config)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{path}: the Parquet file is damaged, write it again: {error}") from error


def _read_csv(path: Path, config: ForecastConfig) -> pd.DataFrame:
    _require_header(path, config)
    try:
        frame = pd.read_csv(path, converters=dict.fromkeys(config.series, _as_written))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the file is not UTF-8 text: save it as CSV in UTF-8: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path}: the file holds no columns: write a header and at least one row") from error
    except pd.errors.ParserError as error:
        raise InputError(f"{path}: not a CSV with as many fields in each row as in the header: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields for an index and shifts the columns
        raise InputError(f"{path}: the rows have more fields than the header: name every column, quote commas in texts")
    if config.time in frame.columns:
        times = lenient_times(frame[config.time], config.frequency)
        if times.isna().all():  # no bad row: another layout
            read_times(frame[config.time], f"{path}: the column '{config.time}'", config.frequency)
        elif times.notna().all():
            frame[config.time] = times
    return frame


def _require_header(path: Path, config: ForecastConfig) -> None:
    """InputError where the first line names a column twice, or parts columns by something else than commas."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        names = next(csv.reader(file), [])
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise InputError(f"{path}: the header names {twice} more than once: name each column differently")
    if apart := other_delimiter(names, [*config.series, config.time, config.target]):
        raise InputError(f"{path}: columns are parted by {apart!r}: write them with commas, and numbers with a point")


def _as_written(key: str) -> str | None:
    """A key stays what it is: 007 is no number, and NA a country."""
    return key or None


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, whole or not at all."""
    suffix = _suffix(path, must_exist=False)
    part = path.with_name(f".{path.name}.part")
    if suffix == ".parquet":
        frame.to_parquet(part, index=False)
    else:
        frame.to_csv(part, index=False)
    part.replace(path)


def _suffix(path: Path, must_exist: bool = True) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise InputError(
            f"{path}: files end in .parquet or .csv: write it as one of these (unpacked, where it is packed)"
        )
    if must_exist and not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return suffix
