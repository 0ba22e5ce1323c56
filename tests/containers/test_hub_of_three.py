"""A hub of three servers: what it acknowledged outlives any one of them; without a majority it acknowledges nothing."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from nats import errors

from bus.address import Address, to
from bus.bus import Bus
from bus.clock import SharedClock, WallClock
from bus.envelope import Envelope, encode, instant
from bus.store import TALKS, consumer_name, store
from bus.talk import Talk
from bus.transport import BusUnavailable, NotStored
from contracts.kit import Lapsed, Message
from contracts.operator import Done, NotDone, OrderLimit, order_limit
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.chaos.storm.gather import all_of
from tests.containers.blows import Blows
from tests.support.stack import ContainerDoors, Stack

pytestmark = pytest.mark.timeout(1500, func_only=True)
TWO = "tests/containers/two.toml"
HUBS = ("nats-hub-0", "nats-hub-1", "nats-hub-2")
DSO, CEM, OPERATOR = Address("grid", "dso", "north"), Address("h07", "cem", "main"), Address("grid", "ops", "operator")
AT_ONCE = 4
MORE_WALL_S = 400.0
"""An order that is under way as a server dies may wait for its answer until it lapses; so may the next."""
WHY = Reason(code="test", text="A limit of a tight loop.")
_INFO = msgspec.json.Decoder(dict[str, Any])


async def asked(doors: ContainerDoors, what: str) -> dict[str, Any]:
    """An answer of the hub's JetStream; empty while it has none."""
    admin = doors.connection("hub", "hub.admin", "_R.admin")
    await admin.open()
    try:
        return _INFO.decode(await admin.request(f"$JS.API.{what}", b"{}"))
    except (errors.Error, TimeoutError):  # nobody leads yet, or the server asked has just gone
        return {}
    finally:
        await admin.close()


async def cluster(doors: ContainerDoors) -> dict[str, Any]:
    """Of TALKS: its leader and its other servers."""
    found = (await asked(doors, f"STREAM.INFO.{TALKS}")).get("cluster", {})
    assert isinstance(found, dict)
    return found


async def leader(doors: ContainerDoors) -> str:
    """The service whose server leads TALKS; waits for an election."""
    with anyio.fail_after(150):
        while True:
            if name := (await cluster(doors)).get("leader"):
                return f"nats-{name}"
            await anyio.sleep(0.2)


async def caught_up(doors: ContainerDoors) -> None:
    """Until every server has all of TALKS."""
    with anyio.fail_after(150):
        while True:
            found = await cluster(doors)
            others = found.get("replicas") or []
            if found.get("leader") and len(others) == 2 and all(one.get("current") for one in others):
                return
            await anyio.sleep(0.3)


async def dealt_with(doors: ContainerDoors) -> None:
    """Until the home has read and acknowledged all that the stream has for it: its next life answers nothing again."""
    consumer = f"CONSUMER.INFO.{TALKS}.{consumer_name(CEM)}"
    with anyio.fail_after(150):
        while True:
            found = await asked(doors, consumer)
            if found and not found.get("error") and not found["num_pending"] + found["num_ack_pending"]:
                return
            await anyio.sleep(0.3)


async def stored(doors: ContainerDoors) -> Counter[tuple[str, str]]:
    """(word, talk) -> how often TALKS has it."""
    admin = doors.connection("hub", "hub.admin", "_R.admin")
    await admin.open()
    try:
        words = await all_of(admin, TALKS)
    finally:
        await admin.close()
    return Counter((subject.rpartition(".")[2], _INFO.decode(data)["talk"]) for _, _, subject, data in words)


# -------------------------------------------------------------------- servers alone, and a tight loop


class Loop:
    """A guard and a home that agree on limits as fast as they can, over a real link.

    answers   talk -> what came of it; ``begun`` are all that the guard has opened
    """

    def __init__(self, guard: Bus, cem: Bus) -> None:
        self.guard, self.cem = guard, cem
        self.begun: list[str] = []
        self.answers: dict[str, object] = {}
        self.enough = False
        self._news = anyio.Event()
        self.accepted: list[str] = []
        """Talks whose acceptance the home knows to be stored."""
        cem.answer(limit_write, self._accept)

    async def _accept(self, talk: Talk, write: Message) -> None:
        assert isinstance(write, SetLimit)
        await talk.say(LimitAccepted(direction=write.direction, limit_w=write.limit_w))
        self.accepted.append(talk.id)

    async def ask(self) -> None:
        while not self.enough:
            async with self.guard.talk(limit_write, CEM) as talk:
                self.begun.append(talk.id)
                limit_w = -float(len(self.begun))
                answer: object
                try:
                    await talk.say(SetLimit(direction="production", active=True, limit_w=limit_w, reason=WHY))
                    answer = await talk.hear(LimitAccepted, LimitRefused, Lapsed)
                except NotStored as problem:
                    answer = problem
                good = isinstance(answer, LimitAccepted) and answer.limit_w == limit_w
                self.answers[talk.id] = None if good else answer
                self._news.set()

    async def more(self, count: int) -> None:
        """Until so many further talks are over."""
        wanted = len(self.answers) + count
        with anyio.fail_after(300):
            while len(self.answers) < wanted:
                self._news = anyio.Event()
                await self._news.wait()


@asynccontextmanager
async def loop(doors: ContainerDoors) -> AsyncIterator[Loop]:
    clock = WallClock()
    guard, cem = doors.bus(DSO, clock), doors.bus(CEM, clock)
    made = Loop(guard, cem)
    await guard.open()
    await cem.open()
    try:
        async with anyio.create_task_group() as group:
            await cem.run(group)
            await guard.run(group)
            async with anyio.create_task_group() as asking:
                for _ in range(AT_ONCE):
                    asking.start_soon(made.ask)
                yield made
                made.enough = True  # what is under way comes to its end
            await dealt_with(doors)
            group.cancel_scope.cancel()
    finally:
        await guard.close()
        await cem.close()


def test_nothing_that_was_acknowledged_is_lost_or_doubled_as_the_leader_is_killed(
    images: dict[str, str], tmp_path: Path
) -> None:
    only = (*HUBS, "nats-h07", "provision-hub", "provision-h07")

    async def scenario(stack: Stack) -> None:
        async with stack.doors(hub=HUBS[0]) as doors:
            first = await leader(doors)
        near, other = [one for one in HUBS if one != first]

        async with stack.doors(hub=near) as doors:
            async with loop(doors) as talking:
                await talking.more(40)
                await asyncio.to_thread(stack.kill, first)
                under_way = set(talking.begun) - set(talking.answers)
                await talking.more(80)
                assert under_way <= set(talking.answers), "what was under way is over by now"
                assert await leader(doors) != first
                await asyncio.to_thread(stack.start, first)
                await caught_up(doors)
                await talking.more(20)
            answers, accepted = dict(talking.answers), set(talking.accepted)
            assert set(answers) == set(talking.begun)
            wrong = {talk: answer for talk, answer in answers.items() if answer is not None}
            assert wrong == {}
            agree(await stored(doors), answers, accepted)

            # Without a majority nothing is acknowledged, and the home's own server is as good as ever.
            await asyncio.to_thread(stack.kill, first)
            await asyncio.to_thread(stack.kill, other)
            word = Envelope(
                id="alone-1",
                at=instant(WallClock().now()),
                deadline=instant(WallClock().now() + 60.0),
                talk="alone",
                body=SetLimit(direction="production", active=False, reason=WHY),
            )
            guard = doors.connection("hub", str(DSO), DSO.inbox)
            await guard.open()
            try:
                with pytest.raises(NotStored):
                    await store(guard, to(CEM, DSO, SetLimit), encode(word), word.id)
            finally:
                await guard.close()
            cem = doors.bus(CEM, WallClock())
            await cem.open()
            try:
                await cem.state.put("kept", 17)
                assert await cem.state.get("kept", int) == 17
            finally:
                await cem.close()

            await asyncio.to_thread(stack.start, first)
            await asyncio.to_thread(stack.start, other)
            await caught_up(doors)
            async with loop(doors) as talking:
                await talking.more(20)
            assert set(talking.answers.values()) == {None}
            agree(await stored(doors), {**answers, **talking.answers}, accepted | set(talking.accepted))

    with Stack(TWO, images, tmp_path, hubs=3, only=only) as stack:
        stack.until(lambda: provisioned(stack, only), "streams and consumers are made", stack.ailing)
        asyncio.run(scenario(stack))


def provisioned(stack: Stack, services: tuple[str, ...]) -> bool:
    states = [stack.container(name).attrs["State"] for name in services if name.startswith("provision-")]
    return all((one["Status"], one["ExitCode"]) == ("exited", 0) for one in states)


def agree(there: Counter[tuple[str, str]], answers: dict[str, object], accepted: set[str]) -> None:
    """Every talk that came to its end is whole in the stream, and nothing is there twice."""
    assert {word: count for word, count in there.items() if count > 1} == {}
    for talk in {*answers, *accepted}:
        assert there["set_limit", talk] == 1, f"{talk}: the question is lost"
        assert there["limit_accepted", talk] == 1, f"{talk}: the answer is lost"


# -------------------------------------------------------------------- the whole topology


class Orders:
    """An operator's hand orders limits, one after the other, as long as the block lasts."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._stop = stack, threading.Event()
        self.answers: list[object] = []

    async def _give(self) -> None:
        stack = self._stack
        clock = SharedClock(stack.copy("clock", "/clock/clock", stack.here / "orders"))
        while not self._stop.is_set():
            async with stack.doors() as doors:  # whichever server of the hub is there
                bus = doors.bus(OPERATOR, clock)
                try:
                    await bus.open()
                    async with anyio.create_task_group() as group:
                        await bus.run(group)
                        for site in ("h07", "h08"):
                            self.answers.append(await self._order(bus, site, -2000.0 - 10.0 * len(self.answers)))
                        group.cancel_scope.cancel()
                except (BusUnavailable, NotStored) as problem:  # nobody leads the hub yet: as a hand does, once more
                    self.answers.append(problem)
                finally:
                    await bus.close()

    async def _order(self, bus: Bus, site: str, limit_w: float) -> object:
        async with bus.talk(order_limit, DSO) as talk:
            await talk.say(OrderLimit(site=site, direction="production", limit_w=limit_w, duration_s=3600.0))
            return await talk.hear(Done, NotDone, Lapsed)

    @contextmanager
    def given(self) -> Iterator["Orders"]:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: asyncio.run(self._give()))
            try:
                yield self
            finally:
                self._stop.set()
                done.result()

    def more(self, count: int) -> None:
        """Until so many further orders are carried out."""
        carried = self._carried() + count
        self._stack.until(
            lambda: self._carried() >= carried,
            f"{count} more orders are carried out",
            self.answers.copy,
            within_s=MORE_WALL_S,
        )

    def _carried(self) -> int:
        return sum(isinstance(one, Done) for one in self.answers)


def test_a_street_negotiates_on_while_a_server_of_its_hub_is_killed(images: dict[str, str], tmp_path: Path) -> None:
    with Stack(TWO, images, tmp_path, hubs=3, speed=2.0) as stack:
        stack.well()
        stack.until(lambda: stack.said("limit_accepted", str(CEM)), "the first limit is accepted", stack.ailing)
        blows = Blows(stack, quiet_s=80.0)

        def asking(what: Callable[[ContainerDoors], Any], hub: str = "") -> Any:
            async def ask() -> Any:
                async with stack.doors(**({"hub": hub} if hub else {})) as doors:
                    return await what(doors)

            return asyncio.run(ask())

        first = asking(leader)
        others = [one for one in HUBS if one != first]
        with Orders(stack).given() as orders:
            orders.more(4)
            with blows.dead(first):
                orders.more(6)
            asking(caught_up)
            orders.more(2)

        second = asking(leader)
        third = next(one for one in others if one != second)
        homes = [name for name in stack.services if name.startswith(("h07.", "h08.", "nats-h"))]
        homes = [name for name in homes if name not in HUBS]
        with blows.dead(second), blows.dead(third):
            at = stack.truth().column("instant")[-1] or 0.0
            stack.until(lambda: (stack.truth().column("instant")[-1] or 0.0) > at + 10.0, "the homes live on")
            assert [name for name in homes if stack.ails(name)] == []
        asking(caught_up)
        with Orders(stack).given() as orders:
            orders.more(2)
        blows.judge()
