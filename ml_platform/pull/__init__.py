"""Pull from a database: new rows become files in landing, which go on like any other.

Belongs here: what callers use; windows and their names (windows), SQL (database), values (typed), files (cutting, unfinished), one pull
(puller). Does not belong here: what a contract says of a pull (database_pull), when to pull (sensors), what becomes of a file (ingestion).
"""

from ml_platform.pull.database import PullError
from ml_platform.pull.puller import Preview, Puller, PullReport, examine, pulled

__all__ = ["Preview", "PullError", "PullReport", "Puller", "examine", "pulled"]
