"""Talks: how long a short one takes, and how many durable ones a second."""

import time

import anyio

from bench.agents import CEM, DSO, alive, broker
from bench.figure import Figure, Result, median, percentile
from bus.bus import Bus
from bus.talk import Talk
from contracts.kit import END, Conversation, Lapse, Lapsed, Message, Turn
from contracts.roles import CEM as CEM_ROLE
from contracts.roles import DSO as DSO_ROLE


class Ask(Message, frozen=True, kw_only=True):
    topic = "bench"
    number: int


class Offer(Message, frozen=True, kw_only=True):
    topic = "bench"
    number: int


class Take(Message, frozen=True, kw_only=True):
    topic = "bench"
    number: int


class Confirm(Message, frozen=True, kw_only=True):
    topic = "bench"
    number: int


class AskDurably(Message, frozen=True, kw_only=True):
    topic = "bench"
    durable = True
    number: int


class OfferDurably(Message, frozen=True, kw_only=True):
    topic = "bench"
    durable = True
    number: int


class TakeDurably(Message, frozen=True, kw_only=True):
    topic = "bench"
    durable = True
    number: int


class ConfirmDurably(Message, frozen=True, kw_only=True):
    topic = "bench"
    durable = True
    number: int


class CloseDurably(Message, frozen=True, kw_only=True):
    topic = "bench"
    durable = True
    number: int


def _table(name: str, *words: type[Message]) -> Conversation:
    """The words in turns, opener first."""
    sides = ("opener", "answerer")
    states = ["start", *(f"after_{n}" for n in range(1, len(words)))]
    nexts = [*states[1:], END]
    turns = [
        Turn(state, sides[n % 2], word, then)
        for n, (state, word, then) in enumerate(zip(states, words, nexts, strict=True))
    ]
    lapses = [Lapse(state, after=30.0) for state in states[1:]]
    return Conversation(name, sides[0], (DSO_ROLE,), sides[1], (CEM_ROLE,), turns, lapses)


FOUR = _table("bench_four", Ask, Offer, Take, Confirm)
FIVE = _table("bench_five", AskDurably, OfferDurably, TakeDurably, ConfirmDurably, CloseDurably)
WORDS = (AskDurably, OfferDurably, TakeDurably, ConfirmDurably, CloseDurably)


async def go_through(talk: Talk) -> None:
    """Say and hear what the table has, to its end."""
    while talk.state != END:
        turn = talk.table.turns_in(talk.state)[0]
        if turn.speaker == talk.side:
            await talk.say(turn.says(number=len(talk.transcript)))
        elif isinstance(await talk.hear(turn.says, Lapsed), Lapsed):
            raise TimeoutError(f"{talk.table.name}: silence in {talk.state}")


async def run(quick: bool) -> list[Result]:
    async def answer(talk: Talk, _opening: Message) -> None:
        await go_through(talk)

    def answers(bus: Bus) -> None:
        bus.answer(FOUR, answer)
        bus.answer(FIVE, answer)

    async with broker(CEM, DSO, words=WORDS) as server, alive(DSO, server.url) as dso, alive(CEM, server.url, answers):
        spent = time.process_time()
        four = await _durations(dso, FOUR, talks := 200 if quick else 1000)
        four_cpu_ms = (time.process_time() - spent) / talks * 1e3
        five = await _durations(dso, FIVE, 100 if quick else 400)
        spent, rounds = time.process_time(), 1 if quick else 3
        rates = [await _parallel(dso, 1000) for _ in range(rounds)]
        parallel_cpu_ms = (time.process_time() - spent) / rounds / 1000 * 1e3
    return [
        Figure(what="talk of 4 words, median", value=median(four), unit="ms", at_most=0.6),
        Figure(what="talk of 4 words, p99", value=percentile(four, 0.99), unit="ms"),
        Figure(what="  processor time, both agents", value=four_cpu_ms, unit="ms"),
        Figure(what="durable talk of 5 words, median", value=median(five), unit="ms", at_most=5.0),
        Figure(what="durable talk of 5 words, p99", value=percentile(five, 0.99), unit="ms"),
        Figure(
            what="durable talks of 5 words, 1,000 at once",
            value=median(rates),
            unit="talks/s",
            at_least=1000,
            note="both agents in one process",
        ),
        Figure(what="  processor time of each, both agents", value=parallel_cpu_ms, unit="ms"),
    ]


async def _durations(dso: Bus, table: Conversation, talks: int) -> list[float]:
    out = []
    for _ in range(talks):
        began = time.perf_counter()
        async with dso.talk(table, CEM) as talk:
            await go_through(talk)
        out.append((time.perf_counter() - began) * 1e3)
    return out[talks // 10 :]


async def _parallel(dso: Bus, talks: int) -> float:
    async def one() -> None:
        async with dso.talk(FIVE, CEM) as talk:
            await go_through(talk)

    began = time.perf_counter()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(talks):
                group.start_soon(one)
    return talks / (time.perf_counter() - began)
