"""A limit to 1,000 customers' energy managers: the real agents, all in one host process."""

import time
from contextlib import AbstractAsyncContextManager

import anyio
import msgspec
from anyio.abc import TaskGroup

import contracts.all  # noqa: F401  fills the vocabulary
from agents.cem.agent import AGENT
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.run import run_agent
from bench.agents import DSO, alive, broker
from bench.beside import beside, cpu_s, serve
from bench.figure import Figure, Result, percentile
from bus import store
from bus.address import Address, tail
from bus.bus import Bus, Heard
from bus.clock import WallClock
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason

LIMIT = SetLimit(
    direction="consumption", active=True, limit_w=5200.0, reason=Reason(code="bench", text="A limit for everybody.")
)
AT_ONCE = 20  # agents that connect at the same time
WITHIN_WALL_S = 60.0


def _manager(number: int) -> Address:
    return Address(f"h{number:04}", "cem", "main")


async def host(url: str, number: str) -> None:
    """The host process: so many energy managers, each with a connection of its own."""
    limiter = anyio.CapacityLimiter(AT_ONCE)
    settings = CemSettings(contract_consumption_w=14_500.0)

    async def start(address: Address, group: TaskGroup) -> None:
        async with limiter:
            ready = anyio.Event()
            bus = Bus(address, url, WallClock())

            async def live() -> None:
                await run_agent(AGENT, bus, settings, Peers((DSO,)), ready=ready.set)

            group.start_soon(live)
            await ready.wait()

    async with anyio.create_task_group() as living:
        async with anyio.create_task_group() as starting:
            for n in range(int(number)):
                starting.start_soon(start, _manager(n), living)
        await serve()
        living.cancel_scope.cancel()


def _operator(url: str) -> AbstractAsyncContextManager[Bus]:
    """As the guard does, it reads each acceptance from its stream: only that counts."""

    async def accepted(_word: LimitAccepted, _heard: Heard) -> None:
        pass

    return alive(DSO, url, lambda bus: bus.settle(limit_write, accepted))


async def run(quick: bool) -> list[Result]:
    number = 100 if quick else 1000
    managers = [_manager(n) for n in range(number)]
    took: list[float] = []
    async with broker(DSO, *managers, consumed=(store.TALKS,)) as server:
        began = time.perf_counter()
        async with beside(host, server.url, str(number), within_s=WITHIN_WALL_S) as pid, _operator(server.url) as dso:
            ready = time.perf_counter() - began
            for peer in managers:
                dso.tell(peer, Heartbeat(every_s=60.0))

            async def ask(peer: Address) -> None:
                async with dso.talk(limit_write, peer) as talk:
                    await talk.say(LIMIT)
                    answer = await talk.hear(LimitAccepted, LimitRefused, Lapsed)
                    if not isinstance(answer, LimitAccepted):
                        raise RuntimeError(f"{peer}: {answer}")
                took.append(time.perf_counter() - began)

            began, spent, spent_there = time.perf_counter(), time.process_time(), cpu_s(pid)
            with anyio.fail_after(WITHIN_WALL_S):
                async with anyio.create_task_group() as asking:
                    for peer in managers:
                        asking.start_soon(ask, peer)
            spent, spent_there = time.process_time() - spent, cpu_s(pid) - spent_there
            stored = await _stored(dso)
    if stored != number:
        raise RuntimeError(f"{number} answers were heard, but {stored} are stored")
    note = f"the whole CEM agent, {number} connections in one process; the operator in another; one server for all"
    return [
        Figure(
            what=f"limit to {number} managers: all have answered", value=max(took), unit="s", at_most=3.0, note=note
        ),
        Figure(what="  half of them", value=percentile(took, 0.5), unit="s"),
        Figure(what="  processor time per limit: managers", value=spent_there / number * 1e3, unit="ms"),
        Figure(what="  processor time per limit: operator", value=spent / number * 1e3, unit="ms"),
        Figure(what="  to start and connect them", value=ready, unit="s"),
    ]


async def _stored(dso: Bus) -> int:
    """Answers in the stream of addressed words."""
    ask = {"subjects_filter": f"to.{DSO}.*.*.*.{tail(LimitAccepted)}"}
    answer = await dso.connection.request(f"$JS.API.STREAM.INFO.{store.TALKS}", msgspec.json.encode(ask))
    return sum(msgspec.json.decode(answer)["state"].get("subjects", {}).values())
