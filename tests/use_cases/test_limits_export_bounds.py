"""Export reduction at its edges: who is asked at all, what is declined, what is promised lasts and ends by itself."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.kit import Lapsed
from contracts.tariff import AskExport, ExportAgreed, ExportDeclined, export_request
from tests.support.grid import START
from tests.support.open_home import CAR, CEM, HEAT, SUN, WHY, OpenHome, open_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.export")]
RETAILER = "grid.retailer.main"
SMALL = msgspec.structs.replace(HEAT, rating_w=1_500)


async def ask(retailer: Bus, **figures: Any) -> ExportAgreed | ExportDeclined | Lapsed:
    async with retailer.talk(export_request, Address.parse(CEM)) as talk:
        await talk.say(AskExport(reason=WHY, **figures))
        return await talk.hear(ExportAgreed, ExportDeclined, Lapsed)


def reports(h: OpenHome) -> list[dict[str, Any]]:
    """What the supplier monitors."""
    return [e["body"] for _, e in h.beyond.of("site_power")]


async def test_a_home_that_feeds_nothing_in_is_not_asked_until_it_does() -> None:
    async with open_home(SUN, CAR, others=(RETAILER,)) as h:
        h.world.happens("plug_in", "evse1", energy_wh=60_000.0)
        await h.metered(above_w=1_000.0)
        seen = len(reports(h))
        plan = {"site": "h07", "at": START, "until": START + timedelta(hours=6), "export_upper_w": 1_000.0}
        await h.start(RETAILER, export_requests=[plan])
        await h.beyond_until(lambda: len(reports(h)) >= seen + 3)
        assert all(report["power_w"] > 0 for report in reports(h)[seen:])
        assert h.said("ask_export") == []
        h.world.happens("unplug", "evse1")
        asked = await h.beyond_until(lambda: h.said("ask_export"))
        assert asked[0]["reason"]["inputs"]["power_w"] < -1_000.0
        await h.beyond_until(lambda: h.said("export_agreed"))
        await h.metered(above_w=-1_150.0)


async def test_a_promise_lasts_until_its_end_and_ends_by_itself() -> None:
    async with open_home(SUN, others=(RETAILER,), speed=30.0) as h:
        retailer = await h.run.bus(RETAILER)
        await h.metered(below_w=-3_000.0)
        until = instant(h.run.clock.now() + 900.0)
        agreed = await ask(retailer, export_upper_w=1_000.0, until=until)
        assert isinstance(agreed, ExportAgreed), agreed
        assert (agreed.means, agreed.export_upper_w) == (("pv.1",), pytest.approx(1_000.0))
        await h.metered(above_w=0.0)
        since = datetime.fromisoformat(h.said("gcp_reading")[-1]["at"])
        await h.metered(below_w=-3_000.0)
        meanwhile = [r["power_w"] for r in h.said("gcp_reading") if since <= datetime.fromisoformat(r["at"]) < until]
        assert sum(w < -1_000.0 for w in meanwhile) <= len(meanwhile) // 2, "it stays off until then"


async def test_a_promise_outlives_the_energy_manager() -> None:
    async with open_home(SUN, others=(RETAILER,)) as h:
        retailer = await h.run.bus(RETAILER)
        await h.metered(below_w=-3_000.0)
        until = instant(h.run.clock.now() + 4 * 3_600.0)
        assert isinstance(await ask(retailer, export_upper_w=1_000.0, until=until), ExportAgreed)
        await h.metered(above_w=0.0)
        await h.run.stop(CEM)
        told = len(h.told("pv.1"))
        await h.start(CEM)
        await h.until(lambda: [o for o in h.told("pv.1")[told:] if o["reason"]["binding"] == "export_request"])
        seen = len(h.said("gcp_reading"))
        await h.until(lambda: len(h.said("gcp_reading")) >= seen + 6)
        await h.metered(above_w=0.0)


async def test_what_a_load_does_not_take_is_curtailed_and_not_switched_off() -> None:
    async with open_home(SUN, SMALL, others=(RETAILER,)) as h:
        retailer = await h.run.bus(RETAILER)
        await h.metered(below_w=-3_000.0)
        agreed = await ask(retailer, export_upper_w=300.0)
        assert isinstance(agreed, ExportAgreed), agreed
        assert agreed.means == ("heatpump.1", "pv.1"), "absorbing goes first"
        await h.metered(above_w=-400.0, below_w=0.0)
        assert any((o["setpoint_w"] or 0.0) > 0 for o in h.told("heatpump.1"))


async def test_what_cannot_be_promised_is_declined_by_name() -> None:
    async with open_home(SUN, others=(RETAILER,), cem={"export_means": ["absorb"]}) as h:
        retailer = await h.run.bus(RETAILER)
        await h.metered(below_w=-2_000.0)
        past = instant(h.run.clock.now() - 60.0)
        for code, figures in (
            ("wrong_sign", {"less_by_w": -1.0}),
            ("already_over", {"until": past}),
            ("nothing_to_give", {}),
        ):
            declined = await ask(retailer, **figures)
            assert isinstance(declined, ExportDeclined), declined
            assert declined.reason.code == code
        assert h.told("pv.1") == [] or all(o["lower_w"] is None for o in h.told("pv.1"))
