"""Tests of series identity: stable for ever, different for different keys, spread over shards."""

import pyarrow as pa
import pytest

from ml_platform.series import series_id, shard_of, with_identity


def test_identities_never_change() -> None:
    """These values are in tables of every installation: a new algorithm would orphan them."""
    assert series_id([31401, "BREAD"]) == "32735bf7d4bed49c"
    assert shard_of(series_id([31401, "BREAD"]), 16) == 7


@pytest.mark.parametrize(("one", "other"), [(("a", "bc"), ("ab", "c")), ((1, 2), (2, 1)), (("a",), ("a", ""))])
def test_different_keys_have_different_identities(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert series_id(one) != series_id(other)


def test_a_table_gets_identity_in_front_and_shard_after_the_key() -> None:
    table = pa.table({"site": [1, 2], "item": ["a", "b"], "more": [True, False]})
    found = with_identity(table, ["site", "item"], 16)
    assert found.column_names == ["series_id", "site", "item", "shard", "more"]
    assert found["series_id"].to_pylist() == [series_id([1, "a"]), series_id([2, "b"])]
    assert found.schema.field("shard").type == pa.int32()
    assert with_identity(table.slice(0, 0), ["site", "item"], 16).num_rows == 0


def test_shards_share_the_series_evenly() -> None:
    counts = [0] * 16
    for number in range(4000):
        counts[shard_of(series_id([number]), 16)] += 1
    assert min(counts) > 180
    assert max(counts) < 330
