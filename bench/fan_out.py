"""A limit to 1,000 customers' energy managers, all answering from one host process."""

import time

import anyio

from bench.agents import DSO, alive, broker
from bench.figure import Figure, Result, percentile
from bus.address import Address
from bus.bus import Bus
from bus.clock import WallClock
from bus.talk import Talk
from contracts.kit import Lapsed
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason

LIMIT = SetLimit(
    direction="consumption", active=True, limit_w=4200.0, reason=Reason(code="bench", text="A limit for everybody.")
)


def _answers(bus: Bus) -> None:
    async def answer(talk: Talk, opening: SetLimit) -> None:
        await bus.state.put("limit", opening)  # bound once it is stored, as the real one
        await talk.say(LimitAccepted(direction=opening.direction, limit_w=opening.limit_w))

    bus.answer(limit_write, answer)


async def run(quick: bool) -> list[Result]:
    number = 100 if quick else 1000
    managers = [Address(f"h{n:04}", "cem", "main") for n in range(number)]
    took: list[float] = []
    async with broker(DSO, *managers) as server, anyio.create_task_group() as group:
        buses = [Bus(address, server.url, WallClock()) for address in managers]
        for bus in buses:
            _answers(bus)
        began = time.perf_counter()
        limiter = anyio.CapacityLimiter(20)

        async def start(bus: Bus) -> None:
            async with limiter:
                await bus.open()
                await bus.run(group)

        async with anyio.create_task_group() as starting:
            for bus in buses:
                starting.start_soon(start, bus)
        ready = time.perf_counter() - began
        async with alive(DSO, server.url) as dso:

            async def ask(peer: Address) -> None:
                async with dso.talk(limit_write, peer) as talk:
                    await talk.say(LIMIT)
                    answer = await talk.hear(LimitAccepted, LimitRefused, Lapsed)
                    if not isinstance(answer, LimitAccepted):
                        raise RuntimeError(f"{peer}: {answer}")
                took.append(time.perf_counter() - began)

            began = time.perf_counter()
            with anyio.fail_after(60):
                async with anyio.create_task_group() as asking:
                    for peer in managers:
                        asking.start_soon(ask, peer)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for bus in buses:
                await bus.close()
    note = "minimal answerers that store the limit; the operator in the same process"
    whole = Figure(
        what=f"limit to {number} managers: all have answered", value=max(took), unit="s", at_most=3.0, note=note
    )
    return [
        whole,
        Figure(what="  half of them", value=percentile(took, 0.5), unit="s"),
        Figure(what="  to start and connect them", value=ready, unit="s"),
    ]
