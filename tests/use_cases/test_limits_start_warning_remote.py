"""An air conditioner, only switched from afar: the CEM estimates and warns in its place. IEC-JWG2113-S1 (JWG)."""

from typing import Any

import pytest

from tests.cem.home import home
from tests.support.people import phone, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.start-warning")]
FREE: dict[str, Any] = {"plan": False, "restart_after_s": 0.0, "failsafe_consumption_w": 30_000.0}
CONTRACT_W = 2_000.0
"""The household takes 900 W of it, the air conditioner up to 1500 W."""


async def test_the_cem_warns_for_an_air_conditioner_until_nobody_wants_it_on() -> None:
    async with home("hvac.1", "app.phone", contract_consumption_w=CONTRACT_W, **FREE) as h:
        await h.device("hvac.1", 0.0, functions=("measure", "standby"), minimum_run_w=1_500.0)

        def warnings() -> list[dict[str, Any]]:
            return [w for w in h.said("device_warning") if w["device"] == "hvac.1"]

        await h.metered(above_w=800.0, below_w=1_000.0)
        async with phone(h.run) as ada:
            await taken(ada, "hvac.1", "on")
            warning = (await h.until(warnings))[0]
            assert warning["cleared"] is False
            assert warning["reason"]["code"] == "above_contract"
            assert warning["reason"]["inputs"] == {"total_w": 900.0, "maximum_w": 1_500.0, "subscribed_w": CONTRACT_W}
            await h.until(lambda: [n for n in h.said("display_notice") if n["device"] == "hvac.1"])
            await taken(ada, "hvac.1", "off")
            await h.until(lambda: [w["cleared"] for w in warnings()] == [False, True])
            h.base_w = [100.0, 100.0, 100.0]
            await h.metered(below_w=400.0)
            await taken(ada, "hvac.1", "on")
            await h.metered(above_w=1_700.0)
            assert [w["cleared"] for w in warnings()] == [False, True], "there is room: nobody warns"
