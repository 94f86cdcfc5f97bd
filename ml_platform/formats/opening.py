"""Opening: the one door through which a landed file becomes a table.

Belongs here: which module reads which format, and what is asked of every file. Does not belong here: reading.
"""

from pathlib import Path

from ml_platform.contracts import SourceContract
from ml_platform.formats.csv_files import open_csv
from ml_platform.formats.jsonl_files import open_jsonl
from ml_platform.formats.limits import Limits
from ml_platform.formats.opened import Opened, UnreadableError
from ml_platform.formats.parquet_files import open_parquet

READERS = {"csv": open_csv, "jsonl": open_jsonl, "parquet": open_parquet}


def open_drop(path: Path, contract: SourceContract, limits: Limits | None = None) -> Opened:
    """Read a landed file; UnreadableError where it is empty, broken, beyond a limit or has other columns than the contract."""
    limits = limits or Limits()
    size = path.stat().st_size
    if size == 0:
        raise UnreadableError("empty_file", "the file has no bytes")
    limits.require_bytes(size)
    return READERS[contract.format.type](path, contract, limits)
