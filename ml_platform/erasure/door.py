"""The door of bronze: rows of erased persons stay outside, and are counted.

Belongs here: taking them out of a file that was read. Does not belong here: recognising them (persons), settling the rest (settlement).
"""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.erasure.persons import Persons
from ml_platform.formats import UnreadableError
from ml_platform.rules import Screened


def without(persons: Persons, found: Screened) -> Screened:
    """Rows of a file without those of erased persons, whether they keep the contract or not."""
    if not persons:
        return found
    good = pc.invert(persons.among(found.accepted))
    bad = pa.array([not persons.in_row(raw or "") for raw in found.refused["raw"].to_pylist()], pa.bool_())
    accepted, refused = found.accepted.filter(good), found.refused.filter(bad)
    gone = (found.accepted.num_rows - accepted.num_rows, found.refused.num_rows - refused.num_rows)
    return replace(found, accepted=accepted, refused=refused, erased=gone)


def silenced(persons: Persons, why: UnreadableError) -> UnreadableError:
    """The reason why a file cannot be read, without keys that it quotes: of a file without header it names the first row."""
    return UnreadableError(why.rule, persons.redacted(str(why)), why.rows) if persons else why
