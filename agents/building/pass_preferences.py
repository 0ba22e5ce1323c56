"""A person's preferences for several energy managers: confirmed once each of them has acknowledged. IC-FR-PUC2."""

from dataclasses import dataclass

import anyio

from agents.building.settings import BuildingSettings
from agents.building.watch_sites import WatchSites
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import answers, settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock, patience
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.preferences import PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.reasons import Reason

KEPT_S = 3600.0
"""So long a late acknowledgement is still known as one."""


@skill(opens=(preferences,), use_cases=("customer.preferences",))
@dataclass
class PassPreferences:
    """Who does not acknowledge in time is named; what the others took holds with them."""

    bus: Bus
    clock: Clock
    settings: BuildingSettings
    sites: WatchSites
    deals: Deals

    @answers(preferences)
    async def on_preferences(self, talk: Talk, word: SetPreferences) -> None:
        cems = self.sites.cems()
        taken: dict[Address, PreferencesTaken] = {}
        refused: dict[Address, str] = {}

        async def pass_on(cem: Address) -> None:
            async with self.bus.talk(preferences, cem) as inner:
                try:
                    await self.deals.open(inner, word, until=self.clock.now() + KEPT_S)
                    await inner.say(word)
                except (NotStored, TooManyDeals) as problem:
                    refused[cem] = str(problem)
                    return
                match await inner.hear(PreferencesTaken, PreferencesRefused, Lapsed):
                    case PreferencesTaken() as said:
                        taken[cem] = said
                    case PreferencesRefused(reason=reason):
                        await self.deals.end(inner)
                        refused[cem] = reason.text
                    case Lapsed():
                        refused[cem] = "it did not acknowledge"

        async with anyio.create_task_group() as group:
            for cem in cems:
                group.start_soon(pass_on, cem)
            until = self.clock.now() + patience(self.clock, self.settings.acknowledge_s)
            while len(taken) + len(refused) < len(cems) and self.clock.now() < until:
                await self.clock.sleep(min(1.0, until - self.clock.now()))
            group.cancel_scope.cancel()
        missing = [cem for cem in cems if cem not in taken]
        if missing or not cems:
            named = "; ".join(f"{cem}: {refused.get(cem, 'it did not acknowledge in time')}" for cem in missing)
            text = f"Not every energy manager has taken it ({named}): say it again later."
            await talk.say(PreferencesRefused(reason=Reason(code="not_acknowledged", text=text)))
            return
        effect = {f"{cem.site} {device}": said for cem, one in taken.items() for device, said in one.effect.items()}
        try:
            await self.deals.close(talk, PreferencesTaken(effect=effect), word, until=self.clock.now() + KEPT_S)
        except (NotStored, TooManyDeals) as problem:
            await talk.say(PreferencesRefused(reason=Reason(code="not_stored", text=f"{problem}: say it again.")))

    @settles(preferences)
    async def on_taken(self, word: PreferencesTaken, heard: Heard) -> None:
        """An energy manager has taken it; nothing of it is kept here."""
        await self.deals.end(await self.deals.honour(word, heard))
