"""Plans: the days of a run that a person asks for by hand.

Belongs here: default days, days that no run can cover, how many fleets a run trains. Does not belong here: listing drops (landing), what is
due (backlog), starting a run (launch), what a job makes (sensors).
"""

import math
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import date

from ml_platform import backlog
from ml_platform.contracts import Contracts
from ml_platform.lake import Lake, ledger
from ml_platform.landing import Drop, list_drops, open_landing
from ml_platform.launch import Job, LaunchError, Plan
from ml_platform.settings import Settings


class PlanError(LaunchError):
    """What was asked for cannot be done; says why and what can."""


def require_days(settings: Settings, plan: Plan) -> Plan:
    """The plan itself; PlanError where its days run backwards or leave the calendar."""
    if plan.first > plan.last:
        raise PlanError(f"the first day {plan.first} lies after the last day {plan.last}: exchange --from and --to")
    for day in (plan.first, plan.last):
        if not settings.calendar.holds(day):
            raise PlanError(f"day {day} lies outside the calendar ({settings.calendar}): {_other_calendar()}")
    return plan


@dataclass(frozen=True)
class Planner:
    """One home, asked for the days of its jobs."""

    settings: Settings
    contracts: Contracts

    def plan(self, job: Job, first: date | None = None, last: date | None = None) -> Plan:
        """A job over the days asked for, else over its own; PlanError where there are none, or none that it can use."""
        if first is None or last is None:
            own = self._own_days(job, last)
            first, last = first or own[0], last or own[1]
        plan = require_days(self.settings, Plan(job, first, last))
        if job in ("retrain", "update") and not self._complete_days_of(plan):
            raise PlanError(f"no day from {plan.first} to {plan.last} is complete: {self._how_to_begin()}")
        return plan

    def days_to_train(self, plan: Plan) -> list[date]:
        """Days that get a fleet: the complete ones, and for `everything` those that landed drops make complete if they load."""
        if plan.job not in ("retrain", "everything"):
            return []
        days = set(self._complete_days_of(plan))
        if plan.job == "everything":
            landed = Counter(drop.day for drop in self._dated_drops() if drop.source == self.contracts.target.name)
            days |= {day for day, drops in landed.items() if drops >= self.contracts.target.drops_per_day}
        return sorted(day for day in days if plan.first <= day <= plan.last)

    def _own_days(self, job: Job, last: date | None) -> tuple[date, date]:
        """The days of a job when nobody names both ends; a last day that is asked for alone is a fleet, or forecasts, of that one day."""
        if job in ("ingest", "everything"):
            return self._landed_days()
        if last:
            return last, last
        complete = self._complete_days()
        days = self._due_days(complete) if job == "score" else complete[-1:]
        if not days:
            raise PlanError(f"no day of source '{self.contracts.target.name}' is complete: {self._how_to_begin()}")
        return min(days), max(days)

    def _due_days(self, complete: list[date]) -> list[date]:
        """What the drop sensor would ask for: days of new drops, complete days without published forecasts, and the newest complete one."""
        lake, calendar = Lake(self.settings.lake), self.settings.calendar
        found = backlog.look(lake, open_landing(self.settings), self.contracts, seconds=math.inf, most=sys.maxsize)
        behind = backlog.unprepared(lake, self.contracts)
        late = backlog.days_behind(behind, complete, self.contracts, calendar) if behind else []
        new = backlog.days_of(found.drops, complete, self.contracts, calendar)
        return [*new, *late, *backlog.unpublished(lake, complete)]

    def _landed_days(self) -> tuple[date, date]:
        days = [drop.day for drop in self._dated_drops()]
        if inside := [day for day in days if self.settings.calendar.holds(day)]:
            return min(inside), max(inside)
        if days:
            raise PlanError(
                f"every landed file lies outside the calendar ({self.settings.calendar}): "
                f"their days run from {min(days)} to {max(days)}: {_other_calendar()}"
            )
        names = ", ".join(f"{one.name}/{one.path}" for one in self.contracts.sources if one.kind == "events")
        raise PlanError(
            f"nothing has landed below {open_landing(self.settings).locate()} that is named as a contract wants it ({names}): "
            "`ml-platform land --source NAME FILE...`"
        )

    def _dated_drops(self) -> list[Drop]:
        """Drops with a day in their name; a snapshot comes along with any day."""
        landing = open_landing(self.settings)
        drops = (list_drops(landing, one) for one in self.contracts.sources if one.kind == "events")
        return [drop for found in drops for drop in found if drop.named]

    def _complete_days_of(self, plan: Plan) -> list[date]:
        return [day for day in self._complete_days() if plan.first <= day <= plan.last]

    def _complete_days(self) -> list[date]:
        target = self.contracts.target
        return ledger.complete_days(Lake(self.settings.lake), target.name, target.drops_per_day)

    def _how_to_begin(self) -> str:
        target = self.contracts.target
        return (
            f"a day is with {target.drops_per_day} loaded drops of '{target.name}'. Land its files (`ml-platform land --source "
            f"{target.name} FILE...`), then `ml-platform run ingest`; `ml-platform status` shows what became of them"
        )


def _other_calendar() -> str:
    return "choose other days, or set ML_PLATFORM_FIRST_DAY and ML_PLATFORM_LAST_DAY"
