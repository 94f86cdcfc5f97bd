"""Pictures: Markdown with a PNG that is small, white and shows what it was given."""

import base64
import io
import re
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ml_platform import plots

DAY = date(2017, 1, 1)
DAYS = [DAY + timedelta(days=n) for n in range(400)]
PICTURE = re.compile(r"^!\[([^\]]+)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)$")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test's pictures were made from."""
    figures: list[Figure] = []
    original = plots.markdown
    monkeypatch.setattr(plots, "markdown", lambda figure, title: (figures.append(figure), original(figure, title))[1])
    return figures


def picture(markdown: str) -> Image.Image:
    found = PICTURE.match(markdown)
    assert found, markdown[:80]
    assert len(markdown) <= plots.MAX_BYTES
    image = Image.open(io.BytesIO(base64.b64decode(found[2]))).convert("RGB")
    assert image.getpixel((1, 1)) == (255, 255, 255)
    assert image.width >= 300
    return image


def words(figure: Figure) -> str:
    """All text of a figure."""
    axes = figure.axes
    texts = [
        text.get_text() for axis in axes for text in (*axis.texts, *axis.get_xticklabels(), *axis.get_yticklabels())
    ]
    titles = [axis.get_title(loc="left") for axis in axes]
    legends = [text.get_text() for axis in axes if (legend := axis.get_legend()) for text in legend.get_texts()]
    return " | ".join([*titles, *legends, *texts])


def history(series: list[str]) -> pa.Table:
    rows = [(one, day, Decimal(n % 7)) for one in series for n, day in enumerate(DAYS)]
    return pa.table({"series_id": [r[0] for r in rows], "date": [r[1] for r in rows], "target": [r[2] for r in rows]})


def forecasts(series: list[str]) -> pa.Table:
    columns = {
        "series_id": [one for one in series for _ in range(14)],
        "date": [DAYS[-1] + timedelta(days=n + 1) for n in range(14)] * len(series),
    }
    bounds = {"mean": 3.0, "lo_95": 0.0, "lo_80": 1.0, "hi_80": 5.0, "hi_95": 7.0}
    return pa.table(columns | {name: np.full(14 * len(series), value) for name, value in bounds.items()})


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_example_series_shows_up_to_six(drawn: list[Figure], count: int) -> None:
    series = [f"s{n}" for n in range(count)]
    picture(plots.example_series(history(series), forecasts(series), {one: f"title {one}" for one in series}))
    shown = [axis for axis in drawn[0].axes if axis.get_visible()]
    assert len(shown) == min(count, 6)
    for axis in shown:
        assert len(axis.lines) == 2
        assert len(axis.lines[0].get_xdata()) == 84, "the recent part of the history"
        assert len(axis.collections) == 2, "one band per interval"


def test_a_series_that_was_never_observed_is_drawn_too() -> None:
    picture(plots.example_series(history(["a"]), forecasts(["b"]), {"b": "new"}))


def evaluation() -> pa.Table:
    rows = [
        {
            "contender": name,
            "level": level,
            "segment": segment,
            "weighted_rmsse": error + 0.01 * len(segment),
            "weight": float(len(segment)),
        }
        for name, error in (("challenger", 0.7), ("floor_zero", 0.9), ("floor_mean_182", 0.8), ("family_ses", 0.6))
        for level, segment in (("fleet", "fleet"), *(("segment", "x" * n) for n in range(1, 20)))
    ]
    return pa.Table.from_pylist(rows)


def test_error_by_segment_compares_with_the_best_floor(drawn: list[Figure]) -> None:
    picture(plots.error_by_segment(evaluation(), largest=5))
    text = words(drawn[0])
    assert "challenger" in text
    assert "floor mean 182" in text
    assert "floor zero" not in text
    assert "champion" not in text
    assert text.rsplit("|")[-5:] == [f" {'x' * n}" + (" " if n < 19 else "") for n in (15, 16, 17, 18, 19)], (
        "the heaviest segments"
    )


def test_winners_counts_fitted_series_only(drawn: list[Figure]) -> None:
    picture(
        plots.winners(
            pa.table({"family": ["ses"] * 3 + ["tsb"] + ["segment"] * 9, "state": ["fitted"] * 4 + ["fallback"] * 9})
        )
    )
    text = words(drawn[0])
    assert "3 (75%)" in text
    assert "1 (25%)" in text
    assert "segment" not in text


def test_coverage_stacks_the_states_of_each_day(drawn: list[Figure]) -> None:
    picture(
        plots.coverage(
            pa.table({"as_of": [DAY] * 3 + [DAYS[1]] * 2, "state": ["fitted", "fitted", "fallback", "fitted", "odd"]})
        )
    )
    axis = drawn[0].axes[0]
    ends = {round(bar.get_x() + bar.get_width(), 6) for bar in axis.patches}
    assert {3.0, 2.0} <= ends, "stacked bars end at the number of series"
    assert "fitted 1" in words(drawn[0])


@pytest.mark.parametrize("days", [1, 400])
def test_volume_per_day(drawn: list[Figure], days: int) -> None:
    picture(plots.volume_per_day(pa.table({"date": DAYS[:days], "rows": range(days)})))
    assert len(drawn[0].axes[0].lines) == (1 if days > 28 else 0), "a trend needs a month"


def test_a_picture_that_is_too_large_becomes_coarser_and_never_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = pa.table({"date": DAYS, "rows": range(400)})
    fine = picture(plots.volume_per_day(volume))
    monkeypatch.setattr(plots, "MAX_BYTES", len(plots.volume_per_day(volume)) - 1)
    assert picture(plots.volume_per_day(volume)).width < fine.width
    monkeypatch.setattr(plots, "MAX_BYTES", 100)
    assert "larger than 100 bytes" in plots.volume_per_day(volume)
