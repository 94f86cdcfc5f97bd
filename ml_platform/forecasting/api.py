"""The kernel in one call: tables in, forecasts, ledger and metrics out.

Belongs here: forecast() and the shape of its result. Does not belong here: lake, releases, orchestration.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.config import ForecastConfig, load_config, parse_config
from ml_platform.forecasting.fleet import Fleet, failures, interval_origins
from ml_platform.forecasting.folds import Past
from ml_platform.forecasting.frames import Prepared, Table, prepare
from ml_platform.forecasting.pipeline import Trained, train
from ml_platform.forecasting.predict import predict, predict_and_tell
from ml_platform.forecasting.sum_forecasts import SumForecasts, forecast_sums
from ml_platform.forecasting.sum_pools import SumHistory, sum_pools
from ml_platform.forecasting.sums import Sums
from ml_platform.forecasting.times import give_back_times, time_type


@dataclass(frozen=True)
class ForecastResult:
    """What forecast() returns, as pandas tables.

    forecasts: key columns, time, step, mean, point, interval bounds, family. ledger: key columns, state, reason, detail (table, row and
    value that quarantined a series, or which adapter failed on it), family, covariates (how those after the origin were filled), interval_origins
    (at how many origins its own residuals were measured: the fewer, the more its intervals are its segment's, or a bell's).
    families: family, runs, why, scales, alone (see Choice), segments that this is said of. sums: as forecasts, with `sum_by` in the place of family; the keys that a sum does not have are
    missing. unseen: rows after the origin, which nothing was made of. past: what `metrics` and `calibration` are made of when read.
    """

    forecasts: pd.DataFrame
    ledger: pd.DataFrame
    families: pd.DataFrame
    sums: pd.DataFrame
    unseen: int
    past: Past = field(repr=False, compare=False)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Per fold and family weighted_rmsse, skill, mase, wape, smape, mape, bias, rows; of the family `blend` pinball and coverages too."""
        return self.past.metrics()

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Nominal against actual coverage of the blend's intervals on all folds, see calibration_table."""
        return self.past.calibration()


def forecast(
    history: Table,
    future: Table | None = None,
    static: Table | None = None,
    *,
    as_of: object = None,
    config: ForecastConfig | Mapping[str, object] | str | Path,
) -> ForecastResult:
    """Forecast every series of `history` for the steps after `as_of`, or after the newest time of the whole history.

    `config` is a configuration, its keys, or the path of its file. Tables are pandas or Arrow; `future` gives the known-future covariates of later steps, `static` attributes per series.
    Raises ConfigError for the configuration and InputError (both ValueError) for the tables.
    """
    settings = _settings(config)
    prepared = prepare(history, future, static, as_of, settings)
    fleet, trained = train(prepared.shard, settings)
    levels = [Sums.of(columns, prepared.attributes) for columns in settings.sums]
    fleet = _with_sums(fleet, trained, levels, prepared.shard)
    made, failed = predict_and_tell(fleet, prepared.shard)
    made, of_sums = forecast_sums(fleet, prepared.shard, made, levels)
    forecasts = _with_keys(made, prepared, time_type(history[settings.time], settings.frequency), settings)
    sums = _joined([_sum_table(one, forecasts["date"], settings) for one in of_sums], forecasts, settings)
    families, ledger = family_table(trained, prepared.shard.segments), _ledger(fleet, prepared, failed)
    return ForecastResult(forecasts, ledger, families, sums, prepared.unseen, Past(prepared.shard, trained))


def forecast_with(
    fleet: Fleet,
    history: Table,
    future: Table | None = None,
    static: Table | None = None,
    *,
    as_of: object = None,
    identify: Callable[[Sequence[object]], str],
) -> pd.DataFrame:
    """Forecast the series of `history` with a fleet that is trained: nothing is chosen or fitted beyond what its families take in at once.

    `identify` gives the fleet's id of a series from its key values, in the order of the key columns; a series that the fleet does not know takes the values of
    its segment. Tables and errors as in `forecast`; returns its `.forecasts`.
    """
    prepared = prepare(history, future, static, as_of, fleet.config)
    ids = [identify(values) for values in prepared.keys.itertuples(index=False, name=None)]
    made = predict(fleet, replace(prepared.shard, series_id=np.asarray(ids, dtype=object)))
    place = pc.index_in(made["series_id"].combine_chunks(), pa.array(ids, pa.string())).cast(pa.string())
    numbered = made.set_column(made.column_names.index("series_id"), "series_id", place)
    return _with_keys(numbered, prepared, time_type(history[fleet.config.time], fleet.config.frequency), fleet.config)


def _settings(config: ForecastConfig | Mapping[str, object] | str | Path) -> ForecastConfig:
    if isinstance(config, ForecastConfig):
        return config
    return parse_config(dict(config), "config") if isinstance(config, Mapping) else load_config(config)


def _with_sums(fleet: Fleet, trained: Sequence[Trained], levels: Sequence[Sums], shard: Shard) -> Fleet:
    """The fleet with what training learns of its sums."""
    histories = [SumHistory.of(one, shard, fleet.config) for one in levels]
    return replace(fleet, pools={**fleet.pools, **sum_pools(histories, trained, shard.series_id, fleet.config)})


def _sum_table(said: SumForecasts, dates: pd.Series, config: ForecastConfig) -> pd.DataFrame:
    """Forecasts of the sums of one level, by sum and step; `dates` begin with those of one series."""
    size, horizon = said.mean.shape
    out = said.sums.keys.loc[np.repeat(np.arange(size), horizon)].reset_index(drop=True)
    out["sum_by"] = said.sums.name
    out["date"] = pd.concat([dates.iloc[:horizon]] * size, ignore_index=True)
    out["step"], out["mean"] = np.tile(np.arange(1, horizon + 1), size), said.mean.ravel()
    out["point"], bounds = said.point.ravel(), said.bounds.reshape(size * horizon, -1)
    return out.assign(**dict(zip(config.interval_columns, bounds.T, strict=True)))


def _joined(sums: list[pd.DataFrame], forecasts: pd.DataFrame, config: ForecastConfig) -> pd.DataFrame:
    columns = ["sum_by", *config.sum_columns, *forecasts.columns.drop([*config.series, "family"])]
    for one in sums:  # whole numbers stay so beside sums that have none
        whole = [name for name in config.sum_columns if name in one and pd.api.types.is_integer_dtype(one[name])]
        one[whole] = one[whole].astype("Int64")
    return pd.concat(sums, ignore_index=True).reindex(columns=columns) if sums else pd.DataFrame(columns=columns)


def _with_keys(table: pa.Table, prepared: Prepared, like: pd.Series, config: ForecastConfig) -> pd.DataFrame:
    shard = prepared.shard
    rows = table["series_id"].to_numpy(zero_copy_only=False).astype(np.int64)
    times = pd.Series(pd.DatetimeIndex(shard.times[shard.steps :]))
    later = give_back_times(times, like, config.frequency)
    columns: dict[str, object] = {"date": later.iloc[table["step"].to_numpy() - 1].reset_index(drop=True)}
    columns |= {name: table[name].to_numpy() for name in ["step", "mean", "point", *config.interval_columns]}
    family = {"family": table["family"].to_pandas()}
    return pd.concat([prepared.keys.iloc[rows].reset_index(drop=True), pd.DataFrame(columns | family)], axis=1)


def _ledger(fleet: Fleet, prepared: Prepared, failed: list[str]) -> pd.DataFrame:
    rows = fleet.rows.select(["state", "reason", "family"]).to_pandas()
    told = [first or later or None for first, later in zip(failures(fleet), failed, strict=True)]
    out = pd.concat(
        [
            prepared.keys,
            rows.assign(detail=told, covariates=list(prepared.filled), interval_origins=interval_origins(fleet)),
        ],
        axis=1,
    )
    refused = prepared.refused.assign(state="quarantined", covariates="", interval_origins=0)
    keys = list(prepared.keys.columns)
    whole = pd.concat([out, refused.astype(out[keys].dtypes.to_dict())], ignore_index=True)
    return whole.sort_values(keys, ignore_index=True)[
        [*keys, "state", "reason", "detail", "family", "covariates", "interval_origins"]
    ]


def family_table(trained: Sequence[Trained], segments: tuple[str, ...]) -> pd.DataFrame:
    """Which families run on which segments, and why."""
    columns, rows = ["family", "runs", "why", "scales", "alone"], []
    for one in trained:
        names = "all" if len(trained) == 1 else ", ".join(segments[code] for code in one.cohort.codes)
        rows += [[*(getattr(choice, name) for name in columns), names] for choice in one.cohort.setup.choice]
    return pd.DataFrame(rows, columns=[*columns, "segments"])
