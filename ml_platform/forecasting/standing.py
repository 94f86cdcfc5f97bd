"""Standing: where series stand after their last step, which is all that forecasts need of a history.

Belongs here: what a history comes to, from the whole of it or by one more step. Does not belong here: what teaches (increment), forecasts (predict).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from ml_platform.forecasting import ridge
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.backtest import WALKS, largest_value
from ml_platform.forecasting.calendar import Floats, Plan, Times, window
from ml_platform.forecasting.levels import MEANS, History, SeasonSums, level_array, levels_at, responses, shut
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.ridge import Moments
from ml_platform.forecasting.running import Running
from ml_platform.forecasting.sparse import Tally

CYCLES = 5  # seasons that are looked back: four for the last value of a series with gaps, and one before


def steps_held(setup: Setup) -> int:
    """How many of the last steps forecasts and the next ridge rows look at."""
    plan, widest = setup.plan, max(window(width, setup.plan.season) for width in MEANS.values())
    return max(widest, CYCLES * plan.season, setup.config.interval_origins * plan.horizon) + plan.horizon


@dataclass(frozen=True)
class Standing:
    """S series after `running.steps` steps, of which `history` holds all or the last ones.

    seasons (2, S, season): sums and counts by season position. walks: states (S, N) of families that walk. largest (S,): the largest
    absolute value. squares (2, S): sum of squared differences of neighbouring values, and their number. tally: how series are counted.
    moments: what ridge and trees know of levels, and what teaches slopes.
    """

    history: History
    running: Running
    seasons: Floats
    walks: Mapping[str, Floats]
    largest: Floats
    squares: Floats
    tally: Tally
    moments: Moments

    @property
    def shard(self) -> Shard:
        return self.history.shard

    @classmethod
    def of(cls, shard: Shard, setup: Setup, constants: Mapping[str, Floats], teaches: bool = False) -> "Standing":
        """From a whole history; constants (S, C) of the families that walk. teaches: whether the slopes of ridge will be learned from it."""
        history, season, running = History.of(shard, setup.config.missing), setup.plan.season, Running.begun(len(shard))
        level_array(history, [shard.steps], season, running)
        sums = np.stack(SeasonSums(history, season).at(shard.steps))
        walks: dict[str, Floats] = {
            name: np.zeros((len(shard), WALKS[name].width(season))) for name in constants if name in WALKS
        }
        for name, states in walks.items():
            walks[name] = WALKS[name].advance(states, 0, responses(history, setup.log), constants[name], season)
        moments = Moments.none(len(shard))
        if setup.with_moments:
            begun = Moments.empty(shard, setup.plan, setup.kind, teaches)
            (moments,) = ridge.walk(history, setup.plan, setup.log, begun, [shard.steps])
        squares = np.diff(shard.y, axis=1) ** 2
        known = ~np.isnan(squares)
        return cls(
            history,
            running,
            np.roll(sums, shard.position % season, axis=2),
            walks,
            largest_value(shard.y),
            np.stack([np.where(known, squares, 0.0).sum(axis=1), known.sum(axis=1)]),
            Tally.of(shard.y),
            moments,
        )

    def levels(self, season: int) -> Floats:
        """Every level, (S, L)."""
        return levels_at(self.history, self.running, self.shard.steps, season)

    def season_sums(self, season: int) -> tuple[Floats, Floats]:
        """As SeasonSums.at the end of the history."""
        sums, counts = np.roll(self.seasons, -(self.shard.position % season), axis=2)
        return sums, counts

    def shut(self, plan: Plan) -> Bools:
        """Which of the next steps (S, H) lie where the series never holds anything, see levels.shut."""
        steps = self.shard.steps + np.arange(plan.horizon)
        return shut(self.season_sums(plan.season), self.tally.sold, steps, plan.season)

    def difference(self) -> Floats:
        """Mean squared difference of neighbouring observed values, (S,)."""
        return np.asarray(self.squares[0] / np.maximum(self.squares[1], 1.0))

    def trimmed(self, width: int) -> "Standing":
        """With the last `width` steps alone, and covariates from the last one on."""
        shard, gone = self.shard, max(0, self.shard.steps - width)
        tail = replace(
            shard,
            y=shard.y[:, gone:].copy(),
            known=shard.both(shard.steps - 1, len(shard.times)).copy(),
            times=shard.times[gone:],
            position=shard.position + gone,
        )
        return replace(self, history=History.of(tail, "gap" if self.history.gap else "zero", self.history.until(gone)))

    def take(self, rows: Bools) -> "Standing":
        """Of some of the series."""
        return Standing(
            self.history.take(rows),
            Running(self.running.state[:, rows], self.running.steps),
            self.seasons[:, rows],
            {name: states[rows] for name, states in self.walks.items()},
            self.largest[rows],
            self.squares[:, rows],
            Tally.from_rows(self.tally.rows()[rows]),
            self.moments.take(rows),
        )

    def advanced(self, y: Floats, known: Floats, setup: Setup, constants: Mapping[str, Floats]) -> "Standing":
        """After one more step with these values (S,), and covariates and means (S, 2 K, 1 + H) of it and the steps after it."""
        history, season = self._history(y, known, steps_held(setup), setup.config.frequency), setup.plan.season
        newest, seen = history.y[:, -1], history.seen[:, -1]
        running, seasons = Running(self.running.state.copy(), self.running.steps), self.seasons.copy()
        running.step(newest, seen)
        seasons[:, :, (history.shard.position + history.shard.steps - 1) % season] += np.stack([newest, seen])
        values, walks = responses(history, setup.log, history.shard.steps - 1), dict(self.walks)
        for name, states in self.walks.items():
            walks[name] = WALKS[name].advance(states, self.running.steps, values, constants[name], season)
        moments = self.moments
        if setup.with_moments:
            moments = ridge.later(moments, history, setup.plan, setup.log, self.running.steps)
        square = (y - self.shard.y[:, -1]) ** 2
        known_square = ~np.isnan(square)
        squares = self.squares + np.stack([np.where(known_square, square, 0.0), known_square])
        largest = np.maximum(self.largest, np.abs(newest))
        return Standing(history, running, seasons, walks, largest, squares, self.tally.later(y), moments)

    def _history(self, y: Floats, known: Floats, width: int, frequency: str) -> History:
        shard, drop = self.shard, max(0, self.shard.steps + 1 - width)
        later = replace(
            shard,
            y=np.concatenate([shard.y[:, drop:], y[:, None]], axis=1),
            known=known,
            times=_one_more(shard.times[drop:], frequency),
            position=shard.position + drop,
        )
        return self.history.later(later, drop)


def _one_more(times: Times, frequency: str) -> Times:
    following = pd.Timestamp(times[-1]) + to_offset(frequency)
    return np.append(times, np.datetime64(following)).astype(times.dtype)
