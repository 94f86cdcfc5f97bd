"""Forecast files: history in, forecasts out, Parquet or CSV, without lake and orchestration.

Belongs here: reading and writing the files. Does not belong here: forecasting itself, the command line.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ml_platform.forecasting import ForecastConfig, InputError, forecast, load_config


@dataclass(frozen=True)
class ForecastReport:
    """What run_forecast wrote: rows and series, series by state, and where."""

    rows: int
    series: int
    states: dict[str, int]
    out: Path


def run_forecast(
    config: str | Path, history: str | Path, future: str | Path | None, static: str | Path | None, out: str | Path
) -> ForecastReport:
    """Forecast the series of a file; the suffix (.parquet or .csv) of each path says its format.

    Raises ConfigError for the configuration and InputError for a file, naming it.
    """
    settings = load_config(config)
    _suffix(Path(out), must_exist=False)
    tables = [None if path is None else read_table(Path(path), settings) for path in (history, future, static)]
    if tables[0] is None:
        raise InputError("a history file is needed")
    result = forecast(tables[0], tables[1], tables[2], config=settings)
    write_table(result.forecasts, Path(out))
    states = {str(name): int(count) for name, count in result.ledger["state"].value_counts().items()}
    return ForecastReport(len(result.forecasts), len(result.ledger), states, Path(out))


def read_table(path: Path, config: ForecastConfig) -> pd.DataFrame:
    """A Parquet or CSV file; the time column of a CSV is parsed. Raises InputError naming the file."""
    if _suffix(path) == ".parquet":
        return pd.read_parquet(path)
    frame = pd.read_csv(path)
    if config.time in frame.columns:
        try:
            frame[config.time] = pd.to_datetime(frame[config.time])
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: the column '{config.time}' holds a value that is no time: {error}") from error
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, whole or not at all."""
    suffix = _suffix(path, must_exist=False)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".parquet":
        frame.to_parquet(part, index=False)
    else:
        frame.to_csv(part, index=False)
    part.replace(path)


def _suffix(path: Path, must_exist: bool = True) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: the suffix says no known format: name the file .parquet or .csv")
    if must_exist and not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return suffix
