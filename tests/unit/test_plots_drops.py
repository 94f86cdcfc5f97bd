"""Pictures of ingestion show what they were given: days, usual ranges, odd and missing days, and sums that do not add up."""

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from ml_platform import plots, plots_drops
from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.drop_warnings import drop_history
from ml_platform.lake.schemas import LEDGER, ROW_FATES

START = date(2024, 1, 1)
SOURCE = SourceContract.model_validate(
    {
        "name": "meter",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}.csv",
        "format": {"type": "csv"},
        "columns": {"id": {"type": "int64"}, "at": {"type": "timestamp"}},
        "key": ["id"],
        "time": {"column": "at"},
    }
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test's pictures were made from."""
    figures: list[Figure] = []
    original = plots.markdown
    monkeypatch.setattr(plots, "markdown", lambda figure, title: (figures.append(figure), original(figure, title))[1])
    return figures


def drop(number: int, rows: int = 1000, **changes: Any) -> dict[str, Any]:
    day = START + timedelta(days=number)
    parts = {"rows_in": rows, "rows_loaded": rows, "rows_quarantined": 0, "rows_duplicate": 0, "rows_erased": 0}
    place = {"source": "meter", "path": f"{day}.csv", "drop_id": f"{day}", "drop_day": day, "length": 40 * rows}
    return {**place, **parts, "state": "loaded", "attempt": 1} | changes


def draw(rows: list[dict[str, Any]]) -> str:
    ledger = pa.Table.from_pylist(rows, schema=LEDGER.schema)
    return plots_drops.drops_per_day(ledger, drop_history(ledger, SOURCE, Calendar(START)))


def told(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes if (key := axis.get_legend()) for text in key.get_texts()]


def test_odd_and_missing_days_are_marked_and_axes_named(drawn: list[Figure]) -> None:
    rows = [drop(n, 300 if n == 80 else 1000) for n in range(120) if n != 85]
    rows[3] |= {"rows_loaded": 900, "rows_quarantined": 100}
    picture = draw(rows)
    assert len(picture) <= plots.MAX_BYTES
    assert [axis.get_ylabel() for axis in drawn[0].axes] == [
        "rows per drop day",
        "rows per drop day",
        "files per drop day",
    ]
    assert {"1 odd", "1 missing", "usual range of the weekday", "quarantined: 100 rows", "loaded: 119 files"} <= set(
        told(drawn[0])
    )
    marked = {mark.get_offsets().data[0][1] for mark in drawn[0].axes[0].collections}
    assert marked == {300, 0}, "the odd day at its height, the missing one on the ground"


def test_a_file_without_a_day_is_counted_and_does_not_stretch_the_axis(drawn: list[Figure]) -> None:
    draw([*(drop(n) for n in range(5)), drop(900, 0, state="quarantined", reason="unknown_format: no name matches")])
    assert "and 1 whose day is none of the calendar" in told(drawn[0])
    first, last = drawn[0].axes[0].get_xlim()
    assert last - first < 30


@pytest.mark.parametrize("rows", [[], [drop(0, 0)], [drop(0, state="quarantined", reason="unknown_format: x")]])
def test_next_to_nothing_is_a_picture_too(rows: list[dict[str, Any]]) -> None:
    assert draw(rows).startswith("![Drops per day")


def fates(*rows: tuple[str, str | None, int]) -> pa.Table:
    own = {"source": "meter", "stage": "silver", "drop_id": "a", "period": "2024-01"}
    found = [{**own, "fate": fate, "rule": rule, "rows": count} for fate, rule, count in rows]
    return pa.Table.from_pylist(found, schema=ROW_FATES.schema)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (860, "1,000 rows in, each accounted for\n900 loaded and erased rows, each accounted for"),
        (850, "900 loaded and erased rows, 890 ACCOUNTED FOR, 10 not yet"),
        (870, "900 loaded and erased rows, 910 ACCOUNTED FOR, 10 too many"),
    ],
)
def test_the_balance_says_what_does_not_add_up(drawn: list[Figure], kept: int, words: str) -> None:
    parts = {"rows_loaded": 870, "rows_quarantined": 100, "rows_erased": 30}
    ledger = pa.Table.from_pylist([drop(0, 1000, **parts)], schema=LEDGER.schema)
    told_twice = (("excluded", "unit", 6), ("excluded", "unit", 4))
    plots_drops.fate_balance(ledger, fates(("kept", "", kept), ("erased", "", 30), *told_twice))
    axis = drawn[0].axes[0]
    assert words in axis.get_title(loc="left")
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "bronze: loaded",
        "bronze: quarantined",
        "bronze: erased",
        "silver: kept",
        "silver: erased",
        "silver: excluded (unit)",
    ]


@pytest.mark.parametrize("rows", [[], [drop(0, 0)], [drop(0)]])
def test_a_balance_before_silver_is_a_picture_too(rows: list[dict[str, Any]]) -> None:
    ledger = pa.Table.from_pylist(rows, schema=LEDGER.schema)
    assert plots_drops.fate_balance(ledger, ROW_FATES.schema.empty_table()).startswith("![What became")
