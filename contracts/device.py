"""Between the CEM and the devices of its home: joining, readings, setpoints, status.

A setpoint is an envelope at the device's own terminals, signed like every power (+ consumed, - generated).
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import CEM, DEVICES
from contracts.units import Celsius, Instant, Percent, Phases, Seconds, W, Wh

DeviceClass = Literal[
    "evse",
    "heatpump",
    "pv",
    "battery",
    "whitegoods",
    "waterheater",
    "hvac",
    "fuelcell",
    "switch",
    "submeter",
]
Operating = Literal["off", "idle", "waiting", "running", "paused", "finished", "fault"]
Function = Literal["measure", "limit_upper", "limit_lower", "setpoint", "standby", "absorb"]
READING_EVERY_S = 5.0


class Announce(Message, frozen=True, kw_only=True):
    """A device joins: what it is, what it can do, which use cases it takes part in.

    ``nominal_lower_w``/``nominal_upper_w`` bound its power; ``minimum_run_w`` is the least it draws while on (a car at
    6 A), below which it can only be switched off. ``phases`` names the phases that it uses.
    """

    topic = "device"
    clause = "IEC-JWG9 capability message; IEC-DM-GDD"

    device_class: DeviceClass
    maker: str
    model: str
    functions: tuple[Function, ...]
    use_cases: tuple[str, ...]
    nominal_lower_w: W
    nominal_upper_w: W
    minimum_run_w: W = 0.0
    phases: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    minimum_on_s: Seconds = 0.0
    minimum_off_s: Seconds = 0.0
    steerable: bool = True
    """Falls under direct control by law (BK6-22-300: above 4.2 kW, charging, heat pump, cooling, storage)."""
    essential: bool = False
    """Stays on in an emergency by the agreed profile (gas boiler, safety)."""
    measures: str = ""
    """Of a submeter: the device of the home in whose circuit it sits, as in the topology; its power counts once."""


class Welcome(Message, frozen=True, kw_only=True):
    """The CEM manages the device from now on."""

    topic = "device"

    reading_every_s: Seconds
    actions: tuple[str, ...]


class TurnedAway(Message, frozen=True, kw_only=True):
    """The CEM does not manage the device."""

    topic = "device"

    reason: Reason


class DeviceReading(Message, frozen=True, kw_only=True):
    """What the device measures and may do next; also its regular sign of life."""

    topic = "device"
    ttl_s = 30.0
    clause = "IEC-FP-POWER instantaneous power information; IEC-JWG11 regular message"

    at: Instant
    power_w: W
    power_by_phase_w: Phases
    operating: Operating
    lower_w: W
    """The lowest power that it can take on right now (a battery's discharge, PV's present generation)."""
    upper_w: W
    """The highest power that it can take on right now (a car's wish, a battery's charge)."""
    energy_wh: Wh | None = None
    soc_percent: Percent | None = None
    quality: Literal["measured", "estimated"] = "measured"
    """``estimated`` where the product does not measure (bare SG-Ready contacts): then the most that it can draw."""
    limit_percent: Percent | None = None
    """The limit that the hardware holds, share of its rating, as read back; 100 without one. None: it cannot tell."""
    temperature_c: Celsius | None = None
    """Of what stores heat or cold: the tank of a water heater, heat pump or generator, an air conditioner's room."""
    outdoor_temperature_c: Celsius | None = None
    """Where the device has a sensor for it."""
    grid_connected: bool | None = None
    """Whether the inverter is connected to the grid: one that runs without forms an island. None: it cannot tell."""
    session_wh: Wh | None = None
    """Charged since the car was plugged in, where the station counts it."""


class SetPower(Message, frozen=True, kw_only=True):
    """The envelope that the CEM gives. ``setpoint_w`` asks for a value inside it, where the device can.

    ``hold_s`` is how long it holds without being said again; then the device falls back by itself to its own safe state
    (``None``: until changed). ``urgent`` breaks minimum on and off times: safety and failsafe only.
    """

    topic = "device"
    ttl_s = 15.0
    clause = "IEC-JWG212x-TABLE1; IEC-RG-RELIABILITY acknowledgement"

    lower_w: W | None = None
    upper_w: W | None = None
    setpoint_w: W | None = None
    standby: bool = False
    hold_s: Seconds | None = None
    urgent: bool = False
    reason: Reason


class PowerApplied(Message, frozen=True, kw_only=True):
    """Written to the hardware and read back."""

    topic = "device"
    ttl_s = 15.0

    lower_w: W | None = None
    upper_w: W | None = None
    setpoint_w: W | None = None
    readback: dict[str, float] = msgspec.field(default_factory=dict)


class PowerRefused(Message, frozen=True, kw_only=True):
    """Not applied; what held before still holds."""

    topic = "device"
    ttl_s = 15.0

    reason: Reason


class AskStatus(Message, frozen=True, kw_only=True):
    """A regular message is missing: how are you?"""

    topic = "device"
    clause = "IEC-JWG11"


class DeviceStatus(Message, frozen=True, kw_only=True):
    """The device agent's answer, from a fresh look at the hardware."""

    topic = "device"

    operating: Operating
    normal: bool
    reason: Reason


class DeviceWarning(Message, frozen=True, kw_only=True):
    """A device is missing or abnormal, or is back (``cleared``): for the display, and for a third party if wanted."""

    topic = "device"
    clause = "IEC-JWG11"

    device: str
    cleared: bool
    reason: Reason


class DeviceEvent(Message, frozen=True, kw_only=True):
    """Something happened at the device that its CEM did not order (gateway, user, the device itself)."""

    topic = "device"
    ttl_s = 60.0

    kind: Literal["switched", "released", "fault", "failsafe"]
    by: str
    reason: Reason


class Inventory(Message, frozen=True, kw_only=True):
    """The devices that the CEM manages, for the app."""

    topic = "device"
    clause = "IEC-JWG9; IC-SVC-IT-S20"

    devices: dict[str, Announce]


device_join = Conversation(
    "device_join",
    opener="device",
    opened_by=DEVICES,
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "device", Announce, "announced"),
        Turn("announced", "energy_manager", Welcome, END),
        Turn("announced", "energy_manager", TurnedAway, END),
    ],
    lapses=[Lapse("announced", after=15.0)],
    clause="IEC-JWG9",
    use_cases=("ops.connect-device",),
)

power_control = Conversation(
    "power_control",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="device",
    answered_by=DEVICES,
    turns=[
        Turn("start", "energy_manager", SetPower, "ordered"),
        Turn("ordered", "device", PowerApplied, END),
        Turn("ordered", "device", PowerRefused, END),
    ],
    lapses=[Lapse("ordered", after=15.0)],
    clause="IEC-RG-RELIABILITY",
    use_cases=("limits.lpc", "limits.fuse", "ops.device-watch"),
)

status_check = Conversation(
    "status_check",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="device",
    answered_by=DEVICES,
    turns=[
        Turn("start", "energy_manager", AskStatus, "asked"),
        Turn("asked", "device", DeviceStatus, END),
    ],
    lapses=[Lapse("asked", after=10.0)],
    clause="IEC-JWG11",
    use_cases=("ops.device-watch",),
)
