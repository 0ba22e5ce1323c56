"""A device tells its CEM what it can do, and again when that has changed enough. IEC-JWG1101."""

import logging
from dataclasses import dataclass, field

import msgspec

from agents.kit.hardware import Impossible
from agents.kit.join import JoinHome
from agents.kit.offers import Offers, changed_enough
from agents.kit.readings import SayReadings
from agents.kit.skill import every, restores, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.flexibility import Flexibility, FlexibilityRefused, FlexibilityTaken, OfferFlexibility, flexibility_offer
from contracts.kit import Lapsed
from contracts.reasons import Reason

log = logging.getLogger("gridparley.device")
AGAIN_S = 60.0


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """The last offer; an instruction names its number."""

    number: int = 0
    flexibility: Flexibility | None = None


@skill(opens=(flexibility_offer,), use_cases=("home.flexible-start", "mobility.start-time"))
@dataclass
class TellFlexibility:
    """Looks after every reading. An offer that nobody took is made again, one that was refused only when it changed."""

    bus: Bus
    address: Address
    clock: Clock
    state: State
    readings: SayReadings
    join: JoinHome
    offers: Offers
    last: Offered = field(default_factory=Offered)
    refused: Reason | None = None
    _taken_by: Address | None = None
    _joined: bool = False
    _not_before: float = 0.0

    @restores
    async def take_up(self) -> None:
        self.last = await self.state.get("offer", Offered) or Offered()

    def now(self) -> Flexibility | None:
        """What it can do, by the last look. None: nothing, or nobody can tell."""
        if self.readings.values is None:
            return None
        try:
            return self.offers.flexibility(self.readings.values, self.clock.now())
        except Impossible as problem:
            log.debug("%s offers nothing: %s", self.address, problem)
            return None

    @every("reading_every_s")
    async def look(self) -> None:
        if not self.join.joined:
            self._taken_by = None  # a CEM that is new, or does not know us any more
        cem, now = self.join.cem, self.clock.now()
        if cem is None or not self.join.joined or self.readings.values is None or now < self._not_before:
            return
        flexibility = self.now()
        news = changed_enough(self.last.flexibility, flexibility)
        if not news and (self._taken_by == cem or flexibility is None):
            return
        await self._offer(cem, flexibility)

    async def _offer(self, cem: Address, flexibility: Flexibility | None) -> None:
        self._not_before = self.clock.now() + AGAIN_S
        try:
            offered = Offered(number=self.last.number + 1, flexibility=flexibility)
            await self.state.put("offer", offered)
            self.last = offered
            word = OfferFlexibility(offer=offered.number, flexibility=flexibility, reason=_why(flexibility))
            async with self.bus.talk(flexibility_offer, cem) as talk:
                await talk.say(word)
                match await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed):
                    case FlexibilityTaken():
                        self.refused, self._taken_by, self._not_before = None, cem, 0.0
                    case FlexibilityRefused(reason=reason):
                        self.refused = reason
                        if reason.code != "not_joined":
                            self._taken_by = cem
                        log.info("%s: %s does not plan with it: %s", self.address, cem, reason.text)
                    case Lapsed():
                        self._taken_by = None
        except NotStored as problem:
            log.info("%s could not offer: %s", self.address, problem)


def _why(flexibility: Flexibility | None) -> Reason:
    if flexibility is None:
        return Reason(code="nothing", text="there is nothing to choose any more")
    return Reason(code="offered", text="what it can do has changed")
