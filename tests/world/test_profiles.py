"""SimBench's figures come through, and the noise leaves them what they are."""

from datetime import datetime

import numpy as np
import pytest

from world.grid import rural_grid
from world.profiles import FLICKER_AMPLITUDE, InstantError, Noise, Profile, UnknownProfileError, profile_names

NOON = datetime.fromisoformat("2016-05-20T13:00:00+02:00").timestamp()


def test_the_noon_of_the_default_run_feeds_back_one_and_a_half_transformers() -> None:
    grid = rural_grid()
    consumed_w = sum(load.power_w * Profile(load.profile).active_share(NOON) for load in grid.loads)
    generated_w = sum(plant.power_w * Profile(plant.profile).active_share(NOON) for plant in grid.pv)
    assert consumed_w == pytest.approx(26_063, abs=3)
    assert generated_w == pytest.approx(262_655, abs=10)
    assert (generated_w - consumed_w) / grid.transformer.rated_va == pytest.approx(1.4787, abs=0.0005)


def test_the_sun_glides_and_a_household_switches() -> None:
    sun, house = Profile("PV8"), Profile("L1-A")
    middle = (sun.active_share(NOON) + sun.active_share(NOON + 900)) / 2
    assert sun.active_share(NOON + 450) == pytest.approx(middle)
    assert house.active_share(NOON + 899) == house.active_share(NOON)


def test_summer_time_is_no_gap() -> None:
    before = datetime.fromisoformat("2016-03-27T01:45:00+01:00").timestamp()
    after = datetime.fromisoformat("2016-03-27T03:00:00+02:00").timestamp()
    assert after - before == 900
    assert Profile("L1-A").active_share(after) >= 0


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_a_share_of_its_peak(name: str) -> None:
    shares = Profile(name).ahead(NOON)
    assert min(shares) >= 0.0
    assert 0.0 < max(shares) <= 1.0


def test_an_instant_outside_the_year_is_refused() -> None:
    with pytest.raises(InstantError, match="2016"):
        Profile("PV5").active_share(datetime.fromisoformat("2017-02-01T00:00:00+00:00").timestamp())
    with pytest.raises(UnknownProfileError, match="PV5"):
        Profile("PV9")


def test_noise_keeps_the_mean_of_each_quarter_hour_and_its_ends() -> None:
    noise = Noise(7, "h05", FLICKER_AMPLITUDE)
    values = np.array([noise.at(NOON + second) for second in range(900)])
    assert abs(values.mean()) < 0.002
    assert values.std() > 0.3 * FLICKER_AMPLITUDE
    assert abs(noise.at(NOON + 900)) < 1e-9


def test_noise_is_a_function_of_seed_name_and_instant() -> None:
    one, two = Noise(7, "h05", 0.1), Noise(7, "h05", 0.1)
    two.at(NOON + 5000)
    assert one.at(NOON + 77.3) == two.at(NOON + 77.3)
    assert one.at(NOON + 77.3) != Noise(8, "h05", 0.1).at(NOON + 77.3)
    assert one.at(NOON + 77.3) != Noise(7, "h06", 0.1).at(NOON + 77.3)
