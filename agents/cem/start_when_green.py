"""A device with a threshold of green power starts once the grid's share is above it. IEC-JWG2112 requirement 4.

Devices that take part in price information by themselves do so themselves; for all others the CEM interprets it.
"""

import logging
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import TAKES_PART, KnowPrices
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.wishes import Wish, Wishes
from agents.kit.skill import every, skill, started
from bus.clock import Clock
from bus.envelope import instant
from contracts.flexibility import ProfileFlexibility
from contracts.instructions import Instruct
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
NOT_STARTED = ("pv", "battery", "fuelcell", "submeter")


@skill(use_cases=("tariffs.price-info",))
@dataclass
class StartWhenGreen:
    """A job is started by an instruction, once per offer; everything else is held off below and let run above."""

    clock: Clock
    premises: Premises
    prices: KnowPrices
    preferences: Preferences
    flexibility: KnowFlexibility
    wishes: Wishes
    _held: set[str] = field(default_factory=set)
    _started: dict[str, int] = field(default_factory=dict)
    """Device -> the offer whose job was started."""
    _tasks: TaskGroup | None = None

    def __post_init__(self) -> None:
        self.prices.on_change.append(self.look)
        self.preferences.on_change.append(self.look)

    @started
    async def keep_talking(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    @every("reading_every_s")
    def look(self) -> None:
        share: float | None = None
        for device in self.premises.devices.values():
            kind = device.announce.device_class
            above = self.preferences.of(device.name, kind).green_above_percent
            ours = above is not None and kind not in NOT_STARTED and TAKES_PART not in device.announce.use_cases
            if ours and share is None:
                share = self.prices.green(self.clock.now(), 1, 1.0)[0]
            if above is None or not ours or share is None or not self.preferences.controlled(device.name, kind):
                if device.name in self._held:
                    self._held.discard(device.name)
                    self.wishes.put(device.name, None, "price")
                continue
            self._act(device, share, above)

    def _act(self, device: Device, share: float, above: float) -> None:
        green = share > above
        text = f"{share:.0f} % of the grid's power is green, {'more' if green else 'not more'} than {above:.0f} %"
        figures = {"green_percent": share, "threshold_percent": above}
        reason = Reason(code="green" if green else "not_green", text=text, binding="green_threshold", inputs=figures)
        offer = self.flexibility.offers.get(device.address)
        if offer is not None and isinstance(offer.flexibility, ProfileFlexibility):
            agreed = self.flexibility.agreed.get(device.address)
            done = self._started.get(device.name) == offer.offer or (agreed is not None and agreed.state == "started")
            if green and not done and self._tasks is not None:
                self._started[device.name] = offer.offer
                replaces = agreed.talk if agreed is not None else None
                word = Instruct(offer=offer.offer, start=instant(self.clock.now()), replaces=replaces, reason=reason)
                self._tasks.start_soon(self._start, device, word)
            return
        self._held.add(device.name)
        most = device.announce.nominal_upper_w
        wish = Wish(source="price", reason=reason, setpoint_w=most if green else None, off=not green)
        self.wishes.put(device.name, wish, "price")

    async def _start(self, device: Device, word: Instruct) -> None:
        outcome = await self.flexibility.instruct(device.address, word)
        if isinstance(outcome, Reason):
            log.info("%s is not started: %s", device.address, outcome.text)
            self._started.pop(device.name, None)
