"""What a person says to the home: preferences, the hand, rules, questions. Used by scripts and the command line.

A home may have several energy managers, each with its own devices (IC-FR-PUC-6): what is set is said to every one of
them, and it counts as set when each has acknowledged (IC-FR-PUC2).
"""

from dataclasses import dataclass, field

import anyio

from agents.kit.agent import Peers
from agents.kit.deals import Deals
from agents.kit.skill import settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from contracts.emergency import DisplayNotice
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.home_rules import RulesRefused, RulesTaken, SetRules, rules_write
from contracts.kit import Lapsed, Message
from contracts.preferences import PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.questions import Answer, AskQuestion, AskWhy, Because, ComfortFeedback, NothingKnown, question, why
from contracts.reasons import Reason
from contracts.roles import CEM, ESP, GATEWAY

_ELSEWHERE = ("unknown_device", "nothing_to_do")
"""Refusals of an energy manager whose device it is not."""


LATE_S = 600.0


class NobodyThere(Exception):
    """The home or its provider has nobody for this."""

    def __init__(self, site: str, role: str) -> None:
        super().__init__(f"{site} has no {role} in reach: add one to the topology, or ask at another site")
        self.site, self.role = site, role


@dataclass(frozen=True)
class Outcome:
    """What became of preferences. ``saved`` only when every energy manager has acknowledged."""

    taken: dict[Address, PreferencesTaken] = field(default_factory=dict)
    refused: dict[Address, Reason] = field(default_factory=dict)

    @property
    def saved(self) -> bool:
        return bool(self.taken) and not self.refused

    @property
    def effect(self) -> dict[str, str]:
        return {device: text for taken in self.taken.values() for device, text in taken.effect.items()}


@skill(
    opens=(preferences, take_control, why, question, rules_write),
    says_home=(DisplayNotice,),
    tells=((ComfortFeedback, (ESP,)),),
    use_cases=("customer.preferences", "customer.override", "customer.manual-switch", "tariffs.user-choice"),
)
@dataclass
class AskHome:
    """Each method is one talk, or the same talk with several energy managers at once."""

    bus: Bus
    clock: Clock
    peers: Peers
    deals: Deals

    @settles(preferences)
    async def saved(self, word: Message, heard: Heard) -> None:
        """Also when it comes after we have given up."""
        await self.deals.honour(word, heard)

    @settles(take_control)
    async def controlled(self, word: Message, heard: Heard) -> None:
        await self.deals.honour(word, heard)

    @settles(rules_write)
    async def ruled(self, word: Message, heard: Heard) -> None:
        await self.deals.honour(word, heard)

    def _while(self) -> float:
        """So long a late acknowledgement is still ours, in run time."""
        return self.clock.now() + LATE_S

    @property
    def managers(self) -> list[Address]:
        """Raises NobodyThere."""
        found = [address for address in self.peers.of(CEM) if address.site == self.bus.address.site]
        if not found:
            raise NobodyThere(self.bus.address.site, CEM.name)
        return found

    async def prefer(self, word: SetPreferences) -> Outcome:
        """Set preferences everywhere at home, and show whether they are saved. Raises NobodyThere, NotStored."""
        outcome = Outcome()
        async with anyio.create_task_group() as group:
            for manager in self.managers:
                group.start_soon(self._prefer_at, manager, word, outcome)
        for name in word.devices:
            if outcome.saved and name not in outcome.effect and "." in name:
                known = sorted(outcome.effect.keys() - (word.consents or {}).keys())
                text = f"There is no {name} here: the devices are {', '.join(known) or 'unknown'}."
                outcome.refused[self.bus.address] = Reason(code="unknown_device", text=text)
        self.bus.say(_shown(outcome), home=True)
        return outcome

    async def _prefer_at(self, manager: Address, word: SetPreferences, outcome: Outcome) -> None:
        async with self.bus.talk(preferences, manager) as talk:
            await self.deals.open(talk, word, until=self._while())
            await talk.say(word)
            match await talk.hear(PreferencesTaken, PreferencesRefused, Lapsed):
                case PreferencesTaken() as taken:
                    outcome.taken[manager] = taken
                case PreferencesRefused(reason=reason):
                    await self.deals.end(talk)
                    outcome.refused[manager] = reason
                case Lapsed():
                    text = f"{manager} has not acknowledged: the preferences may not hold there, save them again."
                    outcome.refused[manager] = Reason(code="no_answer", text=text)

    async def hand(self, word: TakeControl) -> ControlTaken | ControlRefused:
        """Take or give back control at whichever energy manager has the device. Raises NobodyThere, NotStored."""
        answer: ControlTaken | ControlRefused | None = None
        for manager in self.managers:
            here = await self._hand_at(manager, word)
            if isinstance(here, ControlRefused) and here.reason.code in _ELSEWHERE:
                answer = answer or here
            elif word.device is not None:
                return here
            elif answer is None or isinstance(answer, ControlRefused):
                answer = here
        assert answer is not None  # there is at least one manager
        return answer

    async def _hand_at(self, manager: Address, word: TakeControl) -> ControlTaken | ControlRefused:
        async with self.bus.talk(take_control, manager) as talk:
            await self.deals.open(talk, word, until=self._while())
            await talk.say(word)
            match await talk.hear(ControlTaken, ControlRefused, Lapsed):
                case ControlTaken() as taken:
                    return taken
                case ControlRefused() as refused:
                    await self.deals.end(talk)
                    return refused
                case Lapsed():
                    text = f"{manager} did not answer: is it running? What was said may still be done."
                    return ControlRefused(reason=Reason(code="no_answer", text=text))

    async def why(self, device: str | None) -> Because | NothingKnown:
        """Raises NobodyThere."""
        answer: Because | NothingKnown | None = None
        for manager in self.managers:
            async with self.bus.talk(why, manager) as talk:
                await talk.say(AskWhy(device=device))
                match await talk.hear(Because, NothingKnown, Lapsed):
                    case Because() as because:
                        return because
                    case NothingKnown() as nothing:
                        answer = answer or nothing
                    case Lapsed():
                        text = f"{manager} did not answer: is it running?"
                        answer = answer or NothingKnown(reason=Reason(code="no_answer", text=text))
        assert answer is not None  # there is at least one manager
        return answer

    async def rules(self, word: SetRules, *, at_gateway: bool = False) -> RulesTaken | RulesRefused:
        """Raises NobodyThere, NotStored."""
        keepers = self.peers.of(GATEWAY) if at_gateway else self.managers
        if not keepers:
            raise NobodyThere(self.bus.address.site, GATEWAY.name)
        async with self.bus.talk(rules_write, keepers[0]) as talk:
            await self.deals.open(talk, word, until=self._while())
            await talk.say(word)
            match await talk.hear(RulesTaken, RulesRefused, Lapsed):
                case RulesTaken() as taken:
                    return taken
                case RulesRefused() as refused:
                    await self.deals.end(talk)
                    return refused
                case Lapsed():
                    text = f"{keepers[0]} did not answer: the rules before may still run."
                    return RulesRefused(reason=Reason(code="no_answer", text=text))

    async def ask(self, text: str) -> Answer | None:
        """A free question to the provider; None while it has not answered. Raises NobodyThere, NotStored."""
        providers = self.peers.of(ESP)
        if not providers:
            raise NobodyThere(self.bus.address.site, ESP.name)
        async with self.bus.talk(question, providers[0]) as talk:
            await talk.say(AskQuestion(text=text))
            match await talk.hear(Answer, Lapsed):
                case Answer() as answer:
                    return answer
                case Lapsed():
                    return None

    async def feel(self, word: ComfortFeedback) -> None:
        """Tell the provider how it feels; saying so is the consent to tell that. Raises NobodyThere, NotStored."""
        providers = self.peers.of(ESP)
        if not providers:
            raise NobodyThere(self.bus.address.site, ESP.name)
        await self.bus.tell_durably(providers[0], word)


def _shown(outcome: Outcome) -> DisplayNotice:
    if outcome.saved:
        who = "the energy manager has" if len(outcome.taken) == 1 else f"all {len(outcome.taken)} energy managers have"
        return DisplayNotice(kind="info", text=f"Your preferences are saved: {who} taken them into account.")
    missing = "; ".join(f"{address}: {reason.text}" for address, reason in outcome.refused.items())
    return DisplayNotice(kind="warning", text=f"Your preferences are not saved everywhere. {missing}")
