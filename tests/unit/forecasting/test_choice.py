"""Which families run on a fleet: by configuration, or by what its values are like, always with a reason."""

import pytest

from ml_platform.forecasting import FAMILIES, ForecastConfig
from ml_platform.forecasting.choice import Traits, choose

CONFIG = ForecastConfig(series=("item",), time="date", target="units", frequency="D", horizon=7)


def running(config: ForecastConfig, traits: Traits) -> set[str]:
    found = choose(config, traits)
    assert [one.family for one in found] == list(FAMILIES)
    assert all(one.why for one in found)
    return {one.family for one in found if one.runs}


@pytest.mark.parametrize(
    ("positive", "there", "not_there"), [(100, "ets", "sba"), (71, "theta", "tsb"), (69, "croston", "ets")]
)
def test_by_the_share_of_zeros(positive: int, there: str, not_there: str) -> None:
    found = running(CONFIG, Traits(100, positive, 0, 7))
    assert there in found
    assert not_there not in found
    assert {"ridge", "mean_182", "seasonal_naive"} <= found


def test_a_fleet_without_values_or_season_has_families() -> None:
    assert "seasonal_naive" not in running(CONFIG, Traits(0, 0, 0, 1))


def test_what_is_named_runs_whatever_the_data() -> None:
    named = CONFIG.model_copy(update={"families": ("theta", "sba")})
    assert running(named, Traits(100, 10, 0, 7)) == {"theta", "sba"}
