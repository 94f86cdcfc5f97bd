"""Transient errors: which ones they are, how long patience lasts, and what is said when it ends."""

import errno
import os
from itertools import pairwise

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from ml_platform import transient
from ml_platform.transient import TransientError, is_own, is_transient, retried


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def answer(status: int, kind: type[HttpResponseError] = HttpResponseError) -> HttpResponseError:
    found = kind("words of the service\nRequestId:1")
    found.status_code = status
    return found


def name_of(one: BaseException) -> str:
    """The same in every process."""
    number = one.errno if isinstance(one, OSError) else getattr(one, "status_code", None)
    return f"{type(one).__name__}-{number}"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = list[float]()
    monkeypatch.setattr(transient.time, "sleep", found.append)
    return found


@pytest.mark.parametrize(
    "passing",
    [
        *(error(one) for one in (errno.EIO, errno.EAGAIN, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT)),
        *(answer(one) for one in (408, 429, 500, 502, 503, 504)),
        TimeoutError(errno.ETIMEDOUT, "timed out"),
        ServiceRequestError("no route"),
        ServiceResponseError("cut off"),
        IncompleteReadError("half"),
    ],
    ids=name_of,
)
def test_what_may_pass(passing: Exception) -> None:
    assert is_transient(passing)


@pytest.mark.parametrize(
    "lasting",
    [
        *(error(one) for one in (errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EDQUOT, errno.EROFS, errno.EISDIR)),
        *(answer(one) for one in (400, 403, 409, 416, 501)),
        answer(401, ClientAuthenticationError),
        answer(404, ResourceNotFoundError),
        answer(412, ResourceModifiedError),
        OSError("without a number"),
        ValueError("EIO"),
        KeyboardInterrupt(),
    ],
    ids=name_of,
)
def test_what_does_not_pass(lasting: BaseException) -> None:
    assert not is_transient(lasting)


def test_what_this_machine_ran_out_of_is_no_files_fault() -> None:
    assert is_own(error(errno.ENOSPC))
    assert not is_own(error(errno.EACCES))


def test_a_call_is_repeated_until_it_works(waits: list[float]) -> None:
    answers = iter([error(errno.EIO), answer(503), "at last"])

    def call() -> str:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    assert retried(call, "reading x") == "at last"
    assert len(waits) == 2


def test_waits_grow_with_jitter_and_are_bounded(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def call() -> None:
        raise error(errno.EIO)

    for factor in (0.5, 1.0):
        waits.clear()
        monkeypatch.setattr(
            transient.random, "uniform", lambda low, high, one=factor: one if low <= one <= high else None
        )
        with pytest.raises(TransientError):
            retried(call, "reading x", attempts=8)
        assert waits == [factor * one for one in (0.5, 1, 2, 4, 8, 8, 8)]
        assert all(before <= after for before, after in pairwise(waits))


def test_the_error_at_the_end_says_what_was_tried(waits: list[float]) -> None:
    def call() -> None:
        raise answer(503)

    with pytest.raises(TransientError) as stayed:
        retried(call, "reading sales/a.csv", attempts=3)
    assert str(stayed.value).startswith("reading sales/a.csv failed 3 times within ")
    assert str(stayed.value).endswith("the last time with HttpResponseError: words of the service")
    assert isinstance(stayed.value.__cause__, HttpResponseError)


def test_what_does_not_pass_is_raised_as_it_is_at_once(waits: list[float]) -> None:
    def call() -> None:
        raise error(errno.ENOSPC)

    with pytest.raises(OSError, match="No space"):
        retried(call, "writing x")
    assert waits == []
