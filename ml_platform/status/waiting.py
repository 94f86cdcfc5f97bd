"""What waits and why: landed files that are not settled, of a whole home or one of them.

Belongs here: why files that are due were not settled before, beside why others are not due yet. Does not belong here: which files are
due (backlog), when a delivery is whole (landing.readiness).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ml_platform.backlog import SeenSource, look
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import Lake, ledger
from ml_platform.landing import Drop, LandingStore, Waiting, WaitingFiles, Waits

NEW, CHANGED, RELEASED, TWIN_REPLACED = "new", "changed", "released", "twin_replaced"
WORDS = {
    NEW: "it was not read yet",
    CHANGED: "it changed since it was read",
    RELEASED: "it was released from quarantine",
    TWIN_REPLACED: "the file with the same bytes was replaced",
}
AGAIN = {ledger.QUARANTINED: RELEASED, ledger.DUPLICATE: TWIN_REPLACED}


def waiting_files(lake: Lake, landing: LandingStore, contracts: Contracts) -> tuple[WaitingFiles, ...]:
    """Files that wait, by source and reason: those that the next run takes up, then those that are not due yet."""
    seen, due = look(lake, landing, contracts), Waiting()
    reasons = {source: _Reasons.read(lake, source) for source in seen.due}
    for drop in seen.drops:
        due.add(reasons[drop.source].of(drop))
    return (*due.files(), *seen.held)


def why_it_waits(lake: Lake, landing: LandingStore, contract: SourceContract, drop: Drop) -> Waits | None:
    """Why one drop waits; None where nothing is left to do for it."""
    found = SeenSource.read(lake, landing, contract).of_drop(drop)
    return _Reasons.read(lake, contract.name).of(found) if isinstance(found, Drop) else found


@dataclass(frozen=True)
class _Reasons:
    """What the ledger says of the drops of a source: their states, and their paths."""

    states: Mapping[str, str]
    paths: AbstractSet[str]

    @classmethod
    def read(cls, lake: Lake, source: str) -> "_Reasons":
        rows = ledger.columns_of(lake, source, ("drop_id", "path", "state")).to_pydict()
        return cls(dict(zip(rows["drop_id"], rows["state"], strict=True)), frozenset(rows["path"]))

    def of(self, drop: Drop) -> Waits:
        """Why a drop is due: what became of this version, else whether there was another one."""
        again = AGAIN.get(self.states.get(drop.drop_id, ""))
        reason = again or (CHANGED if drop.path in self.paths else NEW)
        return Waits(drop.source, drop.path, reason, WORDS[reason], drop.arrived_at, due=True)
