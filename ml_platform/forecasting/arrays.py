"""A shard as dense arrays: series in series_id order, steps in time order.

Belongs here: the Shard and how cells become arrays. Does not belong here: reading tables (frames) and any model.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ml_platform.forecasting.calendar import Floats, Ints, Times

Bools = npt.NDArray[np.bool_]

CHUNK = 1024  # series whose arrays are worked on at once: bounds memory, changes no result beyond the last digits


@dataclass(frozen=True)
class Shard:
    """Series as arrays (S series, T observed steps, K covariates, H steps of horizon), values of many series in single precision.

    y (S, T): NaN = not observed, also before the first step of a series. known (S, 2 K, T + H): covariates and, of each, the mean of the segment; NaN =
    unknown; the oldest may be left out.
    first (S,): first observed step, T where there is none. room (S,): empty steps of its segment before it, under the missing rule `zero`. active (S,): dates with a row that say whether it is judged.
    weight (S, back + 1): fleet weight at the origin `back` horizons before the end. segment (S,): code into `segments`.
    static (S, A): attributes as numbers, NaN where unknown.
    times (T + H,): naive times of the steps. position: number of step 0 since the epoch, which ties seasons and blocks to the calendar.
    """

    series_id: npt.NDArray[np.object_]
    y: Floats
    known: Floats
    first: Ints
    room: Ints
    active: Ints
    weight: Floats
    static: Floats
    segment: Ints
    segments: tuple[str, ...]
    times: Times
    position: int

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def steps(self) -> int:
        return int(self.y.shape[1])

    @property
    def width(self) -> int:
        """Number of covariates."""
        return int(self.known.shape[1]) // 2

    def covariates(self, start: int, end: int) -> Floats:
        """Covariates of the steps [start, end) in double precision, (S, K, end - start); they must not be older than those that are held."""
        return self.held(start, end)[:, : self.width].astype(np.float64, copy=False)

    def both(self, start: int, end: int) -> Floats:
        """Covariates and their means over the segment, likewise, (S, 2 K, end - start)."""
        return self.held(start, end).astype(np.float64, copy=False)

    def held(self, start: int, end: int) -> Floats:
        """The same as they are held."""
        gone = len(self.times) - self.known.shape[2]
        return self.known[:, :, start - gone : end - gone]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "Shard":
        """The same shard with some of its series."""
        parts = ("series_id", "y", "known", "first", "room", "active", "weight", "static", "segment")
        return replace(self, **{name: getattr(self, name)[rows] for name in parts})

    def working(self) -> "Shard":
        """The same with values in double precision, in which all is computed; views where they are."""
        return replace(self, y=self.y.astype(np.float64, copy=False))

    def chunks(self, size: int = CHUNK) -> Iterator["Shard"]:
        """Consecutive pieces of at most `size` series to work on."""
        return (self.take(slice(at, at + size)).working() for at in range(0, len(self), size))


def scatter(shape: tuple[int, int], codes: Ints, steps: Ints, values: Floats) -> Floats:
    """A (series, steps) array with NaN where no cell is given; the order of cells does not matter."""
    out = np.full(shape, np.nan)
    out[codes, steps] = values
    return out


def numbered(size: int) -> npt.NDArray[np.object_]:
    """Ids of series that have no other: their places, as texts in the order of places."""
    return np.asarray([f"{place:08d}" for place in range(size)], dtype=object)


def first_observed(y: Floats) -> Ints:
    """First step with a value per series; T where there is none."""
    seen = ~np.isnan(y)
    return np.asarray(np.where(seen.any(axis=1), seen.argmax(axis=1), y.shape[1]), dtype=np.int64)


def opened(first: Ints, codes: Ints, groups: int, steps: int) -> Ints:
    """First observed step of any series (S,) of each group, (G,); the end where there is none."""
    out = np.full(groups, steps)
    np.minimum.at(out, codes, first)
    return out


def fill_zero(y: Floats, first: Ints) -> Floats:
    """Missing rule `zero`: unobserved steps from the first one on become 0, in place."""
    steps = np.arange(y.shape[1])
    y[np.isnan(y) & (steps >= first[:, None])] = 0.0
    return y


def carry_forward(known: Floats) -> Floats:
    """Unknown covariate values take the last known one, in place over the last axis; what was never known stays NaN."""
    rows = np.isnan(known).any(axis=-1)  # few: most series know all of theirs
    some = known[rows]
    at = np.where(np.isnan(some), 0, np.arange(known.shape[-1]))
    np.maximum.accumulate(at, axis=-1, out=at)
    known[rows] = np.take_along_axis(some, at, axis=-1)
    return known


def trailing_sums(values: Floats, ends: Sequence[int], width: int) -> Floats:
    """Sums of the `width` columns before each end, NaN as 0; shape (S, len(ends)). Adds in time order."""
    parts = (np.nan_to_num(values[:, max(0, end - width) : max(0, end)], nan=0.0) for end in ends)
    return np.stack([part.sum(axis=1, dtype=np.float64) for part in parts], axis=1)


def add_up(rows: Iterable[np.ndarray], codes: Ints, shape: tuple[int, ...]) -> Floats:
    """Rows (N, ...) added by code one after the other in double precision, to `shape` (groups, N, ...); unknown values count as nothing."""
    out = np.zeros(shape)
    for code, row in zip(codes.tolist(), rows, strict=True):
        np.add(out[code], row, out=out[code], where=~np.isnan(row))
    return out


def sum_by(values: Floats, codes: Ints, groups: int) -> Floats:
    """Sums of rows by code: (S, ...) to (groups, ...), rows of a group added in their order."""
    out = np.zeros((groups, *values.shape[1:]))
    if len(values):
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        out[ordered[starts]] = np.add.reduceat(values[order], starts, axis=0)
    return out
