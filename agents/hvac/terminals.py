"""An air conditioner's registers: the remote control's settings. It can be stopped, and its room pre-cooled or warmed.

The user shares these registers. What an order changes is remembered and given back when the order ends, so that nobody
finds his air conditioner on, or off, that he left otherwise.
"""

from typing import Any, Literal

from agents.kit.hardware import RUNNING_W, Envelope, Impossible, Plan, Values, number
from agents.kit.thermal import ThermalSettings, ThermalTerminals
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.device_form import DeviceFile, Value
from contracts.registers import Codec, RangeError

Mode = Literal["auto", "heat", "dry", "fan", "cool"]


class HvacSettings(ThermalSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A living room of 30 m2.

    minimum_off_s  compressor protection
    resumes        on after an order's end, where a restart has forgotten what the user had
    """

    device: str = "intesis_daikin_inmbsdai"
    comfort_low_c: float = 20.0
    comfort_high_c: float = 26.0
    capacity_wh_per_k: float = 1500.0
    loss_w_per_k: float = 60.0
    ambient_c: float = 20.0
    cop_share: float = 3.4
    minimum_off_s: float = 180.0
    resumes: bool = True


class HvacTerminals(ThermalTerminals):
    """On or off. It modulates by itself, so any bound under its rating stops it."""

    settings: HvacSettings
    classes = ("hvac",)
    wanted = ("power_w", "room_temperature_c", "outdoor_temperature_c", "energy_wh", "state", "error")
    control = ("enabled", "target_temperature_c", "mode", "fan")
    temperatures = ("room_temperature_c",)

    def __init__(self, settings: Any, file: DeviceFile) -> None:
        super().__init__(settings, file)
        self._users: dict[str, Value] = {}
        self._held: set[str] = set()
        self._fresh = True

    def capabilities(self, values: Values) -> Announce:
        rating = self.rating_w(values)
        functions: tuple[Function, ...] = ("measure",) if self.measures else ()
        functions = (*functions, "standby")
        if "target_temperature_c" in self.file.points:
            functions = (*functions, "absorb")
        return self.announced("hvac", functions, rating, values)

    def reading(self, values: Values, at: float) -> DeviceReading:
        self._settled(values)
        rating = self.rating_w(values)
        power = self.power_w(values, rating if values.get("enabled") else 0.0)
        operating = self._operating(values, power)
        return self.read(values, at, power, operating, 0.0 if operating == "fault" else rating)

    def _operating(self, values: Values, power: float) -> Operating:
        if values.get("error") or values.get("state") == "error":
            return "fault"
        if values.get("enabled") is False:
            return "paused" if "enabled" in self._held else "off"
        return "running" if power > RUNNING_W else "idle"

    def heats(self, values: Values) -> bool:
        mode = values.get("mode")
        if mode == "auto":
            target, room = number(values, "target_temperature_c"), self.temperature_c(values)
            return target is not None and room is not None and room < target
        return mode == "heat"

    def ambient_c(self, values: Values) -> float:
        outdoor = number(values, "outdoor_temperature_c")
        return self.settings.ambient_c if outdoor is None else outdoor

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        upper = rating if envelope.upper_w is None else min(envelope.upper_w, rating)
        upper = 0.0 if envelope.standby else upper
        if upper < 0:
            text = "an air conditioner feeds nothing: give an upper bound of 0 or more"
            raise Impossible("cannot_feed", text, upper_w=upper)
        wish = max(envelope.lower_w or 0.0, envelope.setpoint_w or 0.0)
        held: dict[str, Value] = {}
        if upper < rating or envelope.setpoint_w == 0:
            held = {"enabled": False}
        elif wish > 0:
            held = {"enabled": True, **self._beyond(values)}
        on = held.get("enabled", True) is True
        # What is given back is the user's: he may change it at once.
        return Plan(writes=self._hold(held, values), lower_w=0.0, upper_w=rating if on else 0.0, once=not held)

    def _beyond(self, values: Values) -> dict[str, Value]:
        """The target at the comfort band's end, so that the room stores what is asked for."""
        point = self.file.points.get("target_temperature_c")
        if point is None or point.access != "rw":
            return {}
        end = self.settings.comfort_high_c if self.heats(values) else self.settings.comfort_low_c
        return {"target_temperature_c": min(max(end, point.min or end), point.max or end)}

    # ------------------------------------------------------------ what is the user's

    def _hold(self, held: dict[str, Value], values: Values) -> dict[str, Value]:
        """Writes that hold these points and give the others back; the user's values of both are kept."""
        for name, value in held.items():
            if name not in self._users:
                self._users[name] = self._before(name, value, values)
        self._fresh = False
        self._held = set(held)
        back = {name: value for name, value in self._users.items() if name not in held}
        return {**back, **held}

    def _before(self, name: str, value: Value, values: Values) -> Value:
        shown = values.get(name)
        if name == "enabled" and self._fresh and shown == value:
            return self.settings.resumes  # it may have been ourselves, in an earlier life
        return value if shown is None else shown

    def _settled(self, values: Values) -> None:
        """What has been given back is the user's own again."""
        for name in [name for name in self._users if name not in self._held]:
            if values.get(name) == self._users[name]:
                del self._users[name]

    def set_target(
        self,
        temperature_c: float | None = None,
        mode: Mode | None = None,
        fan: str | None = None,
        *,
        values: Values,  # noqa: ARG002  as every class's
        on: bool = False,
    ) -> Plan:
        """Other settings of the user's; what an order holds meanwhile comes into force at its end.

        ``on``: switched on too. Raises Impossible, RangeError.
        """
        wanted: dict[str, Value | None] = {"mode": mode, "fan": fan, "target_temperature_c": temperature_c}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        if on:
            chosen["enabled"] = True
        for name, value in chosen.items():
            point = self.file.points.get(name)
            if point is None or point.access != "rw":
                raise Impossible("no_such_setting", f"{self.file.device} has no {name} that can be set from here")
            if isinstance(value, str) and value not in point.values.values():
                raise RangeError(name, value, None, None, f"wanted is one of {sorted(set(point.values.values()))}")
            Codec(point, self.file.line).check(value)
        self._users |= {name: value for name, value in chosen.items() if name in self._users}
        return Plan(writes={name: value for name, value in chosen.items() if name not in self._held})
