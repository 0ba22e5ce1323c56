"""What the home says becomes the planner's problem, and a plan becomes wishes that leave the fast loop its room."""

from dataclasses import replace
from datetime import UTC, datetime, time
from math import inf
from typing import Any

import msgspec
import pytest

from agents.cem.follow_plan import wish_for
from agents.cem.known import Known, Surroundings
from agents.cem.limit_state import Control, Held
from agents.cem.limit_state import Slot as LimitSlot
from agents.cem.look_ahead import bounds_ahead
from agents.cem.planner.plan import NEGATIVE_PRICE, Course
from agents.cem.planner.problem import Battery, Charge, Fixed, Generator, Job, Problem, Pv, Thermal
from agents.cem.planner.solve import solve
from agents.cem.pose_problem import horizon, pose, surplus_has_its_time
from agents.cem.premises import Claim
from agents.cem.settings import CemSettings
from agents.kit.local_day import next_local
from bus.envelope import instant
from contracts.device import Announce, DeviceClass, DeviceReading
from contracts.flexibility import (
    Flexibility,
    ModesFlexibility,
    OperationMode,
    ProfileFlexibility,
    StorageFlexibility,
    StorageTarget,
    ThermalFlexibility,
)
from contracts.preferences import DevicePreferences
from contracts.profiles import PlannedPower, PowerSequence, PowerSlot
from contracts.reasons import Reason

NOW = datetime(2016, 5, 20, 8, 5, tzinfo=UTC).timestamp()
SETTINGS = CemSettings(contract_consumption_w=14_000.0, fuse_a=63.0)
WHY = Reason(code="x", text="x")
SPAN = horizon(NOW, SETTINGS)
N = SPAN.count


def around(**more: object) -> Surroundings:
    base: dict[str, object] = {
        "buy": [0.3] * N,
        "sell": [0.08] * N,
        "load": [(400.0, 200.0, 900.0)] * N,
        "pv": [(-3000.0, -3500.0, -1000.0)] * N,
        "outdoor_c": [5.0] * N,
    }
    return Surroundings(**{**base, **more})  # type: ignore[arg-type]


def known(kind: DeviceClass, flexibility: Flexibility | None = None, **more: object) -> Known:
    lower, upper = (-8000.0, 0.0) if kind in ("pv", "fuelcell") else (0.0, 11_000.0)
    announce = Announce(
        device_class=kind,
        maker="m",
        model="m",
        functions=("limit_upper", "limit_lower"),
        use_cases=(),
        nominal_lower_w=lower,
        nominal_upper_w=upper,
        minimum_run_w=4140.0 if kind == "evse" else 0.0,
    )
    base: dict[str, object] = {"name": f"{kind}.1", "announce": announce, "reading": None, "flexibility": flexibility}
    return Known(**{**base, **more})  # type: ignore[arg-type]


def posed(*devices: Known, **more: object) -> Problem:
    return pose(SPAN, around(**more), devices, SETTINGS)


CAR = StorageFlexibility(
    capacity_wh=50_000.0,
    level_percent=20.0,
    fill_upper_w=11_040.0,
    fill_least_w=4140.0,
    leaves_at=instant(NOW + 7200),
    targets=(StorageTarget(at=instant(NOW + 7200), lower_percent=60.0),),
)


def test_the_first_slot_is_what_is_left_of_the_quarter_hour() -> None:
    edges = SPAN.edges_s()
    assert edges[1] - edges[0] == 600.0
    assert all(edge % 900 == 0 for edge in edges[1:])
    assert edges[-1] - edges[0] >= SETTINGS.plan_horizon_s


def test_a_car_is_charged_by_its_departure_with_what_it_wishes() -> None:
    car = posed(known("evse", CAR)).devices[0]
    assert isinstance(car, Charge)
    assert (car.energy_wh, car.target_wh, car.departure_s) == (10_000.0, 30_000.0, NOW + 7200)
    assert (car.min_power_w, car.max_power_w) == (4140.0, 11_040.0)


def test_ready_by_is_the_users_and_goes_first() -> None:
    wishes = DevicePreferences(ready_by=time(18, 0), charge_lower_percent=40.0, charge_upper_percent=50.0)
    car = posed(known("evse", CAR, preferences=wishes)).devices[0]
    assert isinstance(car, Charge)
    assert car.departure_s == datetime(2016, 5, 20, 16, 0, tzinfo=UTC).timestamp()
    assert (car.minimum_wh, car.target_wh, car.maximum_wh) == (20_000.0, 25_000.0, 25_000.0)


def test_a_car_that_has_left_is_not_planned() -> None:
    gone = StorageFlexibility(capacity_wh=50_000.0, level_percent=20.0, fill_upper_w=11_040.0, leaves_at=instant(NOW))
    assert posed(known("evse", gone)).devices == posed().devices


def test_a_battery_keeps_the_users_reserve_and_leave() -> None:
    offer = StorageFlexibility(capacity_wh=10_000.0, level_percent=50.0, fill_upper_w=3000.0, empty_lower_w=-2500.0)
    wishes = DevicePreferences(reserve_percent=30.0, from_grid=False)
    battery = posed(known("battery", offer, preferences=wishes)).devices[0]
    assert isinstance(battery, Battery)
    assert (battery.energy_wh, battery.minimum_wh) == (5000.0, 3000.0)
    assert (battery.charge_w, battery.discharge_w, battery.no_grid_charge) == (3000.0, 2500.0, True)


WASH = ProfileFlexibility(
    job="wash",
    alternatives=(PowerSequence(name="eco", slots=(PowerSlot(duration_s=3600.0, power_w=1000.0, peak_w=2000.0),)),),
    earliest_start=instant(NOW),
    done_by=instant(NOW + 6 * 3600),
    delay_at_most_s=1800.0,
)


def test_a_maximum_delay_wins_over_the_plan() -> None:
    job = posed(known("whitegoods", WASH)).devices[0]
    assert isinstance(job, Job)
    assert (job.earliest_s, job.latest_end_s) == (NOW, NOW + 1800.0 + 3600.0)
    assert job.programmes[0].steps[0].maximum_w == 2000.0


def test_a_machine_that_runs_without_an_agreement_is_planned_with_its_rest() -> None:
    began = NOW - 1800.0
    runs = msgspec.structs.replace(
        WASH, state="executing", delay_at_most_s=None, earliest_start=instant(began), done_by=instant(began + 3600)
    )
    plan = solve(posed(known("whitegoods", runs)))
    assert plan.refused == ()
    course = plan.devices["whitegoods.1"]
    assert course.power_w[0] == pytest.approx(1000.0)
    assert course.power_w[SPAN.count // 2] == 0.0


def test_a_start_chosen_by_the_user_is_the_only_one() -> None:
    job = posed(known("whitegoods", WASH, start_at=NOW + 7200)).devices[0]
    assert isinstance(job, Job)
    assert (job.earliest_s, job.latest_end_s) == (NOW + 7200, NOW + 7200 + 3600)


@pytest.mark.use_case("mobility.start-time")
def test_the_incentive_that_is_sent_holds_else_the_stored_one() -> None:
    """IEC-JWG2: "if not already stored" in the notice, and the stored one where none is sent."""
    stored = DevicePreferences(incentive="greenest")
    for kind, offer in (("whitegoods", WASH), ("evse", CAR)):

        def weight(sent: str | None, wishes: DevicePreferences, kind: Any = kind, offer: Any = offer) -> float:
            sends = msgspec.structs.replace(offer, incentive=sent)
            device = posed(known(kind, sends, preferences=wishes)).devices[0]
            assert isinstance(device, Job | Charge)
            return device.green_eur_per_kwh

        assert weight(None, DevicePreferences()) == 0
        assert weight(None, stored) == SETTINGS.green_eur_per_kwh
        assert weight("cheapest", stored) == 0
        assert weight("greenest", DevicePreferences(incentive="cheapest")) == SETTINGS.green_eur_per_kwh


def test_what_the_home_generates_itself_is_green() -> None:
    sun = [(-2400.0, -2500.0, -2300.0)] * (N - 1) + [(0.0, 0.0, 0.0)]
    share = posed(green=[25.0] * N, pv=sun).prices.green_share
    assert share[0] == 1.0
    assert share[-1] == 0.25
    assert posed(green=[None] * N, pv=[(-1400.0, -1500.0, -1300.0)] * N).prices.green_share[0] == 0.5


TANK = ThermalFlexibility(
    temperature_c=50.0,
    lowest_c=45.0,
    highest_c=60.0,
    capacity_wh_per_k=230.0,
    loss_w_per_k=2.0,
    ambient_c=20.0,
    upper_w=3000.0,
)


def test_comfort_is_the_users_and_ends_on_vacation() -> None:
    tank = posed(known("waterheater", TANK, preferences=DevicePreferences(lowest_c=48.0))).devices[0]
    assert isinstance(tank, Thermal)
    assert tank.minimum_c[0] == 48.0
    away = posed(known("waterheater", TANK), away=True).devices[0]
    assert isinstance(away, Thermal)
    assert away.minimum_c[0] < 10.0


def test_a_felt_winter_heats_more_than_a_felt_summer() -> None:
    winter, summer = (posed(known("heatpump", TANK), season=season).devices[0] for season in ("winter", "summer"))
    assert isinstance(winter, Thermal)
    assert isinstance(summer, Thermal)
    assert winter.minimum_c[0] > summer.minimum_c[0]


def test_heat_is_posed_as_learned_else_as_the_device_says_it() -> None:
    said = msgspec.structs.replace(TANK, demand_w=240.0, cop_share=3.0)
    learned = {"demand_w": tuple(float(n) for n in range(N)), "cop": (2.5,) * N}
    plain, wise = (posed(known("heatpump", said, **more)).devices[0] for more in ({}, learned))
    assert isinstance(plain, Thermal)
    assert isinstance(wise, Thermal)
    assert (plain.demand_w, plain.cop) == ((240.0,) * N, (3.0,) * N)
    assert (wise.demand_w, wise.cop) == (learned["demand_w"], learned["cop"])


def test_what_a_cooled_room_takes_in_is_a_gain() -> None:
    room = posed(known("hvac", msgspec.structs.replace(TANK, heats=False, demand_w=500.0))).devices[0]
    assert isinstance(room, Thermal)
    assert room.cools
    assert room.demand_w == (-500.0,) * N


def test_the_temperature_that_is_measured_now_counts_not_the_offers() -> None:
    reading = DeviceReading(
        at=instant(NOW),
        power_w=0.0,
        power_by_phase_w=(0.0, 0.0, 0.0),
        operating="idle",
        lower_w=0.0,
        upper_w=3000.0,
        temperature_c=49.2,
    )
    tank = posed(known("waterheater", TANK, reading=reading)).devices[0]
    assert isinstance(tank, Thermal)
    assert tank.temperature_c == 49.2


def test_a_generator_runs_by_its_modes() -> None:
    modes = (OperationMode(name="off", lower_w=0, upper_w=0), OperationMode(name="on", lower_w=-1500, upper_w=-500))
    cell = posed(known("fuelcell", ModesFlexibility(modes=modes, mode="off", cost_eur_per_kwh=0.2))).devices[0]
    assert isinstance(cell, Generator)
    assert (cell.min_power_w, cell.max_power_w, cell.eur_per_kwh) == (500.0, 1500.0, 0.2)


def test_sun_is_counted_on_as_little_as_its_band_says() -> None:
    plant = posed(known("pv")).devices[0]
    assert isinstance(plant, Pv)
    assert plant.forecast_w[0] == -3000.0
    assert plant.sure_w[0] == -1000.0


def test_a_device_with_a_plan_of_its_own_is_fixed_to_it() -> None:
    own = (PlannedPower(start=instant(NOW), duration_s=1500.0, power_w=2000.0),)
    device = posed(known("heatpump", TANK, own_plan=own)).devices[0]
    assert isinstance(device, Fixed)
    assert device.power_w[:3] == pytest.approx((2000.0, 2000.0, 0.0))


def test_who_offers_nothing_goes_on_for_a_while() -> None:
    reading = DeviceReading(
        at=instant(NOW),
        power_w=900.0,
        power_by_phase_w=(300.0, 300.0, 300.0),
        operating="running",
        lower_w=0.0,
        upper_w=2000.0,
    )
    device = posed(known("heatpump", reading=reading)).devices[0]
    assert isinstance(device, Fixed)
    assert device.power_w[0] == 900.0
    assert device.power_w[-1] == 0.0


def test_missing_prices_are_the_fallback_and_contract_and_fuse_are_bounds() -> None:
    problem = posed(buy=[None] * N, sell=[None] * N)
    assert problem.prices.buy_eur_per_kwh[0] == SETTINGS.fallback_price_eur_per_kwh
    assert problem.prices.sell_eur_per_kwh[0] == 0.0
    assert problem.connection.contracted_w[0] == 14_000.0
    assert problem.connection.fuse_w == pytest.approx(63.0 * 0.95 * 230.0)


def test_slots_that_are_free_beside_bounded_ones_can_be_planned() -> None:
    problem = posed(known("evse", CAR), upper_w=[5000.0] * 4 + [inf] * (N - 4), lower_w=[-inf] * (N - 1) + [-2000.0])
    plan = solve(problem)
    assert max(plan.power_w[:4]) <= 5000.5
    assert plan.power_w[-1] >= -2000.5


def test_local_time_knows_the_clock_change() -> None:
    evening = datetime(2016, 3, 26, 22, 0, tzinfo=UTC).timestamp()  # 23:00, the night before clocks go forward
    assert next_local(time(7, 0), evening, "Europe/Berlin") == datetime(2016, 3, 27, 5, 0, tzinfo=UTC).timestamp()
    before = datetime(2016, 3, 25, 22, 0, tzinfo=UTC).timestamp()
    assert next_local(time(7, 0), before, "Europe/Berlin") == datetime(2016, 3, 26, 6, 0, tzinfo=UTC).timestamp()


# -------------------------------------------------------------------- bounds ahead


def control(held: Held | None, mode: str = "limited") -> Control:
    return Control(direction="consumption", guard="g", failsafe_w=4200.0, since=0.0, mode=mode, held=held)  # type: ignore[arg-type]


FREE = ([inf] * N, [-inf] * N)


def test_a_profile_of_limits_is_looked_ahead() -> None:
    held = Held(slots=(LimitSlot(start=NOW + 3600, end=NOW + 7200, limit_w=5000.0),))
    (upper, _), why, _ = bounds_ahead(SPAN.edges_s(), [control(held)], [], FREE, 7200.0)
    bounded = [edge - NOW for edge, w in zip(SPAN.edges_s(), upper, strict=False) if w == 5000.0]
    assert 3600 - 900 < bounded[0] <= 3600
    assert 7200 - 900 < bounded[-1] + 900 <= 7200 + 900
    assert why == "grid_limit"


def test_what_has_no_end_is_taken_to_last_a_while() -> None:
    held = Held(slots=(LimitSlot(start=NOW - 60, end=None, limit_w=5000.0),))
    for one in (control(held), control(None, "failsafe")):
        (upper, _), _, _ = bounds_ahead(SPAN.edges_s(), [one], [], FREE, 7200.0)
        assert upper[0] <= 5000.0
        assert upper[-1] == inf


def test_the_tightest_bound_counts() -> None:
    held = Held(slots=(LimitSlot(start=NOW, end=None, limit_w=5000.0),))
    claim = Claim(why="agreed", upper_w=3000.0, lower_w=-1000.0)
    (upper, lower), _, why = bounds_ahead(SPAN.edges_s(), [control(held)], [claim], ([4000.0] * N, [-inf] * N), 7200.0)
    assert (upper[0], upper[-1]) == (3000.0, 4000.0)
    assert lower[0] == -1000.0
    assert why == "agreed"


# -------------------------------------------------------------------- a plan as wishes


def course(power: float) -> Course:
    return Course(name="x", power_w=(power,), maximum_w=(power,), on=(power != 0,), why=(WHY,))


@pytest.mark.parametrize(
    ("power", "gcp", "room", "lower", "upper", "setpoint"),
    [
        (2000.0, 0.0, False, 0.0, None, None),  # stores the surplus, whatever it will be
        (2000.0, -1500.0, False, 0.0, None, None),  # more of it than was planned is welcome
        (2000.0, -1500.0, True, 0.0, 2000.0, None),  # unless room is needed later
        (3000.0, 2000.0, False, None, None, 3000.0),  # buys cheap
        (-2000.0, 0.0, False, None, 0.0, None),  # covers the house
        (-2000.0, 900.0, False, None, 0.0, None),
        (-3000.0, -2000.0, False, None, None, -3000.0),  # sells dear
        (0.0, 1500.0, False, 0.0, None, None),  # keeps it for a dearer hour
        (0.0, -1500.0, True, None, 0.0, None),  # leaves room for later
    ],
)
def test_a_battery_gets_a_direction_where_the_meter_knows_better(
    power: float, gcp: float, room: bool, lower: float | None, upper: float | None, setpoint: float | None
) -> None:
    wish = wish_for("battery", course(power), 0, gcp, 5000.0, NOW, leave_room=room)
    assert wish is not None
    assert (wish.lower_w, wish.upper_w, wish.setpoint_w) == (lower, upper, setpoint)


def test_room_is_left_only_where_feeding_in_has_a_bound_or_a_price() -> None:
    assert not surplus_has_its_time(around())
    assert surplus_has_its_time(around(lower_w=[-inf] * (N - 1) + [-3000.0]))
    assert surplus_has_its_time(around(sell=[0.08] * (N - 1) + [-0.01]))


def test_a_plan_that_wants_nothing_else_leaves_the_device_free() -> None:
    assert wish_for("battery", course(0.0), 0, 0.0, 5000.0, NOW) is None
    assert wish_for("battery", course(0.0), 0, -1500.0, 5000.0, NOW) is None
    assert wish_for("evse", course(11_000.0), 0, 0.0, 11_040.0, NOW) is None
    assert wish_for("pv", course(-5000.0), 0, 0.0, -5000.0, NOW) is None


def test_each_of_several_plants_is_held_back_to_its_share_of_the_plan() -> None:
    dear = replace(course(-4000.0), why=(Reason(code=NEGATIVE_PRICE, text="test"),))
    wish = wish_for("pv", dear, 0, 0.0, 0.0, NOW, share=0.25)
    assert wish is not None
    assert (wish.lower_w, wish.upper_w, wish.setpoint_w) == (-1000.0, None, None)


def test_a_car_waits_and_heat_is_held() -> None:
    waits = wish_for("evse", course(0.0), 0, 500.0, 11_040.0, NOW)
    assert waits is not None
    assert waits.upper_w == 0.0
    warm = wish_for("heatpump", course(1800.0), 0, 500.0, 3000.0, NOW)
    assert warm is not None
    assert warm.setpoint_w == 1800.0
