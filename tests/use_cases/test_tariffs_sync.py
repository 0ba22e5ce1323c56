"""CEM and meter agree on time and tariff: the CEM follows the meter, never the reverse. IEC-WGSP2140 to 2143."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import pytest

from agents.kit.run import run_agent
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.tariff import ActiveTariff, AskTime, TimeIs, time_request
from deploy.roster import agent_of
from tests.cem.home import CEM, DSO, SITE, Home
from tests.support.grid import START, Grid, Words, grid
from tests.support.home import Products, products
from tests.support.priced import APP, METER, announce, price_at, priced_home, slots

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.sync")]
T0 = START.timestamp()
MAINS: dict[str, Value] = {"power_w": 900.0, "import_wh": 1_000.0, "export_wh": 0.0}


class Synced:
    """A real meter and a real CEM, whose tariff clock may be off."""

    def __init__(self, run: Grid, home: Words, beyond: Words, hardware: Products) -> None:
        self.run, self.home, self.beyond, self.hardware = run, home, beyond, hardware

    async def meter(self, **settings: Any) -> None:
        await self.run.start(METER, {**self.hardware.line("mains"), **settings})

    def asked_off_by_s(self) -> list[float]:
        """By how much the CEM's clock, as it says it with each question, differs from the instant of asking."""
        said = [e for _, e in self.home.of("ask_time")]
        return [_time(e["body"]["cem_time"]) - _time(e["at"]) for e in said]

    def alarms(self) -> list[dict[str, Any]]:
        return [e["body"] for _, e in self.beyond.of("clock_alarm")]


@asynccontextmanager
async def synced(speed: float = 1.0) -> AsyncIterator[Synced]:
    async with products(mains=("eastron_sdm630", 1, MAINS)) as hardware, grid(DSO, CEM, METER, speed=speed) as run:
        yield Synced(run, await run.words(SITE), await run.words(), hardware)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_after_an_outage_the_cem_asks_and_then_its_clock_equals_the_meters() -> None:
    async with synced() as s:
        await s.meter(home_push_s=3600.0)
        await s.run.start(CEM, {"clock_off_by_s": -400.0, "clock_alarm_s": 300.0})
        await s.home.until(lambda w: w.of("time_is"))
        assert s.asked_off_by_s()[0] == pytest.approx(-400.0, abs=0.5)
        alarm = (await s.beyond.until(lambda _: s.alarms()))[0]
        assert alarm["off_by_s"] == pytest.approx(-400.0, abs=1.0)
        await s.run.stop(CEM)
        await s.run.start(CEM, {"clock_off_by_s": 0.0})
        await s.home.until(lambda w: len(w.of("time_is")) == 2)
        assert {a["cem_time"] for a in s.alarms()} == {alarm["cem_time"]}, "there is nothing more to alarm of"


async def test_without_other_traffic_it_asks_at_its_interval_with_the_time_that_it_has_set() -> None:
    async with synced(speed=20.0) as s:
        await s.meter(home_push_s=3600.0, fast_change_w=1e9)
        await s.run.start(CEM, {"clock_off_by_s": 250.0, "sync_every_s": 30.0, "clock_alarm_s": 900.0})
        await s.home.until(lambda w: len(w.of("ask_time")) >= 2)
        first, second, *_ = s.asked_off_by_s()
        assert first == pytest.approx(250.0, abs=1.0)
        assert abs(second) < 20.0, "it was set by the first answer"
        assert s.alarms() == [], "250 s is below this alarm level"


async def test_ordinary_stamped_words_of_the_meter_set_it_passively() -> None:
    async with grid(DSO, CEM, METER, speed=20.0) as run:
        home, beyond = await run.words(SITE), await run.words()
        meter = await run.bus(METER)  # it answers no question, it only pushes
        scene = Home(run, home, beyond)
        await run.start(CEM, {"clock_off_by_s": -120.0, "clock_alarm_s": 60.0, "sync_every_s": 40.0})
        for _ in range(8):
            meter.say(scene.gcp(run.clock.now()), home=True)
            await run.clock.sleep(1.0)
        (_, alarm), *_ = await beyond.until(lambda w: w.of("clock_alarm"))
        assert alarm["body"]["off_by_s"] == pytest.approx(-120.0, abs=8.0)
        asked = len(home.of("ask_time"))
        await home.until(lambda w: len(w.of("ask_time")) > asked)  # the interval elapses without any word
        [*_, (_, said)] = home.of("ask_time")
        assert abs(_time(said["body"]["cem_time"]) - _time(said["at"])) < 8.0


class Skewed:
    """The clock of a process that is off."""

    def __init__(self, true: Clock, off_s: float) -> None:
        self._true, self._off = true, off_s

    @property
    def speed(self) -> float:
        return self._true.speed

    def now(self) -> float:
        return self._true.now() + self._off

    async def sleep(self, seconds: float) -> None:
        await self._true.sleep(seconds)

    async def sleep_until(self, instant_s: float) -> None:
        await self._true.sleep_until(instant_s - self._off)

    def late(self, seconds: float) -> None:
        self._true.late(seconds)


@asynccontextmanager
async def cem_with_clock(run: Grid, off_s: float, **settings: Any) -> AsyncIterator[Bus]:
    agent, who = agent_of("cem"), Address.parse(CEM)
    bus = run.servers.bus(who, Skewed(run.clock, off_s))
    ready, stop = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        given = agent.settings(**settings)
        peers = run.servers.permissions.peers(who)
        tasks.start_soon(lambda: run_agent(agent, bus, given, peers, ready=ready.set, stop=stop))
        await ready.wait()
        yield bus
        stop.set()


async def test_the_meter_sees_stamps_out_of_step_and_tells_the_time_unasked() -> None:
    async with synced() as s:
        await s.meter(home_push_s=3600.0, cem_off_by_s=5.0)
        async with cem_with_clock(s.run, 12.0, sync_every_s=1e6, clock_alarm_s=10.0):
            pushed = await s.home.until(lambda w: w.of("sync_time"))
            subject, envelope = pushed[0]
            assert subject.startswith(f"home.to.{CEM}.{METER}.")
            assert envelope["body"]["cem_off_by_s"] == pytest.approx(12.0, abs=1.5)
            alarm = (await s.beyond.until(lambda _: s.alarms()))[0]
            assert alarm["off_by_s"] == pytest.approx(12.0, abs=1.5)


async def test_the_meter_never_follows_the_cem() -> None:
    async with synced() as s:
        await s.meter(home_push_s=3600.0)
        voice = await s.run.bus(CEM)
        async with voice.talk(time_request, Address.parse(METER)) as talk:
            await talk.say(AskTime(cem_time=instant(T0 + 86_400.0)))
            answer = await talk.hear(TimeIs, Lapsed)
        assert isinstance(answer, TimeIs)
        assert answer.meter_time.timestamp() == pytest.approx(s.run.clock.now(), abs=2.0)


async def test_a_cem_in_step_raises_no_alarm_and_gets_no_push() -> None:
    async with synced(speed=40.0) as s:
        await s.meter()
        await s.run.start(CEM, {"clock_off_by_s": 20.0, "clock_alarm_s": 60.0})
        await s.home.until(lambda w: len([1 for x, _ in w.of("hello") if ".cem." in x]) >= 3)
        assert s.alarms() == []
        assert s.home.of("sync_time") == []


async def test_prices_change_by_the_time_that_was_set() -> None:
    async with priced_home(clock_off_by_s=-7200.0, start=False) as h:
        h.measures = False
        await h.run.start(CEM, {"clock_off_by_s": -7200.0, "sync_every_s": 1e6})
        await announce(h.retailer, slots(T0 - 7200.0, [0.1, 0.1, 0.4, 0.4]))
        first = (await h.until(lambda: h.infos(APP)))[-1]["slots"][0]
        assert first["start"].startswith("2016-05-20T08"), "by its own clock it is two hours earlier"
        h.measures = True
        await h.until(lambda: h.infos(APP)[-1]["slots"][0]["start"].startswith("2016-05-20T10"))
        assert price_at(h.infos(APP)[-1]["slots"], T0 + 600.0) == pytest.approx(0.4)


async def test_way_two_the_meter_tells_the_register_and_the_cem_applies_its_listed_price() -> None:
    async with priced_home() as h:
        listed = {"ht": 0.41, "nt": 0.19}
        await announce(h.retailer, [], listed_eur_per_kwh=listed)
        for register, price in (("nt", 0.19), ("ht", 0.41)):
            said = ActiveTariff(since=instant(h.run.clock.now()), register=register)
            h.meter.say(said, home=True)
            await h.until(lambda price=price: h.infos(APP) and _now(h.infos(APP)[-1]) == pytest.approx(price))


async def test_a_register_that_no_list_has_is_told_to_the_customer_and_priced_by_the_fallback() -> None:
    async with priced_home(fallback_price_eur_per_kwh=0.3, registers_eur_per_kwh={"ht": 0.41}) as h:
        h.meter.say(ActiveTariff(since=instant(h.run.clock.now()), register="ht"), home=True)
        await h.until(lambda: h.infos(APP) and _now(h.infos(APP)[-1]) == pytest.approx(0.41))
        h.meter.say(ActiveTariff(since=instant(h.run.clock.now()), register="t9"), home=True)
        await h.until(lambda: [n for n in h.notices("warning") if "'t9'" in n["body"]["text"]])
        await h.until(lambda: _now(h.infos(APP)[-1]) == pytest.approx(0.3))
        assert h.infos(APP)[-1]["slots"][0]["binding"] == "forecast"


def _now(info: dict[str, Any]) -> float:
    return float(info["slots"][-1]["price_eur_per_kwh"])
