"""Tests of erasures that are cut off: the next command completes them, and nothing of the person is left, wherever the crash fell.

Belongs here: crashes at every step in this process. Does not belong here: kill -9 at random moments (tests/faults/test_erasure_kills.py).
"""

from pathlib import Path
from typing import Any

import pytest
from inhabited import PERSON, eraser, land, reading, request, state, traces

from ml_platform import preparation
from ml_platform.erasure import eraser as eraser_module
from ml_platform.erasure.eraser import Eraser
from ml_platform.lake import erasures, ledger

pytestmark = pytest.mark.integration


class Crash(BaseException):
    """The process dies here."""


STEPS = {
    "recorded": (Eraser, "_apply"),
    "bronze": (Eraser, "_erase_bronze"),
    "bronze committed": (ledger, "_project_one"),
    "refusals": (Eraser, "_erase_refusals"),
    "silver": (Eraser, "_erase_silver"),
    "silver staged": (preparation.Staging, "commit"),
    "silver made": (eraser_module, "scrub"),
    "forgetting": (Eraser, "_forget"),
    "completing": (erasures, "complete"),
}


# the end of a step is the beginning of another one, but for the last: `make faults` tries both sides of each
DAILY = [*((step, False) for step in STEPS), ("completing", True)]
OTHERS = [pytest.param(step, True, marks=pytest.mark.faults) for step in STEPS if step != "completing"]


@pytest.mark.parametrize(("step", "after"), [*DAILY, *OTHERS])
def test_a_crash_at_any_step_is_completed_by_the_next_command(
    town: Any, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    place, name = STEPS[step]
    real = getattr(place, name)

    def dies(*arguments: Any, **named: Any) -> None:
        if after:
            real(*arguments, **named)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(Crash):
            eraser(town).erase(request())
    land(town, "2024-02-13", reading(12, PERSON, "2024-02-13"), reading(1))
    town.ingest("readings")
    again = eraser(town).complete()
    assert len(again) == (0 if (step, after) in {("completing", True), ("recorded", True)} else 1)
    (row,) = erasures.read(town.lake)
    assert row.rows["bronze/raw_readings"] == 5, "the account is that of the request"
    town.preparation("readings").run()
    assert 12 not in state(town)["bronze"]
    assert [one[0] for one in state(town)["silver"]] == [1, 6, 10]
    assert traces(town, PERSON) == []
    town.balance("readings")


def test_what_a_killed_pull_left_goes_too(town: Any) -> None:
    left = town.root / "lake" / "ops" / ".pull-readings" / "rows.parquet"
    left.parent.mkdir()
    left.write_bytes(f"{PERSON}".encode())
    assert [Path(one).name for one in traces(town, PERSON)].count(left.name) == 1
    eraser(town).erase(request())
    assert traces(town, PERSON) == []
