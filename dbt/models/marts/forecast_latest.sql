-- The published forecasts of the newest as-of day, one row per series and step.
select
    forecasts.series_id,
    {{ key_columns('series') }}
    forecasts.as_of,
    forecasts.release_id,
    forecasts.date,
    forecasts.step,
    forecasts.mean,
    forecasts.point,
    {{ interval_columns('forecasts') }},
    forecasts.family,
    published.published_at,
    releases.decided_by,
    releases.decided_at,
    releases.code_commit,
    releases.input_tables
from {{ source('lake', 'forecasts') }} as forecasts
inner join {{ source('lake', 'published') }} as published
    on forecasts.as_of = published.as_of and forecasts.release_id = published.release_id
left join {{ source('lake', 'releases') }} as releases
    on forecasts.as_of = releases.as_of and forecasts.release_id = releases.release_id
left join {{ source('lake', 'series_catalogue') }} as series
    on forecasts.series_id = series.series_id
where published.as_of = (select max(newest.as_of) from {{ source('lake', 'published') }} as newest)
