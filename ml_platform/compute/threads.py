"""Jobs side by side: one thread waits for each, and what they tell is told by the thread that asked.

Belongs here: waiting for several at once. Does not belong here: what a job is.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from ml_platform.compute.protocol import Progress

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def side_by_side(
    work: Callable[[Thing, Progress], Result], things: Sequence[Thing], workers: int, progress: Progress
) -> list[Result]:
    """`work` on every thing, at most `workers` at a time; results in their order. `progress` is called in the caller's thread."""
    told: SimpleQueue[str | None] = SimpleQueue()
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        running = [pool.submit(work, one, told.put) for one in things]
        for one in running:
            one.add_done_callback(lambda _done: told.put(None))
        for _ in running:
            for text in iter(told.get, None):
                progress(text)
        return [one.result() for one in running]
