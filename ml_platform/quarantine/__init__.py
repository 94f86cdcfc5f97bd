"""The quarantine: what was refused, and what a person decides about it.

Belongs here: reading refusals, releasing and discarding them. Does not belong here: refusing (rules, settlement, fates), the log of
decisions (lake.decisions), how it looks (cli_quarantine, sensors.quarantine_job).
"""

from ml_platform.quarantine.desk import Order, Outcome, Quarantine
from ml_platform.quarantine.records import QuarantineError, Record, Selection, find, read_records
from ml_platform.quarantine.words import rule_in_words

__all__ = [
    "Order",
    "Outcome",
    "Quarantine",
    "QuarantineError",
    "Record",
    "Selection",
    "find",
    "read_records",
    "rule_in_words",
]
