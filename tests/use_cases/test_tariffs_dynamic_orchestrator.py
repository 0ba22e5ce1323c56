"""The supplier's tariff is at the orchestrator too, whose advice follows it below the subscribed power. IC-FR-PUC8."""

from dataclasses import dataclass

import pytest

from agents.kit.agent import Agent
from agents.kit.skill import answers, skill
from bus.talk import Talk
from contracts.site_power import Recommend, RecommendationFollowed, recommendation
from tests.support.grid import grid
from tests.support.open_home import WHY
from tests.use_cases.test_community_peaks import FLAT

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.dynamic")]
RETAILER, BUILDING = "grid.retailer.main", "grid.building.main"
SUBSCRIBED_W, USED_W = 10_000.0, 2_000.0


@skill()
@dataclass
class Follows:
    """An energy manager that follows all advice."""

    @answers(recommendation)
    async def follow(self, talk: Talk, _word: Recommend) -> None:
        await talk.say(RecommendationFollowed(reason=WHY))


CEM = Agent(role=FLAT.role, settings=FLAT.settings, skills=(*FLAT.skills, Follows))


async def test_the_orchestrator_is_told_the_prices_and_advises_to_use_what_is_cheap_and_free() -> None:
    names = (RETAILER, BUILDING, "h01.cem.main", "h02.cem.main")
    async with grid(*names, agents={"cem": CEM}, speed=60.0) as run:
        words = await run.words()
        for home in ("h01.cem.main", "h02.cem.main"):
            await run.start(home, {"before_w": USED_W, "after_w": USED_W})
        await run.start(BUILDING, {"subscribed_w": SUBSCRIBED_W, "advise_every_s": 120.0})
        windows = [{"start": "11:00:00", "end": "15:00:00", "eur_per_kwh": 0.123}]
        tariff = {"name": "two", "form": "windows", "windows": windows, "otherwise_eur_per_kwh": 0.4}
        customers = [{"site": "grid", "to": ["building"]}]
        await run.start(RETAILER, {"tariffs": [tariff], "customers": customers, "check_every_s": 20.0})
        taken = await words.until(lambda w: w.of("tariff_taken"))
        assert ".grid.building.main." in taken[0][0]
        said = [s for s, _ in words.of("announce_tariff")]
        assert all("to.grid.building.main." in s for s in said), "nobody else has subscribed"
        advice = await words.until(lambda w: len(found := w.of("recommend")) >= 2 and found)
        assert {s.split(".")[1] for s, _ in advice} >= {"h01", "h02"}
        body = advice[0][1]["body"]
        assert body["reason"]["code"] == "cheap"
        assert "0.123" not in str(body), "how cheap is confidential"
        assert {slot["power_w"] for slot in body["slots"]} == {SUBSCRIBED_W / 2}, "no more than subscribed, together"
        await words.until(lambda w: w.of("recommendation_followed"))
