"""Preferences reach each energy manager, are acknowledged, and only then saved. IC-FR-PUC2, IC-PT-HLUC1-PUC3."""

from datetime import date, time
from typing import Any

import pytest

from agents.app.ask_home import Outcome
from contracts.hand import TakeControl
from contracts.preferences import DevicePreferences, SetPreferences
from deploy.commands.app_voice import Voice
from tests.cem.home import CEM, home
from tests.support.grid import grid
from tests.support.people import phone, refused, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("customer.preferences")]
MANAGERS = ("h07.cem.main", "h07.cem.ev", "h07.cem.heat")


async def set_(voice: Voice, devices: dict[str, DevicePreferences] | None = None, **more: Any) -> Outcome:
    return await voice.home.prefer(SetPreferences(user="ada", devices=devices or {}, **more))


async def test_each_of_three_managers_acknowledges_before_the_app_confirms() -> None:
    async with grid(*MANAGERS, "h07.app.phone", "h07.meter.main", speed=60.0) as run:
        words = await run.words("h07")
        for manager in MANAGERS:
            await run.start(manager, {"plan": False})
        async with phone(run) as ada:
            outcome = await set_(ada, season="autumn")
            assert outcome.saved
            assert sorted(map(str, outcome.taken)) == sorted(MANAGERS)
            await words.until(lambda w: [n for _, n in w.of("display_notice") if "are saved" in n["body"]["text"]])
            order = [
                s.rpartition(".")[2] for s, _ in words.all if s.endswith((".preferences_taken", ".display_notice"))
            ]
            assert order == ["preferences_taken"] * 3 + ["display_notice"]
            await run.stop("h07.cem.heat")
            silent = await set_(ada, season="winter")
            assert not silent.saved
            assert [str(who) for who in silent.refused] == ["h07.cem.heat"]
            await words.until(lambda w: "not saved everywhere" in w.of("display_notice")[-1][1]["body"]["text"])


async def test_what_is_set_holds_over_a_restart_and_says_what_each_device_does_about_it() -> None:
    async with home("evse.1", "hvac.1", "app.phone", plan=False) as h:
        await h.device("evse.1", 11_040.0)
        await h.device("hvac.1", 500.0)
        async with phone(h.run) as ada:
            car = DevicePreferences(ready_by=time(7), charge_lower_percent=40.0, charge_upper_percent=90.0)
            outcome = await set_(ada, {"evse.1": car, "hvac": DevicePreferences(highest_c=27.0)})
            assert outcome.effect["evse.1"] == "ready by 07:00, charged to at least 40.0 %, charged to at most 90.0 %"
            assert outcome.effect["hvac.1"] == "at most 27.0 degC"
            await h.run.stop(CEM)
            await h.run.start(CEM, {"plan": False})
            changed = await set_(ada, {"evse.1": DevicePreferences(charge_upper_percent=80.0)})
            assert "ready by 07:00" in changed.effect["evse.1"]
            assert "at most 80.0 %" in changed.effect["evse.1"]


class Left(Exception):
    """As the command line leaves a home that has refused."""


async def test_a_refusal_is_acknowledged_before_the_phone_hangs_up() -> None:
    letters = []
    async with home("evse.1", "app.phone", plan=False) as h:
        await h.device("evse.1", 11_040.0)

        async def call() -> None:
            async with phone(h.run) as ada:
                crossed = DevicePreferences(charge_lower_percent=80.0, charge_upper_percent=20.0)
                outcome = await set_(ada, {"evse.1": crossed})
                assert [one.code for one in outcome.refused.values()] == ["crossed"]
                await refused(ada, "evse.9", "off")
                letters.append(ada.bus.counts["dead_letters"])
                raise Left

        for _ in range(4):
            with pytest.raises(ExceptionGroup) as left:
                await call()
            assert left.group_contains(Left), left.value.exceptions
    assert letters == [0, 0, 0, 0], "each is heard once, by the call that it answers"


async def test_consent_is_for_known_purposes_and_its_answer_says_what_was_given() -> None:
    async with home("evse.1", "app.phone", plan=False) as h:
        await h.device("evse.1", 11_040.0)
        async with phone(h.run) as ada:
            unknown = await set_(ada, consents={"grid.esp.main": ("spying",)})
            assert [one.code for one in unknown.refused.values()] == ["unknown_purpose"]
            given = await set_(ada, consents={"grid.esp.main": ("forecast", "rules")})
            assert given.effect == {"grid.esp.main": "may act for forecast, rules"}
            assert (await set_(ada)).effect["grid.esp.main"] == "may act for forecast, rules"
            back = await set_(ada, consents={"grid.esp.main": ()})
            assert back.effect == {"grid.esp.main": "has no consent of yours any more"}


async def test_autumn_in_june_is_autumn_and_heaters_are_not_needed_on_vacation() -> None:
    async with home("heatpump.1", "evse.1", "app.phone", plan=False) as h:
        pump, car = await h.device("heatpump.1", 5000.0), await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=16_000)
        async with phone(h.run) as ada:
            felt = await set_(ada, season="autumn")
            assert "runs as in autumn, whatever the calendar says" in felt.effect["heatpump.1"]
            away = (date(2016, 5, 20), date(2016, 5, 27))
            await set_(ada, vacation=away)
            await h.until(lambda: pump.power_w == 0)
            assert car.power_w == 11_040, "only heaters are not needed"
            assert pump.orders[-1].reason.code == "vacation"
            await set_(ada, vacation_off=True)
            await h.until(lambda: pump.power_w == 5000)


async def test_a_class_without_consent_is_never_told_anything() -> None:
    async with home("heatpump.1", "evse.1", "app.phone", plan=False) as h:
        pump, car = await h.device("heatpump.1", 5000.0), await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=16_000)
        async with phone(h.run) as ada:
            outcome = await set_(ada, {"heatpump": DevicePreferences(controlled=False)})
            assert "is not controlled" in outcome.effect["heatpump.1"]
            before = len(pump.orders)
            await h.limit(limit_w=10_500.0)
            await h.until(lambda: car.power_w < 5000)
            assert len(pump.orders) == before
            assert pump.power_w == 5000


async def test_who_is_not_authorised_is_refused_and_nothing_changes() -> None:
    users = {"h07.app.phone": {"ada": ("*",), "kid": ("hand:evse.1",)}}
    async with home("evse.1", "heatpump.1", "app.phone", plan=False, users=users) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=16_000)
        async with phone(h.run) as ada:
            word = SetPreferences(user="kid", devices={"evse.1": DevicePreferences(ready_by=time(8))})
            outcome = await ada.home.prefer(word)
            assert [reason.code for reason in outcome.refused.values()] == ["not_allowed"]
            shown = await set_(ada)
            assert shown.effect["evse.1"] == "as the plan finds best"
            yes = await ada.home.hand(TakeControl(user="kid", device="evse.1", action="off"))
            no = await ada.home.hand(TakeControl(user="kid", device="heatpump.1", action="off"))
            assert car.power_w == 0
            assert yes.reason.code == "hand"
            assert no.reason.code == "not_allowed"
            await taken(ada, "evse.1", "release")


async def test_what_contradicts_itself_or_names_nobody_is_refused_with_the_remedy() -> None:
    async with home("hvac.1", "app.phone", plan=False) as h:
        await h.device("hvac.1", 500.0)
        async with phone(h.run) as ada:
            for devices, code in (
                ({"hvac.1": DevicePreferences(lowest_c=25.0, highest_c=20.0)}, "crossed"),
                ({"hvac.9": DevicePreferences(highest_c=20.0)}, "unknown_device"),
                ({"hvac.1": DevicePreferences(forget=("colour",))}, "unknown_preference"),
                ({"hvac.1": DevicePreferences(charge_lower_percent=40.0)}, "no_such_wish"),
                ({"evse": DevicePreferences(lowest_c=20.0)}, "no_such_wish"),
            ):
                outcome = await set_(ada, devices)
                assert [reason.code for reason in outcome.refused.values()] == [code]
            backwards = await set_(ada, vacation=(date(2016, 6, 2), date(2016, 6, 1)))
            assert not backwards.saved
