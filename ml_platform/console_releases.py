"""Releases in the terminal: where they stand, what waits, what changed, who decided.

Belongs here: rendering with rich; every text that a person wrote is escaped. Does not belong here: reading and deciding.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from ml_platform.approvals import APPROVED, PENDING, PROMOTED, Request
from ml_platform.comparison import Comparison
from ml_platform.console import plain_table, printable
from ml_platform.environments import Carried, Environment
from ml_platform.registry import champion_as_of
from ml_platform.registry.pointer import pinned, standings
from ml_platform.takeback import Moved
from ml_platform.warehouse.contents import published

SHOWN_TEXT = 90


def _whole(value: object) -> str:
    return escape(printable(str(value)).replace("\n", " "))


def _text(value: object) -> str:
    """The same, cut where it would fill a table."""
    text = str(value)
    return _whole(text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}...")


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M}"


def show_standings(console: Console, environment: Environment, limit: int) -> None:
    """Every release of an environment, the newest first."""
    known = sorted(standings(environment.lake).values(), key=lambda one: one.order, reverse=True)
    if not known:
        console.print(
            f"no release in {environment.name}: ml-platform {'run retrain' if environment.name == 'dev' else 'promote'}"
        )
        return
    champion, held = champion_as_of(environment.lake, date.max, same_day=True), pinned(environment.lake)
    table = plain_table(
        f"Releases in {environment.name}, the newest first", "release", "", "decision", "by", "at (UTC)", "why", text=6
    )
    for one in known[:limit]:
        mark = "champion" if champion and one.release_id == champion.release_id else ""
        mark = ", ".join(filter(None, [mark, "pinned" if one.release_id == held else ""]))
        words = (one.release_id, mark, one.decision, one.decided_by, _moment(one.decided_at), one.reason)
        table.add_row(*map(_text, words))
    console.print(table)
    if len(known) > limit:
        console.print(f"and {len(known) - limit:,} more: --limit")


def show_request(console: Console, environment: Environment, one: Request) -> None:
    """A request with its evidence, and what to do about it."""
    console.print(f"[bold]{one.release_id}[/] in {environment.name}: {one.state}")
    console.print(
        f"  asked by {_text(one.asked_by)}, {_moment(one.at)} UTC, until {_moment(one.expires_at)} UTC: {_text(one.reason)}"
    )
    gate = one.evidence.get("gate", {})
    console.print(
        f"  gate: {_text(gate.get('verdict', 'unknown'))} as {_text(gate.get('kind', 'unknown'))}; sealed by {_text(one.evidence.get('sealed_by'))}"
    )
    for rule in one.evidence.get("rules", []):
        console.print(
            f"    {'passed' if rule['passed'] else 'FAILED'}  {rule['name']}: {_whole(rule['explanation'])}",
            soft_wrap=True,
        )
    if one.approved_by:
        console.print(f"  approved by {_text(', '.join(one.approved_by))} ({len(one.approved_by)} of {one.approvals})")
    if one.closed:
        console.print(f"  {_whole(one.closed)}", soft_wrap=True)
    command = f"{one.release_id} --to {environment.name} --by NAME --reason WHY"
    if one.state == PENDING:
        console.print(f"  ml-platform approve {command}", soft_wrap=True)
        console.print(f"  ml-platform reject {command}", soft_wrap=True)
    elif one.state == PROMOTED:
        console.print(f"  used in {environment.name}: nothing is left to do")
    elif one.state == APPROVED:
        console.print(
            f"  the sensor of {environment.name} carries it on; without it: ml-platform promote {command}",
            soft_wrap=True,
        )


def show_carried(console: Console, done: Carried) -> None:
    """What a promotion into an environment did."""
    smoke = ", ".join(
        f"{value:,} {name}" if isinstance(value, int) else f"{name} {value}" for name, value in done.smoke.items()
    )
    copied = "copied and verified" if done.received else "was there, verified"
    console.print(
        f"[bold]{done.release_id}[/] is used in {done.environment}: {copied}, tried on its data ({smoke}), {done.seconds:.1f} s"
    )


def show_published(console: Console, environment: Environment) -> None:
    """Where the newest published forecasts are not the champion's any more, and the way to change that."""
    pointers = published(environment.lake)
    if not pointers:
        return
    day, shown = pointers[-1].as_of, pointers[-1].release_id
    champion = champion_as_of(environment.lake, day, same_day=True)
    if champion is None:
        console.print(
            f"  no release is used as of {day}: nothing is forecast until one is; what {shown} published stays"
        )
    elif champion.release_id != shown:
        way = f"ml-platform rollback --to {champion.release_id} --in {environment.name} --by NAME --reason WHY"
        console.print(
            f"  published as of {day} is still {shown}: the next day uses the champion, or now: {way}", soft_wrap=True
        )


def show_moved(console: Console, name: str, moved: Moved, seconds: float) -> None:
    """What a person's decision changed."""
    if moved.before == moved.after:
        console.print(f"champion of {name} stays {moved.after or 'none'} ({seconds:.2f} s)")
    else:
        console.print(
            f"champion of {name}: {moved.before or 'none'} -> [bold]{moved.after or 'none'}[/] ({seconds:.2f} s)"
        )
    if moved.trouble:
        console.print(
            f"  the alias in MLflow could not follow, the next decision takes it along: {_text(moved.trouble)}",
            soft_wrap=True,
        )
    if moved.withdrawn:
        console.print(f"  out of use: {', '.join(moved.withdrawn)}", soft_wrap=True)


def show_comparison(console: Console, found: Comparison, limit: int) -> None:
    """Counts of what changed, and the series with the largest changes."""
    told = ", ".join(f"{number:,} {name}" for name, number in found.counts.items())
    console.print(f"{found.first} against {found.second}: {told}", soft_wrap=True)
    rows = found.series.head(limit)
    if not len(rows):
        return
    day = f", forecasts as of {found.day}" if found.day else ", no day that both forecast"
    table = plain_table(f"The largest changes{day}", "series", "family", "error", "mean per step", text=4)
    for series, row in zip(rows.index, rows.to_dict("records"), strict=True):
        table.add_row(_text(series), _both(row, "family"), _both(row, "error"), _both(row, "forecast"))
    console.print(table)


def _both(row: Mapping[Any, Any], name: str) -> str:
    first, second = (_figure(row[f"{name}_{side}"]) for side in "ab")
    return first if first == second else f"{first} -> {second}"


def _figure(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"  # noqa: PLR0124 - NaN
    return _text(value)


def show_audit(console: Console, rows: Sequence[Mapping[str, Any]], limit: int) -> None:
    """The newest decisions."""
    if not rows:
        console.print("nothing was decided yet")
        return
    table = plain_table(
        f"The newest {min(limit, len(rows))} of {len(rows):,} decisions",
        "no.",
        "at (UTC)",
        "action",
        "release",
        "by",
        "why",
        text=6,
    )
    for row in list(rows)[-limit:][::-1]:
        table.add_row(
            str(row["number"]),
            _moment(row["at"]),
            *map(_text, (row["action"], row["release_id"], row["actor"], row["reason"])),
        )
    console.print(table)
