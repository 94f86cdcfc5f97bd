"""Column lineage: from which columns of the assets before it each column of an asset comes.

Belongs here: naming them, by contracts and configuration. Does not belong here: the marts, whose lineage dagster-dbt reads from their SQL.
"""

from collections.abc import Iterable, Mapping

import dagster as dg

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import schemas
from ml_platform.panel_inputs import PanelInputs
from ml_platform.scoring import forecasts_spec
from ml_platform.training_tables import CANDIDATE_FLEET

Origin = tuple[str, str]  # an asset, and a column of it


def _lineage(origins: Mapping[str, Iterable[Origin]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in found]
            for column, found in origins.items()
        }
    )


def of_silver(source: SourceContract, contracts: Contracts) -> dg.TableColumnLineage:
    """Columns of bronze under their own names, those that lookups take, and the business date."""
    origins: dict[str, list[Origin]] = {name: [(source.bronze, name)] for name in source.bronze_spec.schema.names}
    for lookup in source.lookups:
        match = [(source.bronze, name) for name in lookup.match]
        origins |= {name: [(contracts[lookup.source].silver, name), *match] for name in lookup.take}
    if source.time:
        origins["date"] = [(source.bronze, source.time.column)]
    elif source.validity:
        origins["date"] = [(source.bronze, source.validity.start)]
    return _lineage(origins)


def of_catalogue(inputs: PanelInputs) -> dg.TableColumnLineage:
    """Keys and attributes under their own names; dates and states from the days that have rows."""
    silver = inputs.target.silver
    key, day = [(silver, name) for name in inputs.key], (silver, "date")
    origins: dict[str, list[Origin]] = {name: [(silver, name)] for name in (*inputs.key, *inputs.attributes)}
    origins |= dict.fromkeys(("series_id", "shard"), key)
    origins |= {
        name: [day]
        for name in ("first_date", "last_date", "active_days", "days_before_fold", "state", "reason")
        if name not in origins
    }
    return _lineage(origins)


def of_panel(inputs: PanelInputs) -> dg.TableColumnLineage:
    """Series and calendar from the catalogue, target and weight from the history, covariates from the source that declares them."""
    config, silver, catalogue = inputs.config, inputs.target.silver, "series_catalogue"
    origins: dict[str, list[Origin]] = {
        "series_id": [(catalogue, "series_id")],
        "date": [(silver, "date"), (catalogue, "first_date")],
        "target": [(silver, config.target)],
    }
    origins |= {"weight": [(silver, config.weight)]} if config.weight else {}
    for source, own in inputs.covariates:
        origins |= {one.name: [(source.silver, one.column), (source.silver, "date")] for one in own}
    return _lineage(origins)


def of_fleet(config: ForecastConfig) -> dg.TableColumnLineage:
    """What models say of a series comes from its target, weight and covariates."""
    read = [("series_panel", name) for name in _read(config)]
    made = ("family", "state", "reason", "parameters", "fingerprint", "detail", "choice")
    return _lineage(
        {"series_id": [("series_panel", "series_id")], **{name: read for name in made if name in CANDIDATE_FLEET.schema.names}}
    )  # fmt: skip


def of_evaluation(config: ForecastConfig) -> dg.TableColumnLineage:
    """Every figure comes from the models of the fleet."""
    own = [("candidate_fleet", "parameters")]
    told = {"as_of", "contender", "release_id", "level", "segment"}
    return _lineage({name: own for name in schemas.fleet_evaluation(config.intervals).schema.names if name not in told})


def of_release() -> dg.TableColumnLineage:
    """The release is named after its bytes, which are the fleet's; the verdict comes from the figures of the fold."""
    figures = [("fleet_evaluation", name) for name in ("error", "difference", "weekly_bias", "improved")]
    verdict = dict.fromkeys(("promoted", "rules", "reason"), figures)
    return _lineage({"release_id": [("candidate_fleet", "parameters")], **verdict})


def of_forecasts(config: ForecastConfig) -> dg.TableColumnLineage:
    """The numbers come from the history that the panel holds, by the release of the day."""
    release, date = ("promoted_release", "release_id"), ("series_panel", "date")
    origins: dict[str, list[Origin]] = {
        "series_id": [("series_panel", "series_id")],
        "release_id": [release],
        "date": [date],
        "step": [date],
        "family": [release],
    }
    read = [release, *(("series_panel", name) for name in _read(config))]
    return _lineage(origins | dict.fromkeys(("mean", "point", *config.interval_columns), read))


def of_warehouse(config: ForecastConfig) -> dg.TableColumnLineage:
    """A copy of the forecasts that are shown."""
    return _lineage({name: [("forecasts", name)] for name in forecasts_spec(config).schema.names})


def _read(config: ForecastConfig) -> list[str]:
    """Columns of the panel that models read."""
    return ["target", *(["weight"] if config.weight else []), *config.known_future]
