"""The graph as it is promised: assets, jobs, triggers. `UPDATE_GRAPH=1 make test PYTEST_ARGS=tests/unit/dagster/test_graph.py` accepts a change."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

SNAPSHOT = Path(__file__).with_name("graph.json")


def graph_of(defs: dg.Definitions) -> dict[str, Any]:
    """What a person sees of the graph, in a stable order."""
    assets = defs.resolve_asset_graph()
    jobs = defs.resolve_all_job_defs()
    return {
        "assets": {
            node.key.to_user_string(): asset_of(node) for node in sorted(assets.asset_nodes, key=lambda node: node.key)
        },
        "jobs": {
            job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
            for job in sorted(jobs, key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {
            one.name: {
                "job": one.job_name,
                "cron": one.cron_schedule,
                "zone": one.execution_timezone,
                "status": one.default_status.value,
            }
            for one in defs.schedules or []
        },
        "sensors": {
            one.name: {
                "kind": one.sensor_type.value,
                "seconds": one.minimum_interval_seconds,
                "status": one.default_status.value,
            }
            for one in defs.sensors or []
        },
    }


def asset_of(node: Any) -> dict[str, Any]:
    return {
        "checks": sorted(key.name for key in node.check_keys),
        "deps": sorted(key.to_user_string() for key in node.parent_keys),
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "owners": sorted(node.owners),
        "partitions": node.partitions_def.__class__.__name__ if node.partitions_def else None,
    }


def test_the_graph_is_the_promised_one(defs):
    found = json.dumps(graph_of(defs), indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GRAPH"):
        SNAPSHOT.write_text(found)
    assert json.loads(found) == json.loads(SNAPSHOT.read_text()), "accept it as this file's first line says"


@pytest.fixture(scope="module")
def nodes(defs):
    return [node for node in defs.resolve_asset_graph().asset_nodes if node.is_executable]


def test_every_asset_tells_what_it_is(nodes):
    assert len(nodes) == 19
    for node in nodes:
        name = node.key.to_user_string()
        assert len(node.description or "") > 30, name
        assert node.owners, name
        assert node.kinds, name
        assert node.group_name in ("bronze", "silver", "gold", "fleet", "forecasts", "warehouse"), name
        assert "dagster/column_schema" in node.metadata, f"{name} has no column schema"
        assert len(columns_of(node)) > 3, name


def test_every_column_after_bronze_says_where_it_comes_from(defs, nodes):
    """Each origin is a column of an asset before this one, so that a number can be followed from the warehouse to the files."""
    known = {node.key: columns_of(node) for node in nodes}
    dealt = [node for node in nodes if "dagster/column_lineage" in node.metadata]
    names = {node.key.to_user_string() for node in dealt}
    assert {"sales_history", "series_panel", "candidate_fleet", "promoted_release", "forecasts"} <= names
    assert "warehouse_forecasts" in names
    graph = defs.resolve_asset_graph()
    for node in dealt:
        before = graph.get_ancestor_asset_keys(node.key)
        for column, origins in node.metadata["dagster/column_lineage"].deps_by_column.items():
            assert column in known[node.key], f"{node.key.to_user_string()}.{column} is no column"
            for one in origins:
                assert one.asset_key in before, f"{node.key.to_user_string()}.{column} comes from {one}"
                assert one.column_name in known[one.asset_key], one


def columns_of(node):
    found = node.metadata["dagster/column_schema"]
    return {one.name for one in (found.value if hasattr(found, "value") else found).columns}


def test_there_is_one_calendar_and_one_policy(nodes):
    partitioned = [node for node in nodes if node.partitions_def]
    assert len(partitioned) > 5
    assert len({repr(node.partitions_def) for node in partitioned}) == 1
    assert {node.backfill_policy for node in partitioned} == {dg.BackfillPolicy.single_run()}
    days = partitioned[0].partitions_def.get_partition_keys()
    assert (days[0], days[-1], len(days)) == ("2017-01-01", "2017-12-31", 365)


def test_a_calendar_without_an_end_goes_on():
    from assets.partitions import days_of

    days = days_of(date(2024, 1, 1), None)
    assert days.get_partition_keys()[0] == "2024-01-01"
    assert days.end is None


def test_every_check_blocks_and_is_explained(defs):
    layer = defs.resolve_asset_graph()
    specs = [layer.get_check_spec(key) for key in layer.asset_check_keys if len(key.asset_key.path) == 1]
    own = [spec for spec in specs if spec.name in ("row_balance", "expectations", "row_fates", "unique_key")]
    assert len(own) == 2 * 3 + 3 * 3 + 3
    assert all(spec.blocking and spec.description for spec in own)


def test_a_resource_can_be_replaced(settings):
    import definitions
    from resources import ComputeResource, build_resources

    replaced = definitions.build_defs(settings, compute=ComputeResource(workers=7))
    assert replaced.resources["compute"].workers == 7
    assert replaced.resources.keys() == build_resources(settings).keys()
    assert definitions.build_defs(settings).resources["compute"].workers == settings.workers
