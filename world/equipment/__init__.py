"""The devices of a site: physics, profile and the orders from the registers brought together.

Each says after a step what it draws per phase and what its registers show. Readings are a superset: what a product has
no point for is left out when they are put into its registers.
"""

from world.control import Orders
from world.equipment.base import Equipment, Moment, Phased, Readings, draw
from world.equipment.battery import BatteryUnit
from world.equipment.evse import ChargingPoint
from world.equipment.fuelcell import GeneratorUnit
from world.equipment.heatpump import HeatPumpUnit
from world.equipment.household import Household
from world.equipment.hvac import AirConditionerUnit
from world.equipment.pv import PvPlant
from world.equipment.submeter import Submeter
from world.equipment.switch import SwitchedLoad
from world.equipment.waterheater import WaterHeaterUnit
from world.equipment.whitegoods import Appliance
from world.profiles import Noise
from world.spec import DeviceSpec, WorldError

__all__ = [
    "AirConditionerUnit",
    "Appliance",
    "BatteryUnit",
    "ChargingPoint",
    "Equipment",
    "GeneratorUnit",
    "HeatPumpUnit",
    "Household",
    "Moment",
    "Phased",
    "PvPlant",
    "Readings",
    "Submeter",
    "SwitchedLoad",
    "WaterHeaterUnit",
    "build",
    "draw",
]


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
        case "waterheater":
            return WaterHeaterUnit(spec, orders, seed, site)
        case "hvac":
            return AirConditionerUnit(spec, orders, seed, site)
        case "fuelcell":
            return GeneratorUnit(spec, orders)
        case "whitegoods":
            return Appliance(spec, orders, seed, site)
        case "switch":
            return SwitchedLoad(spec, orders, seed, site)
        case "submeter":
            return Submeter(spec, orders, seed, site)
        case _:
            raise WorldError(f"{site}.{spec.name}", f"the world has no physics for a {spec.kind}")
