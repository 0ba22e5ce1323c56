"""Typed telemetry through the bus against nats-py with raw bytes and callbacks, interleaved in one run."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from nats.aio.client import Client

from bench.agents import CEM, EVSE, alive, broker
from bench.broker import free_port
from bench.figure import Figure, Missing, Result, median, percentile
from bus.address import say
from bus.bus import Bus
from bus.clock import WallClock
from contracts.power_limit import Heartbeat

WORD = Heartbeat(every_s=60.0)
SUBJECT = say(EVSE, Heartbeat, home=True)
YIELD_EVERY = 100  # a publisher that never yields starves its own process; see the notes on nats-py
PEERS = ("mango", "faststream")


async def run(quick: bool) -> list[Result]:
    words = 20_000 if quick else 40_000
    plain, raw, typed = _Rates(), _Rates(), _Rates()
    async with broker(CEM, EVSE) as server:
        payload = _same_length()
        for _ in range(3 if quick else 7):
            await plain.add(_raw_rate(server.url, "raw.telemetry", payload, words), words)
            await raw.add(_raw_rate(server.url, SUBJECT, payload, words), words)
            await typed.add(_typed_rate(server.url, words), words)
        raw_us, typed_us = await _raw_latency(server.url, payload), await _typed_latency(server.url)
    ratio = median(t / r for t, r in zip(typed.words_s, raw.words_s, strict=True))
    of_plain = median(t / r for t, r in zip(typed.words_s, plain.words_s, strict=True))
    cpu = median(r / t for t, r in zip(typed.cpu_us, raw.cpu_us, strict=True))
    results: list[Result] = [
        Figure(what="nats-py, raw bytes, callback", value=median(raw.words_s), unit="words/s",
               note="same subject and length: the server keeps the last value of both"),
        Figure(what="typed telemetry through the bus", value=median(typed.words_s), unit="words/s"),
        Figure(what="typed telemetry / raw nats-py", value=ratio, unit="x", at_least=0.7),
        Figure(what="  by processor time", value=cpu, unit="x",
               note=f"{median(typed.cpu_us):.1f} and {median(raw.cpu_us):.1f} us a word, both ends"),
        Figure(what="  against words that nobody keeps", value=of_plain, unit="x"),
        Figure(what="one-way latency p50, raw", value=percentile(raw_us, 0.5), unit="us"),
        Figure(what="one-way latency p50, typed", value=percentile(typed_us, 0.5), unit="us"),
        Figure(what="one-way latency p99, typed", value=percentile(typed_us, 0.99), unit="us"),
    ]  # fmt: skip
    results += [Missing(f"the same over {peer}", "not installed") for peer in PEERS if find_spec(peer) is None]
    if find_spec("faststream") is not None:
        results.append(Figure(what="the same over FastStream", value=await _faststream(words), unit="words/s"))
    if find_spec("mango") is not None:
        results.append(
            Figure(what="the same over mango-agents (TCP)", value=await _on_asyncio(_mango(words)), unit="words/s")
        )
    return results


@dataclass
class _Rates:
    words_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    async def add(self, rate: Awaitable[float], words: int) -> None:
        spent = time.process_time()
        self.words_s.append(await rate)
        self.cpu_us.append((time.process_time() - spent) / words * 1e6)


def _same_length() -> bytes:
    """Raw bytes of the length that the typed word has on the wire."""
    return b"x" * len(Bus(EVSE, "nats://unused", WallClock())._wrap(WORD, None, None)[1])


async def _raw_rate(url: str, subject: str, payload: bytes, words: int) -> float:
    speaker, listener = Client(), Client()
    await speaker.connect(url)
    await listener.connect(url)
    heard, done = 0, asyncio.Event()

    async def take(_message: Any) -> None:
        nonlocal heard
        heard += 1
        if heard == words:
            done.set()

    await listener.subscribe(subject, cb=take)
    await listener.flush()
    await listener.flush()
    began = time.perf_counter()
    for n in range(words):
        await speaker.publish(subject, payload)
        if n % YIELD_EVERY == 0:
            await asyncio.sleep(0)
    await asyncio.wait_for(done.wait(), 60)
    rate = words / (time.perf_counter() - began)
    await speaker.close()
    await listener.close()
    return rate


async def _typed_rate(url: str, words: int) -> float:
    heard, done = 0, asyncio.Event()

    def take(_word: Heartbeat, _heard: object) -> None:
        nonlocal heard
        heard += 1
        if heard == words:
            done.set()

    def listens(bus: Bus) -> None:
        bus.on(Heartbeat, take)
        bus.listen(Heartbeat, site="h07", role="evse", home=True)

    async with alive(EVSE, url) as speaker, alive(CEM, url, listens):
        began = time.perf_counter()
        for n in range(words):
            speaker.say(WORD, home=True)
            if n % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        await asyncio.wait_for(done.wait(), 60)
        return words / (time.perf_counter() - began)


async def _raw_latency(url: str, payload: bytes) -> list[float]:
    speaker, listener = Client(), Client()
    await speaker.connect(url)
    await listener.connect(url)
    there = asyncio.Event()

    async def take(_message: Any) -> None:
        there.set()

    await listener.subscribe("raw.latency", cb=take)
    await listener.flush()
    await listener.flush()
    out = []
    for _ in range(1000):
        there.clear()
        began = time.perf_counter()
        await speaker.publish("raw.latency", payload)
        await asyncio.wait_for(there.wait(), 5)
        out.append((time.perf_counter() - began) * 1e6)
    await speaker.close()
    await listener.close()
    return out


async def _typed_latency(url: str) -> list[float]:
    there = asyncio.Event()

    def listens(bus: Bus) -> None:
        bus.on(Heartbeat, lambda _word, _heard: there.set())
        bus.listen(Heartbeat, site="h07", role="evse", home=True)

    out = []
    async with alive(EVSE, url) as speaker, alive(CEM, url, listens):
        for _ in range(1000):
            there.clear()
            began = time.perf_counter()
            speaker.say(WORD, home=True)
            await asyncio.wait_for(there.wait(), 5)
            out.append((time.perf_counter() - began) * 1e6)
    return out


async def _faststream(words: int) -> float:
    from faststream.nats import NatsBroker

    async with broker() as server:
        bench = NatsBroker(server.url, logger=None)  # a line for each word would be most of the work
        heard, done = 0, asyncio.Event()

        async def take(_every_s: float) -> None:
            nonlocal heard
            heard += 1
            if heard == words // 10:
                done.set()

        bench.subscriber("bench")(take)
        await bench.start()
        began = time.perf_counter()
        for _ in range(words // 10):
            await bench.publish(60.0, "bench")
        await asyncio.wait_for(done.wait(), 60)
        rate = words / 10 / (time.perf_counter() - began)
        await bench.stop()
        return rate


async def _on_asyncio(work: Coroutine[Any, Any, float]) -> float:
    """In a loop of the standard library: mango's containers do not start on uvloop."""
    return await asyncio.to_thread(asyncio.run, work)


async def _mango(words: int) -> float:
    """Two containers over TCP, as mango-agents carries words between processes; it knows no NATS."""
    from mango import Agent, activate, create_tcp_container  # type: ignore[import-not-found, unused-ignore]

    count = words // 10
    done = asyncio.Event()

    class Listener(Agent):  # type: ignore[misc]
        heard = 0

        def handle_message(self, **_word: Any) -> None:
            self.heard += 1
            if self.heard == count:
                done.set()

    here = create_tcp_container(addr=("127.0.0.1", free_port()))
    there = create_tcp_container(addr=("127.0.0.1", free_port()))
    speaker, listener = here.register(Agent()), there.register(Listener())
    async with activate(here, there):
        began = time.perf_counter()
        for _ in range(count):
            await speaker.send_message({"every_s": 60.0}, listener.addr)
        await asyncio.wait_for(done.wait(), 60)
        return count / (time.perf_counter() - began)
