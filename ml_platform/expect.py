"""What a source is expected to deliver: the limits beyond which a drop day is odd.

Belongs here: the keys of `expect` in a contract. Does not belong here: computing what is usual (drop_history), the sentences (drop_warnings).
"""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ml_platform.columns import Strict

YEARLY = re.compile(r"^\d\d-\d\d$")
LEAP_YEAR = 2024


def _holiday(text: str) -> str:
    try:
        date.fromisoformat(f"{LEAP_YEAR}-{text}" if YEARLY.match(text) else text)
    except ValueError:
        raise ValueError(f'\'{text}\' is no day: write "MM-DD" for every year, or "YYYY-MM-DD", in quotes') from None
    return text


Holiday = Annotated[str, AfterValidator(_holiday)]
Factor = Annotated[float, Field(gt=1)] | Literal[False]
Share = Annotated[float, Field(gt=0, le=1)] | Literal[False]
Days = Annotated[float, Field(gt=0)] | Literal[False]


class Expect(Strict):
    """When a drop day is odd. Every limit holds beside the source's own spread: what varies anyway is not odd; False switches it off."""

    warn: bool = Field(default=True, description="False: nothing is judged")
    weeks: int = Field(default=8, ge=2, le=53, description="weeks of history that a day is compared with")
    at_least: int = Field(default=4, ge=2, description="same weekdays in them; with fewer a day is not judged")
    spread: float = Field(default=4.0, gt=0, description="how many times the usual spread a day may be off")
    rows: Factor = Field(default=1.4, description="factor by which the rows of a day may be off, up or down")
    refused: Share = Field(default=0.05, description="share of quarantined or duplicate rows above the usual one")
    row_bytes: Factor = Field(default=1.5, description="factor by which the mean bytes of a row may be off")
    files: bool = Field(default=True, description="whether another number of files per day warns")
    late_days: Days = Field(default=1.0, description="days after its usual arrival from which a day is late")
    missing: bool = Field(default=True, description="whether a day without its files warns")
    holidays: tuple[Holiday, ...] = Field(default=(), description="days that are neither expected nor judged")

    def is_holiday(self, day: date) -> bool:
        return day.isoformat() in self.holidays or f"{day:%m-%d}" in self.holidays
