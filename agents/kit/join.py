"""A device joins its home: it tells the CEM what it is and can, until the CEM knows it, and again when it does not."""

import logging
from dataclasses import dataclass, field

import anyio

from agents.kit.agent import Peers
from agents.kit.hardware import Impossible, Terminals
from agents.kit.readings import SayReadings
from agents.kit.skill import hears, rejoined, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from contracts.device import Announce, Inventory, TurnedAway, Welcome, device_join
from contracts.kit import Lapsed
from contracts.roles import CEM
from contracts.system import Hello

log = logging.getLogger("gridparley.device")
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 120.0
_APART_S = 2.0  # of two announcements, however often somebody contradicts us
_ON_TIME = (0.75, 1.5)  # of a CEM's hello period: what comes sooner or later tells of a new life


@skill(opens=(device_join,), use_cases=("ops.connect-device",))
@dataclass
class JoinHome:
    """Announce on start, after an outage of our own server, and whenever the CEM is new, or does not list us as what we
    are: somebody else may have spoken with our key."""

    bus: Bus
    address: Address
    clock: Clock
    peers: Peers
    terminals: Terminals
    readings: SayReadings
    joined: bool = False
    cem: Address | None = None
    """The one that welcomed us last: nobody else is obeyed."""
    actions: tuple[str, ...] = ()
    """What the CEM does with us, as its welcome said."""
    _announced: Announce | None = None
    """As what the CEM has welcomed us last."""
    _heard_at: float | None = None
    _news: anyio.Event = field(default_factory=anyio.Event)

    @started
    async def keep_joined(self) -> None:
        cem = next((peer for peer in self.peers.of(CEM) if peer.site == self.address.site), None)
        if cem is None:
            log.info("%s: there is no CEM at %s, so it works on its own", self.address, self.address.site)
            return
        wait = FIRST_RETRY_S
        while True:
            self._news = anyio.Event()
            if self.joined:
                wait = FIRST_RETRY_S
                await self._news.wait()
                continue
            self.joined = True  # what is heard while we announce may take it back
            apart = self.clock.now() + _APART_S
            if await self._announce(cem):
                await self.clock.sleep_until(apart)
            else:
                self.joined = False
                await self.clock.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY_S)

    async def _announce(self, cem: Address) -> bool:
        try:
            announce = self.terminals.capabilities(self.readings.values or {})
        except Impossible as problem:
            log.info("%s cannot announce itself yet: %s", self.address, problem)
            return False
        async with self.bus.talk(device_join, cem) as talk:
            await talk.say(announce)
            match await talk.hear(Welcome, TurnedAway, Lapsed):
                case Welcome(actions=actions):
                    self.actions, self.cem, self._announced = actions, cem, announce
                    return True
                case TurnedAway(reason=reason):
                    log.warning("%s was turned away by %s: %s", self.address, cem, reason.text)
                case Lapsed():
                    log.info("%s: %s says nothing to our announcement", self.address, cem)
        return False

    def _again(self) -> None:
        self.joined = False
        self._news.set()

    @rejoined
    async def after_outage(self) -> None:
        self._again()

    @hears(Inventory, of=(CEM,), where="home")
    def listed(self, inventory: Inventory, heard: Heard) -> None:
        if not self._ours(heard):
            return
        listed = inventory.devices.get(str(self.address))
        if self.joined and (listed is None or (self._announced is not None and listed != self._announced)):
            self._again()

    @hears(Hello, of=(CEM,), where="home")
    def cem_is_there(self, hello: Hello, heard: Heard) -> None:
        """A hello out of its rhythm is the first of a new life: it may not know us."""
        if not self._ours(heard):
            return
        before, self._heard_at = self._heard_at, heard.at
        low, high = (share * hello.every_s for share in _ON_TIME)
        if not hello.leaving and before is not None and not low <= heard.at - before <= high:
            self._again()

    def _ours(self, heard: Heard) -> bool:
        """Said by the energy manager that we joined: another one of this home lists others, in a rhythm of its own."""
        return self.cem is None or heard.sender == self.cem
