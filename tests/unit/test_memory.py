"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np, resource
from ml_platform.memory import keep_memory
{call}
for _ in range(10):
    [np.ones(2**21) for _ in range(8)]
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    [np.ones(2**21) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


def new_pages(call: str) -> int:
    """Pages that arrays of 16 MiB ask of the system, eight at a time, where such arrays were before."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told to keep memory")
def test_freed_memory_serves_the_next_arrays() -> None:
    assert new_pages("assert keep_memory()") < 100 < new_pages("")
