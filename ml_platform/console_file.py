"""One file in the terminal: its versions, their rows, and what was refused of them.

Belongs here: rendering with rich; every text that came from a file is escaped. Does not belong here: finding the file (status.files).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

from ml_platform.console import printable
from ml_platform.console_status import way_out

if TYPE_CHECKING:
    from ml_platform.lake.ledger import LedgerRow
    from ml_platform.status.files import FileStatus, Refused, Version


def show_file(console: Console, file: "FileStatus") -> None:
    """What became of a file, version by version."""
    console.print(
        printable(f"{file.path}{'' if file.there else ' (does not lie in landing any more)'}"),
        style="bold",
        markup=False,
    )
    for number, version in enumerate(file.versions, start=1):
        console.print(f"\nversion {number} of {len(file.versions)}, drop {version.drop_id}")
        for line in _lines(version):
            console.print(f"  {printable(line)}", markup=False, soft_wrap=True)


def _lines(version: "Version") -> Iterator[str]:
    if version.waits:
        yield f"waits ({version.waits.reason}): {version.waits.words}; {way_out(due=version.waits.due)}"
    row = version.settled
    if row is None:
        return
    yield f"{row.state} at bronze{f': {row.reason}' if row.reason else ''}"
    yield f"drop day {row.drop_day}; first seen {row.first_seen_at:%Y-%m-%d %H:%M:%S} UTC, settled {row.settled_at:%Y-%m-%d %H:%M:%S} UTC, attempt {row.attempt}"
    yield _balance(row)
    for fate in version.fates:
        yield f"{fate.rows:,} rows {fate.fate} at {fate.stage}{f' ({fate.rule})' if fate.rule else ''}"
    for one in version.refused:
        yield _refused(one)


def _balance(row: "LedgerRow") -> str:
    parts = {
        "loaded": row.rows_loaded,
        "quarantined": row.rows_quarantined,
        "duplicate": row.rows_duplicate,
        "erased": row.rows_erased,
    }
    words = " + ".join(f"{count:,} {part}" for part, count in parts.items())
    return f"{row.rows_in:,} rows in {'=' if row.balanced else 'IS NOT'} {words}"


def _refused(one: "Refused") -> str:
    more = ", ..." if one.count > len(one.ids) else ""
    return f"{one.count:,} refused at {one.stage} by {one.rule}, {one.state}: `ml-platform quarantine show` {', '.join(one.ids)}{more}"
