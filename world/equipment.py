"""The devices of a site: physics, profile and the orders from the registers brought together.

Each says after a step what it draws per phase and what its registers show. Readings are a superset: what a product has
no point for is left out when they are put into its registers.
"""

import random
import zlib
from abc import ABC, abstractmethod

import msgspec

from contracts.device_form import Value
from world.control import Orders
from world.physics import battery, driver, evse, heatpump, pv
from world.profiles import CLOUD_AMPLITUDE, FLICKER_AMPLITUDE, Noise, Profile
from world.spec import DeviceSpec, HouseholdSpec, WorldError

NOMINAL_V = 230.0
Phased = tuple[float, float, float]
DARK: Phased = (0.0, 0.0, 0.0)
BALANCED: Phased = (1 / 3, 1 / 3, 1 / 3)
Readings = dict[str, Value]


class Moment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step as a site sees it. ``voltage_v`` is that of the step before."""

    instant: float
    dt_s: float
    outdoor_c: float
    voltage_v: Phased

    @property
    def live(self) -> bool:
        return self.voltage_v[0] > 0.0


class Equipment(ABC):
    """What a site knows of each of its devices.

    shares      how the power spreads over the phases
    residual_w  what the site exchanges without this device, set before each step; a battery looks at it
    """

    spec: DeviceSpec
    orders: Orders
    shares: Phased = BALANCED
    power_w: float = 0.0
    reactive_power_var: float = 0.0
    residual_w: float = 0.0

    @abstractmethod
    def advance(self, moment: Moment) -> None:
        """One step."""

    @abstractmethod
    def readings(self, moment: Moment) -> Readings:
        """What the registers show now."""

    def defaults(self) -> Readings:
        """What writable registers hold when the device has just been switched on."""
        return {}

    @property
    def soc_percent(self) -> float | None:
        """State of charge; None without a battery, or without a car."""
        return None

    @abstractmethod
    def dump(self) -> object:
        """The state, for a world that is restarted."""

    @abstractmethod
    def load(self, state: object) -> None:
        """Go on from a ``dump`` that went through JSON."""


def draw(seed: int, name: str) -> random.Random:
    """The seed's own source of chance for one thing; independent of all others."""
    return random.Random(zlib.crc32(f"{seed}.{name}".encode()))


class Household:
    """Base load, lights and the appliances that run by programme; spread unevenly over the phases."""

    def __init__(self, spec: HouseholdSpec, seed: int, site: str) -> None:
        self._spec, self._profile = spec, Profile(spec.profile)
        self._noise = Noise(seed, f"{site}.household", FLICKER_AMPLITUDE)
        chance = draw(seed, f"{site}.phases")
        weights = [chance.uniform(0.5, 1.5) for _ in range(3)]
        self.shares: Phased = (weights[0] / sum(weights), weights[1] / sum(weights), weights[2] / sum(weights))

    def power_w(self, instant: float) -> float:
        return self._spec.power_w * self._profile.active_share(instant) * (1 + self._noise.at(instant))

    def reactive_power_var(self, instant: float) -> float:
        return self._spec.reactive_var * self._profile.reactive_share(instant)


class PvPlant(Equipment):
    """Available power from profile and sky; a limit in the registers curtails it."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str, sky: Noise) -> None:
        self.spec, self.orders = spec, orders
        self._profile = Profile(spec.profile)
        self._noise = Noise(seed, f"{site}.{spec.name}", CLOUD_AMPLITUDE, sky)
        self._state = pv.PvState(ceiling_w=spec.rating_w)

    def advance(self, moment: Moment) -> None:
        if not moment.live:
            self._state = pv.PvState(ceiling_w=0.0, fed_wh=self._state.fed_wh)
        else:
            share = self._profile.active_share(moment.instant) * (1 + self._noise.at(moment.instant))
            available = self.spec.rating_w * min(max(share, 0.0), 1.0)
            self._state = pv.step(self.spec.rating_w, self._state, moment.dt_s, available, self._limit_w(moment))
        self.power_w = 0.0 - self._state.fed_w

    def _limit_w(self, moment: Moment) -> float | None:
        orders = self.orders
        percent = orders.number("power_limit_percent")
        if percent is None or (orders.has("power_limit_enabled") and not orders.number("power_limit_enabled")):
            return None
        timeout = orders.number("limit_timeout_s")
        if timeout and orders.age_s(moment.instant, "power_limit_percent", "power_limit_enabled") > timeout:
            return None
        return self.spec.rating_w * percent / 100

    def defaults(self) -> Readings:
        return {"power_limit_percent": 100, "power_limit_enabled": False}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        return {
            "power_w": self.power_w,
            **_electric(moment, self.power_w, self.shares),
            "energy_wh": state.fed_wh,
            "rating_w": self.spec.rating_w,
            "state": self._word(moment),
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        if self._state.fed_w < self._state.available_w - 1.0:
            return "throttled"
        return "running" if self._state.fed_w else "sleeping"

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, pv.PvState)


class BatteryUnit(Equipment):
    """A battery that follows a setpoint while a master keeps setting it, and its site's surplus otherwise."""

    def __init__(self, spec: DeviceSpec, orders: Orders) -> None:
        self.spec, self.orders = spec, orders
        if spec.capacity_wh <= 0:
            raise WorldError(spec.name, "a battery needs capacity_wh > 0")
        self._battery = battery.Battery(
            rating_w=spec.rating_w,
            capacity_wh=spec.capacity_wh,
            efficiency_share=spec.efficiency_share,
            self_discharge_percent_per_day=spec.self_discharge_percent_per_day,
        )
        self._state = battery.BatteryState(energy_wh=spec.capacity_wh * spec.soc_percent / 100)

    @property
    def soc_percent(self) -> float:
        return battery.soc_percent(self._battery, self._state)

    def advance(self, moment: Moment) -> None:
        wanted = self._ordered_w(moment) if moment.live else 0.0
        if wanted is None:
            wanted = battery.self_consumption_w(self.residual_w)
        self._state = battery.step(self._battery, self._state, moment.dt_s, wanted)
        self.power_w = self._state.power_w

    def _ordered_w(self, moment: Moment) -> float | None:
        orders = self.orders
        setpoint = orders.number("power_setpoint_w")
        if setpoint is None or orders.word("setpoint_mode") == "percent":
            return None
        if orders.has("enabled") and not orders.number("enabled"):
            return None
        timeout = orders.number("setpoint_timeout_s") or self.spec.silence_s
        if timeout and orders.age_s(moment.instant, "power_setpoint_w", "enabled") > timeout:
            return None
        return setpoint

    def readings(self, moment: Moment) -> Readings:
        return {
            "power_w": self.power_w,
            **_electric(moment, self.power_w, self.shares),
            "soc_percent": self.soc_percent,
            "capacity_wh": self.spec.capacity_wh,
            "rating_w": self.spec.rating_w,
            "charge_limit_w": self.spec.rating_w,
            "discharge_limit_w": self.spec.rating_w,
            "import_wh": self._state.import_wh,
            "export_wh": self._state.export_wh,
            "state": "off" if not moment.live else "running" if self.power_w else "standby",
        }

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, battery.BatteryState)


class ChargingPoint(Equipment):
    """A box, its car, and the driver who comes by the profile."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str, start: float) -> None:
        self.spec, self.orders = spec, orders
        phases = (0, 1, 2) if spec.phases == 3 else (draw(seed, f"{site}.{spec.name}.phase").randrange(3),)
        self._box = evse.Evse(rating_a=round(spec.rating_w / (NOMINAL_V * len(phases)), 1), phases=phases)
        share = 1 / len(phases)
        self.shares: Phased = tuple(share if p in phases else 0.0 for p in range(3))  # type: ignore[assignment]
        self._state = evse.EvseState()
        self._visit: driver.Visit | None = None
        quarter = start - start % driver.QUARTER_S
        planned: list[driver.Visit] = []
        if spec.profile:
            shares = Profile(spec.profile).ahead(quarter)
            planned = driver.visits(shares, spec.rating_w, quarter, seed, f"{site}.{spec.name}")
        self._driver = driver.Driver(planned)

    @property
    def soc_percent(self) -> float | None:
        car = self._state.car
        return None if car is None else car.soc_percent

    def plug_in(self, car: evse.Car) -> None:
        """A car comes by itself, not by the profile. Raises WorldError when the place is taken."""
        if self._state.car is not None:
            raise WorldError(self.spec.name, "a car is plugged in already: unplug it first")
        self._visit, self._state = None, evse.plug_in(self._state, car)

    def unplug(self) -> None:
        self._visit, self._state = None, evse.unplug(self._state)

    def advance(self, moment: Moment) -> None:
        self._come_and_go(moment.instant)
        car = self._state.car
        wanted = 0.0 if car is None else driver.wanted_w(car, self._visit, moment.instant, len(self._box.phases))
        limit = self._limit_a(moment)
        self._state = evse.step(self._box, self._state, moment.dt_s, limit, wanted, moment.voltage_v)
        self.power_w = self._state.power_w

    def _come_and_go(self, instant: float) -> None:
        car = self._state.car
        due = self._driver.visit_at(instant)
        if car is not None and (instant >= car.leaves_at or (due is not None and self._visit not in (None, due))):
            self.unplug()
            car = None
        if car is None and due is not None and due.left_wh(instant) > 0:
            self._visit, self._state = due, evse.plug_in(self._state, due.car(instant))

    def _limit_a(self, moment: Moment) -> float:
        orders = self.orders
        if orders.number("enabled") == 0:
            return 0.0
        limit = orders.number("current_limit_a")
        timeout = orders.number("timeout_s") or self.spec.silence_s
        if timeout and orders.silent_s(moment.instant) > timeout:
            failsafe = orders.number("failsafe_current_a")
            return self.spec.failsafe_a if failsafe is None else failsafe
        return self._box.rating_a if limit is None else limit

    def defaults(self) -> Readings:
        return {"current_limit_a": self._box.rating_a, "enabled": True}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        currents = [state.current_a if phase in self._box.phases else 0.0 for phase in range(3)]
        return {
            "state": state.word,
            "power_w": state.power_w,
            **{f"current_l{n}_a": current for n, current in enumerate(currents, 1)},
            **{f"voltage_l{n}_v": volts for n, volts in enumerate(moment.voltage_v, 1)},
            "energy_wh": state.energy_wh,
            "session_wh": state.session_wh,
            "hardware_limit_a": self._box.rating_a,
        }

    def dump(self) -> object:
        return (self._state, self._visit)

    def load(self, state: object) -> None:
        self._state, self._visit = msgspec.convert(state, tuple[evse.EvseState, driver.Visit | None])


class HeatPumpUnit(Equipment):
    """A heat pump that follows its profile, or what contacts and registers say."""

    def __init__(self, spec: DeviceSpec, orders: Orders) -> None:
        self.spec, self.orders = spec, orders
        self._profile = Profile(spec.profile)
        self._pump = heatpump.HeatPump(rating_w=spec.rating_w)
        self._state = heatpump.HeatPumpState()

    def advance(self, moment: Moment) -> None:
        profile_w = self.spec.rating_w * self._profile.active_share(moment.instant)
        wish = self._wish(moment.instant) if moment.live else heatpump.Wish(limit_w=0.0)
        self._state = heatpump.step(self._pump, self._state, moment.dt_s, profile_w, moment.outdoor_c, wish)
        self.power_w = self._state.power_w
        self.reactive_power_var = self.power_w * self.spec.rating_var / self.spec.rating_w

    def _wish(self, instant: float) -> heatpump.Wish:
        orders = self.orders
        contacts = heatpump.sg_ready(bool(orders.number("sg_ready_1")), bool(orders.number("sg_ready_2")))
        setpoint = orders.number("power_setpoint_w")
        if self.spec.silence_s and orders.age_s(instant, "power_setpoint_w") > self.spec.silence_s:
            setpoint = None
        if setpoint is None and contacts is heatpump.SgReady.NORMAL:
            return heatpump.FREE
        return heatpump.Wish(contacts=contacts, setpoint_w=setpoint)

    def readings(self, moment: Moment) -> Readings:
        tank_c = self._state.tank.temperature_c
        lift = 5.0 if self.power_w > 0 else 0.0
        return {
            "power_w": self.power_w,
            "state": self._word(moment),
            "flow_temperature_c": tank_c + lift,
            "return_temperature_c": tank_c - 2.0,
            "tank_temperature_c": tank_c,
            "outdoor_temperature_c": moment.outdoor_c,
            "energy_wh": self._state.energy_wh,
            "heat_wh": self._state.heat_wh,
            "error": 0,
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        return "heating" if self.power_w > 0 else "standby"

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, heatpump.HeatPumpState)


def _electric(moment: Moment, power_w: float, shares: Phased) -> Readings:
    # Inverters count currents unsigned (SunSpec 103, 701); the direction is in the power.
    shown: Readings = {"frequency_hz": 50.0 if moment.live else 0.0}
    for n, (volts, share) in enumerate(zip(moment.voltage_v, shares, strict=True), 1):
        shown[f"voltage_l{n}_v"] = volts
        shown[f"power_l{n}_w"] = power_w * share
        shown[f"current_l{n}_a"] = abs(power_w) * share / volts if volts > 0 else 0.0
    return shown


def build(spec: DeviceSpec, orders: Orders, seed: int, site: str, start: float, sky: Noise) -> Equipment:
    """The physics for one device. Raises WorldError or UnknownProfileError."""
    if spec.rating_w <= 0:
        raise WorldError(f"{site}.{spec.name}", "needs rating_w > 0")
    match spec.kind:
        case "pv":
            return PvPlant(spec, orders, seed, site, sky)
        case "battery":
            return BatteryUnit(spec, orders)
        case "evse":
            return ChargingPoint(spec, orders, seed, site, start)
        case "heatpump":
            return HeatPumpUnit(spec, orders)
