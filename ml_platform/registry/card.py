"""The model card: what a release is, how well it forecasts for whom, and what it cannot do; for people, in Markdown and HTML.

Belongs here: words and tables. Does not belong here: computing what they show (card_figures), the release's files (store).
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

LIMITS = (
    "A series without enough active days is forecast by its segment's values and was not judged.",
    "It knows the calendar, its own history and the covariates above; it knows nothing of events that are in none of them.",
    "Intervals are measured on past origins: after a change that the history has not seen they are too narrow.",
    "The judged fold is one horizon long. What happened in these weeks to all series weighs on every figure of it.",
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #d0d7de;padding:.25rem .6rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}th{background:#f6f8fa}h1,h2{line-height:1.2}code{background:#f6f8fa}"
)
Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table of a card: column names, and rows whose numbers are shown with four digits, shares with `%` in their column's name in percent."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [f"| {' | '.join(self.columns)} |", f"|{'---|' * len(self.columns)}"]
        for row in self.rows:
            cells = [_cell(value, name) for value, name in zip(row, self.columns, strict=True)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def _cell(value: Cell, column: str) -> str:
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return "-"
    if isinstance(value, float):
        return f"{value:.1%}" if "%" in column else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


@dataclass(frozen=True)
class Card:
    """What a card tells, in order: facts by name, then tables under their headings, each with a sentence."""

    model: str
    as_of: date
    facts: Mapping[str, str]
    sections: Sequence[tuple[str, str, Table]]

    def markdown(self) -> str:
        """The card; the same bytes for the same figures."""
        facts = "\n".join(f"* **{name}**: {text}" for name, text in self.facts.items())
        parts = [f"# {self.model}, as of {self.as_of}", facts]
        for heading, sentence, table in self.sections:
            parts.append(f"## {heading}\n\n{sentence}\n\n{table.markdown() if table.rows else 'Nothing to show.'}")
        limits = "\n".join(f"* {one}" for one in LIMITS)
        return "\n\n".join([*parts, f"## Known limits\n\n{limits}"]) + "\n"


def to_html(markdown: str, title: str) -> str:
    """A card as a page of its own; whatever looks like HTML in it is shown as text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}</body></html>\n'
