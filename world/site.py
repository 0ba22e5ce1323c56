"""One customer: household, devices and the meter at the connection point."""

import msgspec

from world.control import Orders
from world.equipment import (
    Appliance,
    BatteryUnit,
    ChargingPoint,
    Equipment,
    Household,
    Moment,
    Phased,
    Readings,
    Submeter,
    build,
    draw,
)
from world.equipment.base import DARK, NOMINAL_V
from world.island import Island, carry, watch_grid
from world.physics import evse, house
from world.profiles import Noise
from world.spec import EventSpec, SiteSpec, WorldError

Triple = list[float]
DEFAULT_METER_WH = (1e6, 2e7)
"""What a meter may have counted before the run begins."""


class Counter(msgspec.Struct, kw_only=True):
    """The registers of a two-way meter that balances its phases; they only rise."""

    import_wh: float
    export_wh: float

    def count(self, power_w: float, dt_s: float) -> None:
        if power_w > 0:
            self.import_wh += power_w * dt_s / 3600
        else:
            self.export_wh -= power_w * dt_s / 3600


class Extra(msgspec.Struct, kw_only=True, frozen=True):
    """A load from an event. ``programme`` empty: ``power_w`` until ``ends_at``."""

    begins_at: float
    ends_at: float
    phase: int
    power_w: float = 0.0
    programme: str = ""


class SiteState(msgspec.Struct, kw_only=True):
    """What a world that is restarted has to know again."""

    counter: Counter
    extras: list[Extra]
    devices: dict[str, msgspec.Raw]
    island: Island = Island()


class Site:
    """Sums its devices per phase; the feeder answers with voltages, the meter shows both."""

    def __init__(self, spec: SiteSpec, orders: dict[str, Orders], seed: int, start: float, sky: Noise) -> None:
        self.spec = spec
        self.household = Household(spec.household, seed, spec.name)
        devices = [build(one, orders.get(one.name) or Orders(), seed, spec.name, start, sky) for one in spec.devices]
        # A battery looks at what the others leave over.
        self.devices: list[Equipment] = sorted(devices, key=lambda one: isinstance(one, BatteryUnit))
        for one in self.devices:
            if isinstance(one, Submeter) and one.spec.measures:
                one.measured = self.device(one.spec.measures)
        chance = draw(seed, f"{spec.name}.meter")
        self.counter = Counter(import_wh=chance.uniform(*DEFAULT_METER_WH), export_wh=chance.uniform(*DEFAULT_METER_WH))
        self._appliance_phase = chance.randrange(3)
        self._extras: list[Extra] = []
        self.island = Island()
        self._backups = [one for one in self.devices if isinstance(one, BatteryUnit) and one.spec.backup]
        self.power_w: Triple = [0.0, 0.0, 0.0]
        self.reactive_power_var: Triple = [0.0, 0.0, 0.0]

    @property
    def total_w(self) -> float:
        return sum(self.power_w)

    def device(self, name: str) -> Equipment:
        """Raises WorldError for a name that the site does not have."""
        for one in self.devices:
            if one.spec.name == name:
                return one
        known = ", ".join(one.spec.name for one in self.devices) or "none"
        raise WorldError(self.spec.name, f"has no device {name!r}, it has {known}")

    def moment(self, instant: float, dt_s: float, outdoor_c: float, grid_v: Phased) -> Moment:
        """The next step with the grid's voltage at the connection point; an island has its own inside."""
        self.island = watch_grid(self.island, grid=grid_v[0] > 0.0, backup=bool(self._backups), dt_s=dt_s)
        island = self.island
        volts = grid_v if not island.alone else (NOMINAL_V, NOMINAL_V, NOMINAL_V) if island.carries else DARK
        return Moment(
            instant=instant,
            dt_s=dt_s,
            outdoor_c=outdoor_c,
            voltage_v=volts,
            alone=island.alone,
            generation_share=island.generation_share,
        )

    def advance(self, moment: Moment) -> None:
        """One step: afterwards ``power_w`` and ``reactive_power_var`` hold the exchange per phase."""
        power, reactive = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        if moment.live:
            _add(power, self.household.power_w(moment.instant), self.household.shares)
            _add(reactive, self.household.reactive_power_var(moment.instant), self.household.shares)
            self._add_extras(power, moment.instant)
        for one in self.devices:
            one.residual_w = sum(power)
            one.advance(moment)
            _add(power, one.power_w, one.shares)
            if one.reactive_power_var:
                _add(reactive, one.reactive_power_var, one.shares)
        if moment.alone:
            if moment.live:
                self._carry(sum(power), moment.dt_s)
            power, reactive = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        self.power_w, self.reactive_power_var = power, reactive
        self.counter.count(sum(power), moment.dt_s)

    def _carry(self, net_w: float, dt_s: float) -> None:
        given, rating = sum(one.power_w for one in self._backups), sum(one.spec.rating_w for one in self._backups)
        self.island = carry(self.island, net_w=net_w, battery_w=given, rating_w=rating, dt_s=dt_s)

    def _add_extras(self, power: Triple, instant: float) -> None:
        if not self._extras:
            return
        self._extras = [one for one in self._extras if instant < one.ends_at]
        for one in self._extras:
            drawn: float | None = one.power_w
            if one.programme:
                drawn = house.programme_power_w(one.programme, instant - one.begins_at)
            if one.phase:
                power[one.phase - 1] += drawn or 0.0
            else:
                _add(power, drawn or 0.0, (1 / 3, 1 / 3, 1 / 3))

    def happen(self, event: EventSpec, instant: float) -> None:
        """What an event does at this site. Raises WorldError when it cannot be done."""
        match event.action:
            case "plug_in":
                if event.energy_wh <= 0:
                    raise WorldError(f"{self.spec.name}.{event.device}", "plug_in needs energy_wh > 0")
                car = evse.Car(
                    capacity_wh=max(event.capacity_wh, event.energy_wh),
                    energy_wh=max(event.capacity_wh - event.energy_wh, 0.0),
                    needed_wh=event.energy_wh,
                    leaves_at=instant + event.stays_s,
                )
                self._charging_point(event.device).plug_in(car)
            case "unplug":
                self._charging_point(event.device).unplug()
            case "start_programme" if event.device:
                self._appliance(event.device).arm(event.programme, instant)
            case "open_door":
                self._appliance(event.device).open_door()
            case "start_programme":
                if event.programme not in house.PROGRAMMES:
                    raise WorldError(self.spec.name, f"no programme {event.programme!r}: {sorted(house.PROGRAMMES)}")
                ends = instant + sum(duration for duration, _ in house.PROGRAMMES[event.programme])
                phase = event.phase or self._appliance_phase + 1
                self._extras.append(Extra(begins_at=instant, ends_at=ends, phase=phase, programme=event.programme))
            case "load":
                self._extras.append(
                    Extra(
                        begins_at=instant,
                        ends_at=instant + event.stays_s,
                        phase=event.phase,
                        power_w=event.power_w,
                    )
                )
            case _:
                raise WorldError(self.spec.name, f"{event.action} is not an event of a site")

    def _charging_point(self, name: str) -> ChargingPoint:
        one = self.device(name)
        if not isinstance(one, ChargingPoint):
            raise WorldError(f"{self.spec.name}.{name}", "is not a charging point")
        return one

    def _appliance(self, name: str) -> Appliance:
        one = self.device(name)
        if not isinstance(one, Appliance):
            raise WorldError(f"{self.spec.name}.{name}", "is no appliance with programmes")
        return one

    def dump(self) -> SiteState:
        devices = {one.spec.name: msgspec.Raw(msgspec.json.encode(one.dump())) for one in self.devices}
        return SiteState(counter=self.counter, extras=self._extras, devices=devices, island=self.island)

    def load(self, state: SiteState) -> None:
        self.counter, self._extras, self.island = state.counter, state.extras, state.island
        for name, stored in state.devices.items():
            self.device(name).load(msgspec.json.decode(stored))


def meter_readings(
    power_w: Triple, reactive_power_var: Triple, voltage_v: Phased, counter: Counter, frequency_hz: float
) -> Readings:
    """What a meter shows: currents signed like the active power, + = taken."""
    shown: Readings = {
        "power_w": sum(power_w),
        "reactive_power_var": sum(reactive_power_var),
        "frequency_hz": frequency_hz,
        "import_wh": counter.import_wh,
        "export_wh": counter.export_wh,
    }
    for n, (watts, var, volts) in enumerate(zip(power_w, reactive_power_var, voltage_v, strict=True), 1):
        amps = (watts * watts + var * var) ** 0.5 / volts if volts > 0 else 0.0
        shown[f"power_l{n}_w"] = watts
        shown[f"voltage_l{n}_v"] = volts
        shown[f"current_l{n}_a"] = amps if watts >= 0 else -amps
    return shown


def _add(to: Triple, total: float, shares: Phased) -> None:
    to[0] += total * shares[0]
    to[1] += total * shares[1]
    to[2] += total * shares[2]
