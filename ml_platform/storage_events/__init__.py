"""Storage events: drops that Azure announces through a queue, so that nobody has to list the landing folder to find them.

Belongs here: messages, what they mean, queues, and the way from one to the other. Does not belong here: when that happens (sensors), what lies
in the landing folder (landing), the tables (lake.announcements).
"""

from ml_platform.storage_events.intake import Intake, drain
from ml_platform.storage_events.looking import look_at_announced
from ml_platform.storage_events.opening import open_queue, scope_of
from ml_platform.storage_events.outcomes import Scope
from ml_platform.storage_events.queue import AzureQueue, EventQueue, Message, QueueUnavailableError

__all__ = [
    "AzureQueue",
    "EventQueue",
    "Intake",
    "Message",
    "QueueUnavailableError",
    "Scope",
    "drain",
    "look_at_announced",
    "open_queue",
    "scope_of",
]
