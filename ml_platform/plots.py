"""Pictures for people who would rather look than read: each function returns Markdown with a PNG inside.

Belongs here: drawing tables that are already computed, and the frame of every picture. Does not belong here: reading the lake, deciding what
is good, drops and fates (plots_drops).
All pictures have a white ground, so that they are readable in a light and in a dark UI, and stay below 60 kB.
"""

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BYTES = 60_000
BLUE, ORANGE, GREY, RED, GREEN, LIGHT = "#2458a6", "#d9822b", "#9aa5b1", "#c23030", "#2e8b57", "#dfe5ec"
FAMILY_COLOURS = (BLUE, ORANGE, GREEN, "#7a5195", "#bc5090", "#4aa3a2", "#8d6e63", GREY)
STATE_COLOURS = {
    "fitted": BLUE,
    "fallback": ORANGE,
    "carried_over": GREY,
    "quarantined": RED,
    "loaded": BLUE,
    "duplicate": GREY,
    "erased": LIGHT,
    "replaced": LIGHT,
}


def example_series(
    history: pa.Table,
    forecasts: pa.Table,
    titles: Mapping[str, str],
    *,
    recent: int = 84,
    title: str = "History and forecast of example series",
) -> str:
    """A grid of up to six series: the last `recent` observed dates, then the mean with its intervals.

    `history`: series_id, date, target; `forecasts`: series_id, date, mean, lo_<n>, hi_<n>; `titles`: series_id -> what to write above.
    """
    past, future, chosen = pandas_of(history), pandas_of(forecasts), list(titles)[:6]
    columns = min(3, len(chosen)) or 1
    rows = -(-len(chosen) // columns) or 1
    figure, axes = blank(3.7 * columns, 2.1 * rows + 0.4, rows, columns)
    for axis, series_id in zip(axes, chosen, strict=False):
        seen = past[past["series_id"] == series_id].dropna(subset="target").sort_values("date").tail(recent)
        _one_series(axis, seen, future[future["series_id"] == series_id].sort_values("date"))
        axis.set_title(titles[series_id], fontsize=8, loc="left")
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    return markdown(figure, title)


def _one_series(axis: "Axes", past: pd.DataFrame, future: pd.DataFrame) -> None:
    axis.plot(past["date"], past["target"].astype(float), color=GREY, linewidth=0.9)
    for level in sorted(
        (name.removeprefix("lo_") for name in future.columns if name.startswith("lo_")), key=int, reverse=True
    ):
        low, high = future[f"lo_{level}"].astype(float), future[f"hi_{level}"].astype(float)
        axis.fill_between(future["date"], low, high, color=BLUE, alpha=0.18, linewidth=0)
    axis.plot(future["date"], future["mean"].astype(float), color=BLUE, linewidth=1.4)
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(dates().AutoDateLocator(minticks=3, maxticks=5))
    axis.xaxis.set_major_formatter(dates().ConciseDateFormatter(axis.xaxis.get_major_locator()))


def error_by_segment(evaluation: pa.Table, *, largest: int = 14) -> str:
    """Weighted RMSSE per segment as horizontal bars: challenger, champion (where there is one) and the fleet's best floor.

    `evaluation`: rows of gold/fleet_evaluation of one as-of day; the segments with the largest weight are shown.
    """
    rows = pandas_of(evaluation).dropna(subset="weighted_rmsse")
    wide = rows[rows["level"] == "segment"].pivot_table(index="segment", columns="contender", values="weighted_rmsse")
    contenders = {"challenger": BLUE, "champion": ORANGE, _best_floor(rows): GREY}
    shown = {name: colour for name, colour in contenders.items() if name in wide.columns}
    weights = rows[(rows["level"] == "segment") & (rows["contender"] == "challenger")].set_index("segment")["weight"]
    order = weights.sort_values(ascending=False, kind="stable").index[:largest]
    wide = wide.reindex(order[::-1])
    figure, (axis,) = blank(8, 0.34 * max(len(wide), 3) + 1.0)
    height = 0.8 / max(len(shown), 1)
    for number, (name, colour) in enumerate(shown.items()):
        places = np.arange(len(wide)) + 0.4 - height * (number + 0.5)
        axis.barh(places, wide[name].to_numpy(float), height, color=colour, label=name.replace("_", " "))
    axis.set_yticks(np.arange(len(wide)), wide.index, fontsize=8)
    axis.set_xlabel("weighted RMSSE, lower is better", fontsize=8)
    legend(axis)
    return markdown(figure, "Error by segment")


def _best_floor(rows: pd.DataFrame) -> str:
    floors = rows[(rows["level"] == "fleet") & rows["contender"].str.startswith("floor_")]
    return "" if floors.empty else str(floors.sort_values(["weighted_rmsse", "contender"])["contender"].iloc[0])


def winners(fleet: pa.Table) -> str:
    """Fitted series by winning family, as bars. `fleet`: columns family and state of gold/candidate_fleet of one as-of day."""
    rows = pandas_of(fleet.select(["family", "state"]))
    counts = rows.loc[rows["state"] == "fitted", "family"].value_counts().sort_index().sort_values(kind="stable")
    figure, (axis,) = blank(8, 0.36 * max(len(counts), 2) + 0.8)
    colours = dict(zip(sorted(counts.index), FAMILY_COLOURS * 3, strict=False))
    bars = axis.barh(counts.index.astype(str), counts.to_numpy(), color=[colours[name] for name in counts.index])
    axis.bar_label(bars, labels=[f" {count:,} ({count / counts.sum():.0%})" for count in counts], fontsize=8)
    axis.margins(x=0.15)
    axis.set_xlabel("fitted series", fontsize=8)
    return markdown(figure, "Winning families")


def coverage(fleet: pa.Table, *, recent: int = 30) -> str:
    """Series by state, one stacked bar per as-of day. `fleet`: columns as_of and state of gold/candidate_fleet."""
    rows = pandas_of(fleet.select(["as_of", "state"]))
    wide = pd.crosstab(rows["as_of"], rows["state"]).sort_index().tail(recent)
    wide.index = pd.to_datetime(wide.index).strftime("%Y-%m-%d")
    figure, (axis,) = blank(8, 0.3 * max(len(wide), 2) + 1.1)
    left = np.zeros(len(wide))
    for state in sorted(wide.columns, key=_state_order):
        axis.barh(
            wide.index,
            wide[state],
            left=left,
            color=STATE_COLOURS.get(state, LIGHT),
            label=f"{state} {wide[state].iloc[-1]:,}",
        )
        left += wide[state].to_numpy(float)
    axis.invert_yaxis()
    axis.set_xlabel("series (figures: the newest day)", fontsize=8)
    legend(axis)
    return markdown(figure, "Series by state")


def _state_order(state: str) -> tuple[int, str]:
    known = list(STATE_COLOURS)
    return (known.index(state) if state in known else len(known)), state


def volume_per_day(volume: pa.Table, *, value: str = "rows", date: str = "date", what: str = "rows") -> str:
    """One bar per day with the trailing mean of 28 days. `volume`: a date column and a number column."""
    rows = pandas_of(volume.select([date, value])).groupby(date)[value].sum().astype(float).sort_index()
    figure, (axis,) = blank(8, 2.4)
    days = pd.to_datetime(rows.index)
    axis.bar(days, rows.to_numpy(), width=1.0, color=LIGHT if len(rows) > 28 else BLUE)
    if len(rows) > 28:
        axis.plot(days, rows.rolling(28, min_periods=7).mean(), color=BLUE, linewidth=1.3, label="mean of 28 days")
        legend(axis)
    axis.set_ylabel(what, fontsize=8)
    axis.margins(x=0.01)
    return markdown(figure, f"{what.capitalize()} per day")


def pandas_of(table: pa.Table) -> pd.DataFrame:
    """A table with its dates as instants, which matplotlib draws."""
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return frame


def dates() -> Any:
    """matplotlib.dates, imported where something is drawn."""
    import matplotlib.dates

    return matplotlib.dates


def blank(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple["Figure", "list[Axes]"]:
    """A figure without pyplot, which would keep state between runs, and its axes in reading order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(GREY)
        axis.tick_params(labelsize=7, color=GREY)
    return figure, axes


def legend(axis: "Axes") -> None:
    """What the colours mean, above the picture; nothing where nothing has a name."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, borderaxespad=0.2)


def markdown(figure: "Figure", title: str) -> str:
    """The figure at the finest resolution that fits."""
    texts = (
        f"![{title}](data:image/png;base64,{base64.b64encode(_png(figure, dpi)).decode()})"
        for dpi in (110, 90, 72, 55, 40)
    )
    return next(
        (text for text in texts if len(text) <= MAX_BYTES), f"{title}: the picture is larger than {MAX_BYTES} bytes"
    )


def png_of(markdown: str) -> bytes | None:
    """The picture that such a text holds; None where it was too large for one."""
    _, found, encoded = markdown.partition(";base64,")
    return base64.b64decode(encoded.removesuffix(")")) if found else None


def _png(figure: "Figure", dpi: int) -> bytes:
    """The figure in 64 colours: a third of the size, and no difference to the eye."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
