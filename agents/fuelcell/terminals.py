"""A generator's registers: the power that it makes (negative here), by share of its rating or in watts."""

import math

from agents.kit.hardware import (
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
from contracts.device import Announce, DeviceReading, Operating
from contracts.device_form import Value
from contracts.flexibility import ModesFlexibility, OperationMode
from contracts.reasons import Reason

_OPERATING: dict[str, Operating] = {
    "off": "off",
    "standby": "idle",
    "starting": "waiting",
    "running": "running",
    "stopping": "waiting",
    "error": "fault",
}
STEP_PERCENT = 0.1


class FuelCellSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it runs by the heat that is wanted.

    least_share            of its rating; below it can only be stopped
    hottest_c              at this temperature of tank or return nobody takes its heat any more
    renew_every_s          how often orders and handshake are written again
    fuel_cost_eur_per_kwh  of electric energy, its heat counted off
    """

    device: str = "kwenergie_smartblock"
    minimum_on_s: float = 1800.0
    minimum_off_s: float = 900.0
    least_share: float = 0.5
    hottest_c: float = 72.0
    renew_every_s: float = 10.0
    fuel_cost_eur_per_kwh: float = 0.25


class FuelCellTerminals(Terminals):
    """It makes power on order, if it is ready to."""

    settings: FuelCellSettings
    classes = ("fuelcell",)
    generates = True
    wanted = ("power_w", "state", "error", "energy_wh", "tank_temperature_c", "return_temperature_c", "heartbeat")
    control = (
        "power_setpoint_percent",
        "power_setpoint_w",
        "control_mode",
        "enabled",
        "heartbeat_answer",
    )

    def capabilities(self, values: Values) -> Announce:
        rating = self.rating_w(values)
        return Announce(
            device_class="fuelcell",
            maker=self.file.maker,
            model=self.file.model,
            functions=("measure", "limit_lower", "setpoint", "standby"),
            use_cases=("limits.lpc", "limits.emergency"),
            nominal_lower_w=-rating,
            nominal_upper_w=0.0,
            minimum_run_w=self.settings.least_share * rating,
            phases=self.settings.phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        word = values.get("state")
        operating: Operating = "running" if power < 0 else "idle"
        if isinstance(word, str):
            operating = _OPERATING.get(word, operating)
        if values.get("error"):
            operating = "fault"
        can = operating == "running" or self.ready(values) is None
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating=operating,
            lower_w=-self.rating_w(values) if can else 0.0,
            upper_w=0.0,
            energy_wh=number(values, "energy_wh"),
            temperature_c=_temperature_c(values),
        )

    def ready(self, values: Values) -> Reason | None:
        """Why it would not start now; None: it would."""
        temperature, word = _temperature_c(values), values.get("state")
        if values.get("error") or word == "error":
            return Reason(code="fault", text="the generator reports a fault: see its display", binding="product")
        if temperature is not None and temperature >= self.settings.hottest_c:
            text = f"its tank is hot ({temperature:.0f} degC): it can start when somebody has taken the heat"
            return Reason(code="too_hot", text=text, binding="product", inputs={"temperature_c": temperature})
        if word == "off":
            text = "the generator says that it is not ready: see its display, or wait until its tank has cooled"
            return Reason(code="not_ready", text=text, binding="product")
        return None

    def modes(self, values: Values) -> ModesFlexibility:
        """What the planner needs to know of it."""
        rating, settings = self.rating_w(values), self.settings
        running = values.get("state") in ("starting", "running")
        return ModesFlexibility(
            modes=(
                OperationMode(name="off", lower_w=0.0, upper_w=0.0, minimum_s=settings.minimum_off_s),
                OperationMode(
                    name="generate",
                    lower_w=-rating,
                    upper_w=-settings.least_share * rating,
                    minimum_s=settings.minimum_on_s,
                ),
            ),
            mode="generate" if running else "off",
            ready=running or self.ready(values) is None,
            cost_eur_per_kwh=settings.fuel_cost_eur_per_kwh,
        )

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        if envelope.lower_w is not None and envelope.lower_w > 0:
            text = "a generator takes nothing: give a lower bound of 0 or less"
            raise Impossible("cannot_take", text, lower_w=envelope.lower_w)
        most = rating if envelope.lower_w is None else min(-envelope.lower_w, rating)
        due = 0.0 if envelope.upper_w is None else max(-envelope.upper_w, 0.0)
        if envelope.standby:
            made = 0.0
        elif envelope.setpoint_w is not None:
            made = max(-envelope.setpoint_w, due)
        elif due > 0 or most < rating:
            made = max(-(number(values, "power_w") or 0.0), due)
        else:
            return Plan(writes=self._words("own", 0.0, values), lower_w=-rating, upper_w=0.0)
        made = self._step(min(made, most), rating)
        if made < self.settings.least_share * rating:
            stop = self._words("stop", 0.0, values)
            return Plan(writes=stop, lower_w=0.0, upper_w=0.0, renew_every_s=self._renew_s)
        running = values.get("state") in ("starting", "running")
        refusal = None if running else self.ready(values)
        if refusal is not None:
            raise Impossible(refusal.code, refusal.text, **refusal.inputs)
        return Plan(
            writes=self._words("follow", made, values),
            lower_w=-made,
            upper_w=0.0,  # while it starts, or stops for reasons of its own, it makes less
            setpoint_w=-made,
            renew_every_s=self._renew_s,
        )

    @property
    def _renew_s(self) -> float | None:
        return self.settings.renew_every_s if "heartbeat_answer" in self.file.points else None

    def _step(self, made: float, rating: float) -> float:
        """Floored to the register's step: never more than is allowed."""
        if "power_setpoint_percent" not in self.file.points:
            return float(int(made))
        return math.floor(100 * made / rating / STEP_PERCENT + 1e-6) * STEP_PERCENT * rating / 100

    def _words(self, mode: str, made: float, values: Values) -> dict[str, Value]:
        points = self.file.points
        writes: dict[str, Value] = {}
        if mode == "follow" and "power_setpoint_percent" in points:
            writes["power_setpoint_percent"] = round(100 * made / self.rating_w(values), 1)
        elif mode == "follow" and "power_setpoint_w" in points:
            writes["power_setpoint_w"] = -made
        if "control_mode" in points:
            writes["control_mode"] = mode
        elif "enabled" in points:
            writes["enabled"] = mode != "stop"
        beat = number(values, "heartbeat")
        if mode != "own" and "heartbeat_answer" in points and beat is not None:
            writes["heartbeat_answer"] = int(beat)
        return writes


def _temperature_c(values: Values) -> float | None:
    tank = number(values, "tank_temperature_c")
    return number(values, "return_temperature_c") if tank is None else tank
