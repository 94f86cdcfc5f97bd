"""What to forecast and how: the schema of forecast.yaml.

Belongs here: the configuration model, its defaults, its checks and its reader. Does not belong here: computation.
"""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
import yaml
from holidays import list_supported_countries
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BusinessDay, Tick
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml_platform.forecasting.adapters import RESERVED, Adapter, adapter_of

FAMILIES = (
    "seasonal_naive", "mean_28", "mean_56", "mean_182", "ses_01", "ses_05", "ses_20",
    "tsb", "croston", "sba", "ets", "theta", "ridge", "ridge_lags", "lightgbm",
)  # fmt: skip
RESULT_COLUMNS = (
    "date",
    "step",
    "mean",
    "point",
    "family",
    "state",
    "reason",
    "detail",
    "covariates",
    "interval_origins",
    "sum_by",
)
ENOUGH, ENOUGH_WEEKS = 10, 2  # steps with a value, of a week or more, from which on a series is judged by default
NEEDS_ANOTHER = "default_factory_not_called"  # pydantic's word for a default that another key's value is wanted for
MOST_OF_DAY = 288  # steps of a day up to which it is a season by default: five minutes
SHORTEST = 1_000_000_000  # nanoseconds of a step
FLOORS = ("zero", "seasonal_naive", "mean_28", "mean_56", "mean_182")

Name = Annotated[str, Field(min_length=1)]


class ConfigError(ValueError):
    """A forecast configuration that cannot be used; names the file, the key and the way out."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_levels(value: Any) -> Any:
    """Lists of columns, one per level: a bare name among them is the mistake that is made most."""
    bare = [one for one in value if not isinstance(one, list | tuple)] if isinstance(value, list | tuple) else []
    if bare:
        raise ValueError(f"{bare} are no lists: each level is one, such as [[site], [site, kind], []]")
    return _as_tuple(value)


def _as_families(value: Any) -> Any:
    """Names as they are, mappings as adapters: one wrong adapter is one message, not one for every other form of `families`."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(adapter_of(one) if isinstance(one, dict) else one for one in value)


Names = Annotated[tuple[Name, ...], BeforeValidator(_as_tuple)]
Levels = Annotated[tuple[Names, ...], BeforeValidator(_as_levels)]
Families = Annotated[Literal["default"] | tuple[Name | Adapter, ...], BeforeValidator(_as_families)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


def usual_seasons(frequency: str) -> tuple[int, ...]:
    """Seasons in steps of most series of a frequency: a day and a week, a week, or a year; 1, none, where no whole number of steps makes one, or very many."""
    if isinstance(to_offset(frequency), BusinessDay):
        return (5,)
    days = days_per_step(frequency)
    of_day, of_year = round(1.0 / days), round(365.25 / days)
    if days < 1:
        return (of_day, 7 * of_day) if abs(of_day * days - 1.0) < 1e-9 and of_day <= MOST_OF_DAY else (1,)
    return (7,) if days == 1 else (max(1, of_year) if days >= 7 else 1,)


def _of_frequency(data: dict[str, Any]) -> tuple[int, ...]:
    return usual_seasons(data["frequency"])


def _enough(data: dict[str, Any]) -> int:
    return ENOUGH if days_per_step(data["frequency"]) < 7 else ENOUGH_WEEKS


class ForecastConfig(BaseModel):
    """One fleet: its series, its calendar, its objective; explained field by field in docs/forecasting.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def __init__(self, **values: Any) -> None:
        """Raises ConfigError that lists every wrong key."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_told(error, "configuration")) from error

    name: Name = "fleet"
    series: Names = Field(min_length=1, description="key columns")
    time: Name
    target: Name
    frequency: Name = Field(description="pandas offset alias, such as D, h or W-THU")
    horizon: int = Field(ge=1, le=1000, description="steps after the origin")
    season_lengths: Numbers = Field(
        default_factory=_of_frequency,
        description="steps; the first one has the profile, all are features of regressions",
    )
    holidays: Name | None = Field(
        default=None, description="whose public holidays matter: US, or US-CA for a part of it"
    )
    missing: Literal["zero", "gap"] = Field(default="zero", description="a date without a row: zero, or not observed")
    min_active_days: int = Field(
        default_factory=_enough, ge=1, description="fewer: not judged, forecast by segment fallback"
    )
    weight: Name | None = Field(default=None, description="column that weighs series in fleet metrics")
    known_future: Names = Field(default=(), description="covariates whose future values are known")
    static: Names = Field(
        default=(), description="attributes per series: segments and sums may name them, boosted trees see the others"
    )
    segments: Names = Field(default=(), description="key columns or static attributes whose values share priors")
    sums: Levels = Field(
        default=(), description="key columns or static attributes to sum by; an empty list is the total"
    )
    reconcile: Literal["bottom_up", "mint"] = Field(
        default="bottom_up", description="sums of the series' forecasts, or series and sums that agree"
    )
    objective: Literal["rmsse", "wape", "mape", "pinball"] = "rmsse"
    families: Families = "default"
    intervals: Numbers = Field(default=(80, 95), description="central coverage, percent")
    folds: int = Field(default=4, ge=1, le=12, description="folds that choose family, shrinkage and blend")
    interval_origins: int = Field(default=16, ge=1, le=64, description="origins whose residuals make the intervals")

    @field_validator("frequency")
    @classmethod
    def _frequency_is_a_step_forward(cls, value: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # an older alias, such as M or H
                offset = to_offset(value)
        except ValueError as error:
            raise ValueError(f"'{value}' is not a pandas offset alias: write D, h, W-THU, MS or the like") from error
        if offset.n < 1 or (isinstance(offset, Tick) and offset.nanos < SHORTEST):
            raise ValueError(f"'{value}' is no step forward of at least a second: write D, h, W-THU, MS or the like")
        return str(offset.freqstr)

    @field_validator("season_lengths")
    @classmethod
    def _seasons_are_positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"{list(value)} holds a season below one step: write lengths of at least 1")
        return value

    @field_validator("holidays")
    @classmethod
    def _country_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            place, _, part = value.partition("-")
            parts = list_supported_countries().get(place)
            if parts is None or (part and part not in parts):
                what = f"{place} has no part '{part}'; it has {parts}" if parts else f"'{value}' is no country"
                raise ValueError(f"{what}: write a code of ISO 3166 such as US, DE or US-CA")
        return value

    @field_validator("intervals")
    @classmethod
    def _intervals_are_nested(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < level < 100 for level in value) or sorted(set(value)) != list(value):
            raise ValueError(f"{list(value)} must be different percentages between 1 and 99 in ascending order")
        return value

    @field_validator("families")
    @classmethod
    def _families_are_known(cls, value: Families) -> Families:
        unknown = [name for name in _plain(value) if name not in ("default", *FAMILIES)]
        if unknown or not value:
            raise ValueError(f"{unknown or 'an empty list'} is no family: write default or some of {list(FAMILIES)}")
        own = [one.name for one in _adapters(value)]
        taken = sorted({name for name in own if own.count(name) > 1 or name in (*FAMILIES, *RESERVED)})
        if taken:
            raise ValueError(f"the names {taken} of adapters are taken: give each one a name of its own")
        return value

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Self:
        weight = () if self.weight is None else (self.weight,)
        columns = [*self.series, self.time, self.target, *weight, *self.known_future, *self.static]
        results = {*RESULT_COLUMNS, *self.interval_columns}
        taken = sorted(results.intersection([*self.series, *(name for names in self.sums for name in names)]))
        if taken:
            raise ValueError(f"the key columns {taken} are columns of the results, too: rename them in your tables")
        doubled = sorted({name for name in columns if columns.count(name) > 1})
        if doubled:
            raise ValueError(f"the columns {doubled} have two roles: each column may be named once outside `segments`")
        for key, names in (("segments", self.segments), *(("sums", names) for names in self.sums)):
            strangers = [name for name in names if name not in (*self.series, *self.static)]
            if strangers:
                raise ValueError(f"the {key} {strangers} are neither key columns nor attributes: add them to static")
        return self

    @model_validator(mode="after")
    def _sums_differ(self) -> Self:
        levels = [sorted(names) for names in self.sums]
        doubled = [names for names in levels if levels.count(names) > 1 or len(set(names)) < len(names)]
        if doubled:
            raise ValueError(f"the sums hold {doubled[0]} more than once: name each level, and each column of it, once")
        if self.reconcile == "mint" and not self.sums:
            raise ValueError("reconcile: mint has no sums to agree with: add `sums`, or leave bottom_up")
        return self

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The families that are classes of statsforecast or scikit-learn, in the order given."""
        return _adapters(self.families)

    @property
    def with_default(self) -> bool:
        """Whether the data choose among FAMILIES."""
        return "default" in _plain(self.families)

    @property
    def family_names(self) -> tuple[str, ...]:
        """The families to try, in the order of FAMILIES, then the adapters."""
        plain = tuple(name for name in FAMILIES if self.with_default or name in _plain(self.families))
        return (*plain, *(one.name for one in self.adapters))

    def with_families(self, names: Collection[str]) -> "ForecastConfig":
        """The same configuration with some of its families alone."""
        plain = tuple(name for name in FAMILIES if name in names)
        return self.model_copy(update={"families": (*plain, *(one for one in self.adapters if one.name in names))})

    @property
    def attributes(self) -> tuple[str, ...]:
        """The static attributes that tell series of a segment apart."""
        return tuple(name for name in self.static if name not in self.segments)

    @property
    def sum_columns(self) -> tuple[str, ...]:
        """Every column that some sums are by, once, in the order of the configuration."""
        return tuple(dict.fromkeys(name for names in self.sums for name in names))

    @property
    def season(self) -> int:
        """Length of the profile's season, in steps."""
        return self.season_lengths[0]

    @property
    def subdaily(self) -> bool:
        """Whether a step is shorter than a day, so that dates carry a time."""
        return step_is_subdaily(self.frequency)

    @property
    def interval_columns(self) -> tuple[str, ...]:
        """Names of the interval columns from the lowest to the highest bound, such as lo_95, lo_80, hi_80, hi_95."""
        return (*(f"lo_{level}" for level in reversed(self.intervals)), *(f"hi_{level}" for level in self.intervals))


def _plain(families: Families) -> tuple[str, ...]:
    given = (families,) if isinstance(families, str) else families
    return tuple(one for one in given if isinstance(one, str))


def _adapters(families: Families) -> tuple[Adapter, ...]:
    return tuple(one for one in families if isinstance(one, Adapter))


def days_per_step(frequency: str) -> float:
    """Mean length of a step in days."""
    steps = pd.date_range("2020-01-06", periods=25, freq=frequency)
    return float((steps[-1] - steps[0]) / pd.Timedelta(days=1)) / 24


def step_is_subdaily(frequency: str) -> bool:
    """Whether one step of a pandas offset alias is shorter than a day."""
    offset = to_offset(frequency)
    return isinstance(offset, Tick) and offset.nanos < 86_400_000_000_000


def parse_config(values: object, origin: str) -> ForecastConfig:
    """Check parsed YAML; `origin` names the file in errors. Raises ConfigError that lists every wrong key."""
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ConfigError(f"{origin}: a configuration is a mapping of keys, not {kind}; see docs/forecasting.md")
    try:
        return ForecastConfig(**{str(key): value for key, value in values.items()})
    except ConfigError as error:
        if isinstance(error.__cause__, ValidationError):
            raise ConfigError(_told(error.__cause__, origin)) from error
        raise


def _told(error: ValidationError, origin: str) -> str:
    return "\n".join(_explain(origin, dict(one)) for one in error.errors() if one["type"] != NEEDS_ANOTHER)


def _explain(origin: str, error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(all)"
    text = error["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list, such as [a, b]")
    if error["type"] == "extra_forbidden":
        text = f"unknown key; known keys are {', '.join(ForecastConfig.model_fields)}"
    elif error["type"] == "missing":
        text = "this key is required"
    elif error["type"] == "too_short":
        text = "name at least one" + (
            ", of a single series a column that says the same in all rows" if key == "series" else ""
        )
    elif key.startswith("families.") and isinstance(error["input"], str):
        key, text = "families", f"'{error['input']}' is neither `default` nor a list: write [{error['input']}]"
    return f"{origin}: {key}: {text}"


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the keys {twice} are there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path) -> ForecastConfig:
    """Read forecast.yaml. Raises ConfigError with the path and the key of every fault."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text in UTF-8 ({error}): save it as YAML in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a forecast.yaml") from error
    try:
        values = yaml.load(text, Loader=_OnceLoader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    return parse_config(values, str(path))
