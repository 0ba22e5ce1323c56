"""A switch's registers: on or off, and how bright where it dims."""

import math

from agents.kit.hardware import (
    RUNNING_W,
    Envelope,
    HardwareSettings,
    Impossible,
    Plan,
    Terminals,
    Values,
    by_phase,
    needed,
    number,
)
from bus.envelope import instant
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.device_form import Value


class SwitchSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it stays as whoever is at home has left it.

    rating_w                 what the load draws while it is on and not dimmed
    normally_on              belongs on whenever no bound says otherwise; else only what a bound took off comes back
    submeter, submeter_unit  a meter in front of it, behind the same gateway, where the product measures nothing
    """

    device: str = "netio_powercable_101"
    steerable: bool = False
    normally_on: bool = False
    submeter: str | None = None
    submeter_unit: int | None = None


class SwitchTerminals(Terminals):
    """A bound below the load dims it or takes it off; a setpoint switches it.

    ``taken`` is what a bound took off, so that its end gives it back.
    """

    settings: SwitchSettings
    classes = ("switch",)
    wanted = ("power_w", "energy_wh")
    control = ("enabled", "dim_percent")
    taken: dict[str, Value] | None = None

    @property
    def _dims(self) -> bool:
        return "dim_percent" in self.file.points

    @property
    def _measures(self) -> bool:
        return "power_w" in self.file.points or self.settings.submeter is not None

    def capabilities(self, values: Values) -> Announce:
        rating = self.rating_w(values)
        functions: tuple[Function, ...] = ("standby", "setpoint", "limit_upper") if self._dims else ("standby",)
        return Announce(
            device_class="switch",
            maker=self.file.maker,
            model=self.file.model,
            functions=("measure", *functions) if self._measures else functions,
            use_cases=("limits.lpc", "limits.emergency", "limits.congestion-direct"),
            nominal_lower_w=0.0,
            nominal_upper_w=rating,
            minimum_run_w=self._least_w(rating),
            phases=self.settings.phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def _least_w(self, rating: float) -> float:
        """The least that it draws while on: a relay gives all or nothing."""
        return rating * (self.file.points["dim_percent"].min or 0.0) / 100 if self._dims else rating

    def reading(self, values: Values, at: float) -> DeviceReading:
        on, rating = bool(needed(values, "enabled")), self.rating_w(values)
        dim = number(values, "dim_percent")
        at_most = rating * (100.0 if dim is None else dim) / 100
        power = needed(values, "power_w") if self._measures else at_most * on
        operating: Operating = "off" if not on else "running" if power > min(RUNNING_W, at_most / 2) else "idle"
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating=operating,
            lower_w=0.0,
            upper_w=max(rating, power),
            energy_wh=number(values, "energy_wh"),
            quality="measured" if self._measures else "estimated",
        )

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        upper = rating if envelope.upper_w is None else min(envelope.upper_w, rating)
        if upper < 0 and not envelope.standby:
            raise Impossible("cannot_feed", "a switch feeds nothing: give an upper bound of 0 or more", upper_w=upper)
        wish = envelope.setpoint_w
        if wish is None and (envelope.lower_w or 0.0) > 0:
            wish = envelope.lower_w
        if envelope.standby:
            return self._off(values)
        if wish is not None:
            self.taken = None
            return self._on(min(max(wish, 0.0), upper), rating)
        if upper < rating:
            return self._within(upper, rating, values)
        back = self.taken or ({"enabled": True} if self.settings.normally_on else {})
        self.taken = None
        return Plan(writes=back, lower_w=0.0, upper_w=rating, once=True)

    def _within(self, upper: float, rating: float, values: Values) -> Plan:
        if not self._dims or upper < self._least_w(rating):
            return self._off(values)
        if not values.get("enabled"):
            return self._off(values)
        dim = min(math.floor(upper / rating * 100 + 1e-9), int(number(values, "dim_percent") or 100))
        self._remember(values)
        return Plan(writes={"dim_percent": dim}, lower_w=0.0, upper_w=rating * dim / 100)

    def _off(self, values: Values) -> Plan:
        self._remember(values)
        return Plan(writes={"enabled": False}, lower_w=0.0, upper_w=0.0)

    def _remember(self, values: Values) -> None:
        if self.taken is None and values.get("enabled"):
            seen = {name: values.get(name) for name in ("dim_percent", "enabled")}
            self.taken = {name: value for name, value in seen.items() if value is not None}

    def _on(self, wanted: float, rating: float) -> Plan:
        if wanted <= 0 or wanted < self._least_w(rating):
            # A relay gives all or nothing: nothing rather than more than is allowed.
            return Plan(writes={"enabled": False}, lower_w=0.0, upper_w=0.0, setpoint_w=0.0)
        if not self._dims:
            return Plan(writes={"enabled": True}, lower_w=0.0, upper_w=rating, setpoint_w=rating)
        dim = math.floor(wanted / rating * 100 + 1e-9)
        held = rating * dim / 100
        return Plan(writes={"dim_percent": dim, "enabled": True}, lower_w=0.0, upper_w=held, setpoint_w=held)
