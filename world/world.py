"""The street put together: sites, feeder, registers and events."""

import logging

import msgspec
import numpy as np
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

from contracts.device_file import DeviceFile, load
from world.control import Orders
from world.equipment import Moment, Phased, Readings
from world.feeder import Feeder, Solution
from world.grid import Grid, rural_grid
from world.live import LiveUnit, check_fault
from world.modbus import Gateway
from world.physics.weather import outdoor_c
from world.profiles import CLOUD_AMPLITUDE, Noise
from world.site import Counter, Site, SiteState, meter_readings
from world.spec import EventSpec, SiteSpec, SubstationSpec, WorldError, WorldSpec

_log = logging.getLogger(__name__)

METER = "meter"
"""Name by which events call a site's meter."""
_FREQUENCY_NOISE_SHARE = 2e-4
"""10 mHz at 50 Hz: the order of the continental grid's everyday deviation."""


class Snapshot(msgspec.Struct, kw_only=True):
    """What a killed world's successor needs."""

    instant: float
    sites: dict[str, SiteState]
    substation: Counter
    happened: int
    dark: bool
    orders: dict[str, dict[str, tuple[float | int | bool | str, float]]]


class World:
    """The physics of one street, with or without register servers before it.

    served  False leaves out device files, registers and sockets: nobody can control anything
    raises  WorldError, UnknownProfileError, contracts.device_file.DeviceFileError
    """

    def __init__(self, spec: WorldSpec, *, grid: Grid | None = None, served: bool = True) -> None:
        self.spec = spec
        self.grid = grid or rural_grid()
        self.feeder = Feeder(self.grid, spec.substation.rated_va)
        self.instant = spec.start.timestamp()
        sky = Noise(spec.seed, "sky", CLOUD_AMPLITUDE)
        self._frequency = Noise(spec.seed, "frequency", _FREQUENCY_NOISE_SHARE)
        self._orders = {f"{site.name}.{one.name}": Orders() for site in spec.sites for one in site.devices}
        self.units: dict[str, LiveUnit] = {}
        self.gateways: dict[str, Gateway] = {}
        if served:
            self._make_units()
        self.sites = [
            Site(
                one,
                {device.name: self._orders[f"{one.name}.{device.name}"] for device in one.devices},
                spec.seed,
                self.instant,
                sky,
            )
            for one in spec.sites
        ]
        self._by_name = {site.spec.name: site for site in self.sites}
        self._rows = self._place_sites()
        shape = (len(self.feeder.buses), 3)
        self._power_w, self._reactive_var = np.zeros(shape), np.zeros(shape)
        self.substation = Counter(import_wh=0.0, export_wh=0.0)
        self._events = sorted(spec.events, key=lambda event: event.at)
        for event in self._events:
            self._check(event)
        self._happened = 0
        self._dark = False
        self.solution: Solution = self.feeder.solve(self._power_w, self._reactive_var)
        self._voltages = self._read_voltages()
        self._moments: dict[str, Moment] = {}
        self._look(spec.step_s)
        for name, unit in self.units.items():
            self._connect(name, unit)

    def _place_sites(self) -> list[int]:
        names = [site.spec.name for site in self.sites]
        if len(set(names)) < len(names):
            raise WorldError("sites", f"names must be unique: {names}")
        rows = []
        for site in self.sites:
            if site.spec.bus not in self.feeder.buses:
                raise WorldError(site.spec.name, f"bus {site.spec.bus} is not one of {self.feeder.buses}")
            rows.append(self.feeder.buses.index(site.spec.bus))
        return rows

    def _make_units(self) -> None:
        files: dict[str, DeviceFile] = {}
        places: list[SiteSpec | SubstationSpec] = [*self.spec.sites, self.spec.substation]
        for place in places:
            wanted = [(METER, place.meter.product, place.meter.unit)]
            if isinstance(place, SiteSpec):
                wanted += [(one.name, one.product, one.unit) for one in place.devices]
            numbers = [unit for _, _, unit in wanted]
            if len(set(numbers)) < len(numbers):
                raise WorldError(place.name, f"two devices share a Modbus unit: {wanted}")
            made = []
            for name, product, unit in wanted:
                if product not in files:
                    files[product] = load(product)
                key = f"{place.name}.{name}"
                orders = self._orders.setdefault(key, Orders())
                live = LiveUnit(files[product], unit, orders, self._now)
                orders.know(live.points)
                self.units[key] = live
                made.append(live)
            self.gateways[place.name] = Gateway(made, self.spec.host, place.port)

    def _now(self) -> float:
        return self.instant

    def _connect(self, key: str, unit: LiveUnit) -> None:
        place, name = key.split(".", 1)
        if place == self.spec.substation.name:
            unit.fit(self.grid.transformer.rated_va, 0.0)
            unit.show = self._substation_readings
        elif name == METER:
            site = self._by_name[place]
            unit.fit(max(sum(one.rating_w for one in site.spec.devices), site.spec.household.power_w), 0.0)
            unit.show = lambda: self._site_readings(site)
        else:
            one = self._by_name[place].device(name)
            unit.fit(one.spec.rating_w, one.spec.capacity_wh)
            unit.put({**one.defaults()})
            unit.show = lambda: one.readings(self._moments[place])

    # what happens

    def _check(self, event: EventSpec) -> None:
        """Raises WorldError for a planned event that could never happen."""
        if event.action in ("blackout", "restore"):
            return
        if event.action in ("fault", "clear_fault"):
            check_fault(event.fault)
            if event.site == self.spec.substation.name and event.device in ("", METER):
                return
        if event.site not in self._by_name:
            raise WorldError(event.site, f"is no site; there are {', '.join(self._by_name)}")
        if event.action in ("plug_in", "unplug", "open_door") or event.device not in ("", METER):
            self._by_name[event.site].device(event.device)

    def inject(self, event: EventSpec) -> None:
        """Let an event happen now, whatever its instant. Raises WorldError when it cannot."""
        match event.action:
            case "blackout" | "restore":
                self._dark = event.action == "blackout"
            case "fault" | "clear_fault":
                key = f"{event.site}.{event.device or METER}"
                if key not in self.units:
                    raise WorldError(key, f"is no unit; there are {', '.join(self.units) or 'none'}")
                self.units[key].suffer(event.fault if event.action == "fault" else "")
            case _:
                if event.site not in self._by_name:
                    raise WorldError(event.site, f"is no site; there are {', '.join(self._by_name)}")
                self._by_name[event.site].happen(event, self.instant)

    def step(self, dt_s: float) -> None:
        """Move the street on by ``dt_s``: orders, devices, sums per phase, feeder, registers."""
        self.instant += dt_s
        while self._happened < len(self._events) and self._events[self._happened].at.timestamp() <= self.instant:
            event = self._events[self._happened]
            self._happened += 1
            if self.units or event.action not in ("fault", "clear_fault"):
                self._try(event)
        if self._dark:
            self._voltages = [(0.0, 0.0, 0.0)] * len(self.sites)
        self._look(dt_s)
        for site, row in zip(self.sites, self._rows, strict=True):
            site.advance(self._moments[site.spec.name])
            self._power_w[row] = site.power_w
            self._reactive_var[row] = site.reactive_power_var
        self.solution = self._solve()
        self._voltages = self._read_voltages()
        self.substation.count(float(self.solution.transformer_power_w.sum()), dt_s)
        for unit in self.units.values():
            unit.expire()

    def _try(self, event: EventSpec) -> None:
        try:
            self.inject(event)
        except WorldError as error:
            # A planned event that the street's own course has overtaken is no reason to stop the street.
            _log.warning("event %s at %s did not happen: %s", event.action, event.at.isoformat(), error)

    def _solve(self) -> Solution:
        if not self._dark:
            try:
                return self.feeder.solve(self._power_w, self._reactive_var)
            except PowerGridError:
                # No voltage satisfies what is drawn: it collapses, and the street's protection trips.
                self._dark = True
        return self.feeder.dark()

    def _look(self, dt_s: float) -> None:
        outdoor = outdoor_c(self.instant)
        for site, volts in zip(self.sites, self._voltages, strict=True):
            self._moments[site.spec.name] = site.moment(self.instant, dt_s, outdoor, volts)

    def _read_voltages(self) -> list[Phased]:
        by_bus = self.solution.voltage_v.tolist()
        return [(by_bus[row][0], by_bus[row][1], by_bus[row][2]) for row in self._rows]

    # what is measured

    def _frequency_hz(self) -> float:
        return 0.0 if self._dark else 50.0 * (1 + self._frequency.at(self.instant))

    def _site_readings(self, site: Site) -> Readings:
        volts = self._voltages[self.sites.index(site)]
        return meter_readings(site.power_w, site.reactive_power_var, volts, site.counter, self._frequency_hz())

    def _substation_readings(self) -> Readings:
        at = self.solution
        volts = at.busbar_voltage_v.tolist()
        return meter_readings(
            at.transformer_power_w.tolist(),
            at.transformer_reactive_power_var.tolist(),
            (volts[0], volts[1], volts[2]),
            self.substation,
            self._frequency_hz(),
        )

    # the truth

    def columns(self) -> list[str]:
        """Names of the truth's columns, see ``world.truth``."""
        names = ["instant", "transformer_w", *(f"transformer_l{n}_w" for n in (1, 2, 3))]
        names += ["transformer_loading_percent", "lag_s"]
        for site in self.sites:
            names += [f"{site.spec.name}.{what}" for what in ("power_w", "voltage_min_v", "voltage_max_v")]
            for one in site.devices:
                names.append(f"{site.spec.name}.{one.spec.name}.power_w")
                if one.spec.kind in ("battery", "evse"):
                    names.append(f"{site.spec.name}.{one.spec.name}.soc_percent")
        return names

    def row(self, lag_s: float = 0.0) -> list[float | None]:
        """The truth now, in the order of ``columns``."""
        per_phase = self.solution.transformer_power_w.tolist()
        row: list[float | None] = [self.instant, sum(per_phase), *per_phase]
        row += [self.solution.transformer_loading_percent, lag_s]
        for site, volts in zip(self.sites, self._voltages, strict=True):
            row += [site.total_w, min(volts), max(volts)]
            for one in site.devices:
                row.append(one.power_w)
                if one.spec.kind in ("battery", "evse"):
                    row.append(one.soc_percent)
        return row

    # sockets and restarts

    async def start(self) -> None:
        """Open every gateway. Raises pymodbus' ModbusException when a port is taken."""
        for gateway in self.gateways.values():
            await gateway.start()

    async def stop(self) -> None:
        for gateway in self.gateways.values():
            await gateway.stop()

    @property
    def ports(self) -> dict[str, int]:
        """TCP port of each site's gateway, once started."""
        return {name: gateway.port for name, gateway in self.gateways.items()}

    def dump(self) -> Snapshot:
        """The whole state, for JSON."""
        return Snapshot(
            instant=self.instant,
            sites={site.spec.name: site.dump() for site in self.sites},
            substation=self.substation,
            happened=self._happened,
            dark=self._dark,
            orders={key: orders.dump() for key, orders in self._orders.items()},
        )

    def resume(self, state: Snapshot) -> None:
        """Go on from a ``dump``, with what the masters had written."""
        self.instant, self.substation = state.instant, state.substation
        self._happened, self._dark = state.happened, state.dark
        for name, one in state.sites.items():
            self._by_name[name].load(one)
        for key, written in state.orders.items():
            self._orders[key].load(written)
            if key in self.units:
                self.units[key].put({name: value for name, (value, _) in written.items()})
