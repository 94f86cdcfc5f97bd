"""Metadata as people see it: tables in markdown."""

import numpy as np

from assets.metadata import SHOWN_STEPS, calibration
from ml_platform.forecasting.calibration import calibration_table


def shown(horizon: int) -> list[str]:
    """Lines of the calibration of 50 cells per step, of which every fifth lies outside."""
    step = np.tile(np.arange(1, horizon + 1), 50)
    actual = np.repeat(np.arange(50) % 5 == 0, horizon).astype(float)
    bounds = {"lo_80": actual * 0 - 0.5, "hi_80": actual * 0 + 0.5}
    return calibration(calibration_table(actual, bounds, {"step": step}, [80])).value.splitlines()


def test_calibration_is_a_table_with_a_line_per_step() -> None:
    lines = shown(2)
    assert lines[0].startswith("| rows | interval | held |")
    assert lines[2] == "| all | 80 % | 80.0% | 0.0% | 20.0% | 100 |"
    assert lines[3:] == [
        "| step 1 | 80 % | 80.0% | 0.0% | 20.0% | 50 |",
        "| step 2 | 80 % | 80.0% | 0.0% | 20.0% | 50 |",
    ]


def test_many_steps_are_left_out_and_no_rows_are_said_to_be_none() -> None:
    assert len(shown(SHOWN_STEPS)) == 3 + SHOWN_STEPS
    assert len(shown(SHOWN_STEPS + 1)) == 3
    nothing = np.zeros(0)
    empty = calibration_table(nothing, {"lo_80": nothing, "hi_80": nothing}, {"step": nothing.astype(int)}, [80])
    assert calibration(empty).value == "no fold judges: the history is too short"
