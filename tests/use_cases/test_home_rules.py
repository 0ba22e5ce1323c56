"""Rules by time, sun and event, kept at home; agreed third parties; stop on demand. IC-GR-HLUC1-AUTO, ETSI-5.3.2."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.rules import Place, Sensed, due, holds, objection
from agents.kit.skill import skill
from agents.kit.sun import sun
from bus.address import Address
from contracts.home_rules import Rule, RulesRefused, RulesTaken, SetRules, Trigger, rules_write
from contracts.kit import Lapsed
from contracts.preferences import DevicePreferences, SetPreferences
from contracts.roles import ESP
from tests.cem.home import CEM, Home, home
from tests.support.grid import START
from tests.support.people import phone, taken

pytestmark = [pytest.mark.use_case("home.rules")]
BERLIN = ZoneInfo("Europe/Berlin")
PLACE = Place("Europe/Berlin", 51.3, 9.5)
PLUG = ("measure", "standby")
FREE: dict[str, Any] = {"plan": False, "restart_after_s": 0.0, "failsafe_consumption_w": 30_000.0}
"""Failsafe bounds are another use case's: here they leave room for everything."""


def local(seconds: float) -> time:
    return (START + timedelta(seconds=seconds)).astimezone(BERLIN).time()


def rule(name: str, device: str, action: str, /, *, for_s: float | None = None, **trigger: object) -> Rule:
    return Rule(name=name, device=device, action=action, trigger=Trigger(**trigger), for_s=for_s)  # type: ignore[arg-type]


# -------------------------------------------------------------------- pure


def test_the_sun_is_where_the_almanac_has_it() -> None:
    # U.S. Naval Observatory, Kassel (51.3 N, 9.5 E): rounded to the minute.
    for day, rise, down in (("2016-06-21", "03:05", "19:41"), ("2016-12-21", "07:23", "15:15")):
        date = datetime.fromisoformat(day).date()
        for event, at in (("sunrise", rise), ("sunset", down)):
            found = sun(event, date, 51.3, 9.5)  # type: ignore[arg-type]
            assert found is not None
            wanted = datetime.fromisoformat(f"{day}T{at}:30+00:00")
            assert abs((found - wanted).total_seconds()) < 180
    assert sun("sunset", datetime(2016, 6, 21, tzinfo=UTC).date(), 70.0, 20.0) is None, "it does not set"


def test_a_time_rule_is_due_once_a_day_also_over_a_change_of_the_clock() -> None:
    boiler = rule("boiler", "waterheater.1", "on", at=time(6))
    for day in (datetime(2016, 3, 27, tzinfo=BERLIN), datetime(2016, 10, 30, tzinfo=BERLIN)):
        six = day.replace(hour=6).timestamp()
        hits = [due(boiler, six + n * 60 - 60, six + n * 60, PLACE) for n in range(-300, 300)]
        assert [hit for hit in hits if hit is not None] == [six]


def test_the_lights_are_due_half_an_hour_after_sunset_and_until_sunrise() -> None:
    on = rule("on", "switch.yard", "on", sun="sunset", offset_s=1800.0)
    evening = sun("sunset", datetime(2016, 5, 20, tzinfo=UTC).date(), 51.3, 9.5)
    assert evening is not None
    at = evening.timestamp() + 1800
    assert due(on, at - 1, at, PLACE) == pytest.approx(at)
    assert due(on, at - 120, at - 1, PLACE) is None


def test_above_27_degrees_is_met_at_27_5_and_unknown_without_a_value() -> None:
    hot = Trigger(sensed="hvac.1", temperature_above_c=27.0)
    assert holds(hot, Sensed(temperature_c=27.5), None) is True
    assert holds(hot, Sensed(temperature_c=27.0), None) is False
    assert holds(hot, Sensed(), None) is None


def test_a_rule_needs_one_trigger_and_a_device_that_is_there() -> None:
    known = ("hvac.1",)
    good = rule("a", "hvac.1", "on", at=time(6))
    assert objection((good,), known) is None
    for bad in (
        rule("a", "hvac.2", "on", at=time(6)),
        rule("a", "hvac.1", "on"),
        rule("a", "hvac.1", "on", at=time(6), sun="sunset"),
        rule("a", "hvac.1", "power", at=time(6)),
        rule("a", "hvac.1", "hot_water", at=time(6)),
        rule("a", "hvac.1", "on", sensed="hvac.7", temperature_above_c=1.0),
    ):
        assert objection((bad,), known) is not None
    assert objection((good, good), known) is not None, "two of one name"


# -------------------------------------------------------------------- on the bus


async def rules(h: Home, *wanted: Rule) -> None:
    async with phone(h.run) as ada:
        assert isinstance(await ada.home.rules(SetRules(user="ada", rules=wanted)), RulesTaken)


@pytest.mark.anyio
async def test_time_and_event_rules_act_with_the_link_down_and_over_a_restart() -> None:
    async with home("waterheater.1", "hvac.1", "app.phone", speed=40.0, **FREE) as h:
        boiler = await h.device("waterheater.1", 0.0)
        cool = await h.device("hvac.1", 0.0, functions=PLUG, minimum_run_w=1500.0)
        cool.temperature_c = 26.0
        await h.metered()
        await h.run.servers.cut("h07")
        begun = h.run.clock.now() - START.timestamp()
        await rules(
            h,
            rule("boiler on", "waterheater.1", "on", at=local(begun + 150)),
            rule("boiler off", "waterheater.1", "off", at=local(begun + 400)),
            rule("too hot", "hvac.1", "on", sensed="hvac.1", temperature_above_c=27.0),
        )
        assert boiler.power_w == cool.power_w == 0
        await h.until(lambda: boiler.power_w == 2000)
        assert boiler.orders[-1].reason.code == "rule"
        await h.until(
            lambda: [n["text"] for n in h.said("display_notice") if "boiler on" in n["text"]]
        )  # it is recorded
        assert cool.power_w == 0
        cool.temperature_c = 27.5
        await h.until(lambda: cool.power_w == 1500)
        await h.run.stop(CEM)
        cool.order = None
        await h.run.start(CEM, FREE)
        await h.until(lambda: cool.power_w == 1500)
        await h.until(lambda: boiler.power_w == 0)
        told = [n["at"] for _, n in h.words.of("display_notice") if "too hot" in n["body"]["text"]]
        read = [n["at"] for _, n in h.words.of("device_reading") if n["body"]["temperature_c"] == 27.5]
        late = datetime.fromisoformat(told[0]) - datetime.fromisoformat(read[0])
        assert late.total_seconds() <= 10, "an alert is there within 10 s, without polling"


@pytest.mark.anyio
async def test_lights_go_on_half_an_hour_after_sunset_and_the_hand_goes_first() -> None:
    # A place where the sun has set half an hour ago, less a quarter of an hour.
    wanted = START.timestamp() + 900 - 1800
    east = next(lon / 10 for lon in range(1800) if _sets(lon / 10) <= wanted)
    offset = wanted + 1800 - _sets(east)
    async with home("switch.yard", "app.phone", plan=False, latitude_deg=51.3, longitude_deg=east) as h:
        light = await h.device("switch.yard", 0.0, functions=PLUG)
        await h.metered()
        await rules(h, rule("yard", "switch.yard", "on", sun="sunset", offset_s=offset))
        await h.until(lambda: light.power_w == 100)
        async with phone(h.run) as ada:
            await taken(ada, "switch.yard", "off")
            assert light.power_w == 0


def _sets(longitude_deg: float) -> float:
    found = sun("sunset", START.date(), 51.3, longitude_deg)
    assert found is not None
    return found.timestamp()


@pytest.mark.anyio
async def test_after_the_user_stops_the_service_no_rule_acts_until_it_is_on_again() -> None:
    async with home("switch.yard", "app.phone", plan=False, restart_after_s=0.0) as h:
        light = await h.device("switch.yard", 0.0, functions=PLUG)
        await h.metered()
        begun = h.run.clock.now() - START.timestamp()
        async with phone(h.run) as ada:
            assert (await ada.home.prefer(SetPreferences(user="ada", service=False))).saved
            wanted = (rule("on", "switch.yard", "on", at=local(begun + 240)),)
            assert isinstance(await ada.home.rules(SetRules(user="ada", rules=wanted)), RulesTaken)
            await h.pass_time(300.0)
            assert light.orders == []
            assert (await ada.home.prefer(SetPreferences(user="ada", service=True))).saved
            again = h.run.clock.now() - START.timestamp()
            later = (rule("on", "switch.yard", "on", at=local(again + 240)),)
            assert isinstance(await ada.home.rules(SetRules(user="ada", rules=later)), RulesTaken)
            await h.until(lambda: light.power_w == 100)
            off = DevicePreferences(controlled=False)
            assert (await ada.home.prefer(SetPreferences(user="ada", devices={"switch.yard": off}))).saved


@skill(opens=(rules_write,), use_cases=("home.rules",))
@dataclass
class _Third:
    """A third party that may ask for rules; the test says the words."""


THIRD = {"esp": Agent(role=ESP, settings=Settings, skills=(_Third,))}


@pytest.mark.anyio
async def test_a_third_party_switches_only_what_the_household_has_agreed_to() -> None:
    async with home("switch.yard", "app.phone", "grid.esp.main", plan=False, agents=THIRD) as h:
        light = await h.device("switch.yard", 0.0, functions=PLUG)
        await h.metered()
        esp = await h.run.bus("grid.esp.main")

        async def ask() -> RulesTaken | RulesRefused | Lapsed:
            begun = h.run.clock.now() - START.timestamp()
            wanted = (rule("dsf", "switch.yard", "on", at=local(begun + 240)),)
            async with esp.talk(rules_write, Address.parse(CEM)) as talk:
                await talk.say(SetRules(user="esp", rules=wanted))
                return await talk.hear(RulesTaken, RulesRefused, Lapsed)

        no = await ask()
        assert isinstance(no, RulesRefused)
        assert no.reason.code == "not_agreed"
        async with phone(h.run) as ada:
            for consents in ({"grid.esp.other": ("rules",)}, {"grid.esp.main": ("forecast",)}):
                assert (await ada.home.prefer(SetPreferences(user="ada", consents=consents))).saved
                assert isinstance(await ask(), RulesRefused), "another party, or another purpose"
            yes = {"grid.esp.main": ("rules",)}
            assert (await ada.home.prefer(SetPreferences(user="ada", consents=yes, flexibility=False))).saved
            assert isinstance(await ask(), RulesTaken)
            await h.pass_time(300.0)
            assert light.orders == [], "flexibility is stopped"
            assert (await ada.home.prefer(SetPreferences(user="ada", flexibility=True))).saved
            assert isinstance(await ask(), RulesTaken)
            await h.until(lambda: light.power_w == 100)


@pytest.mark.anyio
async def test_a_cars_rule_starts_it_only_when_the_building_has_authorised_it() -> None:
    for subscribed_w, starts in ((50_000.0, True), (2000.0, False)):
        async with home("evse.1", "app.phone", "grid.building.main", **FREE) as h:
            await h.run.start("grid.building.main", {"subscribed_w": subscribed_w})
            car = await h.device("evse.1", 0.0)
            await h.metered()
            begun = h.run.clock.now() - START.timestamp()
            await rules(h, rule("car", "evse.1", "on", at=local(begun + 240)))
            if starts:
                await h.until(lambda car=car: [o for o in car.orders if o.reason.code == "rule"])
                await h.beyond.until(lambda w: w.of("change_fine"))
            else:
                await h.until(lambda h=h: [n for n in h.said("display_notice") if "is not started" in n["text"]])
                assert [o for o in car.orders if o.reason.code == "rule"] == []
