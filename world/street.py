"""The default street: SimBench's customers with the products that they own, and the cars of the evening.

``python -m world.street [evening]`` prints it as TOML.
"""

import json
import sys
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from world.grid import Grid, Load, rural_grid
from world.spec import (
    DeviceKind,
    DeviceSpec,
    EventSpec,
    HouseholdSpec,
    MeterSpec,
    SiteSpec,
    SubstationSpec,
    WorldSpec,
)

DAY_START = datetime.fromisoformat("2016-05-20T10:00:00+02:00")
DAY_END = datetime.fromisoformat("2016-05-20T16:00:00+02:00")
"""The default run: feed-in of 148 % of the transformer around 13:00 local time."""
EVENING_START = datetime.fromisoformat("2016-01-28T17:00:00+01:00")
EVENING_END = datetime.fromisoformat("2016-01-28T21:00:00+01:00")
EVENING_HOMES = ("h01", "h02", "h03", "h05", "h06", "h07", "h09", "h10", "h12", "h13")
"""Homes that have an 11 kW charging point in the evening besides what SimBench gives them."""
CHARGING_W = 11_000.0

METERS = ("eastron_sdm630", "sunspec_meter")
"""Every home's main meter tells phases apart, as NG-04 wants."""
SUBSTATION_METER = "eastron_sdm630"
SMALL_CHARGING_POINT = "keba_p30"
"""Cannot go below 6 A: at 3.7 kW on one phase that is 1.4 kW."""
CHARGING_POINT = "abb_terra_ac"
HEAT_PUMPS = ("lambda_eu_l", "sg_ready_waveshare_relay")
INVERTERS = ("sunspec_inverter", "sunspec_der_inverter")
BATTERY = "sunspec_battery"
SMALL_BATTERY = "kostal_plenticore"
"""Its registers end at 32 kW."""
SILENCE_S = {"abb_terra_ac": 120.0, "lambda_eu_l": 300.0, "kostal_plenticore": 120.0}
"""How long these are set to wait for their master. That they wait is in their documents, how long is up to the
installer."""
_FUSES_A = (35, 50, 63, 80, 100, 125, 160, 200, 250)
_FIRST_UNIT: dict[DeviceKind, int] = {"evse": 10, "heatpump": 20, "pv": 30, "battery": 40}


def site_name(bus: int) -> str:
    """Bus 7 is home ``h07``."""
    return f"h{bus:02d}"


def sites(grid: Grid, extra_charging: tuple[str, ...] = ()) -> tuple[SiteSpec, ...]:
    """Every connection point with SimBench's loads, PV and storage as products, in the order of the buses.

    extra_charging  homes that get one 11 kW charging point more, without a profile
    """
    turn = {kind: count() for kind in (*_FIRST_UNIT, "phase")}
    return tuple(_site(grid, bus, place, turn, extra_charging) for place, bus in enumerate(grid.connection_points))


def _site(grid: Grid, bus: int, place: int, turn: "dict[str, count[int]]", extra_charging: tuple[str, ...]) -> SiteSpec:
    name = site_name(bus)
    loads = [load for load in grid.loads if load.bus == bus]
    households = [load for load in loads if _kind(load) is None]
    if len(households) != 1:
        raise ValueError(f"bus {bus} has {len(households)} households, a connection point needs one")
    made: list[DeviceSpec] = []

    def add(kind: DeviceKind, product: str, rating_w: float, **more: Any) -> None:
        number = 1 + sum(one.kind == kind for one in made)
        made.append(
            DeviceSpec(
                name=f"{kind}{number}",
                kind=kind,
                product=product,
                unit=_FIRST_UNIT[kind] + number - 1,
                rating_w=rating_w,
                silence_s=SILENCE_S.get(product, 0.0),
                **more,
            )
        )

    for load in loads:
        kind = _kind(load)
        if kind == "evse":
            # The box is the one that the profile names (3.7, 11, 22 kW); SimBench's peak is up to 1 % less.
            rating_w = float(load.profile.rsplit("_", 1)[1]) * 1e3
            small = rating_w < 4_000
            product = SMALL_CHARGING_POINT if small else CHARGING_POINT
            if small:
                add(kind, product, rating_w, profile=load.profile, phases=1, phase=next(turn["phase"]) % 3 + 1)
            else:
                add(kind, product, rating_w, profile=load.profile)
        elif kind == "heatpump":
            add(
                kind, HEAT_PUMPS[next(turn[kind]) % 2], load.power_w, rating_var=load.reactive_var, profile=load.profile
            )
    if name in extra_charging:
        add("evse", CHARGING_POINT, CHARGING_W)
    for plant in grid.pv:
        if plant.bus == bus:
            add("pv", INVERTERS[next(turn["pv"]) % 2], plant.power_w, profile=plant.profile)
    for storage in grid.storage:
        if storage.bus == bus:
            add(
                "battery",
                SMALL_BATTERY if storage.power_w < 20_000 else BATTERY,
                storage.power_w,
                capacity_wh=storage.capacity_wh,
                efficiency_share=storage.efficiency_share,
                self_discharge_percent_per_day=storage.self_discharge_percent_per_day,
            )
    home = households[0]
    consumption_w = home.power_w + sum(one.rating_w for one in made if one.kind != "pv")
    most_w = max(consumption_w, sum(one.rating_w for one in made if one.kind == "pv"))
    return SiteSpec(
        name=name,
        bus=bus,
        meter=MeterSpec(product=METERS[place % 2]),
        household=HouseholdSpec(profile=home.profile, power_w=home.power_w, reactive_var=home.reactive_var),
        devices=tuple(made),
        contract_w=round(consumption_w + 499, -3),
        fuse_a=float(next((size for size in _FUSES_A if size * 690 >= most_w), _FUSES_A[-1])),
    )


def _kind(load: Load) -> DeviceKind | None:
    if load.profile.startswith("HLS"):
        return "evse"
    return "heatpump" if load.profile.startswith(("Soil", "Air")) else None


def day(seed: int = 1) -> WorldSpec:
    """The default run's street, 2016-05-20 from 10:00."""
    return _street(DAY_START, seed, ())


def evening(seed: int = 1) -> WorldSpec:
    """The same street on a January evening with 11 kW charging points at ten homes more, whose cars come home."""
    events = tuple(
        EventSpec(
            # One after the other from 18:00 on, so that all charge at 19:00.
            at=EVENING_START + timedelta(minutes=60 + 5 * place),
            action="plug_in",
            site=home,
            device=_extra_evse(home),
            energy_wh=22_000.0 + 1_000.0 * (place % 5),
            stays_s=12 * 3600.0,
        )
        for place, home in enumerate(EVENING_HOMES)
    )
    return _street(EVENING_START, seed, EVENING_HOMES, events)


def _extra_evse(home: str) -> str:
    site = next(one for one in sites(rural_grid(), EVENING_HOMES) if one.name == home)
    return next(one.name for one in site.devices if one.kind == "evse" and not one.profile)


def _street(
    start: datetime, seed: int, extra_charging: tuple[str, ...], events: tuple[EventSpec, ...] = ()
) -> WorldSpec:
    return WorldSpec(
        start=start,
        seed=seed,
        sites=sites(rural_grid(), extra_charging),
        substation=SubstationSpec(name="substation", meter=MeterSpec(product=SUBSTATION_METER)),
        events=events,
    )


def _lines(one: msgspec.Struct) -> list[str]:
    """A struct's plain fields as TOML, defaults left out; nested structs inline."""
    lines = []
    for field in msgspec.structs.fields(one):
        value = getattr(one, field.name)
        if value == field.default or isinstance(value, tuple):
            continue
        lines.append(f"{field.name} = {_toml(value)}")
    return lines


def _toml(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value)


def toml(spec: WorldSpec) -> str:
    """A world as TOML that reads back as the same ``WorldSpec``."""
    out = [*_lines(spec), ""]
    for site in spec.sites:
        out += ["[[sites]]", *_lines(site), ""]
        for device in site.devices:
            out += ["[[sites.devices]]", *_lines(device), ""]
    for event in spec.events:
        out += ["[[events]]", *_lines(event), ""]
    return "\n".join(out)


def main() -> None:
    print(toml(evening() if sys.argv[1:] == ["evening"] else day()))


if __name__ == "__main__":
    main()
