"""Speed of a contract's rules on every row against a Great Expectations suite of the same contract on the same rows.

Belongs here: one comparison, printed. Does not belong here: whether both come to the same verdict (tests/unit/test_checks_agree.py).
"""

import argparse
import time
from collections.abc import Callable

import pyarrow as pa

from bench.ingestion import FIRST, contract, readings
from ml_platform import expectations
from ml_platform.formats import Opened
from ml_platform.ingestion import expected
from ml_platform.rules import screen


def best(work: Callable[[], object], turns: int) -> float:
    """Seconds of the best turn."""
    times = list[float]()
    for _ in range(turns):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print rows/s of both, on Parquet's types and on texts as CSV gives them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    source, typed = contract("parquet"), readings(options.rows, 0)
    numbers = pa.array(range(options.rows))
    texts = pa.table({name: typed[name].cast(pa.string()) for name in typed.column_names})
    given = typed.append_column("drop_id", pa.repeat("d", options.rows)).append_column("row_number", numbers)
    suite = expected(source, given.column_names)
    rows = options.rows / 1e6
    alone = rows / best(lambda: expectations.validate(given, suite, options.rows), options.turns)
    print(f"suite, every row: {alone:.2f} M rows/s")
    for name, table in (("rules on typed columns", typed), ("rules on texts, with typing", texts)):
        speed = rows / best(lambda table=table: screen(Opened(table, numbers), source, FIRST), options.turns)  # type: ignore[misc]
        print(f"{name}: {speed:.2f} M rows/s, {speed / alone:.0f} times as many")


if __name__ == "__main__":
    main()
