"""An envelope's other side, its end before its time, and who may send one. NG-16, IC-DE-PUC-GR-1."""

import pytest

from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.kit import Lapsed
from contracts.site_power import EnvelopeRefused, EnvelopeSlot, EnvelopeTaken, SetEnvelope, site_envelope
from tests.support.open_home import CAR, CEM, SUN, WHY, OpenHome, open_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.esp-envelope")]
ESP, OTHER = "grid.esp.main", "grid.esp.other"


async def bound(provider: Bus, *slots: EnvelopeSlot) -> EnvelopeTaken | EnvelopeRefused | Lapsed:
    async with provider.talk(site_envelope, Address.parse(CEM)) as talk:
        await talk.say(SetEnvelope(slots=slots, reason=WHY))
        return await talk.hear(EnvelopeTaken, EnvelopeRefused, Lapsed)


def from_now(h: OpenHome, **bounds: float) -> EnvelopeSlot:
    return EnvelopeSlot(start=instant(h.run.clock.now()), duration_s=14_400.0, **bounds)


async def test_feed_in_is_bounded_too_the_tightest_of_two_providers_holds_and_an_empty_one_lifts() -> None:
    async with open_home(SUN, others=(ESP, OTHER)) as h:
        one, two = await h.run.bus(ESP), await h.run.bus(OTHER)
        await h.metered(below_w=-3_000.0)
        assert isinstance(await bound(one, from_now(h, lower_w=-2_000.0)), EnvelopeTaken)
        await h.metered(above_w=-2_050.0, below_w=-1_000.0)
        assert isinstance(await bound(two, from_now(h, lower_w=-1_000.0)), EnvelopeTaken)
        await h.metered(above_w=-1_050.0, below_w=-500.0)
        assert any(o["reason"]["binding"] == "esp_envelope" for o in h.told("pv.1"))
        lifted = await bound(two)
        assert isinstance(lifted, EnvelopeTaken)
        assert lifted.reason.code == "lifted"
        await h.metered(above_w=-2_050.0, below_w=-1_500.0)
        assert isinstance(await bound(one), EnvelopeTaken)
        await h.metered(below_w=-3_000.0)


async def test_only_who_is_named_may_bound_a_home_and_what_is_refused_changes_nothing() -> None:
    async with open_home(CAR, others=(ESP, OTHER), cem={"envelopes_from": [ESP]}) as h:
        named, stranger = await h.run.bus(ESP), await h.run.bus(OTHER)
        h.world.happens("plug_in", "evse1", energy_wh=60_000.0)
        await h.metered(above_w=10_000.0)
        assert isinstance(await bound(named, from_now(h, upper_w=7_000.0)), EnvelopeTaken)
        await h.metered(below_w=7_000.0, above_w=5_000.0)
        assert isinstance(await bound(stranger, from_now(h, upper_w=4_500.0)), EnvelopeRefused)
        wrong = await bound(named, from_now(h, upper_w=-1.0))
        assert isinstance(wrong, EnvelopeRefused)
        assert wrong.reason.code == "wrong_sign"
        heard = len(h.said("gcp_reading"))
        await h.until(lambda: len(h.said("gcp_reading")) >= heard + 10)
        await h.metered(below_w=7_000.0, above_w=5_000.0)  # the envelope before holds on
