"""The canonical point names: all that device agents know of a product. Documented in `devices/README.md`."""

import re

POINTS: dict[str, dict[str, bool]] = {
    # class -> point -> may be writable
    "meter": {
        "power_w": False,
        "voltage_ln_v": False,
        "current_ln_a": False,
        "power_ln_w": False,
        "reactive_power_var": False,
        "frequency_hz": False,
        "import_wh": False,
        "export_wh": False,
    },
    "evse": {
        "state": False,
        "power_w": False,
        "current_ln_a": False,
        "voltage_ln_v": False,
        "energy_wh": False,
        "session_wh": False,
        "current_limit_a": True,
        "hardware_limit_a": False,
        "enabled": True,
        "timeout_s": True,
        "failsafe_current_a": True,
        "soc_percent": False,
        "phases_used": False,
        "phase_mode": True,
    },
    "pv": {
        "power_w": False,
        "power_ln_w": False,
        "voltage_ln_v": False,
        "current_ln_a": False,
        "frequency_hz": False,
        "energy_wh": False,
        "power_limit_percent": True,
        "power_limit_enabled": True,
        "rating_w": False,
        "state": False,
        "limit_timeout_s": True,
    },
    "battery": {
        "power_w": False,
        "power_ln_w": False,
        "voltage_ln_v": False,
        "current_ln_a": False,
        "soc_percent": False,
        "capacity_wh": False,
        "power_setpoint_w": True,
        "control_mode": True,
        "command": True,
        "enabled": True,
        "rating_w": False,
        "grid_state": False,
        "charge_limit_percent": True,
        "discharge_limit_percent": True,
        "setpoint_mode": True,
        "state": False,
        "setpoint_timeout_s": True,
        "import_wh": False,
        "export_wh": False,
        "charge_limit_w": False,
        "discharge_limit_w": False,
    },
    "heatpump": {
        "power_w": False,
        "state": False,
        "flow_temperature_c": False,
        "return_temperature_c": False,
        "tank_temperature_c": False,
        "outdoor_temperature_c": False,
        "power_setpoint_w": True,
        "sg_ready_1": True,
        "sg_ready_2": True,
        "energy_wh": False,
        "heat_wh": False,
        "error": False,
        "control_mode": True,
        "hot_water_target_c": True,
    },
    "relay": {"relay_n": True},
    "whitegoods": {
        "state": False,
        "power_w": False,
        "energy_wh": False,
        "programme": False,
        "remaining_s": False,
        "start": True,
        "enabled": True,
        "door_closed": False,
        "remote_start_allowed": False,
    },
    "waterheater": {
        "state": False,
        "power_w": False,
        "energy_wh": False,
        "tank_temperature_c": False,
        "target_temperature_c": True,
        "power_setpoint_w": True,
        "setpoint_timeout_s": True,
        "rating_w": False,
        "enabled": True,
        "error": False,
    },
    "hvac": {
        "state": False,
        "power_w": False,
        "energy_wh": False,
        "room_temperature_c": False,
        "target_temperature_c": True,
        "outdoor_temperature_c": False,
        "mode": True,
        "fan": True,
        "enabled": True,
        "error": False,
    },
    "fuelcell": {
        "state": False,
        "power_w": False,
        "energy_wh": False,
        "heat_wh": False,
        "tank_temperature_c": False,
        "flow_temperature_c": False,
        "return_temperature_c": False,
        "power_setpoint_w": True,
        "power_setpoint_percent": True,
        "control_mode": True,
        "heartbeat": False,
        "heartbeat_answer": True,
        "enabled": True,
        "error": False,
    },
    "switch": {"enabled": True, "dim_percent": True, "power_w": False, "energy_wh": False},
}

NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    # class -> of each group at least one point
    "meter": (("power_w",),),
    "evse": (("state",), ("current_limit_a",)),
    "pv": (("power_w",),),
    "battery": (("power_w",), ("soc_percent",)),
    "heatpump": (("power_setpoint_w", "sg_ready_1"),),
    "relay": (("relay_1",),),
    "whitegoods": (("state", "power_w"), ("start", "enabled")),
    "waterheater": (("power_setpoint_w", "target_temperature_c", "enabled"),),
    "hvac": (("room_temperature_c",), ("target_temperature_c", "enabled")),
    "fuelcell": (("power_w",), ("power_setpoint_w", "power_setpoint_percent", "enabled")),
    "switch": (("enabled",),),
}

STATES: dict[str, frozenset[str]] = {
    "evse": frozenset({"idle", "connected", "charging", "error"}),
    "pv": frozenset({"off", "sleeping", "starting", "running", "throttled", "stopping", "error", "standby"}),
    "battery": frozenset({"off", "standby", "running", "error"}),
    "heatpump": frozenset({"off", "standby", "heating", "hot_water", "cooling", "defrosting", "blocked", "error"}),
    "whitegoods": frozenset({"off", "idle", "armed", "running", "paused", "finished", "error"}),
    "waterheater": frozenset({"off", "standby", "heating", "full", "error"}),
    "hvac": frozenset({"off", "standby", "heating", "cooling", "error"}),
    "fuelcell": frozenset({"off", "starting", "running", "stopping", "standby", "error"}),
}

UNITS = {
    "_wh": "Wh",
    "_w": "W",
    "_var": "var",
    "_v": "V",
    "_a": "A",
    "_hz": "Hz",
    "_s": "s",
    "_percent": "%",
    "_c": "degC",
}

SIGNED = re.compile(r"^(power(_l[123])?_w|power_setpoint_w)$")
"""Points whose sign tells direction; a file has to say what a positive register means."""


def generic(name: str) -> str:
    """The vocabulary's form of a name: power_l2_w -> power_ln_w, relay_7 -> relay_n."""
    return re.sub(r"^relay_[1-9]\d?$", "relay_n", re.sub(r"_l[123]_", "_ln_", name))


def unit_of(name: str) -> str:
    """The unit that a name's suffix says; empty for words and switches."""
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
