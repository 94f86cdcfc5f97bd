"""Schemas of the tables whose shape does not depend on configuration.

Belongs here: ops and gold tables, one TableSpec each. Does not belong here: bronze, silver and panel (made from contracts).
"""

import pyarrow as pa

from ml_platform.lake import names
from ml_platform.lake.store import TableSpec

INSTANT = pa.timestamp("us", tz="UTC")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


LEDGER = TableSpec(
    names.LEDGER,
    _schema(
        drop_id=pa.string(),
        source=pa.string(),
        path=pa.string(),
        etag=pa.string(),
        length=pa.int64(),
        content_sha256=pa.string(),
        drop_day=pa.date32(),
        state=pa.string(),
        reason=pa.string(),
        rows_in=pa.int64(),
        rows_loaded=pa.int64(),
        rows_quarantined=pa.int64(),
        rows_duplicate=pa.int64(),
        rows_erased=pa.int64(),
        table_version=pa.int64(),
        run_id=pa.string(),
        first_seen_at=INSTANT,
        settled_at=INSTANT,
        attempt=pa.int64(),
        sequencer=pa.string(),
    ),
    description="One row per drop with its final state at bronze: a projection of the bronze commits.",
)

QUARANTINE = TableSpec(
    names.QUARANTINE,
    _schema(
        source=pa.string(),
        drop_id=pa.string(),
        path=pa.string(),
        stage=pa.string(),
        row_number=pa.int64(),
        rule=pa.string(),
        value=pa.string(),
        raw=pa.string(),
        state=pa.string(),
        period=pa.string(),
        quarantined_at=INSTANT,
        quarantine_id=pa.string(),
        decided_by=pa.string(),
        reason=pa.string(),
        decided_at=INSTANT,
    ),
    description="Rows and files that were refused, with place, rule and value; row_number is null for a whole file.",
)

DECISIONS = TableSpec(
    names.DECISIONS,
    _schema(
        quarantine_id=pa.string(),
        source=pa.string(),
        drop_id=pa.string(),
        stage=pa.string(),
        row_number=pa.int64(),
        rule=pa.string(),
        attempt=pa.int64(),
        decision=pa.string(),
        decided_by=pa.string(),
        reason=pa.string(),
        corrections=pa.string(),
        decided_at=INSTANT,
    ),
    description="Every decision on a quarantined row or file, append only: the state in ops/quarantine follows from it.",
)

ROW_FATES = TableSpec(
    names.ROW_FATES,
    _schema(
        source=pa.string(),
        drop_id=pa.string(),
        stage=pa.string(),
        period=pa.string(),
        fate=pa.string(),
        rule=pa.string(),
        rows=pa.int64(),
    ),
    description="What became of a drop's rows after bronze, counted per drop, stage and month of the event.",
)

TOUCHED = TableSpec(
    names.TOUCHED,
    _schema(
        source=pa.string(),
        silver_version=pa.int64(),
        date=pa.date32(),
        series_id=pa.string(),
        key=pa.string(),
        change=pa.string(),
        rows=pa.int64(),
        touched_at=INSTANT,
    ),
    description="Dates and series whose kept rows a silver commit changed; one row `all` without them for a first build.",
)

ERASURES = TableSpec(
    names.ERASURES,
    _schema(
        erasure_id=pa.string(),
        source=pa.string(),
        column=pa.string(),
        digest=pa.string(),
        place=pa.string(),
        requested_by=pa.string(),
        reason=pa.string(),
        requested_at=INSTANT,
        completed_at=INSTANT,
        rows=pa.string(),
    ),
    description="One row per erasure of a person's key: a keyed digest, never the key; who, why, when, and rows by table or file.",
)

PUBLISHED = TableSpec(
    names.PUBLISHED,
    _schema(as_of=pa.date32(), release_id=pa.string(), published_at=INSTANT),
    description="The pointer of the marts: per as-of day the newest row names the release whose forecasts are shown.",
)

ALERTS = TableSpec(
    names.ALERTS,
    _schema(raised_at=INSTANT, job=pa.string(), run_id=pa.string(), steps=pa.string(), message=pa.string()),
    description="One row per failed run.",
)

STORAGE_EVENTS = TableSpec(
    names.STORAGE_EVENTS,
    _schema(
        event_id=pa.string(),
        source=pa.string(),
        path=pa.string(),
        etag=pa.string(),
        length=pa.int64(),
        sequencer=pa.string(),
        api=pa.string(),
        event_time=INSTANT,
        received_at=INSTANT,
        outcome=pa.string(),
        row_id=pa.string(),
    ),
    description="One row per storage event and path that it told of, and what became of it.",
)

DEAD_LETTERS = TableSpec(
    names.DEAD_LETTERS,
    _schema(
        message_id=pa.string(),
        text=pa.string(),
        reason=pa.string(),
        dequeue_count=pa.int64(),
        received_at=INSTANT,
    ),
    description="Messages that are no storage events, or that came too often: taken out of the queue and kept here.",
)

MAINTENANCE = TableSpec(
    names.MAINTENANCE,
    _schema(
        table=pa.string(),
        action=pa.string(),
        files=pa.int64(),
        bytes=pa.int64(),
        versions=pa.int64(),
        at=INSTANT,
        run_id=pa.string(),
        reason=pa.string(),
    ),
    description="What retention did: one row per table and action of an applied run, with files, bytes and versions that went.",
)

AUDIT = TableSpec(
    names.AUDIT,
    _schema(
        number=pa.int64(),
        at=INSTANT,
        environment=pa.string(),
        action=pa.string(),
        release_id=pa.string(),
        actor=pa.string(),
        reason=pa.string(),
        details=pa.string(),
        previous=pa.string(),
        hash=pa.string(),
        signature=pa.string(),
    ),
    description="Every decision about a release, append only: each row has the hash of the one before and a signature.",
)

REQUESTS = TableSpec(
    names.REQUESTS,
    _schema(
        request_id=pa.string(),
        release_id=pa.string(),
        as_of=pa.date32(),
        state=pa.string(),
        actor=pa.string(),
        reason=pa.string(),
        at=INSTANT,
        expires_at=INSTANT,
        source=pa.string(),
        evidence=pa.string(),
    ),
    description="What became of each request to use a release here, append only: requested, approved, rejected, expired, promoted. The newest row counts.",
)

PROMOTED_RELEASE = TableSpec(
    names.PROMOTED_RELEASE,
    _schema(
        as_of=pa.date32(),
        release_id=pa.string(),
        promoted=pa.bool_(),
        decided_at=INSTANT,
        approved_by=pa.string(),
        rules=pa.string(),
        evidence=pa.string(),
        decision=pa.string(),
        reason=pa.string(),
        number=pa.int64(),
    ),
    description="One row per decision on a release: the verdict with every rule, value and limit, who or what decided, and why; a release's newest row counts. "
    "decision: promoted, stopped, withdrawn, reinstated; pinned and unpinned say which stays champion. number: of the commit.",
)

GATE_VERDICTS = TableSpec(
    names.GATE_VERDICTS,
    _schema(
        as_of=pa.date32(),
        release_id=pa.string(),
        kind=pa.string(),
        rule=pa.string(),
        segment=pa.string(),
        value=pa.float64(),
        limit=pa.float64(),
        passed=pa.bool_(),
        blocks=pa.bool_(),
        explanation=pa.string(),
        decided_at=INSTANT,
    ),
    description="One row per judged release and rule, and per segment that a rule looked at: value, limit, verdict, whether it stops anything.",
)

JUDGED_BLOCKS = TableSpec(
    names.JUDGED_BLOCKS,
    _schema(
        as_of=pa.date32(),
        settings=pa.string(),
        beside=pa.string(),
        first_date=pa.date32(),
        segment=pa.string(),
        week=pa.int64(),
        loss=pa.float64(),
        mass=pa.float64(),
        champion_loss=pa.float64(),
        champion_mass=pa.float64(),
    ),
    description="Sums of losses of new recipes and of the champion's by segment and week of a judged fold: what later days know of earlier origins.",
)


def fleet_evaluation(intervals: tuple[int, ...]) -> TableSpec:
    """Errors on the fold that chose nothing, with one coverage column per interval (percent)."""
    return TableSpec(
        names.FLEET_EVALUATION,
        _schema(
            as_of=pa.date32(),
            contender=pa.string(),
            release_id=pa.string(),
            level=pa.string(),
            segment=pa.string(),
            weighted_rmsse=pa.float64(),
            wape=pa.float64(),
            wape_week=pa.float64(),
            bias=pa.float64(),
            **{f"coverage_{one}": pa.float64() for one in intervals},
            weight=pa.float64(),
            series=pa.int64(),
            unscaled=pa.int64(),
            rows=pa.int64(),
            **dict.fromkeys(("error", "skill", "weekly_bias"), pa.float64()),
            **{
                f"{name}_{suffix}".rstrip("_"): pa.float64()
                for name in ("excess_bias", "difference")
                for suffix in ("", "se", "units")
            },
            improved=pa.float64(),
            origins=pa.int64(),
            **{f"{side}_{one}": pa.float64() for one in intervals for side in ("below", "above", "reaching")},
        ),
        description="Challenger, champion, families and floors on the newest fold, which chose nothing, by fleet and by segment. error: that of the "
        "objective; difference: of the challenger from the champion, relative, with standard error and effective units; improved: share of weight; "
        "weekly_bias, excess_bias: sums by week, and how much more they are off than the best floor's.",
    )


def forecasts(interval_columns: tuple[str, ...], time: pa.DataType) -> TableSpec:
    """Forecasts with one column per interval bound; `time` is the type of `date` (date32, or an instant below a day)."""
    return TableSpec(
        names.FORECASTS,
        _schema(
            as_of=pa.date32(),
            release_id=pa.string(),
            series_id=pa.string(),
            step=pa.int32(),
            date=time,
            mean=pa.float64(),
            point=pa.float64(),
            **{one: pa.float64() for one in interval_columns},
            family=pa.string(),
        ),
        partition_by=("as_of",),
        description="Every forecast ever made: key (as_of, release_id, series_id, step), append only; mean is the expected value.",
    )


def forecast_sums(interval_columns: tuple[str, ...], time: pa.DataType) -> TableSpec:
    """Forecasts of sums of series, whatever columns they are by: `keys` has their values as JSON, so that levels come and go while the columns stay."""
    return TableSpec(
        names.FORECAST_SUMS,
        _schema(
            as_of=pa.date32(),
            release_id=pa.string(),
            level=pa.string(),
            sum_id=pa.string(),
            keys=pa.string(),
            step=pa.int32(),
            date=time,
            mean=pa.float64(),
            point=pa.float64(),
            **{one: pa.float64() for one in interval_columns},
            series=pa.int64(),
            fallback=pa.int64(),
            quarantined=pa.int64(),
        ),
        partition_by=("as_of",),
        description="Forecasts of sums of series: key (as_of, release_id, sum_id, step), append only. mean is the sum of the means in gold/forecasts of "
        "`series` series, `fallback` of them without a model of their own; `quarantined` more are expected in the sum and are not in it.",
    )
