"""The calendar of a fleet: equally spaced steps, their place in the season, and where folds are cut.

Belongs here: times, season positions, origins of folds. Does not belong here: values of any series.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import Tick

from ml_platform.forecasting.config import ForecastConfig, step_is_subdaily

Floats = npt.NDArray[np.floating]  # double, where it is not said otherwise
Ints = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]

LONG = 31  # longer seasons are described by waves
SEASONS = 3  # seen fewer times, the waves of a long season fit chance
WAVES = 3  # of a season: seven days in a week of hours, the quarters of a year
EPOCH = pd.Timestamp("1970-01-01")


def step_times(first: pd.Timestamp, last: pd.Timestamp, extra: int, frequency: str) -> pd.DatetimeIndex:
    """Steps from `first` to `last` and `extra` more after it; naive times (UTC below a day)."""
    known = pd.date_range(first, last, freq=frequency)
    if known.empty:
        raise ValueError(
            f"no step of frequency {frequency} lies between {first} and {last}: check `frequency` and as_of"
        )
    later = pd.date_range(known[-1], periods=extra + 1, freq=frequency)[1:]
    return pd.DatetimeIndex(known.append(later))


def newest_horizon(day: date, horizon: int, frequency: str) -> date:
    """The day on which the last `horizon` steps begin that are over when `day` is."""
    end, step = pd.Timestamp(last_whole_day(day, frequency)), to_offset(frequency)
    if isinstance(step, Tick):
        end += max(pd.Timedelta(days=1) - pd.Timedelta(step.nanos), pd.Timedelta(0))
    first: date = pd.date_range(end=end, periods=horizon, freq=step)[0].date()
    return first


def last_whole_day(day: date, frequency: str) -> date:
    """The last day of the newest step that is over when `day` is: for weeks and months an unfinished step is no observation.

    Steps are named by their first day. Steps of a day or less, and business days, are over with the day itself.
    """
    offset = to_offset(frequency)
    if isinstance(offset, Tick | pd.offsets.BusinessDay):
        return day
    begun = offset.rollback(pd.Timestamp(day))
    over = (begun + offset).date() - timedelta(days=1)
    return day if over == day else begun.date() - timedelta(days=1)


def first_position(first: pd.Timestamp, frequency: str) -> int:
    """Number of whole steps between the epoch and `first`: ties season positions to the calendar, not to the data."""
    offset = to_offset(frequency)
    if isinstance(offset, Tick):
        return int((first - EPOCH).value // offset.nanos)
    return len(pd.date_range(EPOCH, first, freq=frequency))


def phases(times: pd.DatetimeIndex, frequency: str) -> np.ndarray:
    """Where naive times (ns) lie between the steps of a frequency, as texts; empty where no step can lie."""
    offset = to_offset(frequency)
    if isinstance(offset, Tick):
        return np.asarray((times.to_numpy().astype(np.int64) % offset.nanos).astype(str))
    clock = (times - times.normalize()).to_numpy().astype(np.int64).astype(str)
    if offset.n > 1:  # of every second Monday the ones between are others
        steps = pd.date_range(EPOCH, max(times.max(), EPOCH), freq=offset.base)
        clock = np.char.add(np.char.add(clock, "/"), (steps.searchsorted(times.normalize()) % offset.n).astype(str))
    return np.where([offset.is_on_offset(time) for time in times], clock, "")


def wall_times(column: pd.Series, frequency: str) -> pd.Series:
    """Times as naive: UTC below a day, else the local wall time, so that days keep their date where clocks change."""
    if column.dt.tz is not None:
        there = column.dt.tz_convert("UTC") if step_is_subdaily(frequency) else column
        column = there.dt.tz_localize(None)
    inside = (column > pd.Timestamp.min) & (column < pd.Timestamp.max)  # others are no times: years like 9999
    return column.where(inside).astype("datetime64[ns]")


def window(nominal: int, season: int) -> int:
    """A trailing window in steps: whole seasons where the season is shorter than the nominal window."""
    return -(-nominal // season) * season if season <= nominal else nominal


def drift_window(season: int) -> int:
    """Steps whose level is compared with the long one: four seasons, or a quarter of a long one."""
    return 4 * season if season <= 31 else max(8, season // 4)


@dataclass(frozen=True)
class Plan:
    """Where a history of `steps` steps is cut; `back` counts horizons before the end, so origin = steps - back * horizon.

    choosing: folds that choose, oldest first. judging: the fold that only judges (1) or 0. interval: residual origins.
    refit: where ridge coefficients are fitted. begin: the first step that is a row of the ridge on lags, whole horizons before the end; settled: values that
    a series has before such a row. train: the oldest block that teaches trees. further: seasons beside the first. longest: the longest season that regressions
    describe, which takes SEASONS of it, 0 for none. holidays: of which country, '' for none.
    """

    steps: int
    horizon: int
    season: int
    judging: int
    choosing: tuple[int, ...]
    interval: tuple[int, ...]
    refit: tuple[int, ...]
    begin: int
    settled: int
    train: int
    further: tuple[int, ...]
    longest: int
    holidays: str
    frequency: str

    @property
    def seasonal(self) -> bool:
        """Whether the season is described: a long one takes SEASONS of it."""
        return self.season <= LONG or self.season <= self.longest

    @property
    def waves(self) -> tuple[tuple[int, Ints], ...]:
        """Seasons described by waves, and how often each wave goes through its season: a first one that is long, and the further ones."""
        long = (self.season,) if self.season > LONG else ()
        seasons = [one for one in (*long, *self.further) if one <= self.longest]
        return tuple((one, np.arange(1, min(WAVES, (one - 1) // 2) + 1)) for one in seasons)

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Every `back` with family forecasts and actuals, oldest first, 0 (the future) last."""
        return tuple(sorted({*self.interval, *self.folds, 0}, reverse=True))

    @property
    def folds(self) -> tuple[int, ...]:
        """Choosing folds oldest first, then the judging one."""
        return self.choosing + ((self.judging,) if self.judging else ())

    @property
    def blocks(self) -> tuple[int, ...]:
        """Every `back` whose block teaches trees or is evaluated, oldest first, 0 last."""
        return tuple(range(max((self.train, *self.evaluated)), -1, -1))

    def origin(self, back: int) -> int:
        return self.steps - back * self.horizon


def plan_folds(config: ForecastConfig, steps: int, judging: bool, known: int | None = None) -> Plan:
    """Place folds, residual origins and refits as far back as the newest `known` of the steps allow, by default all.

    Most histories are long enough for everything: of them all, and of many others that differ by a little, the plan is the same.
    """
    horizon, season, known = config.horizon, config.season, steps if known is None else known
    earliest = max(4, horizon, min(2 * season, known // 2))
    most = max(0, (known - earliest) // horizon)
    first = 2 if judging and most >= 2 else 1
    choosing = tuple(range(min(most, first + config.folds - 1), first - 1, -1))
    interval = tuple(range(min(most, first + config.interval_origins - 1), first - 1, -1))
    newest = {0, *choosing, *range(first)}
    refit = newest | {back for back in interval if (back - first) % 3 == 2} | set(interval[:1])
    whole = season if known >= 4 * season else (max((*choosing, *interval, 0)) + 1) * horizon // 4
    settled = max(1, min(season, whole))
    train = max(0, (steps - settled) // horizon)
    return Plan(
        steps,
        horizon,
        season,
        int(judging and most >= 2),
        choosing,
        interval,
        tuple(sorted(refit, reverse=True)),
        steps - train * horizon,
        settled,
        train,
        config.season_lengths[1:],
        max((one for one in config.season_lengths if one <= known // SEASONS), default=0),
        config.holidays or "",
        config.frequency,
    )
