"""What a device does by itself when it is asked: for people, or for the household's programme."""

from agents.cem.premises import Device
from agents.kit.deals import Deals
from bus.bus import Bus
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed

ASKED_S = 120.0
"""So long an answer that comes late is still looked for."""


async def ask_device(
    bus: Bus, deals: Deals, device: Device, word: TakeControl
) -> ControlTaken | ControlRefused | Lapsed:
    """Its answer. Who took it settles the deal (``TakeHand``). Raises NotStored, TooManyDeals."""
    async with bus.talk(take_control, device.address) as talk:
        await deals.open(talk, word, until=bus.clock.now() + ASKED_S)
        await talk.say(word)
        answer = await talk.hear(ControlTaken, ControlRefused, Lapsed)
        if isinstance(answer, ControlRefused):
            await deals.end(talk)
        return answer
