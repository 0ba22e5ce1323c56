"""The car's level and its plan: within what is offered, cheapest or greenest first, in time."""

from datetime import datetime, timedelta

import pytest

from agents.cem.weigh_charge import cannot_serve, maximum_a, outside, room
from agents.ev.charge import Level, cost_eur, missing_wh, plan
from bus.envelope import instant
from contracts.charging import ChargingDemand, ChargingOffer, ChargingPlan
from contracts.device import DeviceReading
from contracts.profiles import PlannedPower, PriceSlot
from tests.support.grid import START

NOW = START.timestamp()
LEAST, MOST = 4_140.0, 11_040.0
PRICES = tuple(
    PriceSlot(
        start=START + timedelta(minutes=15 * n),
        duration_s=900,
        price_eur_per_kwh=0.10 if 8 <= n < 12 else 0.30,
        green_percent=80.0 if 20 <= n < 24 else 10.0,
    )
    for n in range(32)
)
OFFER = ChargingOffer(
    maximum_a=16.0, maximum=room(NOW, [11_040.0] * 10 + [5_000.0] * 22, MOST, LEAST), incentives=PRICES
)
DEMAND = ChargingDemand(evse="evse.1", energy_wh=10_000.0, capacity_wh=50_000.0, most_a=16.0)


def made(needs_wh: float, until: datetime | None = None, greenest: bool = False) -> tuple[PlannedPower, ...]:
    end = None if until is None else until.timestamp()
    return plan(OFFER, needs_wh, now=NOW, until=end, least_w=LEAST, most_w=MOST, greenest=greenest)


def charged_wh(power: tuple[PlannedPower, ...]) -> float:
    return sum(p.power_w * p.duration_s for p in power) / 3600


@pytest.mark.use_case("mobility.coordinated")
@pytest.mark.parametrize("needs_wh", [800.0, 3_000.0, 10_000.0, 25_000.0, 90_000.0])
def test_its_plan_stays_within_the_offer_and_is_taken(needs_wh: float) -> None:
    power = made(needs_wh)
    assert charged_wh(power) <= max(needs_wh, 1.05 * LEAST / 4) + 100
    answer = ChargingPlan(power=power, energy_wh=charged_wh(power))
    demand = ChargingDemand(evse="evse.1", energy_wh=max(needs_wh, 1_035.0), capacity_wh=50_000.0)
    assert outside(answer, demand, OFFER.maximum, NOW) is None
    assert all(p.power_w == 0 or p.power_w >= LEAST for p in power)


@pytest.mark.use_case("mobility.coordinated")
def test_the_cheapest_slots_come_first_and_all_is_in_time() -> None:
    power = made(5_000.0)
    assert {(p.start - START).total_seconds() / 900 for p in power if p.power_w > 0} <= {8.0, 9.0, 10.0, 11.0}
    early = made(5_000.0, until=START + timedelta(hours=1))
    assert charged_wh(early) == pytest.approx(5_000.0, abs=100)
    assert early[-1].start < START + timedelta(hours=1)
    green = made(2_000.0, greenest=True)
    assert {(p.start - START).total_seconds() / 900 for p in green if p.power_w > 0} <= {20.0, 21.0, 22.0, 23.0}
    assert cost_eur(power, PRICES) == pytest.approx(0.50, abs=0.15)


@pytest.mark.use_case("mobility.coordinated")
@pytest.mark.parametrize(
    ("power", "why"),
    [
        ((), "empty"),
        ((PlannedPower(start=START, duration_s=900, power_w=12_000.0),), "above_maximum"),
        ((PlannedPower(start=START + timedelta(hours=4), duration_s=900, power_w=6_000.0),), "above_maximum"),
        ((PlannedPower(start=START, duration_s=0, power_w=6_000.0),), "no_duration"),
        ((PlannedPower(start=START - timedelta(hours=4), duration_s=900, power_w=6_000.0),), "over"),
        ((PlannedPower(start=START, duration_s=900, power_w=-6_000.0),), "feeds_in"),
        ((PlannedPower(start=START, duration_s=7200, power_w=11_000.0),), "more_than_asked"),
        ((PlannedPower(start=START + timedelta(hours=9), duration_s=900, power_w=5_000.0),), "beyond_offer"),
    ],
)
def test_a_plan_outside_of_the_offer_is_not_taken(power: tuple[PlannedPower, ...], why: str) -> None:
    reason = outside(ChargingPlan(power=power, energy_wh=1.0), DEMAND, OFFER.maximum, NOW)
    assert reason is not None
    assert reason.code == why


def test_what_cannot_be_served_is_said_at_once() -> None:
    def why(most_a: float, most_wh: float, leaves: datetime | None = None) -> str | None:
        import msgspec

        reason = cannot_serve(msgspec.structs.replace(DEMAND, leaves_at=leaves), NOW, most_a, most_wh)
        return None if reason is None else reason.code

    assert why(16.0, 90_000.0) is None
    assert why(5.0, 90_000.0) == "too_little"
    assert why(16.0, 90_000.0, START - timedelta(hours=1)) == "left_already"
    assert why(16.0, 2_000.0, START + timedelta(hours=1)) == "not_in_time"
    assert maximum_a(11_040.0, 10.0, 3, 32.0) == 10.0
    assert maximum_a(11_040.0, 0.0, 3, 32.0) == 16.0
    assert [slot.power_w for slot in room(NOW, [3_000.0, 6_000.0, 20_000.0], MOST, LEAST)] == [0.0, 6_000.0, MOST]


def reading(**fields: float) -> DeviceReading:
    return DeviceReading(
        at=instant(NOW),
        power_w=0.0,
        power_by_phase_w=(0.0, 0.0, 0.0),
        operating="running",
        lower_w=0.0,
        upper_w=0.0,
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.use_case("mobility.monitor")
def test_the_level_is_the_cars_own_where_it_is_told_and_counted_else() -> None:
    level = Level(40.0, began_percent=40.0)
    assert level.after(reading(soc_percent=55.0), 50_000.0, 0.9) == Level(55.0, measured=True, began_percent=40.0)
    counted = level.after(reading(session_wh=10_000.0), 50_000.0, 0.9)
    assert (counted.soc_percent, counted.measured, counted.energy_wh) == (58.0, False, 10_000.0)
    register = level.after(reading(energy_wh=1_000.0), 50_000.0, 1.0).after(reading(energy_wh=6_000.0), 50_000.0, 1.0)
    assert register.soc_percent == 50.0
    anew = register.after(reading(energy_wh=100.0), 50_000.0, 1.0)
    assert anew.soc_percent >= 40.0  # a register that was reset takes nothing back below where it began
    assert missing_wh(50.0, 80.0, 50_000.0, 0.9) == pytest.approx(16_667, abs=1)
