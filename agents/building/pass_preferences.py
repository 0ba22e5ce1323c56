"""A person's preferences for several energy managers: confirmed once each of them has acknowledged. IC-FR-PUC2."""

from dataclasses import dataclass

import anyio

from agents.building.settings import BuildingSettings
from agents.building.watch_sites import WatchSites
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock, patience
from bus.talk import Talk
from bus.transport import NotStored
from contracts.customer import PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.kit import Lapsed
from contracts.reasons import Reason


@skill(opens=(preferences,), use_cases=("customer.preferences",))
@dataclass
class PassPreferences:
    """Who does not acknowledge in time is named; what the others took holds with them."""

    bus: Bus
    clock: Clock
    settings: BuildingSettings
    sites: WatchSites

    @answers(preferences)
    async def on_preferences(self, talk: Talk, word: SetPreferences) -> None:
        cems = self.sites.cems()
        taken: dict[Address, PreferencesTaken] = {}
        refused: dict[Address, str] = {}

        async def pass_on(cem: Address) -> None:
            async with self.bus.talk(preferences, cem) as inner:
                try:
                    await inner.say(word)
                except NotStored as problem:
                    refused[cem] = str(problem)
                    return
                match await inner.hear(PreferencesTaken, PreferencesRefused, Lapsed):
                    case PreferencesTaken() as said:
                        taken[cem] = said
                    case PreferencesRefused(reason=reason):
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
        await talk.say(PreferencesTaken(effect=effect))
