"""The calendar: the business days that a home knows.

Belongs here: its ends, and which days it holds. Does not belong here: the steps of a series (forecasting.calendar), partitions (assets).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

EASTERNMOST = timedelta(hours=14)


@dataclass(frozen=True)
class Calendar:
    """Days from `first` to `end`, both included; without an end it goes on to the day that has begun somewhere on Earth."""

    first: date
    end: date | None = None

    @property
    def last(self) -> date:
        return self.end or (datetime.now(UTC) + EASTERNMOST).date()

    def holds(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.end or 'today'}"
