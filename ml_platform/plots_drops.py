"""Pictures of ingestion: rows and files per drop day with what was odd, and what became of the rows.

Belongs here: drawing ledger, fates and warnings that are already computed. Does not belong here: judging drops (drop_warnings), the frame
of a picture (plots).
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_platform import plots
from ml_platform.drop_warnings import DropHistory
from ml_platform.lake.ledger import DUPLICATE, LOADED, QUARANTINED, REPLACED
from ml_platform.plots import BLUE, GREEN, GREY, LIGHT, ORANGE, RED, STATE_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("loaded", "quarantined", "duplicate", "erased")
STATES = (LOADED, QUARANTINED, DUPLICATE, REPLACED)
FATE_COLOURS = {"kept": BLUE, "loaded": BLUE, "excluded": GREY, "quarantined": RED, "superseded": ORANGE}
DETAIL = 13  # seasons (weeks) that are drawn with their usual range


def drops_per_day(ledger: pa.Table, history: DropHistory) -> str:
    """Rows per drop day with the usual range and the odd days marked: the newest weeks, then all; below them files by state.

    `ledger`: the rows of ops/ledger of one source. Drops whose day is none of the calendar's, or whose name was refused, are counted, not drawn.
    """
    drops, known = plots.pandas_of(ledger), history.figures.days
    there = np.isin(drops["drop_day"].to_numpy("datetime64[D]"), known)
    drawn = drops[there].assign(drop_day=pd.to_datetime(drops["drop_day"][there]))
    long = len(known) > DETAIL * history.figures.season
    figure, axes = plots.blank(8, 5.6 if long else 4.0, 3 if long else 2)
    first = known[-DETAIL * history.figures.season :][:1] if long else known[:1]
    _rows(axes[0], drawn[drawn["drop_day"].to_numpy() >= first[0]] if len(first) else drawn, history, band=True)
    if long:
        _rows(axes[1], drawn, history, band=False)
    _files(axes[-1], drawn, int((~there).sum()))
    axes[-1].set_xlabel("drop day", fontsize=8)
    return plots.markdown(figure, "Drops per day: rows, and files by state")


def _rows(axis: "Axes", drops: pd.DataFrame, history: DropHistory, *, band: bool) -> None:
    """Rows of all versions in force, stacked by what became of them; `band`: with the usual range as a box per day."""
    wide = drops[drops["state"] != REPLACED].groupby("drop_day")[[f"rows_{part}" for part in PARTS]].sum().sort_index()
    width = _stacked(axis, wide.rename(columns=lambda name: str(name).removeprefix("rows_")), "rows")
    shown = history.figures.days >= wide.index.to_numpy("datetime64[D]").min() if len(wide) else np.array([], bool)
    days, low, high = history.figures.days[shown], history.usual_rows.low[shown], history.usual_rows.high[shown]
    if band and np.isfinite(low).any():
        axis.bar(days, high - low, bottom=low, width=width, color=GREEN, alpha=0.35, label="usual range of the weekday")
    _odd(axis, history, days)
    axis.set_ylabel("rows per drop day", fontsize=8)
    axis.yaxis.set_major_formatter("{x:,.0f}")
    plots.legend(axis)


def _files(axis: "Axes", drops: pd.DataFrame, undated: int) -> None:
    wide = pd.crosstab(drops["drop_day"], drops["state"]).sort_index()
    order = [*(one for one in STATES if one in wide.columns), *(one for one in wide.columns if one not in STATES)]
    _stacked(axis, wide[order], "files")
    axis.set_ylabel("files per drop day", fontsize=8)
    axis.locator_params(axis="y", integer=True)
    if undated:
        axis.plot([], [], " ", label=f"and {undated:,} whose day is none of the calendar")
    plots.legend(axis)


def _stacked(axis: "Axes", wide: pd.DataFrame, unit: str) -> float:
    """One bar per day (index) of parts (columns) that are not all 0, named with their sums; returns the width of a bar in days."""
    days, base = wide.index.to_numpy("datetime64[D]"), np.zeros(len(wide))
    width = float(np.median(np.diff(days).astype(float))) if len(days) > 1 else 1.0
    for part in [name for name in wide.columns if wide[name].any()]:
        values = wide[part].to_numpy(float)
        label = f"{part}: {int(values.sum()):,} {unit}"
        axis.bar(days, values, bottom=base, width=0.9 * width, color=STATE_COLOURS.get(part, LIGHT), label=label)
        base = base + values
    if len(days):
        edge = np.timedelta64(round(2 * width) + (3 if len(days) < 3 else 0), "D")
        axis.set_xlim(days[0] - edge, days[-1] + edge)
    locator = plots.dates().AutoDateLocator(minticks=3, maxticks=9)
    locator.intervald[plots.dates().HOURLY] = [24]  # a day is the finest that there is
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(plots.dates().ConciseDateFormatter(locator))
    axis.xaxis.get_offset_text().set_fontsize(7)
    return width


def _odd(axis: "Axes", history: DropHistory, days: NDArray[np.datetime64]) -> None:
    """A mark on every odd day of `days`, at its height, and a cross where a day is missing."""
    found = history.figures
    height = dict(zip(found.days.tolist(), np.nan_to_num(found.rows).tolist(), strict=True))
    shown = set(days.tolist())
    for missing, mark, colour, what in ((False, "v", ORANGE, "odd"), (True, "x", RED, "missing")):
        odd = sorted({one.day for one in history.warnings if one.missing == missing and one.day in shown})
        if odd:
            at = np.array(odd, "datetime64[D]")
            axis.scatter(
                at, [height[day] for day in odd], marker=mark, s=28, color=colour, zorder=5, label=f"{len(odd)} {what}"
            )


def fate_balance(ledger: pa.Table, fates: pa.Table) -> str:
    """What became of a source's rows at bronze and at silver, as bars with a logarithmic axis, and whether both add up.

    `ledger`: rows of ops/ledger of one source; `fates`: its rows of ops/row_fates with stage silver.
    """
    bronze, silver = _at_bronze(ledger), _at_silver(fates)
    totals = {"bronze": pc.sum(ledger["rows_in"]).as_py() or 0, "silver": bronze["loaded", ""] + bronze["erased", ""]}
    shown = [
        (stage, *name, rows)
        for stage, found in (("bronze", bronze), ("silver", silver))
        for name, rows in found.items()
        if rows
    ]
    figure, (axis,) = plots.blank(8, 0.28 * max(len(shown), 3) + 1.1)
    places, counts = np.arange(len(shown))[::-1], [rows for *_, rows in shown]
    bars = axis.barh(places, counts, color=[FATE_COLOURS.get(fate, LIGHT) for _, fate, _, _ in shown])
    axis.bar_label(bars, [f" {rows:,} ({rows / max(totals[stage], 1):.2%})" for stage, *_, rows in shown], fontsize=8)
    names = [f"{stage}: {fate}{f' ({rule})' if rule else ''}" for stage, fate, rule, _ in shown]
    axis.set_yticks(places, names, fontsize=8)
    if shown:
        axis.set_xscale("log")
    axis.margins(x=0.2)
    axis.set_xlabel("rows, logarithmic (shares: of rows in at bronze, of loaded and erased rows at silver)", fontsize=8)
    axis.set_title(_sums(totals, sum(bronze.values()), sum(silver.values())), fontsize=8, loc="left")
    return plots.markdown(figure, "What became of the rows")


def _at_bronze(ledger: pa.Table) -> dict[tuple[str, str], int]:
    return {(part, ""): pc.sum(ledger[f"rows_{part}"]).as_py() or 0 for part in PARTS}


def _at_silver(fates: pa.Table) -> dict[tuple[str, str], int]:
    """Rows by fate and rule, the most first."""
    grouped = fates.group_by(["fate", "rule"]).aggregate([("rows", "sum")]).sort_by([("rows_sum", "descending")])
    return {(row["fate"], row["rule"] or ""): row["rows_sum"] for row in grouped.to_pylist()}


def _sums(totals: dict[str, int], bronze: int, silver: int) -> str:
    """Both sums in words, a line each; a difference is named. What was erased has a fate at silver, too."""
    loaded = _accounted("loaded and erased rows", totals["silver"], silver)
    return f"{_accounted('rows in', totals['bronze'], bronze)}\n{loaded}"


def _accounted(what: str, whole: int, found: int) -> str:
    if whole == found:
        return f"{whole:,} {what}, each accounted for"
    apart = f"{abs(whole - found):,} {'too many' if found > whole else 'not yet'}"
    return f"{whole:,} {what}, {found:,} ACCOUNTED FOR, {apart}"
