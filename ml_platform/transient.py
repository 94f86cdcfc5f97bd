"""Transient errors: a closed list of what may pass by itself, and patience with it.

Belongs here: which errors those are, waiting and trying again. Does not belong here: what follows when they stay (the caller).
"""

import errno
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
ERRNOS = frozenset({errno.EIO, errno.EAGAIN, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT})
STATUSES = frozenset({408, 429, 500, 502, 503, 504})
OWN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
ATTEMPTS = 4
FIRST, LONGEST = 0.5, 8.0  # seconds


class TransientError(RuntimeError):
    """An error of the list that stayed; says what was tried, how often and for how long."""


class Passing(Exception):
    """An error whose raiser knows that it may pass: it has looked at what its own library says."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may work a little later; a full disk does not empty itself."""
    if isinstance(error, Passing) or (isinstance(error, OSError) and error.errno in ERRNOS):
        return True
    azure: Any = sys.modules.get("azure.core.exceptions")  # where nothing imported it, nothing raised one of its errors
    if azure is None:
        return False
    if isinstance(error, azure.ServiceRequestError | azure.ServiceResponseError | azure.IncompleteReadError):
        return True
    return isinstance(error, azure.HttpResponseError) and error.status_code in STATUSES


def is_own(error: OSError) -> bool:
    """Whether this machine has run out of something: no file is to blame."""
    return error.errno in OWN


def retried(call: Callable[[], T], what: str, *, attempts: int = ATTEMPTS, first: float = FIRST) -> T:
    """What `call` returns, tried again after a transient error; TransientError where it stays.

    Waits are `first` seconds, doubled each time up to 8 s, times a random factor from 0.5 to 1 so that many callers do not come back at once.
    """
    started = time.perf_counter()
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except Exception as why:
            if not is_transient(why):
                raise
            if attempt == attempts:
                seconds = time.perf_counter() - started
                words = (str(why).splitlines() or [""])[0]
                raise TransientError(
                    f"{what} failed {attempts} times within {seconds:.1f} s, the last time with {type(why).__name__}: {words}"
                ) from why
        time.sleep(min(first * 2 ** (attempt - 1), LONGEST) * random.uniform(0.5, 1))
    raise AssertionError("unreachable: the last attempt returns or raises")
