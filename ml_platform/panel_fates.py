"""Panel fates: what becomes of the target's silver rows on their way into the panel, counted per drop and month.

Belongs here: counting, and comparing with what silver kept. Does not belong here: the panel itself (features), fates of bronze rows (fates).
"""

from collections import Counter
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.accounts import UNDATED, fates_of
from ml_platform.checks import CheckResult
from ml_platform.fates import first_fitting
from ml_platform.forecasting.calendar import last_whole_day
from ml_platform.lake.names import SERIES_CATALOGUE
from ml_platform.lake.schemas import ROW_FATES
from ml_platform.panel_inputs import PanelInputs, to_arrow

STAGE = "panel"


def panel_fates(inputs: PanelInputs, as_of: date, first_month: str) -> pa.Table:
    """Rows by drop, month from `first_month` on, fate and rule (ROW_FATES): kept, waiting(after_as_of) or excluded(excluded_series)."""
    import pyspark.sql.functions as F

    last = last_whole_day(as_of, inputs.config.frequency)
    known = (
        inputs.table(SERIES_CATALOGUE)
        .where("state <> 'excluded'")
        .select(*inputs.key)
        .withColumn("_known", F.lit(True))
    )
    rows = inputs.silver(inputs.target).where(f"month >= '{first_month}'").join(F.broadcast(known), inputs.key, "left")
    cases = [
        (f"`date` > date'{last}'", "waiting", "after_as_of"),
        ("`_known` is null", "excluded", "excluded_series"),
    ]
    judged = first_fitting(rows, cases, F.lit("")).withColumnRenamed("month", "period")
    counted = judged.groupBy("drop_id", "period", "fate", "rule").agg(F.count(F.lit(1)).alias("rows"))
    named = counted.withColumns({"source": F.lit(inputs.target.name), "stage": F.lit(STAGE)})
    return to_arrow(named).select(ROW_FATES.schema.names).cast(ROW_FATES.schema)


def balance(inputs: PanelInputs, fates: pa.Table, first_month: str) -> CheckResult:
    """Every row that silver kept has a fate at the panel: by drop and month, as two tables say that were written apart."""
    kept = fates_of(inputs.lake, inputs.target.name)
    kept = kept.filter(
        (pc.field("fate") == "kept") & (pc.field("period") >= first_month) & (pc.field("period") != UNDATED)
    )
    wanted, found = _by_drop(kept), _by_drop(fates)
    apart = [key for key in wanted.keys() | found.keys() if wanted[key] != found[key]]
    return CheckResult(
        "row_fates",
        not apart,
        f"{sum(found.values())} rows have a fate, silver kept {sum(wanted.values())}"
        + (f"; {len(apart)} drops and months differ, such as {min(apart)}" if apart else ""),
        {"drops_and_months": len(wanted), "rows": sum(found.values())},
    )


def record(inputs: PanelInputs, fates: pa.Table, first_month: str) -> None:
    """Put the fates in the place of those known of these months."""
    own = f"source = '{inputs.target.name}' AND stage = '{STAGE}' AND period >= '{first_month}'"
    inputs.lake.replace(ROW_FATES, fates, own)


def _by_drop(fates: pa.Table) -> Counter[tuple[str, str]]:
    grouped = fates.group_by(["drop_id", "period"]).aggregate([("rows", "sum")])
    return Counter({(row["drop_id"], row["period"]): row["rows_sum"] for row in grouped.to_pylist()})
