"""A meter in one circuit of the home: it only measures."""

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
from contracts.device import Announce, DeviceReading


class SubmeterSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``rating_w``: the circuit's fuse, where it matters to know. ``measures``: as in the topology."""

    device: str = "eastron_sdm72d"
    steerable: bool = False
    measures: str = ""


class SubmeterTerminals(Terminals):
    """What flows now is all that can flow: its range is its power."""

    settings: SubmeterSettings
    classes = ("meter",)
    wanted = (
        "power_w",
        *(f"power_l{n}_w" for n in (1, 2, 3)),
        *(f"current_l{n}_a" for n in (1, 2, 3)),
        "import_wh",
    )
    control = ()

    def capabilities(self, values: Values) -> Announce:  # noqa: ARG002
        return Announce(
            device_class="submeter",
            maker=self.file.maker,
            model=self.file.model,
            functions=("measure",),
            use_cases=("metering.submetering",),
            nominal_lower_w=0.0,
            nominal_upper_w=self.settings.rating_w or 0.0,
            phases=self.settings.phases,
            steerable=False,
            essential=self.settings.essential,
            measures=self.settings.measures,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating="running" if abs(power) > RUNNING_W else "idle",
            lower_w=power,
            upper_w=power,
            energy_wh=number(values, "import_wh"),
        )

    def plan(self, envelope: Envelope, values: Values) -> Plan:  # noqa: ARG002
        raise Impossible("no_control", f"{self.file.device} only measures: order what is in its circuit")
