"""What a home's state consists of: frozen dataclasses, and what follows from their own fields.

Belongs here: shapes. Does not belong here: where the figures come from (read) or how they look (console).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from ml_platform.drop_warnings import DropWarning
from ml_platform.lake.announcements import DeadLetter
from ml_platform.landing import WaitingFiles


@dataclass(frozen=True)
class SourceStatus:
    """One source's drops and rows at bronze; `newest_day` is the newest drop day that is loaded."""

    source: str
    states: Mapping[str, int]
    rows_in: int
    rows_loaded: int
    rows_quarantined: int
    rows_duplicate: int
    rows_erased: int
    newest_day: date | None
    newest_arrival: datetime | None

    @property
    def drops(self) -> int:
        return sum(self.states.values())

    @property
    def balanced(self) -> bool:
        return self.rows_in == self.rows_loaded + self.rows_quarantined + self.rows_duplicate + self.rows_erased


@dataclass(frozen=True)
class Fate:
    """Rows of a source that met one fate at one stage; `rule` is empty where none applied."""

    source: str
    stage: str
    fate: str
    rule: str
    rows: int


@dataclass(frozen=True)
class Refusal:
    """Refused rows or files of one rule, with the newest one as an example."""

    source: str
    stage: str
    rule: str
    count: int
    example: str


@dataclass(frozen=True)
class RefusedFile:
    """A drop that was refused as a whole; `settled_at` says when."""

    path: str
    reason: str
    settled_at: datetime


@dataclass(frozen=True)
class Alert:
    """A run that failed: when, which job, at which steps, and its first words."""

    raised_at: datetime
    job: str
    run_id: str
    steps: str
    message: str


@dataclass(frozen=True)
class FleetStatus:
    """The newest candidate fleet: series by state, by reason, and by winning family."""

    as_of: date
    states: Mapping[str, int]
    reasons: Mapping[str, int]
    families: Mapping[str, int]


@dataclass(frozen=True)
class Score:
    """One contender on the newest judged fold, over the whole fleet; all but the first figure are shares.

    `skill` = 1 - error / error of the best floor; `wape` by series and date, `wape_week` by segment and week; `intervals`: level -> share inside.
    """

    contender: str
    weighted_rmsse: float
    skill: float | None
    wape: float | None
    wape_week: float | None
    bias: float | None
    intervals: Mapping[str, float]

    @property
    def is_floor(self) -> bool:
        return self.contender.startswith("floor_")


@dataclass(frozen=True)
class Verdict:
    """One rule of the gate with its value and its limit."""

    name: str
    value: float | None
    limit: float | None
    passed: bool
    explanation: str


@dataclass(frozen=True)
class ReleaseStatus:
    """A judged release and why it was promoted, or not."""

    as_of: date
    release_id: str
    promoted: bool
    decided_at: datetime
    approved_by: str | None
    rules: tuple[Verdict, ...]


@dataclass(frozen=True)
class PublishedStatus:
    """What the marts show: the newest published as-of day."""

    as_of: date
    release_id: str
    published_at: datetime
    series: int
    rows: int


@dataclass(frozen=True)
class Status:
    """A home at one moment. Parts whose tables do not exist yet are empty or None.

    `missing_days`: days between the first and the newest complete one that are not complete. `unpublished`: complete days since the champion's without published forecasts.
    `waiting_files`: landed files that are not settled, by source and reason. `undeclared`: folders and files at the top of landing/ that belong to no contract.
    `warnings`: odd drops of the newest days, and missing days.
    `lagging`: drops per source that silver has not seen. `cut_off`: bronze commits per source that a crash kept from the ledger.
    `events`: storage events by outcome; `dead_letters`: messages that were none, the newest first.
    """

    sources: tuple[SourceStatus, ...] = ()
    complete_day: date | None = None
    fates: tuple[Fate, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    refused_files: tuple[RefusedFile, ...] = ()
    catalogue: Mapping[str, int] = field(default_factory=dict)
    fleet: FleetStatus | None = None
    scores: tuple[Score, ...] = ()
    champion: ReleaseStatus | None = None
    judged: ReleaseStatus | None = None
    published: PublishedStatus | None = None
    missing_days: tuple[date, ...] = ()
    unpublished: tuple[date, ...] = ()
    alerts: tuple[Alert, ...] = ()
    waiting_files: tuple[WaitingFiles, ...] = ()
    undeclared: tuple[str, ...] = ()
    warnings: tuple[DropWarning, ...] = ()
    lagging: Mapping[str, int] = field(default_factory=dict)
    cut_off: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    dead_letters: tuple[DeadLetter, ...] = ()

    @property
    def waiting(self) -> dict[str, int]:
        """How many files of each source the next run takes up."""
        counts = Counter[str]()
        for one in self.waiting_files:
            counts[one.source] += one.files if one.due else 0
        return dict(+counts)

    @property
    def newest_arrival(self) -> datetime | None:
        """When the newest drop of any source was settled: freshness is measured on arrival, never on dates in the data."""
        return max((source.newest_arrival for source in self.sources if source.newest_arrival), default=None)
