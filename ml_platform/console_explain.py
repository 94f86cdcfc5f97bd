"""One number and its trail in the terminal.

Belongs here: rendering with rich; every text that came from a file is escaped. Does not belong here: following the trail (explain).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from ml_platform.console import plain_table, printable
from ml_platform.explain import Explanation


def _text(value: object) -> str:
    return escape(printable(str(value)).replace("\n", " "))


def show_explanation(console: Console, told: Explanation) -> None:
    """The number, what changed, the release, the model, its folds, its history, its drops."""
    key = ", ".join(f"{name} {value}" for name, value in told.key.items())
    one, manifest = told.number, told.manifest
    bounds = ", ".join(f"{name} {value:.4g}" for name, value in one.bounds.items())
    state = "published" if one.published else "not published"
    console.print(f"[bold]{one.mean:.4g}[/] is forecast for {_text(key)} on {told.day} ({bounds}); {state}")
    _section(console, "What changed", *(_text(words) for words in told.changed))
    where = told.standing
    decided = (
        f"{where.decision} by {where.decided_by} at {where.decided_at:%Y-%m-%d %H:%M} UTC: {where.reason}"
        if where
        else "nothing was decided about it"
    )
    _section(
        console,
        f"Release {one.release_id}, as of {one.as_of}, step {one.step}",
        _text(decided),
        _text(
            f"judged as {manifest.gate.get('kind', 'unknown')} on {manifest.folds.get('judged', 'no fold')}; sealed by {manifest.origin.created_by} at {manifest.origin.created_at:%Y-%m-%d %H:%M} UTC"
        ),
        _text(
            f"code {manifest.origin.code_commit}, kernel {manifest.origin.kernel}, packages {manifest.origin.lock_sha256[:12]}"
        ),
        _text("tables " + ", ".join(f"{name} version {version}" for name, version in manifest.data_versions.items())),
    )
    model = told.model
    weights = ", ".join(
        f"{name} {share:.0%}" for name, share in sorted(model.weights.items(), key=lambda each: -each[1])
    )
    _section(
        console,
        f"Model of series {told.series}",
        _text(f"{model.state}{f' ({model.reason})' if model.reason else ''}: {weights or 'weights of its segment'}"),
    )
    if model.folds:
        table = plain_table(
            f"Errors of {model.family} by fold, the newest judged",
            "fold",
            "rows",
            "mean absolute error",
            "bias per step",
            text=1,
        )
        for fold in model.folds:
            rows = max(fold["rows"], 1)
            table.add_row(
                str(fold["fold"]),
                str(fold["rows"]),
                f"{fold['absolute_error'] / rows:.4g}",
                f"{fold['bias'] / rows:+.4g}",
            )
        console.print(table)
    _section(
        console,
        "Its history",
        _text(", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in told.lately.items())),
    )
    _rows(console, "Drops of its last four weeks", told.drops)
    _rows(console, "Dates that were corrected", told.corrections)


def _figure(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _section(console: Console, title: str, *lines: str) -> None:
    console.print(f"\n[bold]{_text(title)}[/]")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)


def _rows(console: Console, title: str, rows: tuple[Mapping[str, Any], ...]) -> None:
    if not rows:
        return
    table = plain_table(title, *rows[0], text=len(rows[0]))
    for row in rows:
        table.add_row(*(_text(_figure(value)) for value in row.values()))
    console.print(table)
