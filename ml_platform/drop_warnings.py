"""Warnings about odd drops: too few or too many rows, refusals, files of another make, days that are late or missing.

Belongs here: what of a source's history is odd, in sentences with a way out. Does not belong here: what is usual (drop_history), stopping
anything: a warning never blocks.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from ml_platform.calendar import Calendar
from ml_platform.checks import CheckResult
from ml_platform.contracts import SourceContract
from ml_platform.drop_history import Band, Figures, Flags, Numbers, expected, figures, overdue, usual
from ml_platform.expect import Expect
from ml_platform.lake import Lake, ledger
from ml_platform.lake.schemas import LEDGER

ROWS, REFUSED, MAKE, FRESH = "usual_rows", "usual_refusals", "usual_files", "freshness"
CHECKS = (ROWS, REFUSED, MAKE, FRESH)
RECENT = 7  # newest drop days that every run looks at: so long a warning stays
SHOWN = 5
EMPTY = 0.5  # stands for 0, which has no logarithm
WAY_OUT = {
    ROWS: "Ask who delivers; a corrected file replaces the odd one. Right as it is? Name the day in `expect: {holidays}`, or widen `rows`",
    REFUSED: "`ml-platform quarantine list` shows the broken rules: correct the file or the contract, and land the file again",
    MAKE: "Look for a file that was cut, doubled or written by another program: `ml-platform status --file PATH` says what became of one",
    FRESH: "Ask who delivers, and land the files; a day on which nobody delivers belongs into `expect: {holidays}`",
}


@dataclass(frozen=True)
class DropWarning:
    """One odd thing about one drop day, what is usual, and whether it is that the day is `missing`; a snapshot's day is that of its arrival."""

    source: str
    check: str
    day: date
    words: str
    missing: bool = False

    def __str__(self) -> str:
        return f"{self.source} {self.day} ({self.day:%a}): {self.words}"


@dataclass(frozen=True)
class DropHistory:
    """A source's drop days and what is odd about them, the newest first.

    `usual_rows`: the usual range of rows per place of `figures`; `judged`: days that a check could judge; `unjudged`: why it could judge none.
    """

    figures: Figures
    usual_rows: Band
    warnings: tuple[DropWarning, ...]
    judged: Mapping[str, int]
    unjudged: Mapping[str, str]

    def recent(self, days: Collection[date] = ()) -> tuple[DropWarning, ...]:
        """Warnings of some days and of the newest ones; a missing day stays until it comes."""
        looked_at = {*days, *self.figures.days[self.figures.delivered][-RECENT:].tolist()}
        return tuple(one for one in self.warnings if one.missing or one.day in looked_at)

    def checks(self, days: Collection[date] = ()) -> tuple[CheckResult, ...]:
        """A result per check, for the days of a run and the newest ones."""
        found = self.recent(days)
        return tuple(self._check(name, [one for one in found if one.check == name]) for name in CHECKS)

    def _check(self, name: str, found: list[DropWarning]) -> CheckResult:
        counted = {"warnings": len(found), "days_judged": self.judged.get(name, 0)}
        if found:
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            words = f"{'; '.join(map(str, found[:SHOWN]))}{more}. {WAY_OUT[name]}"
            return CheckResult(name, False, words, {**counted, "newest_day": str(found[0].day)})
        why = self.unjudged.get(name)
        return CheckResult(name, True, f"not judged: {why}" if why else "none of these days is odd", counted)


def read_history(
    lake: Lake, contract: SourceContract, calendar: Calendar, now: datetime | None = None, *, zeros: bool = False
) -> DropHistory:
    """`drop_history` of the ledger as it stands; without one, of no rows."""
    known = lake.exists(LEDGER.name)
    rows = ledger.table_of(lake, contract.name) if known else LEDGER.schema.empty_table()
    return drop_history(rows, contract, calendar, now, zeros=zeros)


def drop_history(
    rows: pa.Table, contract: SourceContract, calendar: Calendar, now: datetime | None = None, *, zeros: bool = False
) -> DropHistory:
    """Judge every drop day of a source by the ones before it, from its rows of ops/ledger alone.

    `zeros`: whether a day without its files counts as an observed zero, which its warning says then.
    """
    found = figures(rows, contract, calendar)
    tests = _tests(found, contract.expect) if contract.expect.warn else []
    absent = list(_absent(found, contract, calendar, now or datetime.now(UTC), zeros)) if contract.expect.warn else []
    odd = [DropWarning(contract.name, one.check, *place) for one in tests for place in one.odd(found)]
    judged = {name: max([0, *(one.judged for one in tests if one.check == name)]) for name in CHECKS}
    if contract.expect.warn and contract.expect.missing:
        judged[FRESH] = max(judged[FRESH], int(expected(found, contract.expect).sum()))
    return DropHistory(
        found,
        _rows(found, contract.expect).band.map(np.exp),
        tuple(sorted([*odd, *absent], key=lambda one: (one.day, one.check), reverse=True)),
        judged,
        {name: _why_not(name, contract, found) for name in CHECKS if not judged[name]},
    )


@dataclass(frozen=True)
class _Test:
    """One figure against its usual range; `words` says a value as people read it, `limit` an end of the range."""

    check: str
    values: Numbers
    band: Band
    what: str
    words: Callable[[float], str]
    limit: Callable[[float], str]
    only_above: bool = False

    @property
    def judged(self) -> int:
        return int((np.isfinite(self.values) & self.band.judged).sum())

    def odd(self, found: Figures) -> Iterator[tuple[date, str]]:
        """Days whose figure leaves the range, and what to say of them."""
        out: Flags = self.values > self.band.high
        out = out if self.only_above else out | (self.values < self.band.low)
        for place in np.flatnonzero(out & ~found.holiday):
            low, high = self.limit(self.band.low[place]), self.limit(self.band.high[place])
            limits = f"at most {high}" if self.only_above else f"{low} to {high}"
            yield found.days[place].item(), f"{self.words(self.values[place])} {self.what}, usual is {limits}"


def _tests(found: Figures, expect: Expect) -> list[_Test]:
    """The tests that are switched on. Holidays are neither judged nor part of what is usual."""
    tests = [_rows(found, expect)] if expect.rows else []
    if expect.refused:
        for values, what in (
            (found.quarantined, "of its rows quarantined"),
            (found.duplicate, "of its rows duplicate"),
        ):
            band = usual(values, found.season, expect, expect.refused)
            tests.append(_Test(REFUSED, values, band, what, "{:.1%}".format, "{:.1%}".format, only_above=True))
    if expect.files:
        band = usual(found.files, found.season, expect, 0.5)
        tests.append(_Test(MAKE, found.files, band, "files", _number, _number))
    if expect.row_bytes:
        tests.append(_ratio(MAKE, found, found.row_bytes, expect, expect.row_bytes, "bytes per row"))
    if expect.late_days:
        band = usual(found.lag, found.season, expect, expect.late_days)
        tests.append(
            _Test(FRESH, found.lag, band, "days from its end to its arrival", _number, _number, only_above=True)
        )
    return tests


def _rows(found: Figures, expect: Expect) -> _Test:
    return _ratio(ROWS, found, found.rows, expect, expect.rows or 1.0, "rows")


def _ratio(check: str, found: Figures, values: Numbers, expect: Expect, factor: float, what: str) -> _Test:
    """Compared by ratio, as logarithms: half as many is as far off as twice as many."""
    logs = np.log(np.maximum(np.where(found.holiday, np.nan, values), EMPTY))
    return _Test(check, logs, usual(logs, found.season, expect, np.log(factor)), what, _unlogged, _unlogged_limit)


def _unlogged(value: float) -> str:
    return f"{np.exp(value):,.0f}"


def _unlogged_limit(value: float) -> str:
    """With a decimal: 6 rows are more than 5.8, and less odd than more than 6."""
    return _number(float(np.exp(value)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{max(value, 0):.1f}".removesuffix(".0")


def _absent(
    found: Figures, contract: SourceContract, calendar: Calendar, now: datetime, zeros: bool
) -> Iterator[DropWarning]:
    """Days inside the history that lack files, and days after it that should have come by now."""
    expect, needed = contract.expect, contract.drops_per_day
    if not expect.missing or not found.complete.any():
        return
    newest = np.flatnonzero(found.complete)[-1]
    inside = expected(found, expect) & ~found.complete
    effect = "; it counts as a day of observed zeros (`missing: zero` in forecast.yaml)" if zeros else ""
    for place in np.flatnonzero(inside[:newest]):
        words = f"{found.loaded[place]:.0f} of {needed} files are loaded, and later days are there{effect}"
        yield DropWarning(contract.name, FRESH, found.days[place].item(), words, missing=True)
    for day in overdue(found, expect, calendar, now):
        yield DropWarning(contract.name, FRESH, day, "nothing has come, and its usual time is over", missing=True)


def _why_not(check: str, contract: SourceContract, found: Figures) -> str:
    expect = contract.expect
    off = {
        ROWS: not expect.rows,
        REFUSED: not expect.refused,
        MAKE: not (expect.files or expect.row_bytes),
        FRESH: not (expect.late_days or expect.missing),
    }
    if not expect.warn or off[check]:
        return "it is switched off in `expect`"
    if contract.kind == "snapshot" and check == FRESH:
        return "a snapshot has no days: it comes when it comes"
    if found.season == 1:
        return f"fewer than {expect.at_least} deliveries came before"
    history = f"fewer than {expect.at_least} same weekdays lie in the {expect.weeks} weeks before"
    return f"{history}, or their files came all at once" if check == FRESH else history
