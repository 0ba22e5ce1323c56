"""A building passes a person's preferences on and confirms only what each energy manager has acknowledged."""

from dataclasses import dataclass

import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from contracts.kit import Lapsed
from contracts.preferences import PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.roles import CEM
from tests.support.grid import grid

pytestmark = pytest.mark.anyio
BUILDING, APP = "grid.building.main", "h01.app.display"
WORD = SetPreferences(user="anna", season="winter")


class MutableSettings(Settings, frozen=True, kw_only=True):
    """Whether this one ever acknowledges."""

    mute: bool = False


@skill()
@dataclass
class Acknowledge:
    settings: MutableSettings

    @answers(preferences)
    async def take(self, talk: Talk, word: SetPreferences) -> None:
        if not self.settings.mute:
            await talk.say(PreferencesTaken(effect={"heatpump.1": f"runs as in {word.season}"}))


HOME = Agent(role=CEM, settings=MutableSettings, skills=(Acknowledge,))


async def said(app: Bus) -> PreferencesTaken | PreferencesRefused | Lapsed:
    async with app.talk(preferences, Address.parse(BUILDING)) as talk:
        await talk.say(WORD)
        return await talk.hear(PreferencesTaken, PreferencesRefused, Lapsed)


@pytest.mark.use_case("customer.preferences")
async def test_it_is_confirmed_once_all_have_acknowledged_and_else_who_has_not_is_named() -> None:
    names = (BUILDING, APP, "h01.cem.main", "h02.cem.main")
    async with grid(*names, agents={"cem": HOME}, speed=10.0) as run:
        words = await run.words()
        await run.start(BUILDING, {"advise_every_s": 1e6, "acknowledge_s": 15.0})
        await run.start("h01.cem.main")
        await run.start("h02.cem.main")
        app = await run.bus(APP)
        taken = await said(app)
        assert isinstance(taken, PreferencesTaken)
        assert set(taken.effect) == {"h01 heatpump.1", "h02 heatpump.1"}
        passed = await words.until(
            lambda w: [s for s, _ in w.of("set_preferences") if ".cem." in s.split(".grid.")[0]][1:]
        )
        assert len(passed) == 1, "each is told once"
        await run.stop("h02.cem.main")
        await run.start("h02.cem.main", {"mute": True})
        refused = await said(app)
        assert isinstance(refused, PreferencesRefused)
        assert "h02.cem.main" in refused.reason.text
        assert "h01.cem.main" not in refused.reason.text
