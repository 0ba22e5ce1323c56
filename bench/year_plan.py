"""The household as the energy manager runs it: its own posing, forecasting, planner and way from plan to wish.

Of ``agents.cem`` all that is pure is the product's: price stack, history of the load, posing, planner, wishes of a
plan. Around it this module does what its skills do with the bus: it asks for a new plan each hour and at each arrival
(the product: each quarter hour and at each event) and learns from what was metered.
"""

import time
from dataclasses import dataclass, field, replace
from math import exp

from agents.cem.expect import LOAD_LASTS_S, SEEN_W, SKY_LASTS_S, SKY_SHARES
from agents.cem.follow_plan import wish_for
from agents.cem.heat_history import DAYS, Closed, HeatHistory, cop, drawn_w
from agents.cem.history import History
from agents.cem.known import Band, Known, Surroundings
from agents.cem.planner.plan import Course, Plan
from agents.cem.planner.problem import Horizon, Problem
from agents.cem.planner.solve import solve
from agents.cem.pose_problem import horizon, pose, surplus_has_its_time
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wish
from agents.kit.price_stack import Stack, slotted
from agents.kit.typical import outdoor_c
from agents.whitegoods.programmes import TYPICAL
from bench.year_cases import Account, Life, Orders
from bench.year_home import (
    BATTERY,
    CAR_LEAST_W,
    CAR_W,
    CELLAR_C,
    COLDEST_C,
    CONTRACT_W,
    HOTTEST_C,
    HOURS,
    LOAD_WH,
    PUMP_W,
    QUARTER_S,
    SELL_EUR_PER_KWH,
    SUN_RATING_W,
    TANK_LOSS_W_PER_K,
    TANK_WH_PER_K,
    ZONE,
    Household,
    at,
    known_until,
)
from bus.envelope import instant
from contracts.device import Announce, DeviceClass, Function
from contracts.flexibility import (
    Flexibility,
    ProfileFlexibility,
    StorageFlexibility,
    StorageTarget,
    ThermalFlexibility,
)
from contracts.profiles import PowerSequence, PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff
from world.physics.driver import CAPACITY_WH
from world.physics.heatpump import MIN_OFF_S, MIN_ON_S

SETTINGS = CemSettings(yearly_wh=LOAD_WH, fuse_a=63.0, contract_consumption_w=CONTRACT_W, time_zone=ZONE)
EACH = 4
"""Rows between two plans, if nothing happens."""
WARM_UP = 96
"""Rows that are lived before a time is accounted for, so that it begins as it would have."""
LEARNED_DAYS = 70
"""Ten values of each kind of day: what the CEM has seen of its household before."""
SHOP = "retailer.main"
WHY = Reason(code="tariff", text="day-ahead prices")
GAIN = 1 - exp(-QUARTER_S / 300.0)


@dataclass(slots=True)
class Manager:
    """What the energy manager holds in mind between two plans."""

    life: Life
    settings: CemSettings = SETTINGS
    history: History = field(default_factory=History)
    heat: HeatHistory = field(default_factory=HeatHistory)
    stack: Stack = field(init=False)
    plan: Plan | None = None
    leave_room: bool = False
    made_at: int = -EACH
    _load_off_w: float = 0.0
    _sky_share: float = 1.0
    _priced_until: int = -1
    _tank_c: float = 0.0

    def __post_init__(self) -> None:
        self.stack = Stack(zone=ZONE, fallback=self.settings.fallback_price_eur_per_kwh)
        self.stack.take(SHOP, _tariff("feed_in", ((self.life.row, SELL_EUR_PER_KWH),), 96 * 400), "", at(self.life.row))
        first = max(0, self.life.row - 96 * LEARNED_DAYS)
        for row in range(first, self.life.row):
            self.history.add_load(at(row) + QUARTER_S / 2, float(self.life.home.load_w[row]), ZONE)
        for row in range(max(0, self.life.row - 96 * DAYS), self.life.row):
            self.heat.add(at(row) + QUARTER_S / 2, float(self.life.home.heat_w[row]), ZONE)
        self._tank_c = self.life.state.tank_c

    # ---------------------------------------------------------------- a quarter hour

    def orders(self, happened: bool) -> Orders:
        """What holds in the quarter hour that begins, after planning anew where it is time to."""
        life, account = self.life, self.life.account
        self._hear_prices()
        if happened or self.plan is None or life.row - self.made_at >= EACH:
            began = time.perf_counter()
            self.plan = solve(self.pose())
            self.made_at = life.row
            account.plans += 1
            account.not_proven += self.plan.found_by != "proof"
            account.planning_s += time.perf_counter() - began
        return self._from(self.plan, life.row - self.made_at)

    def _from(self, plan: Plan, slot: int) -> Orders:
        car, pump = self._wish(plan, "evse", slot, CAR_W), self._wish(plan, "heatpump", slot, PUMP_W)
        job = plan.devices.get("whitegoods")
        # A device that the plan does not know is free: it does what it would do by itself.
        return Orders(
            car_w=CAR_W if car is None or car.upper_w is None else car.upper_w,
            pump_w=0.0 if pump is None or pump.setpoint_w is None else pump.setpoint_w,
            start=job is None or not job.runs or job.runs[0].start_s < at(self.life.row + 1) - 1.0,
            battery=self._wish(plan, "battery", slot, BATTERY.rating_w),
        )

    def _wish(self, plan: Plan, kind: DeviceClass, slot: int, most_w: float) -> Wish | None:
        course: Course | None = plan.devices.get(kind)
        if course is None:
            return None
        until = at(self.life.row + 1)
        return wish_for(kind, course, slot, plan.power_w[slot], most_w, until, leave_room=self.leave_room)

    def learn(self) -> None:
        """From the quarter hour that has passed: as ``agents.cem.expect`` does with each reading."""
        home, row = self.life.home, self.life.row - 1
        middle, load = at(row) + QUARTER_S / 2, float(home.load_w[row])
        expected, _, _ = self.history.expected_load(middle, ZONE, self.settings.yearly_wh)
        self._load_off_w += GAIN * (load - expected - self._load_off_w)
        self.history.add_load(middle, load, ZONE)
        forecast = float(home.sun_forecast_w[row])
        if forecast < -SEEN_W:
            share = min(max(float(home.sun_w[row]) / forecast, SKY_SHARES[0]), SKY_SHARES[1])
            self._sky_share += GAIN * (share - self._sky_share)
        self._learn_heat(middle, float(home.cop[row]))

    def _learn_heat(self, middle: float, cop_share: float) -> None:
        """As ``agents.cem.learn_heat`` does; nobody tells what was drawn, and the tank's sensor has tenths."""
        offer, before = self._tank(), self._tank_c
        self._tank_c = round(self.life.state.tank_c, 1)
        over = Closed(middle, self.life.pump_w, before, self._tank_c, HOURS)
        self.heat.take(middle, offer, drawn_w(offer, over, cop_share, CELLAR_C), ZONE)

    def _hear_prices(self) -> None:
        until = known_until(self.life.row)
        if until > self._priced_until:
            first = max(self._priced_until, self.life.row - 96 * 2, 0)
            prices = self.life.home.buy[first:until]
            rows = tuple((first + n, float(price)) for n, price in enumerate(prices))
            self.stack.take(SHOP, _tariff("energy", rows, 1), "", at(self.life.row))
            self._priced_until = until

    # ---------------------------------------------------------------- what is posed

    def pose(self) -> Problem:
        span = horizon(at(self.life.row), self.settings)
        around = self._around(span)
        self.leave_room = surplus_has_its_time(around)
        return replace(pose(span, around, self._devices(), self.settings), previous=self.plan)

    def _around(self, span: Horizon) -> Surroundings:
        n, now = span.count, span.start_s
        ends = now + n * QUARTER_S
        bought = slotted(list(self.stack.pieces(now, ends)), now, n)
        sold = slotted(list(self.stack.pieces(now, ends, sold=True)), now, n)
        middles = [now + (number + 0.5) * QUARTER_S for number in range(n)]
        return Surroundings(
            buy=[piece.price for piece in bought],
            sell=[piece.price for piece in sold],
            binding=[piece.binding for piece in bought],
            load=[self._load(middle) for middle in middles],
            pv=[self._sun(self.life.row + number) for number in range(n)],
            outdoor_c=[outdoor_c(middle) for middle in middles],
        )

    def _load(self, middle: float) -> Band:
        expected, low, high = self.history.expected_load(middle, ZONE, self.settings.yearly_wh)
        off = self._load_off_w * exp((at(self.life.row) - middle) / LOAD_LASTS_S)
        return max(0.0, expected + off), max(0.0, low + min(off, 0.0)), max(0.0, high + max(off, 0.0))

    def _sun(self, row: int) -> Band:
        home = self.life.home
        forecast = float(home.sun_forecast_w[min(row, len(home) - 1)])
        ahead = (row + 0.5 - self.life.row) * QUARTER_S
        share = 1.0 + (self._sky_share - 1.0) * exp(-ahead / SKY_LASTS_S)
        expected, strong, weak = (
            max(-SUN_RATING_W, min(0.0, value * share)) for value in (forecast, 1.4 * forecast, 0.4 * forecast)
        )
        return expected, min(strong, expected), max(weak, expected)

    def _devices(self) -> list[Known]:
        life, state = self.life, self.life.state
        found = [
            _known("pv", ("measure",), -SUN_RATING_W, 0.0, None),
            _known("battery", ("measure", "setpoint"), -BATTERY.rating_w, BATTERY.rating_w, self._battery()),
            self._pump(),
        ]
        if life.stay is not None and state.missing_wh > 1.0:
            leaves = instant(at(life.stay.leave))
            level = 80.0 - 100 * state.missing_wh / CAPACITY_WH
            car = StorageFlexibility(
                capacity_wh=CAPACITY_WH,
                level_percent=level,
                fill_upper_w=CAR_W,
                fill_least_w=CAR_LEAST_W,
                leaves_at=leaves,
                targets=(StorageTarget(at=leaves, lower_percent=80.0),),
            )
            found.append(_known("evse", ("measure", "limit_upper"), 0.0, CAR_W, car, least_w=CAR_LEAST_W))
        if life.errand is not None and (state.running is None or life.row < state.running + len(life.errand.powers_w)):
            found.append(self._job())
        return found

    def _battery(self) -> StorageFlexibility:
        return StorageFlexibility(
            capacity_wh=BATTERY.capacity_wh,
            level_percent=100 * self.life.state.stored_wh / BATTERY.capacity_wh,
            lowest_percent=BATTERY.reserve_percent,
            fill_upper_w=BATTERY.rating_w,
            empty_lower_w=-BATTERY.rating_w,
            efficiency_share=BATTERY.efficiency_share,
            loss_per_day_percent=BATTERY.self_discharge_percent_per_day,
        )

    def _pump(self) -> Known:
        tank, n = self._tank(), horizon(at(self.life.row), self.settings).count
        known = _known("heatpump", ("measure", "setpoint", "limit_upper"), 0.0, PUMP_W, tank)
        now, here = at(self.life.row), outdoor_c(at(self.life.row) + QUARTER_S / 2)
        self.heat.refer(tank.cop_share, here)
        ahead = [outdoor_c(now + (number + 0.5) * QUARTER_S) for number in range(n)]
        demand = self.heat.demand(now, n, QUARTER_S, ZONE, 0.0) or ()
        performance = tuple(cop("heatpump", tank, self.heat, ahead))
        return replace(known, demand_w=tuple(max(0.0, watts) for watts in demand), cop=performance)

    def _tank(self) -> ThermalFlexibility:
        return ThermalFlexibility(
            temperature_c=self.life.state.tank_c,
            lowest_c=COLDEST_C,
            highest_c=HOTTEST_C,
            capacity_wh_per_k=TANK_WH_PER_K,
            loss_w_per_k=TANK_LOSS_W_PER_K,
            ambient_c=CELLAR_C,
            cop_share=float(self.life.home.cop[min(self.life.row, len(self.life.home) - 1)]),
            upper_w=PUMP_W,
            minimum_on_s=MIN_ON_S,
            minimum_off_s=MIN_OFF_S,
        )

    def _job(self) -> Known:
        errand, running = self.life.errand, self.life.state.running
        assert errand is not None
        sequence = PowerSequence(name=errand.programme, slots=TYPICAL[errand.kind][errand.programme])
        offer = ProfileFlexibility(
            job=errand.programme,
            alternatives=(sequence,),
            earliest_start=instant(at(errand.armed)),
            done_by=instant(at(errand.until)),
        )
        known = _known("whitegoods", ("measure",), 0.0, 2500.0, offer)
        if running is None:
            return known
        return replace(known, started_at=at(running), running=errand.programme)


def _known(
    kind: DeviceClass,
    functions: tuple[Function, ...],
    lower_w: float,
    upper_w: float,
    flexibility: Flexibility | None,
    least_w: float = 0.0,
) -> Known:
    announce = Announce(
        device_class=kind,
        maker="bench",
        model=kind,
        functions=functions,
        use_cases=(),
        nominal_lower_w=lower_w,
        nominal_upper_w=upper_w,
        minimum_run_w=least_w,
    )
    return Known(name=kind, announce=announce, reading=None, flexibility=flexibility)


def _tariff(component: str, rows: tuple[tuple[int, float], ...], lasts: int) -> AnnounceTariff:
    slots = tuple(
        PriceSlot(start=instant(at(row)), duration_s=lasts * QUARTER_S, price_eur_per_kwh=price) for row, price in rows
    )
    return AnnounceTariff(tariff="year", component=component, slots=slots, reason=WHY)  # type: ignore[arg-type]


def managed(
    home: Household, first: int, last: int, mean_eur_per_kwh: float, settings: CemSettings = SETTINGS
) -> Account:
    """From row ``first`` until row ``last``, after a day that is lived but not counted."""
    life = Life(home, max(0, first - WARM_UP), last)
    manager = Manager(life, settings)
    began = life.state
    while life.row < last:
        if life.row == first:
            life.account, began = Account(), life.state
        happened = life.arrive()
        life.live(manager.orders(happened))
        manager.learn()
    life.close(began, mean_eur_per_kwh)
    return life.account
