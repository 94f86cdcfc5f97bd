"""Tests of engines: silver and panel are the same on sail and on the JVM, and an engine that cannot start says what to do.

Belongs here: parity of engines, starting sessions. Does not belong here: what the tables hold (tests of silver and panel).
"""

import shutil
import subprocess
import sys
from datetime import date
from typing import Any

import pytest

from ml_platform import spark

pytestmark = pytest.mark.integration
DAY = date(2024, 1, 31)


SOURCES = ("meters", "readings", "plans")
# a process of its own: where Spark Connect has been used, pyspark starts no JVM
ELSEWHERE = """
import sys
from datetime import date
from pathlib import Path
from ml_platform.catalogue import write_catalogue
from ml_platform.contract_files import load_contracts
from ml_platform.features import write_panel
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.panel_inputs import PanelInputs
from ml_platform.preparation import Preparation
root, engine, day, config, *sources = sys.argv[1:]
lake, contracts = Lake(root + "/lake"), load_contracts(Path(root) / "configs")
for source in sources:
    Preparation(lake, contracts, contracts[source], engine).run()
inputs = PanelInputs(lake, contracts, ForecastConfig.model_validate_json(config), engine)
write_catalogue(inputs, date.fromisoformat(day))
write_panel(inputs, date.fromisoformat(day))
"""


def fill(town: Any) -> None:
    """Land and ingest two deliveries that hold every fate."""
    town.land("meters", "meters.csv", "1,Elm,HOME", "2,Elm,SHOP", "3,Oak,HOME", "8,Oak,TEST")
    plans = ["1,1,2024-01-29,2024-02-04,3,a,1.505", "1,1,2024-01-29,2024-02-04,1,b,2.25"]
    town.land("plans", "plans_2024-01-20.csv", *plans)
    lines = [
        f"{n},{1 + n % 2},{(1, 2, 3, 8, 7)[n % 5]},2024-01-{10 + n % 21}T0{n % 10}:30:00Z,{n % 4},{n}.15"
        for n in range(60)
    ]
    town.land("readings", "readings_2024-01-31.csv", *lines)
    town.land("readings", "readings_2024-02-01.csv", *lines[:7], lines[8].replace(".15", ".16"))
    for source in SOURCES:
        town.ingest(source)


@pytest.mark.skipif(not shutil.which("java"), reason="needs Java")
@pytest.mark.jvm
def test_sail_and_jvm_agree(make_town: Any) -> None:
    sail, jvm = make_town("sail"), make_town("jvm")
    fill(sail)
    fill(jvm)
    arguments = [str(jvm.root), "jvm", DAY.isoformat(), sail.config.model_dump_json(), *SOURCES]
    ended = subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    sail.prepare(*SOURCES)
    sail.make_panel(DAY)
    for source in SOURCES:
        jvm.balance(source)
        rows = [
            [{k: v for k, v in row.items() if k not in ("ingested_at", "drop_id")} for row in home.silver(source)]
            for home in (sail, jvm)
        ]
        assert rows[0] == rows[1]
        assert rows[0]
        assert sail.fates(source) == jvm.fates(source)
    assert sail.panel().equals(jvm.panel())
    assert sail.lake.count("gold/series_panel") > 50


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
