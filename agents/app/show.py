"""The display: it keeps and shows what is said at home. IEC-JWG3032 steps 4b and 8b, IEC-JWG2113-S2, IEC-JWG11."""

from dataclasses import dataclass, field

import msgspec

from agents.app.settings import AppSettings
from agents.kit.skill import hears, skill, started
from bus.bus import Bus, Heard
from contracts.device import DeviceEvent, DeviceWarning, Inventory
from contracts.emergency import DisplayNotice
from contracts.metering import ContractNotice, GcpReading
from contracts.roles import CEM, DEVICES, GATEWAY, METER
from contracts.system import Shown

_NOT_TOLD = ("fault",)
"""Events of devices that reach the user as the CEM's warning, once it has looked into them."""


@skill(
    says_home=(Shown,),
    use_cases=("limits.near-limit", "limits.congestion-direct", "metering.gcp-to-cem", "ops.device-watch"),
)
@dataclass
class Show:
    """One picture, said whenever it changes."""

    bus: Bus
    settings: AppSettings
    picture: Shown = field(default_factory=Shown)

    @started
    async def first(self) -> None:
        self.bus.say(self.picture, home=True)

    @hears(GcpReading, of=(METER,), where="home")
    def power(self, reading: GcpReading, _heard: Heard) -> None:
        self._change(power_w=reading.power_w, metered_at=reading.at)

    @hears(ContractNotice, of=(METER, CEM), where="home")
    def contract(self, notice: ContractNotice, _heard: Heard) -> None:
        direction = "production" if notice.contract_w < 0 else "consumption"
        self._change(contract={**self.picture.contract, direction: notice.level})

    @hears(DisplayNotice, of=(CEM, GATEWAY), where="home")
    def notice(self, notice: DisplayNotice, _heard: Heard) -> None:
        match notice.kind:
            case "emergency":
                self._change(emergency=notice.text, text=notice.text)
            case "clearance":
                self._change(emergency=None, text=notice.text)
            case _:
                self._change(text=notice.text)

    @hears(DeviceWarning, of=(CEM,), where="home")
    def warning(self, warning: DeviceWarning, _heard: Heard) -> None:
        others = {name: text for name, text in self.picture.warnings.items() if name != warning.device}
        if warning.cleared:
            self._change(warnings=others, text=f"{warning.device} is back")
        else:
            text = f"{warning.device}: {warning.reason.text}"
            self._change(warnings={**others, warning.device: warning.reason.text}, text=text)

    @hears(Inventory, of=(CEM,), where="home")
    def inventory(self, inventory: Inventory, _heard: Heard) -> None:
        self._change(devices=tuple(sorted(inventory.devices)))

    @hears(DeviceEvent, of=DEVICES, where="home")
    def event(self, event: DeviceEvent, heard: Heard) -> None:
        if event.kind not in _NOT_TOLD:
            self._change(text=f"{heard.sender} was {event.kind} by {event.by}: {event.reason.text}")

    def _change(self, text: str | None = None, **changes: object) -> None:
        if text is not None:
            changes["notices"] = (text, *self.picture.notices)[: self.settings.keep_notices]
        picture = msgspec.structs.replace(self.picture, **changes)
        if picture != self.picture:
            self.picture = picture
            self.bus.say(picture, home=True)
