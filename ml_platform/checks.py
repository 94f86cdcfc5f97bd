"""Results of checks: what was looked at, whether it holds, and the figures that show it.

Belongs here: the shape of a result and the error that stops a commit. Does not belong here: the checks themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

Figure = int | float | str | bool


@dataclass(frozen=True)
class CheckResult:
    """One named check: does it hold, in a sentence, with figures."""

    name: str
    passed: bool
    description: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


class Blocked(RuntimeError):
    """Staged data failed a blocking check: nothing of it has been committed."""

    def __init__(self, place: str, results: Iterable[CheckResult]) -> None:
        self.results = tuple(results)
        failed = "; ".join(f"{r.name}: {r.description}" for r in self.results if not r.passed)
        super().__init__(f"{place}: nothing was committed, because a blocking check failed: {failed}")


READER_VERSION = "reader_version"


def reader_version(found: int, schema: pa.Schema) -> CheckResult:
    """Every reader can open the table and what is about to be committed: timestamps without a zone would need version 3."""
    naive = [field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.tz is None]
    found = 3 if naive else found
    return CheckResult(
        READER_VERSION, found == 1, f"readers need Delta protocol version {found}; 1 is read by all", {"version": found}
    )


def require(place: str, results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """The results, when all hold; else Blocked."""
    kept = tuple(results)
    if not all(result.passed for result in kept):
        raise Blocked(place, kept)
    return kept


def merged(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """One result per name for data that came in batches: all must hold, whole numbers are added, other figures come from the last batch."""
    found: dict[str, CheckResult] = {}
    for one in results:
        before = found.get(one.name)
        if before is None:
            found[one.name] = one
            continue
        both = {k: before.figures.get(k, 0) + v if type(v) is int else v for k, v in one.figures.items()}  # type: ignore[operator]
        found[one.name] = CheckResult(
            one.name, before.passed and one.passed, one.description if before.passed else before.description, both
        )
    return tuple(found.values())
