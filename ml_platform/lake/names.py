"""Names of the tables that every configuration has, each written once.

Belongs here: stable names below the lake's root. Does not belong here: schemas, bronze and silver tables (named by their contracts).
"""

LEDGER = "ops/ledger"
QUARANTINE = "ops/quarantine"
DECISIONS = "ops/quarantine_decisions"
ROW_FATES = "ops/row_fates"
TOUCHED = "ops/touched"
ERASURES = "ops/erasures"
PUBLISHED = "ops/published"
ALERTS = "ops/alerts"
SERIES_CATALOGUE = "silver/series_catalogue"
SERIES_PANEL = "gold/series_panel"
CANDIDATE_FLEET = "gold/candidate_fleet"
FLEET_POOLS = "gold/fleet_pools"
FOLD_METRICS = "gold/fold_metrics"
JUDGED_FOLD = "gold/judged_fold"
FLEET_EVALUATION = "gold/fleet_evaluation"
PROMOTED_RELEASE = "gold/promoted_release"
FORECASTS = "gold/forecasts"
