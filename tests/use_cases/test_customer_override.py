"""The user takes control: before plans and orders, after everything that protects. IC-FR-PUC-6, IC-FR-PUC6-SC2."""

from datetime import datetime

import anyio
import pytest

from contracts.hand import ControlRefused, ControlTaken
from contracts.reasons import Reason
from tests.cem.home import CEM, home
from tests.support.people import phone, refused, say, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("customer.override")]


async def test_what_the_user_orders_takes_effect_and_comes_back_from_the_device() -> None:
    async with home("evse.1", "heatpump.1", "app.phone", plan=False) as h:
        car, pump = await h.device("evse.1", 11_040.0), await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=16_000)
        async with phone(h.run) as ada:
            off = await taken(ada, "evse.1", "off")
            assert (car.power_w, off.state) == (0.0, "off")
            some = await taken(ada, "heatpump.1", "power", power_w=2000.0)
            assert pump.power_w == pytest.approx(2000.0)
            assert some.state == "takes 2000 W"
            back = await taken(ada, "evse.1", "release")
            assert back.reason.code == "released"
        await h.metered(above_w=12_900)


async def test_a_limit_of_the_grid_goes_before_the_hand_and_says_so() -> None:
    async with home("evse.1", "app.phone", plan=False, refuse_below_minimum=False) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        async with phone(h.run) as ada:
            await h.limit(limit_w=8000.0)
            await h.metered(below_w=8000)
            bound = await taken(ada, "evse.1", "power", power_w=11_000.0)
            assert bound.reason.binding == "grid_limit"
            assert car.power_w <= 8000
            await h.limit(limit_w=1000.0)
            await h.metered(below_w=1100)
            no = await refused(ada, "evse.1", "on")
            assert no.reason.binding == "grid_limit"
            assert "goes before the hand" in no.reason.text
        assert max(h.readings_since(len(h.said("gcp_reading")) - 3)) < 1100


async def test_every_word_of_a_user_who_changes_his_mind_is_answered_and_the_last_one_holds() -> None:
    async with home("heatpump.1", "app.phone", restart_after_s=0.0, plan=False) as h:
        pump = await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=5800)
        async with phone(h.run) as ada:
            answered: list[ControlTaken | ControlRefused] = []

            async def one(action: str) -> None:
                answered.append(await say(ada, "heatpump.1", action))

            async with anyio.create_task_group() as group:
                for action in ("off", "on", "off"):
                    group.start_soon(one, action)
                    await h.pass_time(5.0)
            assert len(answered) == 3
            await h.until(lambda: pump.power_w == 0)
            pump.refuses = Reason(code="minimum_off", text="it has to stay off", inputs={"remaining_s": 90.0})
            rest = await taken(ada, "heatpump.1", "on")
            assert rest.reason.binding == "minimum_times"
            assert "has to rest another" in rest.reason.text
            assert rest.at is not None
            pump.refuses = None
            heard = len(h.said("device_reading"))
            await h.until(lambda: [r for r in h.said("device_reading")[heard:] if r["power_w"] > 4000])
            first = next(r for r in h.said("device_reading")[heard:] if r["power_w"] > 50)
            assert datetime.fromisoformat(first["at"]).timestamp() >= rest.at.timestamp() - 6.0


async def test_business_as_usual_runs_heaters_plainly_and_ends_by_itself_after_twelve_hours() -> None:
    async with home("heatpump.1", "evse.1", "app.phone", speed=120.0, plan=False) as h:
        pump, car = await h.device("heatpump.1", 5000.0), await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=16_000)
        async with phone(h.run) as ada:
            await taken(ada, "heatpump.1", "off")
            began = h.run.clock.now()
            usual = await taken(ada, None, "business_as_usual")
            assert usual.until is not None
            assert usual.until.timestamp() - began == pytest.approx(12 * 3600, abs=120)
            assert "business as usual" in usual.state
            await h.until(lambda: pump.power_w == 5000)
            assert car.power_w == 11_040


async def test_its_end_is_told_and_an_early_one_is_the_users() -> None:
    async with home("heatpump.1", "app.phone", business_as_usual_s=120.0, plan=False) as h:
        await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered()
        async with phone(h.run) as ada:
            await taken(ada, None, "business_as_usual")
            await h.until(lambda: [n for n in h.said("display_notice") if "business as usual is over" in n["text"]])
            await taken(ada, None, "business_as_usual")
            early = await taken(ada, None, "release")
            assert "heatpump.1" in early.state or early.reason.code == "released"
            again = await refused(ada, None, "release")
            assert again.reason.code == "nothing_to_do"


async def test_the_hand_holds_over_a_restart_of_the_energy_manager() -> None:
    async with home("evse.1", "app.phone", plan=False) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        async with phone(h.run) as ada:
            await taken(ada, "evse.1", "off")
            await h.run.stop(CEM)
            car.order = None
            await h.run.start(CEM)
            await h.until(lambda: car.power_w == 0)


async def test_only_the_buildings_orchestrator_is_told_the_status_and_the_rating() -> None:
    async with home("heatpump.1", "app.phone", "grid.building.main", plan=False) as h:
        await h.run.start("grid.building.main", {"subscribed_w": 20_000.0})
        await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered()
        async with phone(h.run) as ada:
            await taken(ada, None, "business_as_usual")
            told = await h.beyond.until(lambda w: w.of("report_change"))
            (subject, envelope), *more = told
            assert subject.startswith("to.grid.building.main.h07.cem.main."), subject
            said = {name: value for name, value in envelope["body"].items() if value is not None}
            assert said == {
                "kind": "business_as_usual",
                "device_class": "heatpump",
                "power_w": 6000.0,
                "rating_w": 6000.0,
            }
            assert more == []
            await taken(ada, None, "release")
            await h.beyond.until(lambda w: [e for _, e in w.of("report_change") if e["body"]["kind"] == "back_to_plan"])
            usual = [subject for subject, payload in h.beyond.all if b"business_as_usual" in payload]
            elsewhere = [subject for subject in usual if not subject.startswith("to.grid.building")]
            assert elsewhere == []


async def test_a_directive_that_would_overload_the_building_is_taken_back_and_the_user_is_told() -> None:
    async with home("evse.1", "app.phone", "grid.building.main", plan=False) as h:
        await h.run.start("grid.building.main", {"subscribed_w": 5000.0})
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered()
        async with phone(h.run) as ada:
            await taken(ada, "evse.1", "off")
            await h.until(lambda: car.power_w == 0)
            await say(ada, "evse.1", "power", power_w=11_000.0)
            await h.beyond.until(lambda w: w.of("return_excess"))
            await h.until(lambda: [n for n in h.said("display_notice") if "would overload" in n["text"]])
