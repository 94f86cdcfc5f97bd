"""What a piece of work costs: seconds, CPU seconds and memory of this process and everything that it started.

Belongs here: measuring one piece of work. Does not belong here: what is measured.
"""

import threading
import time
from typing import Self

import psutil


class Watch:
    """Wall and CPU seconds between entering and leaving, and the greatest resident memory (bytes), looked at ten times a second.

    CPU counts processes that still run (a JVM, its workers) and those that ended and were waited for.
    """

    def __enter__(self) -> Self:
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._cpu, self._start = tree_cpu(), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start, tree_cpu() - self._cpu
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, tree_memory())

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, tree_memory())


def tree_cpu() -> float:
    """CPU seconds of this process, of those below it, and of those that ended below any of them."""
    total = 0.0
    for one in _tree():
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_memory() -> int:
    """Resident bytes of this process and of those below it."""
    total = 0
    for one in _tree():
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def _tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]
