"""A home that `make ui` serves, as a person meets it: GraphQL of the web UI.

Belongs here: asking and waiting. Does not belong here: starting it (each test does, to end it as it likes).
"""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any


def ask(port: int, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
        return found


def wait(what: str, test: Callable[[], object], seconds: float) -> object:
    until, last = time.monotonic() + seconds, None
    while time.monotonic() < until:
        try:
            if last := test():
                return last
        except (OSError, KeyError) as why:
            last = why
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for {what}; last answer: {last}")
