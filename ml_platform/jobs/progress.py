"""Progress: what the library says of long work, on a job's stderr.

Belongs here: switching it on for a process. Does not belong here: the messages.
"""

import logging


def show_progress() -> None:
    """Write the library's messages on how far it is to stderr; other packages stay as quiet as they are."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ml_platform").setLevel(logging.INFO)
