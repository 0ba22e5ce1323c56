"""The DSO's congestion command to one dedicated device, past the CEM; the display is informed. IEC-JWG3033."""

from dataclasses import dataclass

from agents.kit.agent import Peers
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, DisplayNotice, direct_control
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.roles import EVSE, HEATPUMP


@skill(opens=(direct_control,), says_home=(DisplayNotice,), use_cases=("limits.congestion-direct",))
@dataclass
class CommandDevice:
    """That device alone gets it. A command that names none belongs to the CEM, not here."""

    bus: Bus
    address: Address
    peers: Peers

    @answers(direct_control)
    async def on_command(self, talk: Talk, command: ControlCommand) -> None:
        device = self._device(command.device)
        if device is None:
            await talk.say(CommandRefused(reason=self._unknown(command.device)))
            return
        answer: CommandTaken | CommandRefused
        async with self.bus.talk(direct_control, device) as onward:
            await onward.say(command)
            match await onward.hear(CommandTaken, CommandRefused, Lapsed):
                case CommandTaken() | CommandRefused() as heard:
                    answer = heard
                case Lapsed():
                    text = f"{device} has not answered: nobody knows whether it was switched"
                    answer = CommandRefused(reason=Reason(code="no_answer", text=text))
        if isinstance(answer, CommandTaken):
            self._show(command, device)
        await talk.say(answer)

    def _show(self, command: ControlCommand, device: Address) -> None:
        emergency = command.kind == "emergency"
        text = f"The grid operator has limited {device.role} {device.name}: {command.reason.text}"
        if not emergency:
            text = f"The grid operator has lifted the limit of {device.role} {device.name}"
        notice = DisplayNotice(kind=command.kind, text=text, device=str(device))
        self.bus.say(notice, home=True)

    def _mine(self) -> list[Address]:
        return [peer for peer in self.peers.of(HEATPUMP, EVSE) if peer.site == self.address.site]

    def _device(self, name: str | None) -> Address | None:
        return next((peer for peer in self._mine() if name in (str(peer), f"{peer.role}.{peer.name}")), None)

    def _unknown(self, name: str | None) -> Reason:
        there = ", ".join(map(str, self._mine())) or "none"
        if name is None:
            return Reason(code="no_device", text=f"name one device, or command the CEM; devices here: {there}")
        return Reason(code="no_such_device", text=f"{name} cannot be commanded here; devices here: {there}")
