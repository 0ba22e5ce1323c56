"""When the hand lets go, whatever steered a device before steers it again: nothing that it was told is left standing.

After business as usual heaters are in flexible mode again. IC-FR-PUC6.
"""

from datetime import date
from typing import Any

import pytest

from bus.envelope import instant
from contracts.preferences import SetPreferences
from contracts.reasons import Reason
from tests.cem.home import CEM, home
from tests.support.people import phone, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("customer.override")]
FREE: dict[str, Any] = {"plan": False, "restart_after_s": 0.0, "failsafe_consumption_w": 30_000.0}


async def test_heaters_are_flexible_again_when_business_as_usual_has_ended_by_itself() -> None:
    settings: dict[str, Any] = {"plan": False, "restart_after_s": 0.0, "business_as_usual_s": 600.0}
    async with home("heatpump.1", "app.phone", speed=30.0, **settings) as h:
        pump = await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=5_000)
        async with phone(h.run) as ada:
            away = (date(2016, 5, 20), date(2016, 5, 27))
            await ada.home.prefer(SetPreferences(user="ada", vacation=away))
            await h.until(lambda: pump.power_w == 0)
            before = len(h.said("device_reading"))
            await taken(ada, "heatpump.1", "business_as_usual")
            await h.until(lambda: [r for r in h.said("device_reading")[before:] if r["power_w"] == 5000.0])
            await h.until(lambda: pump.power_w == 0)
            assert pump.orders[-1].reason.code == "vacation", "nobody gave it back by hand"


@pytest.mark.parametrize("busy", ["silent", "refuses"])
async def test_a_release_that_the_device_did_not_take_is_told_again(busy: str) -> None:
    async with home("evse.1", "app.phone", **FREE) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        async with phone(h.run) as ada:
            await taken(ada, "evse.1", "off")
            await h.run.stop(CEM)
            before = len(car.orders)
            await h.run.start(CEM, FREE)
            await h.lift()
            await h.until(lambda: car.orders[before:])
            assert car.power_w == 0.0, "the hand holds over the restart"
            if busy == "silent":
                car.deaf = True
            else:
                car.refuses = Reason(code="line_busy", text="its line is busy")
            given_back = await taken(ada, "evse.1", "release")
            assert given_back.reason.code in ("not_yet", "released")
            await h.until(lambda: car.unheard)
            assert car.power_w == 0.0
            car.deaf, car.refuses = False, None
            await h.until(lambda: car.power_w == 11_040.0)
            assert car.orders[-1].reason.code == "free"


async def test_a_hand_that_ended_while_the_energy_manager_was_away_lets_go() -> None:
    async with home("evse.1", "app.phone", **FREE) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        async with phone(h.run) as ada:
            until = h.run.clock.now() + 120.0
            await taken(ada, "evse.1", "off", until=instant(until))
            await h.run.stop(CEM)
            await h.run.clock.sleep_until(until)
            assert car.power_w == 0.0
            await h.run.start(CEM, FREE)
            await h.until(lambda: car.power_w == 11_040.0)


async def test_what_was_refused_before_does_not_delay_a_newer_word_of_the_hand() -> None:
    async with home("evse.1", "app.phone", **FREE) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        async with phone(h.run) as ada:
            car.refuses = Reason(code="minimum_on", text="it has to stay on", inputs={"remaining_s": 600.0})
            rest = await taken(ada, "evse.1", "off")
            assert rest.at is not None
            car.refuses = None
            await taken(ada, "evse.1", "power", power_w=8000.0)
            await h.until(lambda: car.power_w == pytest.approx(8000.0))
            assert h.run.clock.now() < rest.at.timestamp() - 300.0
