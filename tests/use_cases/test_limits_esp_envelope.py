"""What a service provider lets be possible at the connection point, seen at the meter and in the registers."""

from datetime import timedelta
from typing import Any

import pytest

from bus.envelope import instant
from tests.support.grid import START
from tests.support.open_home import CAR, CEM, DSO, STORE, OpenHome, open_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.esp-envelope")]
ESP = "grid.esp.main"


def envelope(upper_w: float, *, after_s: float, for_s: float, **more: Any) -> dict[str, Any]:
    """Settings of a provider that sends one envelope, ``after_s`` from the start of the run."""
    at = START + timedelta(seconds=after_s)
    part = {"start": at, "duration_s": for_s, "upper_w": upper_w}
    return {"envelopes": [{"at": at, "site": "h07", "parts": [part], **more}]}


def soon(h: OpenHome) -> float:
    return h.run.clock.now() - START.timestamp() + 5.0


async def test_power_below_the_present_draw_reduces_devices_and_ends_by_itself() -> None:
    async with open_home(CAR, others=(ESP, DSO)) as h:
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.metered(above_w=10_000.0)
        begins = soon(h)
        await h.start(ESP, **envelope(6_000.0, after_s=begins, for_s=720.0))
        taken = await h.beyond_until(lambda: h.said("envelope_taken"))
        assert taken[0]["reason"]["code"] == "kept"
        await h.metered(below_w=6_000.0)
        assert any(o["reason"]["code"] == "esp_envelope" for o in h.told("evse.1"))
        dso = await h.run.bus(DSO)
        await h.limit(dso, 4_800.0)
        await h.metered(below_w=4_800.0)  # an active limit of the grid goes before it
        await h.limit(dso, None)
        readings = await h.metered(above_w=4_900.0)
        assert max(readings) <= 6_000.0, "and the envelope holds on without it"
        await h.metered(above_w=10_000.0)  # it ends by itself
        assert h.run.clock.now() >= START.timestamp() + begins + 720.0
        assert not [s for s, _ in h.beyond.of("heartbeat") if ".grid.esp." in s], "no heartbeat keeps it alive"


async def test_it_survives_the_energy_manager_and_more_possible_power_is_used() -> None:
    async with open_home(STORE, others=(ESP,)) as h:
        await h.start(ESP, **envelope(4_000.0, after_s=soon(h), for_s=3_600.0, wish_more=True))
        await h.beyond_until(lambda: h.said("envelope_taken"))
        await h.metered(above_w=3_000.0, below_w=4_000.0)
        assert any((o["setpoint_w"] or 0) > 1_000.0 for o in h.told("battery.1")), "what is flexible follows"
        await h.run.stop(CEM)
        before = len(h.told("battery.1"))
        await h.start(CEM)
        await h.until(lambda: any((o["setpoint_w"] or 0) > 1_000.0 for o in h.told("battery.1")[before:]))
        await h.metered(above_w=3_000.0, below_w=4_000.0)
        assert len(h.said("set_envelope")) == 1, "nobody had to say it again"
        assert instant(h.run.clock.now()) < START + timedelta(seconds=3_600.0)
