"""The street's grid as data: the SimBench extract of ``data/grid.json``, typed."""

from functools import cache
from importlib import resources

import msgspec


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The medium-voltage grid, held at one voltage."""

    voltage_pu: float


class Transformer(msgspec.Struct, frozen=True, kw_only=True):
    """Nameplate, as in pandapower; the tap is on the high side, so a higher tap lowers the street's voltage."""

    type: str
    rated_va: float
    high_v: float
    low_v: float
    short_circuit_percent: float
    short_circuit_resistive_percent: float
    no_load_loss_w: float
    no_load_current_percent: float
    tap_position: int
    tap_step_percent: float
    tap_min: int
    tap_max: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A cable; positive-sequence values."""

    name: str
    type: str
    from_bus: int
    to_bus: int
    length_m: float
    r_ohm_per_km: float
    x_ohm_per_km: float
    c_nf_per_km: float
    rated_a: float


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer of SimBench: a profile of one times its peak."""

    name: str
    bus: int
    profile: str
    power_w: float
    reactive_var: float


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """A PV plant: rated power, a magnitude."""

    name: str
    bus: int
    profile: str
    power_w: float


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """A battery; ``efficiency_share`` is of a full cycle."""

    name: str
    bus: int
    power_w: float
    capacity_wh: float
    efficiency_share: float
    self_discharge_percent_per_day: float


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """One low-voltage feeder with what is connected to it. Buses keep SimBench's numbers."""

    name: str
    medium_voltage_bus: int
    busbar: int
    source: Source
    transformer: Transformer
    lines: tuple[Line, ...]
    loads: tuple[Load, ...]
    pv: tuple[Plant, ...]
    storage: tuple[Storage, ...]

    @property
    def connection_points(self) -> tuple[int, ...]:
        """Every bus of the street but the busbar: one customer each."""
        ends = {line.from_bus for line in self.lines} | {line.to_bus for line in self.lines}
        return tuple(sorted(ends - {self.busbar}))


@cache
def rural_grid() -> Grid:
    """SimBench 1-LV-rural1--2-sw: 13 connection points behind 160 kVA."""
    text = resources.files("world").joinpath("data/grid.json").read_bytes()
    return msgspec.json.decode(text, type=Grid)
