"""Spark sessions: one setting chooses the engine, the code above is the same on all.

Belongs here: starting `sail` (in this process, no JVM), `jvm` (pyspark local with delta-spark) or a remote Spark Connect server.
Does not belong here: DataFrames.
"""

import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class EngineError(RuntimeError):
    """An engine cannot start here; the message names what is missing and the engine that needs nothing."""


@cache
def session(engine: str) -> "SparkSession":
    """A session of `engine` (sail | jvm | sc://host:port) in UTC, one per process and engine."""
    if find_spec("pyspark") is None:
        raise EngineError("pyspark is not installed: install the extra `spark`")
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else JVM workers take another interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pyspark says about newer pandas is decided by our pins
        started = _jvm() if engine == "jvm" else _connect(_sail() if engine == "sail" else engine)
    started.conf.set("spark.sql.session.timeZone", "UTC")
    return started


def _sail() -> str:
    if find_spec("pysail") is None:
        raise EngineError("pysail is not installed: install the extra `spark`")
    os.environ.setdefault("RUST_LOG", "error")  # the server logs every session otherwise
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _SERVERS.append(server)
    _, port = server.listening_address
    return f"sc://127.0.0.1:{port}"


_SERVERS: list[object] = []  # kept alive as long as the process


def _connect(url: str) -> "SparkSession":
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(url).getOrCreate()


def _jvm() -> "SparkSession":
    if not (which("java") or os.environ.get("JAVA_HOME")):
        raise EngineError(
            "engine jvm needs Java 17 or 21, and there is none: install it, or set ML_PLATFORM_ENGINE=sail, which needs nothing"
        )
    if not _SERVERS:  # inherited from a process that speaks Spark Connect; this one does not
        os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)
    from delta import configure_spark_with_delta_pip
    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.master("local[*]")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.databricks.delta.snapshotPartitions", "2")  # 50 by default: tasks for a log of a few files
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")  # executors fetch JARs from it
    )
    return configure_spark_with_delta_pip(builder).getOrCreate()
