"""Names of the tables that every configuration has, each written once.

Belongs here: stable names below the lake's root. Does not belong here: schemas, bronze and silver tables (named by their contracts).
"""

LEDGER = "ops/ledger"
QUARANTINE = "ops/quarantine"
DECISIONS = "ops/quarantine_decisions"
ROW_FATES = "ops/row_fates"
PUBLISHED = "ops/published"
ALERTS = "ops/alerts"
STORAGE_EVENTS = "ops/storage_events"
DEAD_LETTERS = "ops/dead_letters"
MAINTENANCE = "ops/maintenance"
SERIES_CATALOGUE = "silver/series_catalogue"
SERIES_PANEL = "gold/series_panel"
CANDIDATE_FLEET = "gold/candidate_fleet"
FLEET_POOLS = "gold/fleet_pools"
FOLD_METRICS = "gold/fold_metrics"
JUDGED_FOLD = "gold/judged_fold"
FLEET_EVALUATION = "gold/fleet_evaluation"
PROMOTED_RELEASE = "gold/promoted_release"
FORECASTS = "gold/forecasts"
