"""What is done to a stack, remembered as the storm's hands remember theirs, and the storm's verdict on it."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from deploy.records.rows import events
from deploy.records.run_facts import RECORDS
from deploy.run.lines import LINES
from deploy.topology import HUB
from tests.chaos.storm.checks import ALL
from tests.chaos.storm.gather import gather_at
from tests.chaos.storm.hands import Deed
from tests.chaos.storm.keep_limits import transformer_holds
from tests.chaos.storm.log import Begun, Exit, Log
from tests.chaos.storm.plan import Fault, Kind
from tests.chaos.storm.verdict import table
from tests.support.stack import Stack

CHECKS = tuple(check for check in ALL if check is not transformer_holds)
"""Of two homes none makes up for the other while it stands still: in the end the transformer must hold again."""
QUIET_RUN_S = 240.0
"""After the last blow: twice the heartbeat's timeout, and longer than the control room's loop takes."""


class Blows:
    """Every one is noted in run time: from when it fell until its target was well again."""

    def __init__(self, stack: Stack, quiet_s: float = QUIET_RUN_S) -> None:
        self.stack, self.quiet_s = stack, quiet_s
        self.deeds: list[Deed] = []
        self._hit: set[str] = set()

    @contextmanager
    def _blow(self, kind: Kind, target: str, service: str, during: AbstractContextManager[None]) -> Iterator[None]:
        began = self.stack.now()
        fault = Fault(number=len(self.deeds), kind=kind, target=target, at=began)
        self.deeds.append(Deed(fault=fault, began=began))
        self._hit.add(service)
        with during:
            yield
        self._hit.remove(service)
        ended = self.stack.now()
        self.stack.well(*(one for one in self.stack.services if one not in self._hit))
        self.deeds[fault.number] = Deed(fault=fault, began=began, ended=ended, well=self.stack.now())

    @contextmanager
    def _killed(self, service: str) -> Iterator[None]:
        self.stack.kill(service)
        try:
            yield
        finally:
            self.stack.start(service)

    def dead(self, service: str) -> AbstractContextManager[None]:
        """Killed; started again behind the block, which ends when all are well who are not hit as well."""
        return self._blow("kill", self._target(service), service, self._killed(service))

    def paused(self, service: str) -> AbstractContextManager[None]:
        return self._blow("stop", self._target(service), service, self.stack.paused(service))

    def cut_off(self, site: str) -> AbstractContextManager[None]:
        """A site's server without the network that leads to the hub."""
        server = f"nats-{site}"
        return self._blow("cut", site, server, self.stack.apart(server, "links"))

    def _target(self, service: str) -> str:
        """As the storm calls it: the hub is one, however many servers it has; so are the lines."""
        if service.startswith("nats-"):
            server = service.removeprefix("nats-")
            return server if server in self.stack.topology.sites else HUB
        return LINES if service.startswith("line-") else service

    # ---------------------------------------------------------------- the verdict

    def log(self) -> Log:
        """Asks everybody, once it has been quiet for a while."""
        stack = self.stack
        stack.well()
        quiet = stack.now() + self.quiet_s
        stack.until(lambda: stack.now() > quiet, f"{self.quiet_s:g} s of run time have passed")

        async def ask() -> Log:
            async with stack.doors() as doors:
                gathered = await gather_at(doors, stack.now(), stack.instants, stack.ailing())
            return Log(
                topology=stack.topology,
                begun=Begun(origin=stack.instants[0][1], speed=stack.topology.run.speed, quiet=quiet - self.quiet_s),
                deeds=tuple(self.deeds),
                gathered=gathered,
                events=tuple(events(stack.run_folder() / RECORDS)),
                truth=stack.truth(),
                exits=tuple(self.ends()),
            )

        return asyncio.run(ask())

    def ends(self) -> list[Exit]:
        """Of containers that were to run, by the names of what they are."""
        renamed = [msgspec.structs.replace(one, name=self._target(one.name)) for one in self.stack.exits]
        return [one for one in renamed if not (one.name.startswith("provision-") and one.code == 0)]

    def judge(self) -> None:
        """Raises AssertionError with the table of what was broken; the table is in the stack's folder in any case."""
        log = self.log()
        results = [check(log) for check in CHECKS]
        text = table(log, results)
        (self.stack.here / "verdict.txt").write_text(text + "\n")
        if any(one.violations for one in results):
            raise AssertionError(text)
        loading = "transformer_loading_percent"
        self.stack.until(lambda: (self.stack.truth().column(loading)[-1] or 999.0) <= 100.0, "the transformer holds")
