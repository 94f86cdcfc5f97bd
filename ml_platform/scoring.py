"""Scoring: the champion as of a day forecasts every series of that day.

Belongs here: loading the champion, forecasting from the panel, appending, counting. Does not belong here: models (forecasting), rows of sums
(sums), publishing (warehouse).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import sums
from ml_platform.checks import Blocked, CheckResult
from ml_platform.coverage import NOT_EXPECTED
from ml_platform.forecasting import Fleet, ForecastConfig, predict
from ml_platform.forecasting.fleet import NEW_SERIES
from ml_platform.forecasting.increment import AdapterError
from ml_platform.lake import Lake, TableSpec, schemas
from ml_platform.panel import Panel, read_panel, without_failed
from ml_platform.registry import Registry, Sealed, champion_as_of
from ml_platform.updating_tables import read_statistics

NO_CHAMPION = "no release was promoted as of this day"


CHECKS = ("coverage",)


class ScoringError(Blocked):
    """Forecasts that do not cover the series exactly, or that are no numbers; names the first series and the way out."""

    def __init__(self, why: str) -> None:
        super().__init__("table gold/forecasts", [CheckResult(CHECKS[0], False, why)])


@dataclass(frozen=True)
class ScoringReport:
    """What scoring a day did. `series` counts expected series by outcome: scored, new_since_training, quarantined.

    `written` is False where the forecasts were there already, or, with a `reason`, where there is no champion. sums: rows of sums by level.
    untrained: levels of sums that the configuration asks for and the release does not know: it was trained before they were asked for.
    """

    as_of: date
    release_id: str | None
    rows: int
    written: bool
    series: Mapping[str, int] = field(default_factory=dict)
    families: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    sums: Mapping[str, int] = field(default_factory=dict)
    untrained: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """Coverage is required before anything is written: forecasts that are there hold it."""
        counted = ", ".join(f"{number} {outcome}" for outcome, number in self.series.items())
        text = f"as of {self.as_of}: {counted or self.reason or 'nothing was due'}"
        return (CheckResult(CHECKS[0], True, text, dict(self.series)),)


def forecasts_spec(config: ForecastConfig) -> TableSpec:
    """gold/forecasts with the intervals and the calendar of a configuration."""
    return schemas.forecasts(config.interval_columns, schemas.INSTANT if config.subdaily else pa.date32())


def sums_spec(config: ForecastConfig) -> TableSpec:
    """gold/forecast_sums, likewise."""
    return schemas.forecast_sums(config.interval_columns, schemas.INSTANT if config.subdaily else pa.date32())


def score(lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> ScoringReport:
    """Forecast the steps after `as_of` with the champion as of that day (a release of the day itself counts) and append them.

    `catalogue` is that of the day. The release is verified before it is used, and nothing newer than `as_of` is read. Forecasts of the same release and
    day are kept as they are: gold/forecasts is append only. An updated fleet without sums forecasts from what it remembers, and reads no history.
    Raises ReleaseError for changed bytes, ScoringError where coverage is not exact.
    """
    champion, nothing_left = champion_as_of(lake, as_of, same_day=True), settled(lake, config, as_of)
    if champion is None or nothing_left is not None:
        return nothing_left or ScoringReport(as_of, None, 0, written=False, reason=NO_CHAMPION)
    spec, release_id = forecasts_spec(config), champion.release_id
    sealed = registry.open(release_id)
    levels, untrained = sums.known_levels(sealed.fleet, config)
    made, panel = _forecasts(lake, sealed, catalogue, config, as_of, with_history=bool(levels))
    outcomes, of_sums = _outcomes(catalogue, sealed.fleet, made, set(panel.refused if panel else ())), sums.NOTHING
    if panel is not None and levels:
        made, of_sums = sums.sum_rows(sealed.fleet, panel.shard, made, _expected(catalogue), levels)
    rows = _shaped(made, spec, as_of, release_id)
    before = f"forecast_sums:{as_of}:{release_id}"
    if levels and lake.reached(sums_spec(config).name, before) < 0:  # first: the forecasts' commit settles the day
        lake.append(sums_spec(config), _shaped(of_sums, sums_spec(config), as_of, release_id), transactions=[before])
    lake.append(spec, rows, transactions=[f"forecasts:{as_of}:{release_id}"])
    return ScoringReport(
        as_of,
        release_id,
        rows.num_rows,
        True,
        outcomes,
        _families(rows),
        sums=_by_level(of_sums),
        untrained=untrained,
    )


def try_out(lake: Lake, sealed: Sealed, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> ScoringReport:
    """Forecast a day with a release that may be used there or not, and write nothing; ScoringError where coverage is not exact."""
    made, panel = _forecasts(lake, sealed, catalogue, config, as_of, with_history=False)
    outcomes = _outcomes(catalogue, sealed.fleet, made, set(panel.refused if panel else ()))
    return ScoringReport(as_of, sealed.release_id, made.num_rows, False, outcomes, _families(made))


def _forecasts(
    lake: Lake, release: Sealed, catalogue: pa.Table, config: ForecastConfig, as_of: date, with_history: bool
) -> tuple[pa.Table, Panel | None]:
    """Forecasts from what an update of the day remembers, where the history is not wanted and that is there; else from the history, beside it."""
    made = None if with_history else _remembered(lake, release, as_of)
    if made is not None:
        return made, None
    panel = read_panel(lake, without_failed(catalogue, release.fleet), config, as_of)
    return predict(release.fleet, panel.shard), panel


def _remembered(lake: Lake, release: Sealed, as_of: date) -> pa.Table | None:
    """Forecasts from what an update of the day left of every series, with the release's own parameters; None where that is not there, or not enough."""
    stored = read_statistics(lake, as_of, release.fleet, str(release.evidence.get("fingerprint")))
    try:
        return None if stored is None else stored.statistics.kept().forecasts()
    except AdapterError:  # models of others are fitted to the whole history
        return None


def settled(lake: Lake, config: ForecastConfig, as_of: date) -> ScoringReport | None:
    """The report of a day on which nothing is left to do: no champion, or its forecasts are there; None where `score` has work.

    It needs no catalogue, which takes long to make for every day of a long run.
    """
    champion = champion_as_of(lake, as_of, same_day=True)
    if champion is None:
        return ScoringReport(as_of, None, 0, written=False, reason=NO_CHAMPION)
    kept = _slice(lake, forecasts_spec(config), as_of, champion.release_id, ["series_id", "family"])
    if not kept.num_rows:
        return None
    of_sums = _slice(lake, sums_spec(config), as_of, champion.release_id, ["level"])
    series, families = {"scored": _series(kept)}, _families(kept)
    return ScoringReport(as_of, champion.release_id, kept.num_rows, False, series, families, sums=_by_level(of_sums))


def _by_level(rows: pa.Table) -> dict[str, int]:
    counted = rows.group_by("level").aggregate([("level", "count")]).sort_by("level")
    return dict(zip(counted["level"].to_pylist(), counted["level_count"].to_pylist(), strict=True))


def _slice(lake: Lake, spec: TableSpec, as_of: date, release_id: str, columns: list[str]) -> pa.Table:
    where = (pc.field("as_of") == pa.scalar(as_of)) & (pc.field("release_id") == release_id)
    return lake.read(spec.name, columns, where) if lake.exists(spec.name) else spec.schema.empty_table().select(columns)


def _series(rows: pa.Table) -> int:
    return int(pc.count_distinct(rows["series_id"]).as_py())


def _families(rows: pa.Table) -> dict[str, int]:
    """Series by the family that weighs most in their forecast."""
    counted = rows.group_by("family").aggregate([("series_id", "count_distinct")]).sort_by("family")
    return dict(zip(counted["family"].to_pylist(), counted["series_id_count_distinct"].to_pylist(), strict=True))


def _expected(catalogue: pa.Table) -> pa.Table:
    """The series that a day is due for."""
    return catalogue.filter(pc.invert(pc.is_in(catalogue["state"], pa.array(NOT_EXPECTED, pa.string()))))


def _outcomes(catalogue: pa.Table, fleet: Fleet, made: pa.Table, broken: set[str]) -> dict[str, int]:
    """Every expected series exactly once: scored by its own model, as a newcomer, or left out because fleet or data quarantine it."""
    expected = set(_expected(catalogue)["series_id"].to_pylist())
    trained = dict(zip(fleet.rows["series_id"].to_pylist(), fleet.rows["state"].to_pylist(), strict=True))
    steps = made.group_by("series_id").aggregate([("step", "count_distinct"), ("step", "count")]).to_pylist()
    whole = {
        one["series_id"] for one in steps if one["step_count_distinct"] == one["step_count"] == fleet.config.horizon
    }
    quarantined = {one for one in expected - whole if one in broken or trained.get(one) == "quarantined"}
    _require_exact(expected - whole - quarantined, {one["series_id"] for one in steps} - expected, made)
    newcomers = {one for one in whole if one not in trained}
    return {"scored": len(whole - newcomers), NEW_SERIES: len(newcomers), "quarantined": len(quarantined)}


def _require_exact(lost: set[str], strangers: set[str], made: pa.Table) -> None:
    for name, series in (("have no complete forecast", lost), ("are forecast but not expected", strangers)):
        if series:
            raise ScoringError(
                f"{len(series)} series {name}, such as {min(series)}: nothing was written; train the day anew or look at the panel of that series"
            )
    for name in made.column_names:
        if pa.types.is_floating(made[name].type) and not pc.all(pc.is_finite(made[name]), skip_nulls=False).as_py():
            raise ScoringError(
                f"column {name} of the forecasts holds a value that is no number: nothing was written; train the day anew"
            )


def _shaped(made: pa.Table, spec: TableSpec, as_of: date, release_id: str) -> pa.Table:
    fixed = {"as_of": pa.scalar(as_of, pa.date32()), "release_id": pa.scalar(release_id, pa.string())}
    columns = [pa.repeat(fixed[name], made.num_rows) if name in fixed else made[name] for name in spec.schema.names]
    return pa.table(columns, names=spec.schema.names).cast(spec.schema)
