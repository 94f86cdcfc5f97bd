"""Fates: what the rules of a contract make of each row.

Belongs here: lookups, exclusions, notices, deletes and duplicates as Spark expressions. Does not belong here: which rows are looked at
(preparation), how fates are counted (accounts).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_platform.contracts import Condition, Lookup, SourceContract
from ml_platform.lake.decisions import Decision

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

NEWEST = ("drop_day", "ingested_at", "row_number")  # of two rows with one key the greater is the newer
DELETED = "key_deleted"


def ruled(rows: "DataFrame", contract: SourceContract, current: Callable[[str], "DataFrame"]) -> "DataFrame":
    """Rows with `fate` and `rule` by lookups and exclusion rules, in the contract's order: the first rule that fits.

    A row that deletes its key needs nothing but the key: no rule holds it up. `current`: the silver table of a looked-up source, by its name.
    """
    for lookup in contract.lookups:
        rows = _looked_up(rows, lookup, current(lookup.source))
    cases = [(_flagged(contract), "deleted", DELETED)] if contract.deletes else []
    cases += [(f"not {_found(one)}", "quarantined", one.missing) for one in contract.lookups]
    cases += [(_sql(one), "excluded", one.rule) for one in contract.exclude]
    return first_fitting(rows, cases, _notice(contract.notice))


def first_fitting(rows: "DataFrame", cases: Sequence[tuple[str, str, str]], notice: "Column") -> "DataFrame":
    """Rows with `fate` and `rule` of the first case (condition as Spark SQL, fate, rule) that holds; the others are kept, with `notice` as rule."""
    import pyspark.sql.functions as F

    fate, rule = F.lit("kept"), notice
    for condition, name, why in reversed(cases):
        fate = F.when(F.expr(condition), F.lit(name)).otherwise(fate)
        rule = F.when(F.expr(condition), F.lit(why)).otherwise(rule)
    return rows.withColumn("fate", fate).withColumn("rule", rule)


def held_back(rows: "DataFrame", discarded: Sequence[Decision]) -> "DataFrame":
    """Rows that a person discarded stay in quarantine under their rule, also where the lookup finds them by now."""
    import pyspark.sql.functions as F

    if not discarded:
        return rows
    places = [(one.drop_id, one.row_number, one.rule) for one in discarded]
    local = rows.sparkSession.createDataFrame(places, ["_drop_id", "_row_number", "_held"])
    here = (F.col("drop_id") == F.col("_drop_id")) & (F.col("row_number") == F.col("_row_number"))
    joined, held = rows.join(F.broadcast(local), here, "left"), F.col("_held").isNotNull()
    fate = F.when(held, F.lit("quarantined")).otherwise(F.col("fate"))
    rule = F.when(held, F.col("_held")).otherwise(F.col("rule"))
    return joined.withColumns({"fate": fate, "rule": rule}).drop("_drop_id", "_row_number", "_held")


def _looked_up(rows: "DataFrame", lookup: Lookup, other: "DataFrame") -> "DataFrame":
    import pyspark.sql.functions as F

    found = other.select(*lookup.match, *lookup.take).withColumn(_mark(lookup), F.lit(True))
    joined = rows.join(found, list(lookup.match), "left")
    return joined.withColumn(_mark(lookup), F.coalesce(_mark(lookup), F.lit(False)))


def deleted(rows: "DataFrame", contract: SourceContract) -> "DataFrame":
    """The newest delete of a key takes every older row of it along; rows after it are as if there had been none before."""
    import pyspark.sql.functions as F
    from pyspark.sql import Window

    if contract.deletes is None:
        return rows
    of_key = Window.partitionBy(*contract.key)
    newest = F.row_number().over(of_key.orderBy(*(F.desc(name) for name in NEWEST)))
    flagged = rows.where("fate = 'deleted'").withColumn("_rank", newest).where("_rank = 1")
    last = flagged.select(*contract.key, *(F.col(name).alias(f"_{name}") for name in NEWEST))
    joined = rows.join(last, list(contract.key), "left")
    gone = F.expr(f"fate = 'kept' and coalesce({_older()}, false)")
    fate = F.when(gone, F.lit("deleted")).otherwise(F.col("fate"))
    rule = F.when(gone, F.lit(DELETED)).otherwise(F.col("rule"))
    return joined.withColumns({"fate": fate, "rule": rule}).drop(*(f"_{name}" for name in NEWEST))


def _older() -> str:
    """Whether a row is older than the delete of its key, by day, time and number in turn."""
    day, at, number = NEWEST
    same_day, same_time = f"`_{day}` = `{day}`", f"`_{at}` = `{at}`"
    return f"`_{day}` > `{day}` or ({same_day} and (`_{at}` > `{at}` or ({same_time} and `_{number}` > `{number}`)))"


def deduplicated(rows: "DataFrame", contract: SourceContract) -> "DataFrame":
    """One kept row per key: the newest; equal rows are duplicates, other ones superseded.

    Only the rows of keys that occur twice go through a window: it costs thirty times the rest. What it finds travels as a
    small local table, which every engine joins in one pass and without a shuffle.
    """
    import pyspark.sql.functions as F

    key, greatest = list(contract.key), contract.duplicates.greatest
    counted = rows.where("fate = 'kept'").groupBy(*key).agg(F.count(F.lit(1)).alias("_times"))
    repeated = counted.where("_times > 1").select(*key).toArrow()  # pandas would make floats of integers with gaps
    if not repeated.num_rows:
        return rows
    local = rows.sparkSession.createDataFrame
    newest = _newest(
        rows.join(F.broadcast(local(repeated)), key, "left_semi").where("fate = 'kept'"), contract
    ).toArrow()
    joined = rows.join(F.broadcast(local(newest)), key, "left")
    again = F.col("_drop_id").isNotNull() & (F.col("fate") == "kept")
    first = (F.col("drop_id") == F.col("_drop_id")) & (F.col("row_number") == F.col("_row_number"))
    for name in greatest:
        joined = joined.withColumn(name, F.when(again & first, F.col(f"_greatest_{name}")).otherwise(F.col(name)))
    lost = F.when(_text(contract) == F.col("_text"), "duplicate").otherwise("superseded")
    fate = F.when(again & ~first, lost).otherwise(F.col("fate"))
    rule = F.when(again & ~first, F.lit("key_occurs_again")).otherwise(F.col("rule"))
    return joined.withColumns({"fate": fate, "rule": rule})


def _newest(rows: "DataFrame", contract: SourceContract) -> "DataFrame":
    """Per key: which row is the newest, its values as text, and the greatest values of the key where the contract wants them."""
    import pyspark.sql.functions as F
    from pyspark.sql import Window

    of_key = Window.partitionBy(*contract.key)
    rank = F.row_number().over(of_key.orderBy(*(F.desc(name) for name in NEWEST)))
    greatest = {f"_greatest_{name}": F.max(name).over(of_key) for name in contract.duplicates.greatest}
    found = rows.withColumns({"_rank": rank, "_text": _text(contract), **greatest}).where("_rank = 1")
    own = [F.col("drop_id").alias("_drop_id"), F.col("row_number").alias("_row_number")]
    return found.select(*contract.key, *own, "_text", *greatest)


def _text(contract: SourceContract) -> "Column":
    import pyspark.sql.functions as F

    return F.to_json(F.struct(*(name for name in contract.columns if name not in contract.key)))


def _mark(lookup: Lookup) -> str:
    return f"_in_{lookup.source}"


def _found(lookup: Lookup) -> str:
    return f"`{_mark(lookup)}`"


def _sql(condition: Condition) -> str:
    """A condition as Spark SQL."""
    parts = [f"`{condition.column}` is null"] if condition.null else []
    if condition.values:
        parts.append(_is_one_of(condition.column, condition.values))
    return " or ".join(parts) or "false"


def _flagged(contract: SourceContract) -> str:
    """Whether a row deletes its key, as Spark SQL."""
    return _is_one_of(contract.deletes.column, contract.deletes.values) if contract.deletes else "false"


def _is_one_of(column: str, values: Sequence[str | int]) -> str:
    """Values come from a checked contract, quotes in them are escaped."""
    texts = (
        str(v).lower() if isinstance(v, int) else "'" + v.replace("\\", "\\\\").replace("'", "\\'") + "'"
        for v in values
    )
    return f"coalesce(`{column}` in ({', '.join(texts)}), false)"


def _notice(conditions: Sequence[Condition]) -> "Column":
    import pyspark.sql.functions as F

    rule = F.lit("")
    for condition in reversed(conditions):
        rule = F.when(F.expr(_sql(condition)), F.lit(condition.rule)).otherwise(rule)
    return rule
