"""Configuration: contracts and forecast.yaml read together, and refused where one asks for what the other does not have.

Belongs here: checks that need both. Does not belong here: what each of them says alone (contracts, forecasting.config).
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_platform.columns import Column
from ml_platform.contract_files import load_contracts
from ml_platform.contracts import ContractError, Contracts, Covariate, SourceContract
from ml_platform.forecasting.config import ForecastConfig, load_config

FORECAST = "forecast.yaml"
DATE = "date"  # the business day that every silver row has
ADDED = (
    "series_id", "shard", "first_date", "last_date", "active_days", "days_before_fold", "state", "reason", "segment", "series",
)  # fmt: skip
"""Columns that the series catalogue and its views put beside key columns and attributes."""

SUM_COLUMNS = (
    "level", "sum_id", "as_of", "release_id", "date", "step", "mean", "point", "series", "fallback", "quarantined",
    "published_at", "keys",
)  # fmt: skip
"""Columns that forecasts of sums have beside the keys they are by."""


def load_configuration(folder: Path) -> tuple[Contracts, ForecastConfig]:
    """Contracts and forecast.yaml of a folder; ContractError or ConfigError with every fault at once."""
    contracts, config = load_contracts(folder), load_config(folder / FORECAST)
    require_fit(config, contracts, folder / FORECAST)
    return contracts, config


def require_fit(config: ForecastConfig, contracts: Contracts, file: Path) -> None:
    """ContractError with a line per fault: the file, the key, the name, and what there is instead."""
    fit = _Fit(config, contracts)
    faults = [*fit.columns(), *fit.names(), *fit.steps(), *fit.covariates()]
    if faults:
        raise ContractError("\n".join(f"{file}: {fault}" for fault in faults))


@dataclass(frozen=True)
class _Fit:
    config: ForecastConfig
    contracts: Contracts

    @property
    def target(self) -> SourceContract:
        return self.contracts.target

    def columns(self) -> Iterator[str]:
        """Roles in the history. The target is declared by its source itself: its bounds are checked in the panel too."""
        own, all_columns, config = dict(self.target.columns), self._history(), self.config
        place = f"source '{self.target.name}'"
        times = [DATE, *([self.target.time.column] if self.target.time else [])]
        yield from _lost("series", config.series, all_columns, f"{place} has no column")
        yield from _lost("time", [config.time], times, f"{place} has no time")
        yield from _lost(
            "target", [config.target], _measures(own), f"{place} has no int64 or decimal column of its own"
        )
        weight = [config.weight] if config.weight else []
        yield from _lost("weight", weight, _measures(all_columns), f"{place} has no int64 or decimal column")
        yield from _lost("static", config.static, all_columns, f"{place} has no column")
        yield from self._persons()

    def _persons(self) -> Iterator[str]:
        """Panel, fleets, releases and forecasts are kept: whatever names their series must not have to be erased."""
        personal = {name for source in self.contracts.sources for name in source.personal}
        for key, names in (("series", self.config.series), ("static", self.config.static)):
            for name in names:
                if name in personal:
                    yield f"{key}: '{name}' is declared as a person's key (`personal`): series cannot be named by it"

    def _history(self) -> dict[str, Column]:
        """Columns of the target's source and those that its lookups take."""
        lookups = self.target.lookups
        taken = {name: self.contracts[one.source].columns[name] for one in lookups for name in one.take}
        return {**self.target.columns, **taken}

    def names(self) -> Iterator[str]:
        """Key columns and attributes stand in the series catalogue beside columns of its own."""
        for key, names in (("series", self.config.series), ("static", self.config.static)):
            for name in names:
                if name in ADDED:
                    yield f"{key}: the series catalogue has a column '{name}' of its own: rename that of the source"
        for name in self.config.sum_columns:
            if name in (*SUM_COLUMNS, *self.config.interval_columns):
                yield f"sums: the forecasts of sums have a column '{name}' of their own: rename that of the source"

    def steps(self) -> Iterator[str]:
        """A step below one day needs a time of day, in UTC."""
        time = self.target.time
        if time is None or not self.config.subdaily:
            return
        place = f"source '{self.target.name}'"
        if self.target.columns[time.column].type == "date":
            yield f"frequency: steps of '{self.config.frequency}' need a timestamp: the time '{time.column}' of {place} is a date"
        if time.business_timezone != "UTC":
            yield (
                f"frequency: steps of '{self.config.frequency}' are counted in UTC: "
                f"leave business_timezone {time.business_timezone} of {place} out"
            )

    def covariates(self) -> Iterator[str]:
        """Covariates that some source declares, and that this fleet's key columns can be joined to."""
        declared = {one.name: (source, one) for source in self.contracts.covariates for one in source.panel.covariates}
        yield from _lost("known_future", self.config.known_future, declared, "no source declares a covariate")
        for name in self.config.known_future:
            if name in declared:
                yield from self._joined(*declared[name])

    def _joined(self, source: SourceContract, covariate: Covariate) -> Iterator[str]:
        keys, place = self.config.series, f"covariate '{covariate.name}' of source '{source.name}'"
        for name in source.panel.scope:
            if name not in keys:
                yield f"known_future: {place} has the scope '{name}', which is no key column: series has {_listed(keys)}"
        if covariate.kind == "share" and not {name for one in source.lookups for name in one.take} & set(keys):
            yield f"known_future: {place} is a share, which needs a lookup there that takes one of {_listed(keys)}"


def _measures(columns: dict[str, Column]) -> list[str]:
    """Columns that can be summed exactly."""
    return [name for name, column in columns.items() if column.type == "int64" or column.type.startswith("decimal")]


def _lost(key: str, names: Iterable[str], known: Collection[str], what: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{key}: {what} '{name}': use {_listed(known)}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none, since there are none"
