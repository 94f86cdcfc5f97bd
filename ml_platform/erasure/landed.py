"""Landed files: a person's rows leave them, each file whole or not at all; the next ingestion settles what is new.

Belongs here: which files hold a key, the proof that nothing else changes, and the exchange in a folder. Does not belong here: parting records
(rewriting), the lake (eraser).
"""

import csv
import gzip
import os
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.durable import put_in_place
from ml_platform.erasure.door import without
from ml_platform.erasure.eraser import Request
from ml_platform.erasure.persons import ErasureError, Persons, make_secret
from ml_platform.erasure.rewriting import rewritten
from ml_platform.formats import Limits, UnreadableError, open_drop
from ml_platform.lake import Lake, erasures
from ml_platform.lake.erasures import Erasure
from ml_platform.lake.store import locked
from ml_platform.landing import Changed, Drop, LandingStore, LocalLanding, Vanished, find_drop, list_drops
from ml_platform.landing.manifest import NAME as MANIFEST
from ml_platform.rules import Screened, screen
from ml_platform.transient import retried

MEANWHILE = "it was replaced in the meantime: run the command again"


@dataclass(frozen=True)
class Held:
    """A landed file that holds rows of a person, or may (`problem`: why it has to be looked at by hand)."""

    path: str
    rows: int = 0
    problem: str = ""


@dataclass(frozen=True)
class LandingReport:
    """Files with their rows: found, or gone; `erasure` is None where nothing was to be done."""

    files: tuple[Held, ...]
    erasure: Erasure | None = None

    @property
    def problems(self) -> tuple[Held, ...]:
        return tuple(one for one in self.files if one.problem)


@dataclass(frozen=True)
class LandingEraser:
    """Erasures in the landing area of one home: found wherever it lies, rewritten in a folder."""

    lake: Lake
    landing: LandingStore
    contracts: Contracts
    limits: Limits

    def survey(self, request: Request) -> LandingReport:
        """Files that hold the key, without touching them."""
        with locked(self.lake, erasures.LOCK):
            return LandingReport(tuple(self._held(self._persons(request))))

    def erase(self, request: Request) -> LandingReport:
        """Rewrite the files that hold the key; safe to repeat, a file that was exchanged is not looked at again. ErasureError for a container."""
        folder = self._folder()
        with locked(self.lake, erasures.LOCK):
            persons = self._persons(request)
            held = self._held(persons)
            audit = self._audit(request, persons, held)
            if audit is None:
                return LandingReport(tuple(held))
            due = [one for one in held if not one.problem]
            self._touch_later(folder, persons.contract, due)
            done = [self._exchange(folder, one, persons) for one in due]
            found = [*done, *(one for one in held if one.problem)]
            return LandingReport(tuple(found), erasures.complete(self.lake, audit))

    def _folder(self) -> Path:
        """Blobs have no time of modification that could be kept, and with it their place among deliveries."""
        if isinstance(self.landing, LocalLanding):
            return self.landing.root
        raise ErasureError(
            f"the landing area {self.landing.locate()} is a container, whose files this command does not rewrite: `--dry-run` names "
            "those that hold the key, correct or delete them there. What was erased from the lake stays out of it all the same"
        )

    def _persons(self, request: Request) -> Persons:
        contract, secret = self.contracts[request.source], make_secret(self.lake)
        return Persons.one(contract, request.column, request.digest_in(contract, secret), secret)

    def _audit(self, request: Request, persons: Persons, held: Sequence[Held]) -> Erasure | None:
        """The row of this erasure: the one that a crash left, or a new one where there is something to do."""
        ((column, digests),) = persons.digests.items()
        (digest,) = digests
        known = erasures.read(self.lake, request.source, erasures.LANDING)
        left = next((one for one in known if one.pending and (one.column, one.digest) == (column, digest)), None)
        rows = {one.path: one.rows for one in held if not one.problem}
        if left or not rows:
            return left
        now, name = datetime.now(UTC), uuid.uuid4().hex[:16]
        place, by, why = erasures.LANDING, request.by, request.reason
        one = Erasure(name, request.source, column, digest, place, by, why, now, None, rows)
        erasures.record(self.lake, one)
        return one

    def _held(self, persons: Persons) -> list[Held]:
        drops = list_drops(self.landing, persons.contract)
        return [one for one in (self._look(drop, persons) for drop in drops) if one.rows or one.problem]

    def _look(self, drop: Drop, persons: Persons) -> Held:
        try:
            return retried(lambda: self._looked_at(drop, persons), f"reading {drop.path}")
        except (Changed, Vanished) as why:
            return Held(drop.path, problem=f"{why}: run the command again")

    def _looked_at(self, drop: Drop, persons: Persons) -> Held:
        with self.landing.fetch(drop) as path:
            try:
                rows = sum(without(persons, self._read(path, persons.contract, drop)).erased)
            except UnreadableError as why:
                return Held(drop.path, problem=f"it cannot be read ({why.rule})" if _may_hold(path, persons) else "")
        promised = rows and persons.contract.landing.complete == "manifest"
        return Held(
            drop.path, rows, f"{MANIFEST} of its folder promises its bytes: correct both by hand" if promised else ""
        )

    def _read(self, path: Path, contract: SourceContract, drop: Drop) -> Screened:
        return screen(open_drop(path, contract, self.limits), contract, drop.day)

    def _exchange(self, folder: Path, held: Held, persons: Persons) -> Held:
        """Put a file without the rows in the place of one with them, once it is proven that it differs in nothing else."""
        drop, path = find_drop(self.landing, held.path, persons.contract), folder / held.path
        if drop is None:
            return replace(held, problem=MEANWHILE)
        unfinished = path.with_name(
            f".{os.getpid()}-{path.name}"
        )  # no listing takes it for a drop, and its ending stays
        try:
            with self.landing.fetch(drop):  # the same version before and after
                unfinished.write_bytes(rewritten(path, persons))
                if problem := self._difference(path, unfinished, persons, drop):
                    return replace(held, problem=problem)
                _like(path, unfinished)
            put_in_place(unfinished, path)
            return held
        except (Changed, Vanished):
            return replace(held, problem=MEANWHILE)
        except (csv.Error, UnicodeError) as why:
            return Held(
                held.path, held.rows, f"its records cannot be parted ({type(why).__name__}): correct it by hand"
            )
        finally:
            unfinished.unlink(missing_ok=True)

    def _difference(self, path: Path, new: Path, persons: Persons, drop: Drop) -> str:
        """What a rewritten file does not have in common with the rows that are to stay; empty where it is right."""
        wanted = without(persons, self._read(path, persons.contract, drop))
        try:
            found = self._read(new, persons.contract, drop)
        except UnreadableError as why:
            return (
                ""
                if not wanted.accepted.num_rows + wanted.refused.num_rows
                else f"rewritten it cannot be read ({why.rule})"
            )
        same = _rows(found) == _rows(wanted) and found.accepted.drop_columns("row_number").equals(
            wanted.accepted.drop_columns("row_number")
        )
        return "" if same else "rewritten it would lose other rows: correct it by hand"

    def _touch_later(self, folder: Path, contract: SourceContract, due: Sequence[Held]) -> None:
        """Of snapshots the newest delivery rules: those after a rewritten one are to be settled again, after it.

        First of all, so that no crash leaves a rewritten older delivery behind that would rule.
        """
        if contract.kind != "snapshot" or not due:
            return
        drops = [drop.path for drop in list_drops(self.landing, contract)]
        for path in drops[min(drops.index(one.path) for one in due) + 1 :]:
            _like(folder / path, folder / path)


def _rows(found: Screened) -> list[tuple[str, str | None]]:
    return [(row["rule"], row["raw"]) for row in found.refused.select(["rule", "raw"]).to_pylist()]


def _like(path: Path, other: Path) -> None:
    """Mode and times of a file for another one: its place among deliveries stays, its version becomes a new one."""
    status = path.stat()
    other.chmod(status.st_mode & 0o7777)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))


def _may_hold(path: Path, persons: Persons) -> bool:
    """Whether a file that is no table of its source may hold the key: as far as it is text, its lines say so."""
    raw = path.read_bytes()
    if raw[:4] == b"PAR1":
        return True
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        text = raw.decode(persons.contract.format.encoding)
    except (OSError, EOFError, zlib.error, UnicodeError):
        return True
    return any(persons.in_line(line) for line in text.splitlines())
