"""kill -9 of the real guard and the real CEM, as processes, around the acceptance of a limit: both know the same."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from agents.cem.limit_deals import Terms
from agents.dso.guard_limits import REJOIN_PAUSE_S
from agents.dso.limit_book import DIRECTIONS, Page
from agents.kit.deals import Deal
from bus.address import Address
from bus.store import State
from bus.transport import Connection
from deploy.topology import load
from tests.support.grid import grid
from tests.support.home import products
from tests.support.live_home import CEM, DSO, TOPOLOGY, LiveHome

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
WITHIN_WALL_S = 90.0


class Parties(LiveHome):
    """``held`` and ``stated`` are read from what each has stored, not asked of anybody."""

    async def listen(self) -> None:
        self._stores: dict[str, State] = {}
        for who in (CEM, DSO):
            address = Address.parse(who)
            connection: Connection = self.run.servers.bus(address, self.run.clock).connection
            await connection.open()
            self.run.closing(connection)
            self._stores[who] = State(connection, address)

    async def held(self) -> dict[str, str]:
        """By direction, the talk of the limit deal that the CEM has standing."""
        store, found = self._stores[CEM], dict[str, str]()
        for slot in range(await store.get("deals", int) or 0):
            deal = await store.get(f"deal-{slot}", Deal)
            if deal is not None and deal.table == "limit_write" and deal.phase == "on":
                for direction in deal.read(Terms).after:
                    assert direction not in found, "an older one has ended"
                    found[direction] = deal.id
        return found

    async def page(self) -> Page:
        return await self._stores[DSO].get("limits_h07", Page) or Page()

    async def stated(self) -> dict[str, str]:
        """The same as the guard knows it."""
        return {direction: asked.talk for direction, asked in (await self.page()).bound.items()}

    async def agreed(self) -> dict[str, str] | None:
        """Both know these deals for both directions and the guard waits for no answer; None if it is not so now."""
        with suppress(AssertionError):  # an older one is about to be ended
            page, one, two = await self.page(), await self.stated(), await self.held()
            if page.asked == page.bound and one == two and set(one) == set(DIRECTIONS):
                return one
        return None

    async def agree(self) -> dict[str, str]:
        with anyio.fail_after(WITHIN_WALL_S):
            while (found := await self.agreed()) is None:  # noqa: ASYNC110  stores announce nothing to us
                await anyio.sleep(0.1)
            return found

    async def agree_for_good(self) -> dict[str, str]:
        """They agree, and the guard is frozen: it asks for nothing new."""
        with anyio.fail_after(WITHIN_WALL_S):
            while True:
                await self.agree()
                self.freeze(DSO)
                if (found := await self.agreed()) is not None:
                    return found
                self.thaw(DSO)

    def thaw(self, address: str) -> None:
        os.kill(self._processes[address].pid, signal.SIGCONT)

    def letters(self) -> list[dict[str, Any]]:
        """Dead letters about answers to limits."""
        found = [msgspec.json.decode(p) for s, p in (*self.words.all, *self.beyond.all) if s.startswith("dead.")]
        return [letter for letter in found if "limit_accepted" in letter["subject"]]

    def talks(self, word: str) -> list[str]:
        return [envelope["talk"] for envelope in self.said(word)]


@asynccontextmanager
async def parties(folder: Path) -> AsyncIterator[Parties]:
    async with products() as hardware:
        file = folder / "live.toml"
        file.write_text(TOPOLOGY.format(port=hardware.gateway.port))
        async with grid(shape=load(file), speed=2.0, folder=folder, processes=True) as run:
            here = Parties(run, file, hardware, await run.words("h07"), await run.words())
            await here.listen()
            try:
                await here.start(CEM)
                yield here
            finally:
                with anyio.CancelScope(shield=True):
                    await here.close()


async def test_a_limit_is_the_same_deal_for_both_whoever_is_killed_around_its_acceptance(tmp_path: Path) -> None:
    async with parties(tmp_path) as h:
        # The guard is gone by the time the answer comes: it finds it in its stream.
        h.freeze(CEM)
        await h.start(DSO)
        await h.beyond.until(lambda _: h.said("set_limit"), WITHIN_WALL_S)
        h.freeze(DSO)
        h.thaw(CEM)
        await h.beyond.until(lambda _: h.said("limit_accepted"), WITHIN_WALL_S)
        await h.kill(DSO)
        await h.start(DSO)
        await h.agree()
        # The CEM is killed right behind an acceptance, and does not say it again. The guard states its limits anew to
        # who comes back later than this.
        before = len(h.said("limit_accepted"))
        await h.kill(CEM)
        await h.run.clock.sleep(2 * REJOIN_PAUSE_S)
        await h.start(CEM)
        await h.beyond.until(lambda _: len(h.said("limit_accepted")) > before, WITHIN_WALL_S)
        await h.kill(CEM)
        await h.start(CEM)
        agreed = await h.agree_for_good()
        # Both at once: what they know then, they know from what they kept.
        await h.kill(CEM)
        await h.kill(DSO)
        assert await h.held() == await h.stated() == agreed
        accepted = h.talks("limit_accepted")
        assert len(accepted) == len(set(accepted)), "nothing is accepted twice"
        assert h.letters() == []
