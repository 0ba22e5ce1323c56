"""The customer sees what the day's energy went into, by kind of appliance. IC-FR-PUC7-SC2 Inf.8."""

from typing import Any

import pytest

from tests.support.priced import priced_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.user-choice")]


async def test_the_display_shows_what_each_kind_of_appliance_has_used() -> None:
    async with priced_home("h07.evse.1", "h07.heatpump.1", plan=False, balance_every_s=60.0) as h:
        await h.lift()
        await h.device("heatpump.1", 2_000.0)
        await h.device("evse.1", 8_000.0)

        def told() -> list[dict[str, Any]]:
            return [b for b in h.said("balance") if b["used_by_kind_wh"].get("evse", 0.0) > 500.0]

        balance = (await h.until(told))[0]
        used = balance["used_by_kind_wh"]
        assert set(used) == {"evse", "heatpump", "other"}
        assert used["evse"] > used["heatpump"] > 0.0
        assert used["other"] > 0.0, "the rest of the household"
        assert sum(used.values()) == pytest.approx(balance["import_wh"]), "nothing is generated here: all was bought"
        await h.until(lambda: [s for s in h.said("shown") if s["used_by_kind_wh"] == used])
