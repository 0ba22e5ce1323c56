"""The customer sees the tariff, acts by hand, may be told that it is too much, and can ask why."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from contracts.questions import Answer, AskQuestion, AskWhy, Because, NothingKnown, question, why
from contracts.site_power import Recommend, RecommendationDeclined, RecommendationFollowed, recommendation
from tests.support.grid import START, eventually, grid
from tests.support.open_home import CAR, CEM, WHY, open_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.user-choice")]
ESP, BUILDING, RETAILER, FORECASTER = (
    "grid.esp.main",
    "grid.building.main",
    "grid.retailer.main",
    "grid.forecaster.main",
)
APP = "h07.app.display"
HOME = Address.parse(CEM)


async def test_prices_of_the_next_day_reach_the_subscribers_app_alone() -> None:
    windows = [{"start": "06:00:00", "end": "20:00:00", "eur_per_kwh": 0.4}]
    tariff = {"name": "two", "form": "windows", "windows": windows, "otherwise_eur_per_kwh": 0.2}
    customers = [{"site": "h01", "to": ["app"]}]
    names = ("h01.app.display", "h02.app.display", RETAILER)
    async with grid(*names, speed=600.0) as run:
        words, one, other = await run.words(), await run.words("h01"), await run.words("h02")
        await run.start("h01.app.display")
        await run.start("h02.app.display")
        await run.start(RETAILER, {"tariffs": [tariff], "customers": customers, "announce_at": "12:30:00"})
        tomorrow = (START + timedelta(days=1)).date()
        await words.until(  # the day before
            lambda w: (
                w.of("tariff_taken")
                and any(
                    datetime.fromisoformat(slot["start"]).date() == tomorrow
                    for _, e in w.of("announce_tariff")
                    for slot in e["body"]["slots"]
                )
            )
        )
        shown = await one.until(lambda w: [e["body"] for _, e in w.of("shown") if e["body"]["prices"]])
        assert {s["price_eur_per_kwh"] for s in shown[-1]["prices"]} == {0.2, 0.4}
        assert all(s.startswith("to.h01.app.") for s, _ in words.of("announce_tariff"))
        assert not any(e["body"]["prices"] for _, e in other.of("shown"))


async def by_hand(app: Bus, action: str) -> ControlTaken | ControlRefused | Lapsed:
    async with app.talk(take_control, HOME) as talk:
        await talk.say(TakeControl(user="anna", device="evse.1", action=action))  # type: ignore[arg-type]
        return await talk.hear(ControlTaken, ControlRefused, Lapsed)


async def test_a_change_by_hand_that_overloads_is_returned_and_the_plan_before_is_restored() -> None:
    async with open_home(CAR, others=(BUILDING, APP)) as h:
        app = await h.run.bus(APP)
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.metered(above_w=10_000.0)
        building = await h.run.bus(BUILDING)
        slots = (PlannedPower(start=instant(h.run.clock.now()), duration_s=7_200.0, power_w=0.0),)
        async with building.talk(recommendation, HOME) as talk:
            await talk.say(Recommend(device="evse.1", slots=slots, reason=WHY))
            followed = await talk.hear(RecommendationFollowed, RecommendationDeclined, Lapsed)
            assert isinstance(followed, RecommendationFollowed)
        await building.close()
        await h.metered(below_w=3_000.0)
        await h.start(BUILDING, subscribed_w=9_000.0, advise_every_s=1e6)
        reported = len(h.said("site_power"))
        await h.until(lambda: len(h.said("site_power")) > reported + 2)
        await by_hand(app, "on")
        returned = (await h.beyond_until(lambda: h.said("return_excess")))[0]
        assert returned["excess_w"] > 1_000.0
        report = h.said("report_change")[0]
        assert set(report) == {"kind", "device_class", "power_w", "rating_w"}, "no temperature, no price, no name"
        assert (report["kind"], report["device_class"]) == ("directive", "evse")
        await h.until(lambda: any("plan before holds again" in n["text"] for n in h.said("display_notice")))
        await h.metered(below_w=3_000.0)
        async with app.talk(why, HOME) as talk:
            await talk.say(AskWhy(device="evse.1"))
            because = await talk.hear(Because, NothingKnown, Lapsed)
        assert isinstance(because, Because)
        assert "recommends" in because.reasons[0].text


async def test_surplus_makes_the_app_show_that_energy_is_cheap_now(tmp_path: Path) -> None:
    rows = ["time,wind", *(f"{START + timedelta(hours=n - 1):%Y-%m-%dT%H:%MZ},14.0" for n in range(12))]
    (tmp_path / "wind.csv").write_text("\n".join(rows) + "\n")
    async with open_home(others=(ESP, FORECASTER, APP)) as h:
        await h.run.start(APP)
        await h.run.start(FORECASTER, {"weather": str(tmp_path / "wind.csv")})
        await h.run.start(ESP, {"wind": {"rating_w": 20_000.0, "horizon_s": 7_200.0}})
        shown = await h.until(
            lambda: [s for s in h.said("shown") if any("Energy is cheap now" in text for text in s["notices"])]
        )
        assert shown[-1]["prices"][0]["price_eur_per_kwh"] < 0.2


async def ask(app: Bus, text: str) -> Answer | Lapsed:
    async with app.talk(question, Address.parse(ESP)) as talk:
        await talk.say(AskQuestion(text=text))
        return await talk.hear(Answer, Lapsed)


async def test_a_posted_question_is_answered_from_the_table_or_by_a_person(tmp_path: Path) -> None:
    desk = tmp_path / "answers.toml"
    async with grid(ESP, APP, CEM, speed=60.0) as run:
        words = await run.words()
        table = {"why is it dear": "Because there is little wind then."}
        await run.start(ESP, {"answers": table, "answers_file": str(desk)})
        app = await run.bus(APP)
        answer = await ask(app, "Why is it dear at six?")
        assert answer == Answer(text="Because there is little wind then.")
        async with app.talk(question, Address.parse(ESP)) as talk:
            await talk.say(AskQuestion(text="May I have a red one?"))
            await words.until(lambda w: len(w.of("ask_question")) == 2)
            await run.stop(ESP)
            await run.start(ESP, {"answers": table, "answers_file": str(desk)})
            desk.write_text(f'[answers]\n"{talk.id}" = "Only in blue."\n')
            assert await talk.hear(Answer, Lapsed) == Answer(text="Only in blue.")
        await eventually(lambda: len(words.of("answer")) == 2)
