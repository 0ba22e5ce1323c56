"""A device's own plan: cheap slots first, more with the sun, never out of its user's band."""

from datetime import timedelta

import msgspec
import pytest

from agents.kit.plan_by_incentive import plan_by_incentive, slots_of, temperatures
from contracts.flexibility import StorageTarget
from contracts.own_plans import GiveIncentive
from contracts.profiles import PlannedPower, PriceSlot
from tests.kit.test_bargain import CELL, NOW, SUN, TANK
from tests.kit.test_bargain import STORE as BATTERY
from tests.support.grid import START

CHEAP = range(16, 24)
TARIFF = GiveIncentive(
    prices=tuple(
        PriceSlot(
            start=START + timedelta(minutes=15 * n), duration_s=900, price_eur_per_kwh=0.10 if n in CHEAP else 0.35
        )
        for n in range(48)
    )
)
HOUSE = msgspec.structs.replace(
    TANK,
    minimum_on_s=0.0,
    temperature_c=21,
    lowest_c=20,
    highest_c=23,
    capacity_wh_per_k=1500,
    loss_w_per_k=80,
    ambient_c=5,
    cop_share=3,
)
CAR = msgspec.structs.replace(
    BATTERY, capacity_wh=50_000.0, empty_lower_w=0.0, fill_upper_w=11_000.0, fill_least_w=4_140.0
)


def energy(power: tuple[PlannedPower, ...], cheap: bool) -> float:
    return sum(p.power_w for n, p in enumerate(power) if (n in CHEAP) == cheap)


@pytest.mark.use_case("home.incentive-device")
def test_more_of_its_energy_falls_in_the_cheap_period() -> None:
    power = plan_by_incentive(HOUSE, TARIFF, NOW)
    assert power is not None
    per_slot = energy(power, True) / len(CHEAP)
    assert per_slot > 2 * energy(power, False) / (48 - len(CHEAP))
    shown = temperatures(HOUSE, slots_of(TARIFF, NOW), [p.power_w for p in power])
    assert min(shown) >= HOUSE.lowest_c - 0.02
    assert max(shown) <= HOUSE.highest_c + 0.02


@pytest.mark.use_case("home.incentive-device")
def test_a_cooler_cools_more_when_it_is_cheap() -> None:
    room = msgspec.structs.replace(HOUSE, heats=False, temperature_c=24, lowest_c=22, highest_c=25, ambient_c=34)
    power = plan_by_incentive(room, TARIFF, NOW)
    assert power is not None
    assert energy(power, True) / len(CHEAP) > 2 * energy(power, False) / (48 - len(CHEAP))
    shown = temperatures(room, slots_of(TARIFF, NOW), [p.power_w for p in power])
    assert min(shown) > 21.9
    assert max(shown) < 25.1


@pytest.mark.use_case("home.incentive-device")
def test_rising_sun_raises_or_starts_it_as_far_as_its_limits_allow() -> None:
    def now_w(sun_w: float, temperature_c: float = 21.0) -> float:
        house = msgspec.structs.replace(HOUSE, temperature_c=temperature_c, least_w=500.0)
        power = plan_by_incentive(house, GiveIncentive(pv_power_w=-sun_w), NOW)
        assert power is not None
        return power[0].power_w

    assert now_w(0.0) == 0.0
    assert now_w(300.0) == 0.0  # less than it can run on
    assert now_w(1000.0) == 1000.0
    assert now_w(2000.0) == 2000.0
    assert now_w(9000.0) == 3000.0  # its own rating
    assert now_w(2000.0, temperature_c=23.0) == 0.0  # its user's limit


def test_minimum_times_hold_in_its_own_plan() -> None:
    slow = msgspec.structs.replace(HOUSE, minimum_on_s=3600.0, steps_w=(3000.0,), least_w=3000.0)
    power = plan_by_incentive(slow, TARIFF, NOW)
    assert power is not None
    runs, length = [], 0
    for slot in power:
        length = length + 1 if slot.power_w > 0 else 0
        if slot.power_w > 0:
            runs.append(length)
    assert max(runs) >= 4


def test_a_charge_fills_the_cheapest_slots_before_it_is_needed() -> None:
    car = msgspec.structs.replace(CAR, targets=(StorageTarget(at=START + timedelta(hours=6), lower_percent=60.0),))
    power = plan_by_incentive(car, TARIFF, NOW)
    assert power is not None
    assert sum(p.power_w for p in power) / 4 == pytest.approx(5000.0, abs=20)
    assert energy(power, False) == 0.0
    assert all(p.power_w == 0.0 or 4_140.0 <= p.power_w <= 11_000.0 for p in power)


def test_the_greenest_hours_go_before_the_cheapest_where_that_is_wished() -> None:
    green = GiveIncentive(
        prices=tuple(
            msgspec.structs.replace(p, green_percent=90.0 if n in range(30, 40) else 20.0)
            for n, p in enumerate(TARIFF.prices)
        )
    )
    power = plan_by_incentive(msgspec.structs.replace(CAR, level_percent=95.0), green, NOW, greenest=True)
    assert power is not None
    assert {n for n, p in enumerate(power) if p.power_w > 0} <= set(range(30, 40))


def test_who_does_not_plan_itself_says_nothing() -> None:
    assert [plan_by_incentive(o, TARIFF, NOW) for o in (CELL, SUN, BATTERY, None)] == [None] * 4
    assert plan_by_incentive(HOUSE, GiveIncentive(), NOW) is None
