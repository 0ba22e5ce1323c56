"""A heat pump's registers: the power that it may take, or the two SG-Ready contacts."""

from typing import Literal

from agents.kit.hardware import RUNNING_W, Envelope, Impossible, Plan, Values
from agents.kit.thermal import ThermalSettings, ThermalTerminals
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.device_form import Value

Contacts = Literal["blocked", "normal", "encouraged", "forced"]
CONTACTS: dict[Contacts, tuple[bool, bool]] = {
    "blocked": (True, False),
    "normal": (False, False),
    "encouraged": (False, True),
    "forced": (True, True),
}
"""States of the two contacts. SG-Ready label, Bundesverband Waermepumpe, operating states 1 to 4."""
_OPERATING: dict[str, Operating] = {
    "off": "off",
    "standby": "idle",
    "heating": "running",
    "hot_water": "running",
    "cooling": "running",
    "defrosting": "running",
    "blocked": "paused",
    "error": "fault",
}


class HeatPumpSettings(ThermalSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it heats as it sees fit. The store is a tank of 500 l that heats house and taps.

    minimum_on_s, minimum_off_s  compressor protection
    minimum_run_w          least power of a running compressor
    blocked_upper_w        what it still draws in SG-Ready state 1, where its document says that it only dims
    forced_from_w          a wish for at least so much is SG-Ready state 4; None: its rating
    renew_every_s          how often a power register is written again
    hot_water_c, hot_water_usual_c  the tank's set temperature for extra hot water on demand, and otherwise
    """

    device: str = "lambda_eu_l"
    minimum_run_w: float = 0.0
    blocked_upper_w: float = 0.0
    forced_from_w: float | None = None
    renew_every_s: float = 15.0
    minimum_on_s: float = 360.0
    minimum_off_s: float = 600.0
    comfort_low_c: float = 40.0
    comfort_high_c: float = 55.0
    capacity_wh_per_k: float = 581.5
    cop_share: float = 3.4
    hot_water_c: float = 58.0
    hot_water_usual_c: float = 45.0

    # negotiation: a boiler beside it can meet the demand as well
    hybrid: bool = False


class HeatPumpTerminals(ThermalTerminals):
    """Whichever of the two ways the product has."""

    settings: HeatPumpSettings
    classes = ("heatpump",)
    wanted = ("power_w", *(f"power_l{n}_w" for n in (1, 2, 3)), "energy_wh", "state")
    wanted = (*wanted, "tank_temperature_c", "outdoor_temperature_c")
    control = ("power_setpoint_w", "sg_ready_1", "sg_ready_2", "hot_water_target_c")
    temperatures = ("tank_temperature_c",)

    def least_w(self, values: Values) -> float:
        # With contacts alone, whatever is less than all of it switches it off.
        return self.settings.minimum_run_w if self.modulates else self.rating_w(values)

    def capabilities(self, values: Values) -> Announce:
        functions: tuple[Function, ...] = ("standby", "absorb")
        if self.measures:
            functions = ("measure", *functions)
        if self.modulates:
            functions = (*functions, "limit_upper", "setpoint")
        elif self.settings.blocked_upper_w > 0:
            functions = (*functions, "limit_upper")
        return self.announced("heatpump", functions, self.least_w(values), values)

    def reading(self, values: Values, at: float) -> DeviceReading:
        contacts = _contacts(values)
        power = self.power_w(values, self._most_w(contacts, values))
        operating = self._operating(values, contacts, power)
        return self.read(values, at, power, operating, 0.0 if operating in ("fault", "off") else self.rating_w(values))

    def _most_w(self, contacts: Contacts | None, values: Values) -> float:
        """What it draws at most in a state of the contacts: all that can be said without a meter."""
        return self.settings.blocked_upper_w if contacts == "blocked" else self.rating_w(values)

    @staticmethod
    def _operating(values: Values, contacts: Contacts | None, power: float) -> Operating:
        word = values.get("state")
        if isinstance(word, str):
            return _OPERATING.get(word, "idle")
        if contacts == "blocked":
            return "paused"
        return "running" if power > RUNNING_W else "idle"

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        upper = rating if envelope.upper_w is None else min(envelope.upper_w, rating)
        upper = 0.0 if envelope.standby else upper
        if upper < 0:
            raise Impossible(
                "cannot_feed", "a heat pump feeds nothing: give an upper bound of 0 or more", upper_w=upper
            )
        return self._register(envelope, upper, rating) if self.modulates else self._switch(envelope, upper, values)

    def _register(self, envelope: Envelope, upper: float, rating: float) -> Plan:
        setpoint = None if envelope.setpoint_w is None else min(max(envelope.setpoint_w, 0.0), upper)
        allowed = upper if setpoint is None else setpoint
        if envelope.lower_w is not None:
            allowed = min(max(allowed, envelope.lower_w), upper)
        if allowed < self.settings.minimum_run_w:
            allowed = 0.0
        watts = int(allowed)
        held = watts < int(rating) or setpoint is not None
        return Plan(
            writes={"power_setpoint_w": watts},
            lower_w=0.0,
            upper_w=float(watts),
            setpoint_w=None if setpoint is None else float(watts),
            # Told nothing, its energy manager input goes offline and it heats as it sees fit: that is the release.
            renew_every_s=self.settings.renew_every_s if held else None,
        )

    def _switch(self, envelope: Envelope, upper: float, values: Values) -> Plan:
        rating = self.rating_w(values)
        wish = max(envelope.lower_w or 0.0, envelope.setpoint_w or 0.0)
        contacts: Contacts
        if upper < rating or envelope.setpoint_w == 0:
            contacts = "blocked"
        elif wish >= (self.settings.forced_from_w or rating):
            contacts = "forced"
        elif wish > 0:
            contacts = "encouraged"
        else:
            contacts = "normal"
        return self._set(contacts, values)

    def _set(self, contacts: Contacts, values: Values) -> Plan:
        one, two = CONTACTS[contacts]
        # The contact that opens goes first, so that no third state is passed on the way.
        order: list[tuple[str, Value]] = sorted(
            {"sg_ready_1": one, "sg_ready_2": two}.items(), key=lambda item: item[1]
        )
        return Plan(writes=dict(order), lower_w=0.0, upper_w=self._most_w(contacts, values))

    def hot_water(self, values: Values, wanted: bool = True) -> Plan:
        """Extra hot water now, or no longer: by the tank's set temperature, else by SG-Ready's forced operation."""
        rating = self.rating_w(values)
        if "hot_water_target_c" in self.file.points:
            target = self.settings.hot_water_c if wanted else self.settings.hot_water_usual_c
            return Plan(writes={"hot_water_target_c": target}, lower_w=0.0, upper_w=rating)
        if "sg_ready_1" not in self.file.points:
            text = f"{self.file.device} cannot be asked for hot water: it has neither a set temperature nor contacts"
            raise Impossible("no_hot_water", text)
        return self._set("forced" if wanted else "normal", values)


def _contacts(values: Values) -> Contacts | None:
    one, two = values.get("sg_ready_1"), values.get("sg_ready_2")
    if one is None or two is None:
        return None
    return next(name for name, pair in CONTACTS.items() if pair == (bool(one), bool(two)))
