"""After business as usual heaters are in flexible mode again: what steered them before steers them then. IC-FR-PUC6."""

from datetime import date
from typing import Any

import pytest

from contracts.preferences import SetPreferences
from tests.cem.home import home
from tests.support.people import phone, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("customer.override")]


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
