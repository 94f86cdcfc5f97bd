"""Formats: a landed file as an Arrow table, or the reason why it is none.

Belongs here: opening CSV, JSON lines and Parquet within limits, and comparing their columns with a contract. Does not belong
here: types and rules of values (rules), and what happens to a refused file (ingestion).
"""

from ml_platform.formats.limits import Limits
from ml_platform.formats.opened import Malformed, Opened, UnreadableError
from ml_platform.formats.opening import open_drop

__all__ = ["Limits", "Malformed", "Opened", "UnreadableError", "open_drop"]
