"""A process that stood still has not listened: what was answered meanwhile counts."""

import asyncio
import time

import pytest
from nats import errors

from tests.support.grid import grid
from tests.support.steady_clock import LEASH_WALL_S

pytestmark = pytest.mark.anyio
ASKED = "$JS.API.INFO"


async def test_an_answer_that_lay_unread_while_the_process_stood_still_is_an_answer() -> None:
    async with grid("grid.dso.north") as run:
        [hub] = await run.admins()
        await hub.request(ASKED, b"")
        question = asyncio.create_task(hub.client.ask(ASKED, b"", 0.1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is written
        time.sleep(1.0)  # noqa: ASYNC251  nothing of this process runs meanwhile
        assert b"account_info" in await question


async def test_silence_is_still_silence() -> None:
    async with grid("grid.dso.north") as run:
        [hub] = await run.admins()
        await run.servers.kill("hub")
        with pytest.raises((errors.TimeoutError, errors.ConnectionClosedError)):
            await hub.client.ask(ASKED, b"", 0.1)


async def test_a_tests_own_clock_stands_while_the_process_does() -> None:
    async with grid("grid.dso.north", speed=600.0) as run:
        before = run.clock.now()
        time.sleep(0.5)  # noqa: ASYNC251  300 s by the clock's file
        assert run.clock.now() - before <= LEASH_WALL_S * 600.0
        await run.clock.sleep_until(before + 300.0)  # it goes on
