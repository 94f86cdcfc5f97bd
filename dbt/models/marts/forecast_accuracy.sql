-- How good the forecasts are: on the fold that chose nothing (backtest), and against actuals that arrived after publication (live).
select
    'backtest' as basis,
    evaluation.as_of,
    evaluation.release_id,
    evaluation.contender,
    evaluation.level,
    evaluation.segment,
    evaluation.weighted_rmsse,
    evaluation.wape,
    evaluation.bias,
    {{ coverage_columns('evaluation') }},
    evaluation.series,
    evaluation.rows
from {{ source('lake', 'fleet_evaluation') }} as evaluation
union all
select
    'live' as basis,
    live.as_of,
    live.release_id,
    live.contender,
    live.level,
    live.segment,
    cast(null as double) as weighted_rmsse,
    live.wape,
    live.bias,
    {{ coverage_columns('live') }},
    live.series,
    live.rows
from {{ source('lake', 'live_accuracy') }} as live
