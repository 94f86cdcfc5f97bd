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
    found = running(CONFIG, Traits.of((100, positive, 0), 7, 1_000))
    assert there in found
    assert not_there not in found
    assert {"ridge", "mean_182", "seasonal_naive"} <= found


def test_a_fleet_without_values_or_season_has_families() -> None:
    assert "seasonal_naive" not in running(CONFIG, Traits.of((0, 0, 0), 1, 1_000))


def test_what_is_named_runs_whatever_the_data() -> None:
    named = CONFIG.model_copy(update={"families": ("theta", "sba")})
    assert running(named, Traits.of((100, 10, 0), 7, 1_000)) == {"theta", "sba"}


def test_a_short_history_runs_what_it_is_long_enough_for() -> None:
    """A season that has not gone by is none that could be repeated; a longer mean than there are steps is a shorter one."""
    short, long = ({one.family: one for one in choose(CONFIG, Traits.of((900, 800, 0), 7, steps))} for steps in (5, 60))
    assert not any(short[name].runs for name in ("seasonal_naive", "mean_56", "mean_182"))
    assert short["seasonal_naive"].why == "5 steps: none of 7 has gone by"
    assert all(long[name].runs for name in ("seasonal_naive", "mean_56", "mean_182"))
    middle = {one.family: one for one in choose(CONFIG, Traits.of((900, 800, 0), 7, 40))}
    assert middle["mean_56"].runs
    assert middle["mean_182"].why == "40 steps: no other than the mean of 56"
