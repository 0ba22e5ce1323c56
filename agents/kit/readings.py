"""A device agent says what its hardware measures, and answers when it is asked how it is. IEC-JWG11."""

import logging
from dataclasses import dataclass

import msgspec

from agents.drivers.errors import DriverError
from agents.kit.hardware import Hardware, HardwareSettings, Impossible, Terminals, Values, why
from agents.kit.obey import ObeyOrders
from agents.kit.skill import answers, every, skill, started
from bus.bus import Bus
from bus.talk import Talk
from contracts.device import AskStatus, DeviceEvent, DeviceReading, DeviceStatus, status_check
from contracts.reasons import Reason

log = logging.getLogger("gridparley.device")


@skill(says_home=(DeviceReading, DeviceEvent), use_cases=("ops.device-watch",))
@dataclass
class SayReadings:
    """Each period a fresh reading, which is also the sign of life.

    A look that fails says nothing; ``fault_after`` of them in a row say fault, with the instant of the last value that
    was measured, so that nobody takes it for a new one. Without any value nothing can be said: then silence tells.
    """

    bus: Bus
    settings: HardwareSettings
    hardware: Hardware
    terminals: Terminals
    orders: ObeyOrders
    last: DeviceReading | None = None
    values: Values | None = None
    failures: int = 0
    writing: int = -1
    """The hardware's count of writes when the last look began."""

    @started
    async def first(self) -> None:
        await self.look()

    @every("reading_every_s")
    async def look(self) -> None:
        writing = self.hardware.writing
        try:
            values, reading = await self.fresh()
        except (DriverError, Impossible) as problem:
            self._failed(why(problem))
            return
        self.failures = 0
        self.bus.say(reading, home=True)
        await self.orders.saw(values, reading, writing)

    async def fresh(self) -> tuple[Values, DeviceReading]:
        """Ask the hardware now. Raises DriverError, Impossible."""
        writing = self.hardware.writing
        values = await self.hardware.look()
        reading = self.terminals.reading(values, self.hardware.at)
        self.values, self.last, self.writing = values, reading, writing
        return values, reading

    def _failed(self, reason: Reason) -> None:
        self.failures += 1
        if self.failures < self.settings.fault_after:
            return
        if self.failures == self.settings.fault_after:
            log.info("%s: %s", self.bus.address, reason.text)
            self.bus.say(DeviceEvent(kind="fault", by=str(self.bus.address), reason=reason), home=True)
        if self.last is not None:
            self.bus.say(msgspec.structs.replace(self.last, operating="fault"), home=True)


@skill(use_cases=("ops.device-watch",))
@dataclass
class AnswerStatus:
    """How are you? Answered from a fresh look, never from memory."""

    readings: SayReadings

    @answers(status_check)
    async def on_ask(self, talk: Talk, _asked: AskStatus) -> None:
        try:
            _, reading = await self.readings.fresh()
        except (DriverError, Impossible) as problem:
            await talk.say(DeviceStatus(operating="fault", normal=False, reason=why(problem)))
            return
        if reading.operating == "fault":
            text = "the hardware answers and reports a fault of its own: see its display"
            await talk.say(DeviceStatus(operating="fault", normal=False, reason=Reason(code="fault", text=text)))
        else:
            ok = Reason(code="ok", text="the hardware answers")
            await talk.say(DeviceStatus(operating=reading.operating, normal=True, reason=ok))
