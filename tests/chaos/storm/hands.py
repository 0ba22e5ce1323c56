"""How each fault is done to the running street, ended, and how long it takes until what was hit is well again."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from deploy.control import Command
from deploy.doors import die_with_parent
from deploy.nats.links import LinkState
from tests.chaos.storm.disk import full, store
from tests.chaos.storm.plan import Fault, Plan
from tests.chaos.storm.street import ENVIRONMENT, LOOK_WALL_S, Street

NARROW_BYTES_PER_WALL_S = 8_000.0
WELL_WALL_S = 60.0
"""Who is not well again after so long is a fault of the product."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it was done, in run time. ``well`` is when the street saw the target whole again.

    began None: it could not be done (``note`` says why). well None: never.
    """

    fault: Fault
    began: float | None = None
    ended: float | None = None
    well: float | None = None
    note: str = ""


class NotDone(Exception):
    """The street was not in a state to be hit: said in the verdict, no violation."""


class Hands:
    """Does a plan. Every deed is appended to ``file`` as it is known."""

    def __init__(self, street: Street, file: Path, say: Callable[[str], None]) -> None:
        self.street, self._file, self._say = street, file, say
        self.deeds: dict[int, Deed] = {}
        self.origin = 0.0

    async def do(self, plan: Plan) -> None:
        """All faults, each at its instant. Cancelled, it ends what is going on and mends what is broken."""
        self.origin = self.street.clock.now()
        async with asyncio.TaskGroup() as group:
            for fault in plan.faults:
                group.create_task(self._one(fault))

    async def _one(self, fault: Fault) -> None:
        clock = self.street.clock
        await clock.sleep_until(self.origin + fault.at)
        try:
            async with self._going_on(fault):
                self._say(f"+{clock.now() - self.origin:6.0f} s  {fault.kind} {fault.target}")
                await clock.sleep_until(self.origin + fault.until)
        except NotDone as why:
            self._note(Deed(fault=fault, note=str(why)))
            self._say(f"+{clock.now() - self.origin:6.0f} s  {fault.kind} {fault.target} not done: {why}")
            return
        deed = msgspec.structs.replace(self.deeds[fault.number], ended=clock.now())
        self._note(deed)
        try:
            async with asyncio.timeout(WELL_WALL_S):
                await self.street.until(lambda: not self.street.ails(fault.target))
            self._note(msgspec.structs.replace(deed, well=clock.now()))
        except TimeoutError:
            self._note(msgspec.structs.replace(deed, note=self.street.ails(fault.target)))

    def _note(self, deed: Deed) -> None:
        self.deeds[deed.fault.number] = deed
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(deed) + b"\n")

    def _begin(self, fault: Fault) -> None:
        """Called just before the blow, when all that it needs is at hand."""
        self._note(Deed(fault=fault, began=self.street.clock.now()))

    @asynccontextmanager
    async def _going_on(self, fault: Fault) -> AsyncIterator[None]:
        match fault.kind:
            case "kill":
                self._begin(fault)
                await self._tell(Command(action="kill", address=fault.target))
                await asyncio.sleep(2 * LOOK_WALL_S)  # until the status can know of it
                yield
            case "stop":
                pid = await asyncio.to_thread(self._pid, fault.target)
                self._begin(fault)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                try:
                    yield
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            case "cut":
                self._begin(fault)
                await self._tell(Command(action="cut", site=fault.target))
                try:
                    yield
                finally:
                    await asyncio.shield(self.street.tell(Command(action="mend", site=fault.target)))
            case "hole" | "slow":
                self._begin(fault)
                await self._tell(Command(action="link", site=fault.target, link=_weather(fault)))
                try:
                    yield
                finally:
                    await asyncio.shield(self.street.tell(Command(action="mend", site=fault.target)))
            case "skew":
                self._begin(fault)
                await self._tell(Command(action="skew", address=fault.target, ahead_s=fault.figure))
                try:
                    yield
                finally:
                    await asyncio.shield(self.street.tell(Command(action="skew", address=fault.target)))
            case "order":
                self._begin(fault)
                asking = asyncio.create_task(self._order(fault))
                yield
                await asking
            case "disk":
                pid = await asyncio.to_thread(self._pid, fault.target)
                self._begin(fault)
                with full(store(self.street.run, fault.target), pid):
                    yield
            case "flood":
                self._begin(fault)
                rogue = await self._python(
                    "tests.chaos.storm.flood", self.street.run, *_rogue(fault, self.street.clock.now())
                )
                try:
                    yield
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        rogue.terminate()
                    said, _ = await rogue.communicate()
                    self._say(f"           {fault.target}'s rogue has said {said.decode().strip() or 'nothing'}")

    async def _tell(self, command: Command) -> None:
        error = await self.street.tell(command)
        if error:
            raise NotDone(error)

    def _pid(self, target: str) -> int:
        pid = self.street.pid(target)
        if pid is None:
            raise NotDone(f"{target} has no process at this moment")
        return pid

    async def _order(self, fault: Fault) -> None:
        """An operator's hand; an order that cannot be carried out in a storm is no fault."""
        words = ["order", "limit", fault.target, f"--{fault.variant}", f"{fault.figure:g}"]
        process = await self._python("deploy.cli", *words, "--duration", f"{fault.for_s:.0f}s")
        await process.communicate()

    async def _python(self, module: str, *words: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *map(str, words)),
            cwd=self.street.folder,
            env=ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _rogue(fault: Fault, now: float) -> tuple[object, ...]:
    """How it is called: name, rate, run time, seed."""
    return fault.target, fault.figure, now, fault.number


def _weather(fault: Fault) -> LinkState:
    if fault.kind == "hole":
        return LinkState(hole=True)
    if fault.variant == "narrow":
        return LinkState(delay_s=fault.figure, bytes_per_s=NARROW_BYTES_PER_WALL_S)
    return LinkState(delay_s=fault.figure, jitter_s=fault.figure)


def deeds(file: Path) -> list[Deed]:
    """The last that is known of each deed, in the order of the plan."""
    found: dict[int, Deed] = {}
    for line in file.read_bytes().splitlines():
        deed = msgspec.json.decode(line, type=Deed)
        found[deed.fault.number] = deed
    return [found[number] for number in sorted(found)]
