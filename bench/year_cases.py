"""The household lived through: one executing step with real numbers, and who tells it what.

Every case lives with the same physics and comfort. A quarter hour is the step: what the plan leaves to the fast loop
(follow the surplus) is done with the true powers of the quarter hour, what it sets is done as set.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from agents.cem.allocate import Unit
from agents.cem.fit_wish import fit_unit
from agents.cem.use_surplus import surplus_wishes
from agents.cem.wishes import Wish
from bench.year_home import (
    BATTERY,
    CAR_LEAST_W,
    CAR_W,
    CELLAR_C,
    COLDEST_C,
    HOTTEST_C,
    HOURS,
    PUMP_W,
    QUARTER_S,
    RAISED_C,
    SELL_EUR_PER_KWH,
    SET_C,
    TANK_LOSS_W_PER_K,
    TANK_WH_PER_K,
    Errand,
    Household,
    Stay,
)
from world.physics import battery as batteries


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """``missing_wh`` is what the car at hand still wants, ``running`` the first row of the errand under way."""

    stored_wh: float = 0.5 * BATTERY.capacity_wh
    tank_c: float = SET_C
    missing_wh: float = 0.0
    running: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """For one quarter hour. ``battery`` None: it follows the surplus; ``idle``: it does nothing."""

    car_w: float = CAR_W
    pump_w: float = 0.0
    start: bool = True
    battery: Wish | None = None
    idle: bool = False


@dataclass(slots=True)
class Account:
    """What a time cost and gave. ``undone`` counts errands that were not through when the next one came."""

    bill_eur: float = 0.0
    wear_wh: float = 0.0
    bought_wh: float = 0.0
    sold_wh: float = 0.0
    sun_wh: float = 0.0
    used_wh: float = 0.0
    car_wh: float = 0.0
    unmet_wh: float = 0.0
    peak_w: float = 0.0
    coldest_c: float = SET_C
    undone: int = 0
    plans: int = 0
    not_proven: int = 0
    planning_s: float = 0.0
    left_eur: float = 0.0
    """What the stores lack at the end against the beginning."""

    def add(self, other: "Account") -> None:
        for one in fields(self):
            join = {"peak_w": max, "coldest_c": min}.get(one.name, operator.add)
            setattr(self, one.name, join(getattr(self, one.name), getattr(other, one.name)))

    def cost_eur(self, wear_eur_per_kwh: float, mean_eur_per_kwh: float) -> float:
        """Bill and wear; a kWh that the car did not get is bought at the mean price."""
        missing = self.unmet_wh / 1000 * mean_eur_per_kwh
        return self.bill_eur + self.left_eur + missing + self.wear_wh / 1000 * wear_eur_per_kwh


@dataclass(slots=True)
class Life:
    """The household between two rows. What begins before or ends after the time that is looked at does not happen."""

    home: Household
    row: int
    last: int
    state: State = field(default_factory=State)
    account: Account = field(default_factory=Account)
    gcp_w: float = 0.0
    """Of the quarter hour that has just passed; so is ``pump_w``."""
    pump_w: float = 0.0
    _stays: dict[int, Stay] = field(init=False)
    _errands: dict[int, Errand] = field(init=False)
    stay: Stay | None = None
    errand: Errand | None = None

    def __post_init__(self) -> None:
        first, last = self.row, self.last
        self._stays = {s.come: s for s in self.home.stays if first <= s.come and s.leave <= last}
        self._errands = {e.armed: e for e in self.home.errands if first <= e.armed and e.until <= last}

    def arrive(self) -> bool:
        """Take note of who has come or gone at this row; True when somebody has come."""
        state = self.state
        if self.stay is not None and self.row >= self.stay.leave:
            self.account.unmet_wh += state.missing_wh
            self.stay, state = None, replace(state, missing_wh=0.0)
        if self.errand is not None and self._through(self.errand):
            self.errand, state = None, replace(state, running=None)
        came = self._stays.get(self.row)
        if came is not None:
            self.stay, state = came, replace(state, missing_wh=came.energy_wh)
        armed = self._errands.get(self.row)
        if armed is not None:
            self.account.undone += self.errand is not None
            self.errand, state = armed, replace(state, running=None)
        self.state = state
        return came is not None or armed is not None

    def _through(self, errand: Errand) -> bool:
        running = self.state.running
        return running is not None and self.row >= running + len(errand.powers_w)

    def live(self, orders: Orders) -> None:
        """One quarter hour."""
        home, row, state, account = self.home, self.row, self.state, self.account
        car = min(orders.car_w, CAR_W, state.missing_wh / HOURS)
        if self.stay is None or (orders.car_w < CAR_LEAST_W - 1.0):
            car = 0.0  # below 6 A there is no charging; the last bit is 6 A for a part of the quarter hour
        errand_w, running = self._errand(orders)
        pump, tank = tank_step(home, row, state.tank_c, orders.pump_w)
        rest = float(home.load_w[row] + home.sun_w[row]) + car + errand_w + pump
        before = batteries.BatteryState(energy_wh=state.stored_wh)
        wanted = 0.0 if orders.idle else battery_wants(rest, orders.battery)
        stored = batteries.step(BATTERY, before, QUARTER_S, wanted)
        gcp = rest + stored.power_w
        self.gcp_w, self.pump_w, self.row = gcp, pump, row + 1
        self.state = State(
            stored_wh=stored.energy_wh, tank_c=tank, missing_wh=state.missing_wh - car * HOURS, running=running
        )
        account.bill_eur += gcp * HOURS / 1000 * (float(home.buy[row]) if gcp > 0 else SELL_EUR_PER_KWH)
        account.wear_wh += stored.import_wh + stored.export_wh
        account.bought_wh += max(gcp, 0.0) * HOURS
        account.sold_wh += max(-gcp, 0.0) * HOURS
        account.sun_wh += -float(home.sun_w[row]) * HOURS
        account.used_wh += (rest - float(home.sun_w[row])) * HOURS
        account.car_wh += car * HOURS
        account.peak_w = max(account.peak_w, gcp)
        account.coldest_c = min(account.coldest_c, tank)

    def _errand(self, orders: Orders) -> tuple[float, int | None]:
        errand, running = self.errand, self.state.running
        if errand is None:
            return 0.0, None
        if running is None and (orders.start or self.row >= errand.starts[-1]):
            running = self.row  # a machine that nobody starts starts itself when it must
        return (0.0 if running is None else errand.powers_w[self.row - running]), running

    def close(self, began: State, mean_eur_per_kwh: float) -> None:
        """The last car leaves. What the stores lack is bought at the mean price, what they have more is sold."""
        self.arrive()
        heat = (began.tank_c - self.state.tank_c) * TANK_WH_PER_K / float(self.home.cop[self.row - 1])
        for lacks_wh in (heat, began.stored_wh - self.state.stored_wh):
            self.account.left_eur += lacks_wh / 1000 * (mean_eur_per_kwh if lacks_wh > 0 else SELL_EUR_PER_KWH)


def tank_step(home: Household, row: int, tank_c: float, pump_w: float) -> tuple[float, float]:
    """(what the pump takes, the tank's temperature after the quarter hour).

    Whatever it is told, it stops itself at the hottest and holds the coldest: comfort is the same in every case.
    """
    loss = TANK_LOSS_W_PER_K * (tank_c - CELLAR_C)
    drawn = float(home.heat_w[row]) + loss
    least, most = (
        max(0.0, ((bound - tank_c) * TANK_WH_PER_K / HOURS + drawn) / float(home.cop[row]))
        for bound in (COLDEST_C, HOTTEST_C)
    )
    power = min(max(pump_w, least), PUMP_W, most)
    return power, tank_c + (power * float(home.cop[row]) - drawn) * HOURS / TANK_WH_PER_K


def battery_wants(rest_w: float, wish: Wish | None) -> float:
    """The fast loop: own surplus in, own load out, inside what the plan leaves it."""
    rating = BATTERY.rating_w
    wants = surplus_wishes(rest_w, [("battery", -rating, rating)])["battery"]
    if wish is None:
        return wants
    unit = Unit("battery", "battery", 0.0, -rating, rating, -rating, rating, wants)
    return fit_unit(unit, wish).wants_w


# -------------------------------------------------------------------- cases without a plan

Case = Callable[[Life], Orders]


def at_once(life: Life) -> Orders:
    """(a) No control: car and machine at once, thermostat, the battery does nothing."""
    return Orders(pump_w=thermostat_w(life, SET_C), idle=True)


def plain_rules(life: Life) -> Orders:
    """(b) Wallbox, heat pump and battery by their own rules.

    Wallbox: at once, but with the surplus where that is enough for 6 A and the time allows. Heat pump: raised on what
    surplus is left, as an SG-Ready one. Battery: own surplus in, own load out. Machines: at once.
    """
    home, row = life.home, life.row
    surplus = -float(home.load_w[row] + home.sun_w[row])
    car = CAR_W
    if life.stay is not None and surplus >= CAR_LEAST_W:
        later_wh = (life.stay.leave - row - 1) * CAR_W * HOURS
        car = CAR_W if life.state.missing_wh - surplus * HOURS > later_wh else surplus
    left = surplus - (min(car, life.state.missing_wh / HOURS) if life.stay is not None else 0.0)
    plain = thermostat_w(life, SET_C)
    raised = min(thermostat_w(life, RAISED_C), max(left, plain))
    return Orders(car_w=car, pump_w=max(plain, raised))


def thermostat_w(life: Life, target_c: float) -> float:
    """What holds the tank at a temperature; a modulating pump."""
    home, row, tank = life.home, life.row, life.state.tank_c
    drawn = float(home.heat_w[row]) + TANK_LOSS_W_PER_K * (tank - CELLAR_C)
    return max(0.0, ((target_c - tank) * TANK_WH_PER_K / HOURS + drawn) / float(home.cop[row]))


def lived(home: Household, first: int, last: int, case: Case, mean_eur_per_kwh: float) -> Account:
    """From row ``first`` until row ``last``."""
    life = Life(home, first, last)
    began = life.state
    while life.row < last:
        life.arrive()
        life.live(case(life))
    life.close(began, mean_eur_per_kwh)
    return life.account
