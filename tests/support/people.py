"""People at home: an app at a home of ``tests.cem.home``, as the command line attaches it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agents.app.settings import AppSettings
from bus.address import Address
from contracts.hand import ControlRefused, ControlTaken, TakeControl
from deploy.commands.app_voice import Voice, attached
from tests.support.grid import Grid


@asynccontextmanager
async def phone(run: Grid, address: str = "h07.app.phone", **settings: Any) -> AsyncIterator[Voice]:
    """Speak as a person's app; the address has to be of the grid."""
    who = Address.parse(address)
    chosen = msgspec.convert(settings, AppSettings)
    async with attached(run.servers.bus(who, run.clock), run.servers.permissions.peers(who), chosen) as voice:
        yield voice


async def say(voice: Voice, device: str | None, action: str, **fields: Any) -> ControlTaken | ControlRefused:
    """The hand on a device, in the name of Ada."""
    return await voice.home.hand(TakeControl(user="ada", device=device, action=action, **fields))  # type: ignore[arg-type]


async def taken(voice: Voice, device: str | None, action: str, **fields: Any) -> ControlTaken:
    answer = await say(voice, device, action, **fields)
    assert isinstance(answer, ControlTaken), answer
    return answer


async def refused(voice: Voice, device: str | None, action: str, **fields: Any) -> ControlRefused:
    answer = await say(voice, device, action, **fields)
    assert isinstance(answer, ControlRefused), answer
    return answer
