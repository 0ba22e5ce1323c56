"""An appliance without energy manager asks the adapter when to run; only the provider changes the adapter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest
from nats import errors as nats_errors

from bus.address import Address, to
from bus.bus import Bus
from bus.envelope import instant
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.own_plans import (
    AskOptions,
    ModelRefused,
    ModelTaken,
    NoOptions,
    OptionChosen,
    OptionsAre,
    PublishModel,
    device_options,
    model_download,
)
from contracts.profiles import PowerSequence, PowerSlot, PriceSlot
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice
from tests.support.grid import Grid, Words, grid
from tests.support.negotiating import PLANNED, RETAILER
from tests.support.simulated_home import Simulated, simulated
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.dr-adapter")]
ADAPTER, MACHINE, APP, ESP, FREEZER = (
    "h07.gateway.main",
    "h07.whitegoods.1",
    "h07.app.display",
    "grid.esp.main",
    "h07.whitegoods.2",
)
DISHES = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)
RUN = PowerSequence(name="cooling", slots=(PowerSlot(duration_s=1800, power_w=90),))


@dataclass
class Street:
    run: Grid
    words: Words
    home: Simulated

    def said(self, word: str, **body: object) -> list[dict[str, Any]]:
        bodies = [e["body"] for _, e in self.words.of(word)]
        return [b for b in bodies if all(b.get(name) == value for name, value in body.items())]

    async def price(self, *hours: float) -> None:
        retailer = await self.run.bus(RETAILER)
        now = self.run.clock.now()
        slots = tuple(
            PriceSlot(start=instant(now - now % 3600 + n * 3600), duration_s=3600, price_eur_per_kwh=price)
            for n, price in enumerate(hours)
        )
        word = AnnounceTariff(tariff="day", component="energy", slots=slots, reason=PLANNED)
        async with retailer.talk(tariff_notice, Address.parse(ADAPTER)) as talk:
            await talk.say(word)
            answer = await talk.hear(TariffTaken, TariffRefused, Lapsed)
        assert isinstance(answer, TariffTaken), answer


async def publish(esp: Bus, **word: Any) -> ModelTaken | ModelRefused | Lapsed:
    async with esp.talk(model_download, Address.parse(ADAPTER)) as talk:
        await talk.say(PublishModel(**word))
        return await talk.hear(ModelTaken, ModelRefused, Lapsed)


async def asks(device: Bus, clock_s: float, kind: str, hours: float = 10.0) -> OptionsAre | NoOptions | Lapsed:
    start = instant(clock_s)
    async with device.talk(device_options, Address.parse(ADAPTER)) as talk:
        await talk.say(
            AskOptions(
                job="cooling", sequence=RUN, earliest_start=start, done_by=start + timedelta(hours=hours), kind=kind
            )
        )
        answer = await talk.hear(OptionsAre, NoOptions, Lapsed)
        if isinstance(answer, OptionsAre):
            await talk.say(OptionChosen(start=answer.options[0].start, by="device"))
        return answer


@asynccontextmanager
async def street(**machine: Any) -> AsyncIterator[Street]:
    """No CEM: the appliances of this home have only the adapter."""
    names = (ADAPTER, MACHINE, FREEZER, APP, RETAILER, ESP)
    async with grid(*names, speed=60.0) as run, simulated(run, DISHES) as home:
        here = Street(run, await run.words("h07"), home)
        await run.start(ADAPTER)
        how = {"appliance": "dishwasher", "ended_after_s": 60.0, **home.line("whitegoods1"), **machine}
        await run.start(MACHINE, how)
        await here.words.until(lambda w: w.of("device_reading"))
        yield here


async def test_a_programmed_appliance_gets_options_and_runs_at_the_best() -> None:
    async with street() as s:
        await s.price(0.40, 0.10, 0.10, 0.10, 0.10, *[0.40] * 10)
        s.home.happens("start_programme", "whitegoods1", programme="eco_50")
        asked = (await s.words.until(lambda w: s.said("ask_options")))[0]
        assert (asked["kind"], asked["job"]) == ("dishwasher", "eco_50")
        offered = (await s.words.until(lambda w: s.said("options_are")))[0]
        assert not offered["offline"]
        costs = [option["cost_eur"] for option in offered["options"]]
        assert costs == sorted(costs)
        chosen = (await s.words.until(lambda w: s.said("option_chosen")))[0]
        assert chosen == {"start": offered["options"][0]["start"], "by": "device"}
        assert "T11:" <= chosen["start"][10:] < "T12:"
        shown = await s.words.until(lambda w: s.said("show_schedule", state="accepted"))
        assert shown[0]["start"] == chosen["start"]
        assert s.home.shows("whitegoods1", "enabled") is False
        s.run.clock_file.set_speed(900.0)
        await s.words.until(lambda w: s.said("show_schedule", state="started"))
        begun = s.said("show_schedule", state="started")[0]["start"]
        assert abs(_seconds(begun) - _seconds(chosen["start"])) < 900


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("agrees", [True, False])
async def test_its_user_may_agree_to_the_proposed_time(agrees: bool) -> None:
    async with street(asks_user=True) as s:
        await s.price(0.40, 0.40, 0.10, 0.10, 0.10, 0.10, *[0.40] * 8)
        await s.run.start(APP, {"proposals": "confirm" if agrees else "ask"})
        s.home.happens("start_programme", "whitegoods1", programme="eco_50")
        proposed = (await s.words.until(lambda w: s.said("show_schedule", state="new")))[0]
        assert proposed["cost_eur"] > 0
        if agrees:
            chosen = (await s.words.until(lambda w: s.said("option_chosen")))[0]
            assert chosen == {"start": proposed["start"], "by": "user"}
        else:
            s.run.clock_file.set_speed(900.0)
            await s.words.until(lambda w: s.said("options_declined"))
            assert s.said("option_chosen") == []


async def test_without_a_link_the_offline_profile_avoids_peaks_and_a_new_model_brings_a_new_type() -> None:
    async with street() as s:
        freezer, esp = await s.run.bus(FREEZER), await s.run.bus(ESP)
        unknown = await asks(freezer, s.run.clock.now(), "freezer")
        assert isinstance(unknown, NoOptions)
        assert unknown.reason.code == "unknown_kind"
        # it is 12:00 there: the published profile names this hour and the next as regular peaks
        taken = await publish(esp, kind="freezer", version=2, sequences=(RUN,), avoid=(12, 13))
        assert isinstance(taken, ModelTaken)
        # no prices ever came: the link is down, or was never there
        offline = await eventually_answers(freezer, s)
        assert offline.offline
        assert f"{offline.options[0].start:%H:%M}" == "12:00"  # 14:00 there
        older = await publish(esp, kind="freezer", version=1)
        assert isinstance(older, ModelRefused)
        assert older.reason.code == "older"
        # prices that are known decide, also after a restart of the adapter without any link
        await s.price(0.40, 0.40, 0.05, *[0.40] * 10)
        await s.run.stop(ADAPTER)
        await s.run.start(ADAPTER)
        stored = await eventually_answers(freezer, s)
        assert not stored.offline
        assert f"{stored.options[0].start:%H}" == "12"
        # and when they have run out, the profile does again
        s.run.clock_file.set_speed(3_600.0 * 3)
        await s.run.clock.sleep(14 * 3600.0)
        s.run.clock_file.set_speed(60.0)
        again = await asks(freezer, s.run.clock.now(), "freezer")
        assert isinstance(again, OptionsAre)
        assert again.offline


async def eventually_answers(device: Bus, s: Street) -> OptionsAre:
    for _ in range(5):
        answer = await asks(device, s.run.clock.now(), "freezer")
        if isinstance(answer, OptionsAre):
            return answer
    raise AssertionError(answer)


async def test_the_home_side_cannot_change_the_adapters_control_software() -> None:
    """The server itself refuses: a device's credential has no such word."""
    async with street() as s:
        device = await s.run.bus(FREEZER)
        model = PublishModel(kind="dishwasher", version=99)
        for home in ("", "home."):
            subject = home + to(Address.parse(ADAPTER), Address.parse(FREEZER), PublishModel).removeprefix("home.")
            with suppress(NotStored, TimeoutError, nats_errors.Error), anyio.move_on_after(0.5):
                await device.connection.request(subject, msgspec.json.encode({"id": home, "body": model}))
        # whoever is allowed to speak is heard after whatever the device had tried
        assert isinstance(await publish(await s.run.bus(ESP), kind="dishwasher", version=1), ModelTaken)
        published = [subject for subject, _ in s.words.of("publish_model")]
        assert all(f".{ESP}." in subject for subject in published)
        assert [b["version"] for b in s.said("model_taken")] in ([], [1])
