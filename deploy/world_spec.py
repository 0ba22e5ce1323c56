"""The part of a topology that stands behind the Modbus sockets, in the world's own words."""

from collections.abc import Mapping

from contracts.roles import METER
from deploy.topology import GRID, LINK_ACTIONS, AgentEntry, Disturbance, Site, Topology
from world.spec import DeviceSpec, EventSpec, HouseholdSpec, MeterSpec, SiteSpec, SubstationSpec, WorldSpec

WORLD = "world"
"""Name of the process that simulates what stands behind the sockets."""
SUBSTATION = "substation"
"""The world's name of the grid side's gateway."""


FIRST_PORT = 15_020


def modbus_port(topology: Topology, place: str) -> int:
    """Where the world of a deployment in containers serves the gateway of a place, the grid side's first."""
    return FIRST_PORT + [GRID, *topology.sites].index(place)


def has_world(topology: Topology) -> bool:
    """Whether anything of it is simulated."""
    return any(_simulated(site) for site in topology.site)


def world_spec(topology: Topology, ports: Mapping[str, int] | None = None) -> WorldSpec:
    """The world of a topology. ``ports``: place (``grid``: the substation) -> TCP port of its gateway."""
    ports = ports or {}
    meter = next((entry for entry in topology.grid.agents if entry.role == METER.name and entry.device), None)
    return WorldSpec(
        start=topology.run.start,
        seed=topology.run.seed,
        sites=tuple(_site(site, ports.get(site.name, 0)) for site in topology.site if _simulated(site)),
        substation=SubstationSpec(
            name=SUBSTATION,
            meter=_meter(meter) if meter else MeterSpec(product="eastron_sdm630"),
            port=ports.get(GRID, 0),
            rated_va=topology.grid.transformer_va,
        ),
        events=tuple(event(one) for one in topology.disturbance if one.action not in LINK_ACTIONS),
    )


def event(one: Disturbance) -> EventSpec:
    """Raises ValueError for what does not happen in the world."""
    if one.action == "cut" or one.action == "mend" or one.action == "kill":
        raise ValueError(f"{one.action} is done by the launcher, not by the world")
    return EventSpec(
        at=one.at,
        action=one.action,
        site=one.site,
        device=one.device,
        energy_wh=one.energy_wh,
        capacity_wh=one.capacity_wh,
        stays_s=one.stays_s,
        programme=one.programme,
        power_w=one.power_w,
        phase=one.phase,
        fault=one.fault,
    )


def _simulated(site: Site) -> bool:
    return site.bus is not None and not site.gateway


def _meter(entry: AgentEntry) -> MeterSpec:
    return MeterSpec(product=entry.device, unit=entry.unit)


def _site(site: Site, port: int) -> SiteSpec:
    meter = next((entry for entry in site.agents if entry.role == METER.name and entry.device), None)
    home = site.household
    assert site.bus is not None
    return SiteSpec(
        name=site.name,
        bus=site.bus,
        meter=_meter(meter) if meter else MeterSpec(product="eastron_sdm630"),
        household=HouseholdSpec(
            profile=home.profile if home else "",
            power_w=home.power_w if home else 0.0,
            reactive_var=home.reactive_var if home else 0.0,
        ),
        devices=tuple(_device(entry) for entry in site.agents if entry.device and entry.role != METER.name),
        port=port,
        contract_w=site.contract_consumption_w,
        fuse_a=site.fuse_a,
    )


def _device(entry: AgentEntry) -> DeviceSpec:
    return DeviceSpec(
        name=f"{entry.role}{entry.name}",
        kind=entry.role,  # type: ignore[arg-type]  # a topology's roles with a device are the world's kinds
        product=entry.device,
        unit=entry.unit,
        rating_w=entry.rating_w,
        rating_var=entry.rating_var,
        profile=entry.profile,
        phases=entry.phases,
        phase=entry.phase if entry.phases == 1 else None,
        capacity_wh=entry.capacity_wh,
        efficiency_share=entry.efficiency_share,
        self_discharge_percent_per_day=entry.self_discharge_percent_per_day,
        soc_percent=entry.soc_percent,
        backup=entry.backup,
        silence_s=entry.silence_s,
        failsafe_a=entry.failsafe_a,
        measures=entry.measures,
    )
