"""The server killed at 1,000 words a second: how soon it is back, what is lost, that nothing is doubled."""

import time

import anyio

from bench.agents import CEM, DSO, alive, broker
from bench.figure import Figure, Result
from bus.bus import Bus
from contracts.power_limit import Heartbeat, LimitAccepted

RATE = 1000


async def run(quick: bool) -> list[Result]:
    heard: list[float] = []
    kept: list[float | None] = []
    stored = 0

    def listens(bus: Bus) -> None:
        bus.on(Heartbeat, lambda word, _heard: heard.append(word.every_s))
        bus.on(LimitAccepted, lambda word, _heard: kept.append(word.limit_w))

    async with broker(CEM, DSO) as server, alive(DSO, server.url) as dso, alive(CEM, server.url, listens) as cem:

        async def speak() -> None:
            began, said = time.perf_counter(), 0
            while True:
                while said < (time.perf_counter() - began) * RATE:
                    dso.tell(CEM, Heartbeat(every_s=float(said)))
                    said += 1
                await anyio.sleep(0.002)

        async def bind() -> None:
            nonlocal stored
            for number in range(10**6):
                await dso.tell_durably(CEM, LimitAccepted(direction="consumption", limit_w=float(number)))
                stored += 1
                await anyio.sleep(0.005)

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            group.start_soon(bind)
            await anyio.sleep(1.0 if quick else 3.0)
            server.kill()
            server.start()
            ready = time.perf_counter()
            mark = len(heard)
            with anyio.fail_after(30):
                while len(heard) == mark or not (dso.connection.connected and cem.connection.connected):  # noqa: ASYNC110
                    await anyio.sleep(0.002)
            back = time.perf_counter() - ready
            await anyio.sleep(1.0)
            group.cancel_scope.cancel()
        acknowledged = stored
        with anyio.move_on_after(15):
            while len({*kept}) < acknowledged:  # noqa: ASYNC110
                await anyio.sleep(0.02)
    last = int(max(heard))
    return [
        Figure(what="server killed: words flow again after it is up", value=back, unit="s", at_most=3.0),
        Figure(what="  acknowledged words lost", value=acknowledged - len({*kept} & {*map(float, range(stored))}),
               unit="words", at_most=0),
        Figure(what="  words doubled", value=len(heard) - len({*heard}) + len(kept) - len({*kept}), unit="words",
               at_most=0),
        Figure(what="  telemetry lost while down", value=last + 1 - len({*heard}), unit="words",
               note="at most once, by design"),
    ]  # fmt: skip
