"""An installation of three environments, each with a small fleet's data in a home of its own.

Belongs here: training, releasing and opening them; what a test sees of them. Does not belong here: what tests ask of it.
"""

import datetime as dt
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchard import InProcess
from ten_items import CONFIG, catalogue_of, day, fill, rows_of

from ml_platform.candidates import Candidate
from ml_platform.environments import Environment, Rules
from ml_platform.gate import GateConfig
from ml_platform.incumbents import find_incumbent
from ml_platform.judging import judge_candidate
from ml_platform.lake import Lake, TableSpec
from ml_platform.promotion import release_candidate
from ml_platform.registry import Registry, champion_as_of
from ml_platform.training import train_fleet

ROWS = rows_of()
OPEN_GATE = GateConfig(
    **{name: {"blocks": False} for name in ("error_against_floor", "bias", "error_against_champion", "worst_segment")}
)
FOREVER = dt.date.max


@dataclass
class Installation:
    """Three homes below one folder, with a key that all of them trust."""

    folder: Path
    tracking: str = ""  # of MLflow; empty: a database per home

    def open(self, name: str, **rule: object) -> Environment:
        home = self.folder / name
        registry = Registry(
            home / "releases",
            self.tracking or f"sqlite:///{home}/mlflow.db",
            home / "mlflow",
            keys=self.folder / "keys",
            identity="ada",
            environment=name,
        )
        own = Rules().of(name)
        return Environment(name, Lake(str(home / "lake")), registry, own.model_copy(update=rule))

    def settle(self, mlflow: Path) -> None:
        """Data for all of them; dev has no release yet. mlflow: a database with MLflow's tables."""
        for here in (self.dev, self.qa, self.prod):
            fill(here.lake, ROWS)
            known = catalogue_of(ROWS, day(7))
            here.lake.append(TableSpec("silver/series_catalogue", known.schema), known)
            shutil.copy(mlflow, self.folder / here.name / "mlflow.db")

    @property
    def dev(self) -> Environment:
        return self.open("dev")

    @property
    def qa(self) -> Environment:
        return self.open("qa")

    @property
    def prod(self) -> Environment:
        return self.open("prod")

    def train(self, number: int) -> None:
        """Train and judge a day in dev."""
        here, as_of, made = self.dev, day(number), catalogue_of(ROWS, day(number))
        beside = find_incumbent(here.lake, here.registry, CONFIG, as_of)
        train_fleet(here.lake, made, CONFIG, as_of, InProcess(), beside)
        judge_candidate(Candidate(here.lake, here.registry, made, CONFIG, as_of))

    def seal(self, number: int) -> str:
        """Seal the fleet of a day in dev and let it be champion."""
        here, made = self.dev, catalogue_of(ROWS, day(number))
        done = release_candidate(Candidate(here.lake, here.registry, made, CONFIG, day(number)), OPEN_GATE)
        assert done.decision.promoted, done.decision.summary
        return done.release.release_id

    def release(self, number: int) -> str:
        """Both."""
        self.train(number)
        return self.seal(number)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file by its name."""
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())}


def champion(here: Environment) -> str | None:
    """The release that the newest day uses, by decisions and alias alike."""
    found = champion_as_of(here.lake, FOREVER, same_day=True)
    named = here.registry.versions.tags_of("champion").get("release_id")
    assert (found.release_id if found else None) == named, "the alias names what the decisions say"
    return named


def actions(here: Environment) -> list[tuple[str, str, str]]:
    """Action, release and actor of every row of the audit."""
    return [(row["action"], row["release_id"], row["actor"]) for row in here.audit.rows()]
