"""Orders to devices: one talk at a time per device, the newest order wins, what is not taken is said again later."""

import logging
from dataclasses import dataclass, field
from math import inf

import anyio
from anyio.abc import TaskGroup

from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.shape import Order
from agents.kit.skill import skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from contracts.device import PowerApplied, PowerRefused, SetPower, power_control
from contracts.kit import Lapsed
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")


@skill(opens=(power_control,), use_cases=("limits.lpc", "limits.profile", "limits.fuse", "ops.device-watch"))
@dataclass
class SteerDevices:
    """The one owner of the devices' setpoints."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    refusals: dict[str, Reason] = field(default_factory=dict)
    """By device (``evse.1``): why it did not take its last order."""
    _due: dict[Address, tuple[Order, str | None]] = field(default_factory=dict)
    _busy: set[Address] = field(default_factory=set)
    _trouble: dict[Address, str] = field(default_factory=dict)
    _tasks: TaskGroup | None = None
    asked: int = 0
    """Orders said to devices in this life; ``done`` is how many of them were carried out."""
    done: int = 0

    @started
    async def keep_talking(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            for address in list(self._due):
                self._begin(address)
            await anyio.sleep_forever()

    def tell(self, device: Device, order: Order, trace: str | None) -> None:
        """Say it as soon as the talk before it is over. From now on it counts as told."""
        device.told, device.unsure_from = order, inf
        self._due[device.address] = (order, trace)
        self._begin(device.address)

    def busy(self, address: Address) -> bool:
        """Whether it is being told something at this moment."""
        return address in self._busy or address in self._due

    def _begin(self, address: Address) -> None:
        if self._tasks is not None and address not in self._busy:
            self._busy.add(address)
            self._tasks.start_soon(self._serve, address)

    async def _serve(self, address: Address) -> None:
        try:
            while address in self._due:
                order, trace = self._due.pop(address)
                await self._say(address, order, trace)
        finally:
            self._busy.discard(address)

    async def _say(self, address: Address, order: Order, trace: str | None) -> None:
        word = SetPower(
            lower_w=order.lower_w,
            upper_w=order.upper_w,
            setpoint_w=order.setpoint_w,
            standby=order.standby,
            hold_s=self.settings.hold_s if order.held else None,
            urgent=order.urgent,
            reason=order.reason,
        )
        attributes: tracing.Attributes = {"gridparley.device": str(address), **tracing.because(order.reason)}
        for name, bound_w in (("upper_w", order.upper_w), ("lower_w", order.lower_w)):
            if bound_w is not None:
                attributes[f"gridparley.order.{name}"] = bound_w
        self.asked += 1
        with tracing.span("steer device", attributes, parent=trace) as mark:
            async with self.bus.talk(power_control, address) as talk:
                await talk.say(word)
                match await talk.hear(PowerApplied, PowerRefused, Lapsed):
                    case PowerApplied():
                        self.done += 1
                        self._trouble.pop(address, None)
                        self.refusals.pop(f"{address.role}.{address.name}", None)
                    case PowerRefused(reason=reason):
                        wait_s = min(reason.inputs.get("remaining_s", self.settings.retry_s), 600.0)
                        mark.failed(reason)
                        self.refusals[f"{address.role}.{address.name}"] = reason
                        self._not_taken(address, order, wait_s, f"{reason.code}: {reason.text}")
                    case Lapsed():
                        mark.failed("no answer")
                        self._not_taken(address, order, self.settings.retry_s, "it did not answer")

    def _not_taken(self, address: Address, order: Order, wait_s: float, why: str) -> None:
        """It is left as it is for a while, and the others have to make up for it."""
        device = self.premises.devices.get(address)
        if device is None:
            return
        if self._trouble.get(address) != why:
            self._trouble[address] = why
            log.info("%s did not take an order (%s): the others make up for it for %g s", address, why, wait_s)
        device.stubborn_until = self.clock.now() + wait_s
        if device.told is order or device.told is None:
            device.told, device.unsure_from = None, -inf  # also an end of what held is told again
        self.premises.changed()
