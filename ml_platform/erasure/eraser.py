"""The eraser: a person's key leaves the lake, every table and every old version of it that can hold it.

Belongs here: the order of the steps, each safe to repeat. Does not belong here: recognising keys (persons), the list (lake.erasures), landing (landed).
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow.compute as pc

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.erasure import refusals
from ml_platform.erasure.persons import (
    ErasureError,
    Persons,
    key_digest,
    make_secret,
    require_personal,
    secret_of,
    spelled,
)
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, erasures, ledger
from ml_platform.lake.clock import Clock
from ml_platform.lake.erasures import Erasure
from ml_platform.lake.schemas import ALERTS, DECISIONS, LEDGER, QUARANTINE
from ml_platform.lake.scrubbing import scrub
from ml_platform.lake.store import locked
from ml_platform.preparation import Preparation
from ml_platform.pull.unfinished import pulling, workshop

RUN_ID = "ml-platform erase"
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Request:
    """Whose rows are to go: a key as a person writes it, or the digest that a dry run gave; who asks, and why."""

    source: str
    column: str
    by: str
    reason: str
    value: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.by.strip() or not self.reason.strip():
            raise ErasureError("nothing is erased without a name and a reason: give both")
        if bool(self.value.strip()) == bool(self.digest.strip()):
            raise ErasureError("say whose rows: either the value, or the digest of a dry run")
        if self.digest and not DIGEST.fullmatch(self.digest.strip()):
            raise ErasureError(
                "that is no digest: it has 64 hexadecimal digits, as a dry run prints it; nothing was erased"
            )

    def __repr__(self) -> str:
        return f"Request({self.source}.{self.column}, by={self.by!r})"  # the value is nobody's business in a log

    def digest_in(self, contract: SourceContract, secret: bytes) -> str:
        if self.digest:
            require_personal(contract, self.column)
            return self.digest.strip()
        return key_digest(secret, contract, self.column, self.value)


@dataclass(frozen=True)
class Eraser:
    """Erasures in one home: `door` opens the ingestion of a source, `prepare` its way to silver."""

    lake: Lake
    contracts: Contracts
    door: Callable[[SourceContract], Ingestion]
    prepare: Callable[[SourceContract], Preparation]

    def survey(self, request: Request) -> Erasure:
        """What an erasure would take, by table, without taking it."""
        with self._alone():
            return self._asked(request)

    def erase(self, request: Request) -> Erasure:
        """Erase, unless that was done; what a crash cut off before is completed first. Rows of the key never come in again."""
        with self._alone():
            self._complete(None)
            asked = self._asked(request)
            done = [one for one in erasures.read(self.lake, asked.source, erasures.LAKE) if _same(one, asked)]
            if done and not any(asked.rows.values()):
                return done[-1]
            erasures.record(self.lake, asked)
            return self._apply(asked)

    def complete(self, source: str | None = None) -> list[Erasure]:
        """Carry out what a crash cut off, of one source or of all."""
        if not erasures.pending(self.lake, source):
            return []
        with self._alone():
            return self._complete(source)

    def _alone(self) -> AbstractContextManager[None]:
        if self.lake.remote:
            raise ErasureError(
                f"the lake {self.lake.root} lies on storage where old versions and logs cannot be erased by this command"
            )
        return locked(self.lake, erasures.LOCK)

    def _complete(self, source: str | None) -> list[Erasure]:
        return [self._apply(one) for one in erasures.pending(self.lake, source)]

    def _asked(self, request: Request) -> Erasure:
        contract = self.contracts[request.source]
        secret, now = make_secret(self.lake), datetime.now(UTC)
        digest = request.digest_in(contract, secret)
        self.door(contract).recover()
        persons = Persons.one(contract, request.column, digest, secret)
        return Erasure(
            uuid.uuid4().hex[:16],
            contract.name,
            request.column,
            digest,
            erasures.LAKE,
            request.by,
            request.reason,
            now,
            None,
            self._rows(persons, request.column),
        )

    def _rows(self, persons: Persons, column: str) -> Mapping[str, int]:
        """Rows with the key by table."""
        found = {
            name: sum(self._by_drop(name, persons, column).values()) for name in self._tables(persons.contract, column)
        }
        return {**found, QUARANTINE.name: len(refusals.refused(self.lake, persons))}

    def _tables(self, contract: SourceContract, column: str) -> list[str]:
        """Tables of rows that hold the column: bronze, silver, and silver tables whose lookups take it."""
        taking = [f"silver/{one.silver}" for one in self._readers(contract) if _takes(one, contract, column)]
        return [contract.bronze_spec.name, f"silver/{contract.silver}", *taking]

    def _readers(self, contract: SourceContract) -> list[SourceContract]:
        """Sources that look this one up."""
        return [one for one in self.contracts.sources if any(look.source == contract.name for look in one.lookups)]

    def _by_drop(self, name: str, persons: Persons, column: str) -> Mapping[str, int]:
        if not self.lake.exists(name):
            return {}
        values = self._spelled(name, persons, column)
        rows = self.lake.read(name, ["drop_id"], pc.field(column).isin(values)) if values else None
        return Counter(rows["drop_id"].to_pylist()) if rows is not None else {}

    def _spelled(self, name: str, persons: Persons, column: str) -> list[int | str]:
        return spelled(persons, column, (self.lake.read(name, [column])[column],)) if self.lake.exists(name) else []

    def _apply(self, one: Erasure) -> Erasure:
        """Every step finds by itself what is left to do."""
        contract = self.contracts[one.source]
        persons = Persons.one(contract, one.column, one.digest, secret_of(self.lake))
        self.door(contract).recover()
        self._erase_bronze(one, persons)
        self._erase_refusals(persons)
        self._erase_silver(persons)
        self._forget(persons)
        return erasures.complete(self.lake, one)

    def _erase_bronze(self, one: Erasure, persons: Persons) -> None:
        """One commit without the rows and with the ledger rows of their drops; its transaction says that refusals are counted, too."""
        door, name = self.door(persons.contract), persons.contract.bronze_spec.name
        if not self.lake.exists(name) or self.lake.reached(name, one.erasure_id) >= 0:
            return
        spec, rows = door.bronze().spec, self._by_drop(name, persons, one.column)
        settled = self._ledger_rows(persons, rows, refusals.counted(refusals.refused(self.lake, persons)))
        metadata = {ledger.LEDGER_KEY: ledger.to_metadata(settled), ledger.REFUSED_KEY: ""}
        if rows:
            where = f"{one.column} IN ({', '.join(map(_literal, self._spelled(name, persons, one.column)))})"
            self.lake.remove(spec, where, [one.erasure_id], metadata)
        elif settled:
            self.lake.append(spec, spec.schema.empty_table(), [one.erasure_id], metadata)
        door.recover()

    def _ledger_rows(
        self, persons: Persons, loaded: Mapping[str, int], refused: Mapping[str, int]
    ) -> list[ledger.LedgerRow]:
        """Ledger rows of the drops that lose rows, or whose reason quotes the key."""
        changed, clock = [], Clock.of(self.lake, persons.contract.name)
        for row in sorted(ledger.of_source(self.lake, persons.contract.name), key=lambda one: one.settled_at):
            less, fewer = loaded.get(row.drop_id, 0), refused.get(row.drop_id, 0)
            after = replace(
                row,
                rows_loaded=row.rows_loaded - less,
                rows_quarantined=row.rows_quarantined - fewer,
                rows_erased=row.rows_erased + less + fewer,
                reason=persons.redacted(row.reason) if row.reason else row.reason,
            )
            if after != row:
                changed.append(replace(after, run_id=RUN_ID, settled_at=clock.next()))
        return changed

    def _erase_refusals(self, persons: Persons) -> None:
        refusals.remove_refused(self.lake, persons)
        refusals.remove_corrections(self.lake, persons)
        refusals.remove_alerts(self.lake, persons)

    def _erase_silver(self, persons: Persons) -> None:
        """Months with the rows are made anew; then those of tables that look this one up, once it has its last version."""
        silver = f"silver/{persons.contract.silver}"
        if self.lake.exists(silver):
            self.prepare(persons.contract).remake()
            scrub(self.lake, silver)
        for reader in self._readers(persons.contract):
            if self.lake.exists(f"silver/{reader.silver}"):
                self.prepare(reader).remake()
                scrub(self.lake, f"silver/{reader.silver}")

    def _forget(self, persons: Persons) -> None:
        """Old versions of the other tables that held the key, and what runs and pulls that died have staged: what a commit names is projected by now."""
        source = persons.contract.name
        with pulling(self.lake, source), workshop(self.lake, source):
            pass  # an empty one, which goes: what a killed pull left is gone
        for name in (persons.contract.bronze_spec.name, LEDGER.name, QUARANTINE.name, DECISIONS.name, ALERTS.name):
            scrub(self.lake, name, lambda text: refusals.clean_metadata(text, persons))


def _same(one: Erasure, other: Erasure) -> bool:
    return (one.source, one.column, one.digest) == (other.source, other.column, other.digest)


def _takes(reader: SourceContract, contract: SourceContract, column: str) -> bool:
    return any(look.source == contract.name and column in look.take for look in reader.lookups)


def _literal(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
