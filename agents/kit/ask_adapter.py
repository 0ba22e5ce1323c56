"""An appliance without an energy manager asks the adapter when to run. ETSI-5.3.1.

It takes the best option, or proposes it and waits for its user; without adapter, or answer, it runs by its own default.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime

import anyio

from agents.kit.agent import Peers
from agents.kit.bargain import Terms, latest_start, profile_from
from agents.kit.do_job import DoJob
from agents.kit.hardware import HardwareSettings
from agents.kit.job import Job
from agents.kit.join import JoinHome
from agents.kit.skill import every, hears, skill
from agents.kit.tell_flexibility import TellFlexibility
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.flexibility import ProfileFlexibility
from contracts.instructions import ShowSchedule
from contracts.kit import Lapsed
from contracts.own_plans import (
    AcceptRun,
    AskOptions,
    NoOptions,
    OptionChosen,
    OptionsAre,
    OptionsDeclined,
    RunOption,
    device_options,
)
from contracts.reasons import Reason
from contracts.roles import APP, GATEWAY

log = logging.getLogger("gridparley.device")
AGAIN_S = 900.0
USER_WITHIN_S = 3300.0
"""Less than the adapter waits."""


@skill(opens=(device_options,), says_home=(ShowSchedule,), use_cases=("home.dr-adapter",))
@dataclass
class AskAdapter:
    """Once for each job that waits, while no CEM manages us."""

    bus: Bus
    address: Address
    clock: Clock
    settings: HardwareSettings
    peers: Peers
    join: JoinHome
    flexibility: TellFlexibility
    work: DoJob
    answer: Reason | None = None
    """Why there was nothing to choose."""
    _asked: object = None
    _not_before: float = 0.0
    _accepted: AcceptRun | None = None
    _word: anyio.Event = field(default_factory=anyio.Event)

    @every("reading_every_s")
    async def look(self) -> None:
        gateway = next((peer for peer in self.peers.of(GATEWAY) if peer.site == self.address.site), None)
        offer, now = self.flexibility.now(), self.clock.now()
        if gateway is None or self.join.cem is not None or not isinstance(offer, ProfileFlexibility):
            return
        if offer.state != "not_scheduled" or self.work.current is not None or now < self._not_before:
            return
        which = offer.job, offer.earliest_start
        if which == self._asked:
            return
        if await self._ask(gateway, offer):
            self._asked = which
        else:
            self._not_before = now + AGAIN_S

    async def _ask(self, gateway: Address, offer: ProfileFlexibility) -> bool:
        sequence = offer.alternatives[0]
        latest = latest_start(offer, sequence)
        done_by = instant(latest + sum(slot.duration_s for slot in sequence.slots))
        word = AskOptions(
            job=offer.job,
            sequence=sequence,
            earliest_start=offer.earliest_start,
            done_by=done_by,
            kind=getattr(self.settings, "appliance", ""),
        )
        async with self.bus.talk(device_options, gateway) as talk:
            await talk.say(word)
            match await talk.hear(OptionsAre, NoOptions, Lapsed):
                case OptionsAre(options=choices) if choices:
                    by_user = getattr(self.settings, "asks_user", False)
                    start = await self._users(offer, choices) if by_user else choices[0].start
                    if start is None:
                        text = "its user did not agree to any of them"
                        await talk.say(OptionsDeclined(reason=Reason(code="not_agreed", text=text)))
                        return True
                    terms = Terms(
                        job=offer.job,
                        offer=self.flexibility.last.number,
                        start=start,
                        power=profile_from(sequence, start.timestamp()),
                        sequence=sequence.name,
                        received=self.clock.now(),
                        by_power=False,
                        latest=latest,
                    )
                    reason = Reason(code="adapter", text="the best time that the adapter knows")
                    try:
                        await self.work.take(Job(instruction=None, terms=terms), reason)
                    except NotStored as problem:
                        await talk.say(OptionsDeclined(reason=Reason(code="not_stored", text=str(problem))))
                        return False
                    await talk.say(OptionChosen(start=start, by="user" if by_user else "device"))
                    return True
                case OptionsAre():
                    await talk.say(OptionsDeclined(reason=Reason(code="none", text="there was nothing to choose")))
                    return True
                case NoOptions(reason=reason):
                    self.answer = reason
                    log.info("%s runs by its own default: %s", self.address, reason.text)
                    return True
                case Lapsed():
                    return False

    async def _users(self, offer: ProfileFlexibility, choices: tuple[RunOption, ...]) -> datetime | None:
        """Propose the best; the start that the user agrees to, None when he does not in time."""
        best = choices[0]
        self._word, self._accepted = anyio.Event(), None
        self.bus.say(
            ShowSchedule(
                job=offer.job,
                state="new",
                start=best.start,
                cost_eur=best.cost_eur,
                reason=Reason(code="proposed", text="agree to this time, or start it as you like"),
            ),
            home=True,
        )
        async with anyio.create_task_group() as group:

            async def pass_time() -> None:
                await self.clock.sleep(USER_WITHIN_S)
                group.cancel_scope.cancel()

            group.start_soon(pass_time)
            await self._word.wait()
            group.cancel_scope.cancel()
        accepted = self._accepted
        return None if accepted is None else accepted.start

    @hears(AcceptRun, of=(APP,), where="addressed")
    def hear_user(self, word: AcceptRun, _heard: Heard) -> None:
        self._accepted = word
        self._word.set()
