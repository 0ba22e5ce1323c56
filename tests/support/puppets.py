"""Processes that play both sides of every table with a deal, and die by SIGKILL at a moment that they are told.

``python -m tests.support.puppets <fd> <folder>`` forks them; ``Stage`` is the test's end. A puppet is a real agent on
its own bus, with its own rights and state; it says made-up words along one way through its table.
"""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import uvloop

from agents.kit.agent import Agent, Peers, Settings
from agents.kit.deals import Deals, Phase
from agents.kit.run import run_agent
from agents.kit.skill import answers, settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock, SharedClock
from bus.store import Sealed
from bus.talk import Talk
from contracts.all import conversations
from contracts.kit import END, Conversation, Lapsed, Message, Role, Turn
from contracts.roles import AGGREGATOR, DSO, ESP, FORECASTER, HES, RETAILER
from deploy.doors import Doors, die_with_parent
from deploy.topology import GRID, AgentEntry, GridSide, Run, Site, Topology
from tests.bus.samples import sample

PACKET = 65536
HOME_SITE = "h07"
NAMES = 16
"""So many of each role: every scenario of a table has its own pair."""
FOR_EVER_S = 1e9
SWEEP_WALL_S = 0.3
GRID_SIDE = {DSO, HES, AGGREGATOR, RETAILER, ESP, FORECASTER}
START = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)


def tables() -> list[Conversation]:
    """Every table that can bind somebody."""
    return [table for _, table in sorted(conversations().items()) if table.deal]


def pair_of(table: Conversation) -> tuple[Role, Role]:
    """Who plays a table here: two roles that may meet."""
    return table.opened_by[0], next((r for r in table.answered_by if r is not table.opened_by[0]), table.answered_by[0])


def way_to(table: Conversation, word: type[Message]) -> tuple[Turn, ...]:
    """The shortest lawful way to this word."""
    return min((way for way in table.paths() if way[-1].says is word), key=len)


def shape() -> Topology:
    """The places of all puppets, and an operator's tool at each."""
    roles = sorted({role for table in tables() for role in pair_of(table)}, key=lambda role: role.name)
    names = [f"n{number}" for number in range(NAMES)]
    probe = AgentEntry(role="ops", name="probe")
    here = [AgentEntry(role=r.name, name=n) for r in roles if r in GRID_SIDE for n in names]
    home = [AgentEntry(role=r.name, name=n) for r in roles if r not in GRID_SIDE for n in names]
    return Topology(
        name="puppets",
        run=Run(start=START, until=START + timedelta(days=400), speed=60.0),
        grid=GridSide(agents=(*here, probe)),
        site=(Site(name=HOME_SITE, agents=(*home, probe)),),
    )


def address_of(role: Role, number: int) -> Address:
    return Address(GRID if role in GRID_SIDE else HOME_SITE, role.name, f"n{number}")


# -------------------------------------------------------------------- what is played


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """``word`` is the deal's, ``dies`` a moment and the number of a turn; ``opens_with`` is the peer."""

    who: Address
    table: str
    word: str
    dies: tuple[str, int] | None = None
    opens_with: Address | None = None

    def at(self, moment: str, turn: int) -> None:
        if self.dies == (moment, turn):
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def conversation(self) -> Conversation:
        return conversations()[self.table]

    @property
    def way(self) -> tuple[Turn, ...]:
        table = self.conversation
        return way_to(table, next(word for word in table.deal if word.__name__ == self.word))


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    who: Address
    pid: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    who: Address
    code: int


class Showing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a living puppet shows: the talk that it opened, whether it still waits, phase and word of its deals."""

    who: Address
    talk: str | None = None
    busy: bool = False
    phases: dict[str, tuple[Phase, str]] = {}


News = Started | Ended | Showing


class Line:
    """The way back to the test."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, news: News) -> None:
        self._socket.send(msgspec.json.encode(news))

    def read(self) -> bytes:
        return self._socket.recv(PACKET)


class MortalBus(Bus):
    """Dies around the moment at which the word of the deal is said."""

    part: Part

    async def post(self, sealed: Sealed) -> None:
        last = len(self.part.way) - 1
        self.part.at("written", last)
        if self.part.dies == ("flying", last):
            saying = asyncio.create_task(super().post(sealed))
            for _ in range(3):
                await asyncio.sleep(0)
            self.part.at("flying", last)
            await saying
            return
        await super().post(sealed)
        self.part.at("stored", last)


def puppet_of(role: Role) -> Agent:
    """An agent that opens, answers and settles every table that its role plays here."""
    opened = tuple(table for table in tables() if pair_of(table)[0] is role)
    answered = tuple(table for table in tables() if pair_of(table)[1] is role)

    @skill(opens=opened)
    @dataclass
    class Puppet:
        bus: Bus
        clock: Clock
        deals: Deals
        part: Part
        line: Line
        talk: str | None = None

        @started
        async def show(self) -> None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.tell)
            self.tell()

        def tell(self) -> None:
            ears, deals = self.bus._ears, self.deals._deals
            busy = bool(ears.talks or ears.hands.running or ears.awaited)
            phases = {talk: (deal.phase, bytes(deal.word or b"").decode()) for (_, talk), deal in deals.items()}
            self.line.tell(Showing(who=self.bus.address, talk=self.talk, busy=busy, phases=phases))

        @started
        async def begin(self) -> None:
            peer = self.part.opens_with
            if peer is not None:
                async with self.bus.talk(self.part.conversation, peer) as talk:
                    self.talk = talk.id
                    self.tell()
                    await self.play(talk)

        async def answer(self, talk: Talk, _opening: Message) -> None:
            self.part.at("waiting", 0)
            await self.play(talk, 1)

        async def play(self, talk: Talk, first: int = 0) -> None:
            table = talk.table
            for number, turn in list(enumerate(self.part.way))[first:]:
                if turn.speaker != talk.side:
                    self.part.at("waiting", number)
                    hear: Callable[..., Awaitable[Any]] = talk.hear
                    words = {t.says for t in table.turns_in(talk.state)}
                    if not isinstance(await hear(*words, Lapsed), turn.says):
                        return
                    continue
                self.part.at("before", number)
                word, until = sample(turn.says), self.clock.now() + FOR_EVER_S
                if turn.says in table.deal:
                    await self.deals.close(talk, word, until=until)
                    return
                if any(t.says in table.deal and t.speaker != talk.side for t in table.turns_in(turn.then)):
                    await self.deals.open(talk, word, until=until)
                await talk.say(word)

        async def settle(self, word: Message, heard: Heard) -> None:
            last = len(self.part.way) - 1
            self.part.at("settling", last)
            await self.deals.honour(word, heard)
            self.part.at("honoured", last)

    for number, table in enumerate(answered):
        setattr(Puppet, f"answer_{number}", answers(table)(_own(Puppet.answer)))
    for number, table in enumerate({table.name: table for table in (*opened, *answered)}.values()):
        setattr(Puppet, f"settle_{number}", settles(table)(_own(Puppet.settle)))
    return Agent(role=role, settings=Settings, skills=(Puppet,))


def _own(method: Callable[..., Any]) -> Callable[..., Any]:
    """A copy that can bear a mark of its own."""

    async def own(self: Any, one: Any, other: Any) -> None:
        await method(self, one, other)

    return own


def puppets() -> dict[str, Agent]:
    roles = {role for table in tables() for role in pair_of(table)}
    return {role.name: puppet_of(role) for role in roles}


# -------------------------------------------------------------------- the process that forks


def main(fd: int, folder: Path) -> None:
    die_with_parent()
    import bus.backlog

    bus.backlog.SWEEP_WALL_S = SWEEP_WALL_S  # a word that was read and not acknowledged is looked for again soon
    cast, line = puppets(), Line(fd)
    doors = Doors(shape(), folder / "nats", lambda role: cast.get(role))
    pids: dict[int, Address] = {}
    line.tell(Started(who=Address(GRID, "ops", "stage"), pid=os.getpid()))
    while True:
        readable, _, _ = select.select([line], [], [], 0.01)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                line.tell(Ended(who=pids.pop(ended[0]), code=os.waitstatus_to_exitcode(ended[1])))
        if not readable:
            continue
        packet = line.read()
        if not packet:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            return
        part = msgspec.json.decode(packet, type=Part)
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            code = 1
            try:
                uvloop.run(live(part, doors, cast[part.who.role], line, folder))
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        pids[pid] = part.who
        line.tell(Started(who=part.who, pid=pid))


async def live(part: Part, doors: Doors, agent: Agent, line: Line, folder: Path) -> None:
    who, clock = part.who, SharedClock(folder / "clock")
    bus = MortalBus(
        who,
        doors.url(who),
        clock,
        keys=doors.keys(who),
        hub=doors.hub_domain(who),
        ca=doors.ca_of(doors.topology.server_of(who)),
    )
    bus.part = part

    @asynccontextmanager
    async def resources(_settings: Any, _address: Address, _clock: Clock) -> Any:
        yield {Part: part, Line: line}

    await run_agent(replace(agent, resources=resources), bus, Settings(), Peers())


# -------------------------------------------------------------------- the test's end


class Stage:
    """Starts puppets and knows what each shows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pids: dict[Address, int] = {}
        self.shown: dict[Address, Showing] = {}
        self.ended: dict[Address, int] = {}
        self.talks: dict[Address, str] = {}
        """The last talk that each opened, also of those who have died since."""
        self._news = asyncio.Event()

    async def open(self) -> None:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (self._folder / "puppets.log").open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220  it returns at once; the program is ourselves
                [sys.executable, "-m", "tests.support.puppets", str(its.fileno()), str(self._folder)],
                pass_fds=[its.fileno()],
                stdout=out,
                stderr=out,
            )
        its.close()
        mine.setblocking(False)
        self._line = mine
        self._ready = False
        asyncio.get_running_loop().add_reader(mine, self._read)
        await self.until(lambda: self._ready)

    def _read(self) -> None:
        packet = self._line.recv(PACKET)
        if not packet:
            raise RuntimeError(f"the puppets' process has ended: see {self._folder / 'puppets.log'}")
        match msgspec.json.decode(packet, type=News):
            case Started(who=who, pid=pid):
                self._ready = True
                self._pids[who] = pid
            case Ended(who=who, code=code):
                self.ended[who] = code
                self.shown.pop(who, None)
                self._pids.pop(who, None)
            case Showing() as shown:
                if shown.talk is not None:
                    self.talks[shown.who] = shown.talk
                self.shown[shown.who] = shown
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, fact: Callable[[], object], within_wall_s: float = 30.0) -> None:
        with anyio.fail_after(within_wall_s):
            while not fact():
                await self._news.wait()

    async def start(self, part: Part) -> None:
        """Returns when it hears, or has died of what it restored."""
        self.shown.pop(part.who, None)
        self.ended.pop(part.who, None)
        self._line.send(msgspec.json.encode(part))
        await self.until(lambda: part.who in self.shown or part.who in self.ended)

    async def ask(self, who: Address) -> Showing:
        """What a living puppet shows now."""
        self.shown.pop(who, None)
        os.kill(self._pids[who], signal.SIGUSR1)
        await self.until(lambda: who in self.shown)
        return self.shown[who]

    async def kill(self, who: Address) -> None:
        """kill -9; returns when it is gone."""
        os.kill(self._pids[who], signal.SIGKILL)
        await self.until(lambda: who in self.ended)

    async def clear(self) -> None:
        """End all puppets: the next table is played by others of their names."""
        mine = {who: pid for who, pid in self._pids.items() if who.role != "ops"}
        for pid in mine.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.until(lambda: all(who in self.ended for who in mine))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        self._process.wait(10)

    def log(self) -> str:
        return (self._folder / "puppets.log").read_text()[-4000:]


def moments(table: Conversation, word: type[Message]) -> Iterator[tuple[str, str, int]]:
    """(side, moment, number of the turn) of everything that may be interrupted on the way to a deal."""
    way = way_to(table, word)
    for number, turn in enumerate(way):
        other = table.answerer if turn.speaker == table.opener else table.opener
        yield turn.speaker, "before", number
        yield other, "waiting", number
    closer, promisor = turn.speaker, other
    assert turn.then == END
    yield from ((closer, moment, number) for moment in ("written", "flying", "stored"))
    yield from ((promisor, moment, number) for moment in ("settling", "honoured"))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
