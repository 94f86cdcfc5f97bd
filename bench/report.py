"""docs/benchmarks.md and its chart from the results below docs/benchmarks/: `python -m bench.report`.

Belongs here: tables and a picture of results. Does not belong here: measuring, what the page says around them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import results
from bench.plan import Fleet, plan

PAGE = results.ROOT / "docs" / "benchmarks.md"
CHART = results.ROOT / "docs" / "images" / "peers.svg"
GIB = 2**30

Row = Mapping[str, object]
Columns = Mapping[str, Callable[[Row], str]]


def number(name: str, form: str) -> Callable[[Row], str]:
    """How a column of figures is written; empty where a row has none."""
    return lambda row: format(float(str(row[name])), form) if name in row else ""


PEERS: Columns = {
    "method": lambda row: str(row["title"]),
    "series": number("series", ",.0f"),
    "series per core-second": lambda row: str(row["objection"] or number("speed", ",.1f")(row)),
    "CPU s": number("cpu", ",.1f"),
    "GiB": lambda row: f"{float(str(row['peak'])) / GIB:.1f}",
    "weighted RMSSE": number("rmsse", ".4f"),
    "WAPE": number("wape", ".1%"),
    "bias": number("bias", "+.1%"),
    "regret": number("regret", ".1%"),
}
ETS: Columns = {
    "length": lambda row: str(row["length"]),
    "kind": lambda row: str(row["kind"]),
    "kernel, series per core-second": number("speed", ",.0f"),
    "AutoETS": number("peer_speed", ",.1f"),
    "times": number("ratio", ",.0f"),
    "mean RMSSE": number("rmsse", ".4f"),
    "of AutoETS": number("peer_rmsse", ".4f"),
    "above it": number("above", "+.2%"),
    "by chance": number("chance", ".2%"),
}
FLEET: Columns = {
    "series": number("series", ",.0f"),
    "days": number("days", ",.0f"),
    "rows": number("rows", ",.0f"),
    "workers": number("workers", ".0f"),
    "wall s": number("wall", ",.1f"),
    "CPU s": number("cpu", ",.1f"),
    "GiB": lambda row: f"{float(str(row['peak'])) / GIB:.2f}",
    "WAPE": number("wape", ".1%"),
    "of the true mean": number("wape_of_the_true_mean", ".1%"),
    "bias": number("bias", "+.1%"),
}
INCREMENT: Columns = {
    "series": number("series", ",.0f"),
    "days before": number("days", ",.0f"),
    **{
        f"{name}, s": number(name, ".2f")
        for name in ("read", "rows to statistics", "advance", "forecast", "statistics to rows", "write", "all", "cpu")
    },
}
RELEASES: Columns = {
    "what": lambda row: str(row["what"]),
    "one release, s": number("release", ".2f"),
    "one model per series, s": number("one_model_each", ",.0f"),
    "times": number("times", ",.0f"),
}


def table(rows: Sequence[Row], columns: Columns) -> str:
    """Rows as a table of Markdown."""
    lines = [columns.keys(), ["---"] * len(columns), *([write(row) for write in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances(about: Row) -> str:
    """When, where and how, and whether the machine was quiet."""
    beside = (
        "a quiet machine" if about["quiet"] else f"**provisional: measured beside other work** (load {about['load']})"
    )
    return f"{about['date']}, commit {about['commit']}, {about['machine']}, {beside}: `{about['command']}`"


def region(name: str, columns: Columns) -> str:
    """What the page holds of one benchmark."""
    about, rows = results.read(name)
    return f"{circumstances(about)}\n\n{table(rows, columns)}"


def ratios() -> str:
    """The peers, and how many times the core-seconds of the kernel's ridge each ridge of Spark takes."""
    _, rows = results.read("peers")
    speed = {str(row["name"]): float(str(row["speed"])) for row in rows}
    own = speed.get("kernel_ridge", 0.0)
    times = [
        f"{own / speed[name]:.1f} on {name.removeprefix('spark_')}"
        for name in ("spark_jvm", "spark_sail")
        if speed.get(name)
    ]
    said = (
        f"PySpark takes {' and '.join(times)} times the core-seconds of the kernel for the same ridge." if times else ""
    )
    return "\n\n".join(part for part in (region("peers", PEERS), said) if part)


def increment() -> str:
    """The days, and how far they end from what the whole history says."""
    about, _ = results.read("increment_day")
    said = (
        f"{float(str(about['bytes'])) / 1e6:.0f} MB of statistics; forecasts at most {float(str(about['farthest'])):.0e} of a series' largest value from those "
        f"of the whole history; the same recorded rows: {'yes' if about['same_rows'] else 'no'}."
    )
    return f"{region('increment_day', INCREMENT)}\n\n{said}"


def releases() -> str:
    """Both figures, and what the steps of a promotion take."""
    about, _ = results.read("releases")
    steps: Any = about.get("steps", {})
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in steps.items())
    said = f"{about.get('series', 0):,} series; the peer's figures are those of {about.get('models', 0)} models, scaled. Steps of the promotion: {told}."
    return f"{region('releases', RELEASES)}\n\n{said}"


def growth() -> str:
    """The points, and the plan for a million series that follows from them."""
    _, rows = results.read("growth")
    lines = [f"| {name} | {words} |" for name, words in plan(rows, Fleet()).items()]
    return "\n".join(
        [
            region("growth", FLEET),
            "",
            "A million series of 4,000 days on Spark, on paper, from the figures above:",
            "",
            "| what | how much |",
            "|---|---|",
            *lines,
        ]
    )


REGIONS: Mapping[str, Callable[[], str]] = {
    "peers": ratios,
    "ets": lambda: region("ets", ETS),
    "fleet": lambda: region("fleet", FLEET),
    "increment_day": increment,
    "releases": releases,
    "growth": growth,
}


def renewed(text: str) -> str:
    """The page with every region whose benchmark has run made anew. Raises ValueError where the page lacks its marks."""
    for name, make in REGIONS.items():
        begin, end = f"<!-- {name}: python -m bench.report -->\n", f"\n<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{PAGE} lacks {begin.strip()} or {end.strip()}: put both marks back")
        if results.read(name)[1]:
            before, rest = text.split(begin)
            text = before + begin + make() + end + rest.split(end, 1)[1]
    return text


def draw(rows: Sequence[Row]) -> None:
    """Series per core-second on a log scale, and beside it the regret, slowest at the bottom."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "peers"
    counted = sorted((row for row in rows if not row["objection"]), key=lambda row: float(str(row["speed"])))
    names = [str(row["title"]) for row in counted]
    colours = ["tab:blue" if str(row["name"]).startswith("kernel") else "tab:gray" for row in counted]
    figure, (speed, regret) = plt.subplots(1, 2, figsize=(9, 0.34 * len(names) + 1), sharey=True, width_ratios=(3, 2))
    bars = speed.barh(names, [float(str(row["speed"])) for row in counted], color=colours)
    speed.bar_label(bars, fmt="{:,.1f}", padding=2, fontsize=8)
    speed.set(xscale="log", xlabel="series per core-second (log)")
    speed.margins(x=0.15)
    regret.plot([100 * float(str(row["regret"])) for row in counted], names, "o", color="tab:orange")
    regret.set(xlabel="regret, % (less is better)")
    regret.set_xlim(left=0)
    regret.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    CHART.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CHART, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Write the page's regions and the chart."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    _, rows = results.read("peers")
    if rows:
        draw(rows)
    print(f"written: {PAGE.relative_to(results.ROOT)}, {CHART.relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
