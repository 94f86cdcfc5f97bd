"""Announced drops: what a tick of the drop sensor does with a queue of storage events.

Belongs here: draining it, and looking at what it announced beside, or instead of, a listing. Does not belong here: asking for runs (data_drops).
"""

import dagster as dg

from ml_platform import backlog
from ml_platform.backlog import Look
from ml_platform.contracts import Contracts
from ml_platform.lake import Lake
from ml_platform.landing import open_landing
from ml_platform.settings import Settings
from ml_platform.storage_events import QueueUnavailableError, drain, look_at_announced, open_queue, scope_of


def drained(context: dg.SensorEvaluationContext, lake: Lake, settings: Settings, contracts: Contracts) -> str:
    """Take in what waits in the queue; return why that was not possible (empty: it was, or there is no queue)."""
    try:
        queue = open_queue(settings)
        if queue is None:
            return ""
        taken = drain(queue, lake, scope_of(settings, contracts))
    except QueueUnavailableError as why:
        context.log.warning(str(why))
        return f"; {why}"
    if taken.messages:
        context.log.info(taken.words())
    return ""


def look(lake: Lake, settings: Settings, contracts: Contracts, position: str, *, lists: bool) -> Look:
    """Drops that are due: announced ones, listed ones (from `position` on), or both, each once."""
    landing = open_landing(settings)
    if not settings.events_queue_url:
        return backlog.look(lake, landing, contracts, position)
    announced = look_at_announced(lake, landing, contracts)
    if not lists:
        return announced
    listed = backlog.look(lake, landing, contracts, position)
    drops = {drop.drop_id: drop for drop in (*announced.drops, *listed.drops)}
    return Look(tuple(drops.values()), announced.seen + listed.seen, listed.position, listed.held)
