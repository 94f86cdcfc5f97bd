"""Tests of engines: one that cannot start says what to do.

Belongs here: starting sessions. Does not belong here: parity of engines (test_jvm), what the tables hold (tests of silver and panel).
"""

import pytest

from ml_platform import spark

pytestmark = pytest.mark.integration


def test_an_engine_that_is_missing_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    start = spark.session.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(spark, "find_spec", lambda name: None)
        with pytest.raises(spark.EngineError, match="install the extra `spark`"):
            start("sail")
        with pytest.raises(spark.EngineError, match="pysail is not installed"):
            spark._sail()
    with monkeypatch.context() as patch:
        patch.setattr(spark, "which", lambda name: None)
        patch.delenv("JAVA_HOME", raising=False)
        with pytest.raises(spark.EngineError, match=r"needs Java 17 or 21.*ML_PLATFORM_ENGINE=sail"):
            start("jvm")
