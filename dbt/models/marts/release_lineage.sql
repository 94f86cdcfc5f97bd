-- Of every published as-of day: the release that its forecasts come from, and where that comes from itself.
select
    releases.as_of,
    published.published_at,
    releases.release_id,
    releases.trained_as_of,
    releases.kind,
    releases.decision,
    releases.decided_by,
    releases.decided_at,
    releases.reason,
    releases.model_version,
    releases.sealed_by,
    releases.sealed_at,
    releases.code_commit,
    releases.kernel,
    releases.lock_sha256,
    releases.input_tables
from {{ source('lake', 'releases') }} as releases
inner join {{ source('lake', 'published') }} as published
    on releases.as_of = published.as_of and releases.release_id = published.release_id
