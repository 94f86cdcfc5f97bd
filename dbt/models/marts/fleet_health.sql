-- What became of every series, per as-of day: its state, the reason and the family that forecasts it.
select
    states.as_of,
    released.release_id,
    coalesce(released.promoted, false) as promoted,
    published.published_at,
    states.state,
    coalesce(states.reason, '') as reason,
    coalesce(states.family, '') as family,
    states.series,
    states.series / sum(states.series) over (partition by states.as_of) as share
from {{ source('lake', 'fleet_states') }} as states
left join (
    select
        judged.as_of,
        judged.release_id,
        judged.promoted,
        row_number() over (partition by judged.as_of order by judged.decided_at desc) as newest
    from {{ source('lake', 'promoted_release') }} as judged
) as released
    on states.as_of = released.as_of and released.newest = 1
left join {{ source('lake', 'published') }} as published
    on released.as_of = published.as_of and released.release_id = published.release_id
