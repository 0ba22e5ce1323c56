"""Congestion: the operator's command straight to the CEM, which decides what to do about it. IEC-JWG3032."""

from dataclasses import dataclass
from math import isfinite

import msgspec

from agents.cem.household_budget import ems_floor_w
from agents.cem.join_devices import JoinDevices
from agents.cem.premises import Claim, Premises
from agents.kit.skill import answers, hears, restores, skill
from bus import tracing
from bus.bus import Bus, Heard
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceEvent
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, DisplayNotice, direct_control
from contracts.reasons import Reason
from contracts.roles import DEVICES


@skill(says_home=(DisplayNotice,), use_cases=("limits.congestion-direct",))
@dataclass
class ObeyCommand:
    """An emergency without a figure reduces to what the household is guaranteed; clearance gives all back."""

    bus: Bus
    state: State
    premises: Premises
    joined: JoinDevices
    command: ControlCommand | None = None
    _trace: str | None = None

    def __post_init__(self) -> None:
        self.premises.on_fleet.append(self._impose)

    @restores
    async def restore(self) -> None:
        stored = await self.state.get("command", list[ControlCommand]) or []
        self.command = stored[0] if stored else None
        self._impose()

    @answers(direct_control)
    async def on_command(self, talk: Talk, command: ControlCommand) -> None:
        wrong = self._objection(command)
        emergency = command.kind == "emergency"
        if wrong is None:
            try:
                await self.state.put("command", [command] if emergency else [])
            except NotStored as problem:
                wrong = Reason(code="not_stored", text=f"{problem}: nothing has changed, command it again.")
        if wrong is not None:
            await talk.say(CommandRefused(reason=wrong))
            return
        self.command, self._trace = (command, tracing.current()) if emergency else (None, None)
        upper = self._upper_w(command)
        text = f"Held to {upper:.0f} W until the clearance." if emergency else "Normal operation is allowed again."
        self._impose()
        shown = f"Grid congestion: {text}" if emergency else f"The grid congestion is over. {text}"
        self.bus.say(DisplayNotice(kind=command.kind, text=shown, device=command.device), home=True)
        await talk.say(CommandTaken(reason=Reason(code=command.kind, text=text, inputs={"upper_w": upper})))

    def _objection(self, command: ControlCommand) -> Reason | None:
        if command.upper_w is not None and not (isfinite(command.upper_w) and command.upper_w >= 0):
            text = "The command's upper_w is not a power of 0 W or more."
            return Reason(code="wrong_sign", text=text)
        if command.device is not None and self.premises.by_name(command.device) is None:
            return Reason(
                code="unknown_device", text=f"{command.device} has not joined here: command the site instead."
            )
        return None

    def _upper_w(self, command: ControlCommand) -> float:
        if command.upper_w is not None:
            return command.upper_w
        return 0.0 if command.device is not None else ems_floor_w(self.joined.steerables())

    def _impose(self) -> None:
        command, caps = self.command, self.premises.device_upper_w
        device = self.premises.by_name(command.device) if command is not None and command.device else None
        caps.clear()
        claim = None
        if command is not None and device is not None:
            why = msgspec.structs.replace(command.reason, code="congestion", binding="congestion")
            caps[device.name] = (self._upper_w(command), why)
        elif command is not None and command.device is None:
            claim = Claim(why="congestion", upper_w=self._upper_w(command), trace=self._trace)
        self.premises.claim("command", claim)
        if device is not None:
            self.premises.changed()

    @hears(DeviceEvent, of=DEVICES, where="home")
    def hear_event(self, event: DeviceEvent, heard: Heard) -> None:
        """A device was switched under us (IEC-JWG3033 leaves open how the CEM learns it): count on it no more."""
        device = self.premises.devices.get(heard.sender)
        if device is not None and event.kind in ("switched", "released", "failsafe"):
            device.told = None
            self.premises.changed()
