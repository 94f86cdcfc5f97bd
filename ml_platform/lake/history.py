"""The history of a table: what its commits say of themselves, as far back as its log goes.

Belongs here: commits with the platform's metadata, and which of them changed content. Does not belong here: the files that commits
name (logs), commits (store).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deltalake import DeltaTable

from ml_platform.lake.errors import GoneError

MAINTENANCE = frozenset(
    ("OPTIMIZE", "VACUUM START", "VACUUM END")
)  # commits after which a table says what it said before
INPUTS_KEY = "ml_platform.inputs"  # of silver and panel: what they were made from
STRIDE = 8


@dataclass(frozen=True)
class Commit:
    """What a commit wrote: the table's version after it, the metadata that it carries, and what kind of change it was."""

    version: int
    metadata: Mapping[str, str]
    operation: str = ""

    @property
    def changes_content(self) -> bool:
        return self.operation not in MAINTENANCE


def newest_first(table: DeltaTable) -> Iterator[Commit]:
    """Commits from the newest on, read in ever longer stretches: what is asked for is mostly among the first."""
    seen, wanted = 0, 1
    while True:
        found = sorted(table.history(wanted), key=lambda one: -int(one["version"]))
        yield from (_commit(one) for one in found[seen:])
        if len(found) < wanted:
            return
        seen, wanted = wanted, wanted * STRIDE


def after(table: DeltaTable, name: str, version: int) -> list[Commit]:
    """Commits newer than `version`, oldest first; GoneError where the log does not hold all of them any more."""
    newer = table.version() - version
    found = [_commit(one) for one in table.history(newer)] if newer > 0 else []
    if len(found) < newer:
        raise GoneError(
            f"the log of {name} begins after version {version + 1}: what was committed between them cannot be told any more"
        )
    return sorted(found, key=lambda commit: commit.version)


def content_version(table: DeltaTable) -> int:
    """The newest version that changed content: compaction makes no version that a reader has to look at."""
    version = table.version()
    for commit in newest_first(table):
        version = commit.version
        if commit.changes_content:
            break
    return version


def _commit(entry: Mapping[str, object]) -> Commit:
    own = {key: str(value) for key, value in entry.items() if key.startswith("ml_platform.")}
    return Commit(int(str(entry["version"])), own, str(entry.get("operation", "")))
