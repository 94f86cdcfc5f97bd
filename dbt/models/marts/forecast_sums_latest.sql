-- The published forecasts of sums of series of the newest as-of day, one row per sum and step.
select
    sums.level,
    sums.sum_id,
    {{ sum_columns('sums') }}
    sums.as_of,
    sums.release_id,
    sums.date,
    sums.step,
    sums.mean,
    sums.point,
    {{ interval_columns('sums') }},
    sums.series,
    sums.fallback,
    sums.quarantined,
    published.published_at
from {{ source('lake', 'forecast_sums') }} as sums
inner join {{ source('lake', 'published') }} as published
    on sums.as_of = published.as_of and sums.release_id = published.release_id
where published.as_of = (select max(newest.as_of) from {{ source('lake', 'published') }} as newest)
