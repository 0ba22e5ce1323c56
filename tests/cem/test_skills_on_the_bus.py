"""What the CEM does for the operator and the household besides limits, read from the bus."""

from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, direct_control
from contracts.grid_state import AdjustmentAgreed, AdjustmentDeclined, AskAdjustment, load_request
from contracts.kit import Lapsed
from contracts.metering import AskPower, PowerIs, PowerUnknown, power_query
from tests.cem.home import CEM, WHY, Home, home

pytestmark = pytest.mark.anyio


async def command(h: Home, kind: Any, **fields: Any) -> CommandTaken | CommandRefused | Lapsed:
    async with h.dso.talk(direct_control, Address.parse(CEM)) as talk:
        await talk.say(ControlCommand(kind=kind, reason=WHY, **fields))
        return await talk.hear(CommandTaken, CommandRefused, Lapsed)


async def request(h: Home, change_w: float, seconds: float = 600.0) -> AdjustmentAgreed | AdjustmentDeclined | Lapsed:
    until = instant(h.run.clock.now() + seconds)
    async with h.dso.talk(load_request, Address.parse(CEM)) as talk:
        await talk.say(AskAdjustment(area="street", change_w=change_w, within_s=30.0, until=until, reason=WHY))
        return await talk.hear(AdjustmentAgreed, AdjustmentDeclined, Lapsed)


async def question(h: Home) -> PowerIs | PowerUnknown | Lapsed:
    async with h.dso.talk(power_query, Address.parse(CEM)) as talk:
        await talk.say(AskPower())
        return await talk.hear(PowerIs, PowerUnknown, Lapsed)


@pytest.mark.use_case("limits.congestion-direct")
async def test_a_command_without_a_figure_reduces_to_the_guaranteed_power_until_clearance() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        taken = await command(h, "emergency")
        assert isinstance(taken, CommandTaken)
        assert taken.reason.inputs["upper_w"] == 4200
        await h.metered(below_w=4200)
        await command(h, "clearance")
        await h.metered(above_w=11_900)
        await h.until(lambda: [n["kind"] for n in h.said("display_notice")][-2:] == ["emergency", "clearance"])


@pytest.mark.use_case("limits.congestion-direct")
async def test_a_command_for_one_device_binds_that_one_and_holds_over_a_restart() -> None:
    async with home("evse.1", "heatpump.1") as h:
        car, pump = await h.device("evse.1", 11_040.0), await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=16_000)
        refused = await command(h, "emergency", device="evse.9")
        assert isinstance(refused, CommandRefused)
        await command(h, "emergency", device="evse.1", upper_w=5000.0)
        await h.until(lambda: car.power_w <= 5000 and pump.power_w == 5000)
        await h.run.stop(CEM)
        car.order = None
        await h.run.start(CEM)
        await h.until(lambda: car.power_w <= 5000)


@pytest.mark.use_case("limits.grid-state")
async def test_less_is_agreed_as_far_as_nothing_is_switched_off_and_held_until_its_end() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        agreed = await request(h, -20_000.0)
        assert isinstance(agreed, AdjustmentAgreed)
        assert agreed.change_w == pytest.approx(-(11_040 - 4140))
        await h.metered(below_w=11_940 + agreed.change_w)
        assert isinstance(await request(h, -1000.0), AdjustmentDeclined), "one at a time"
        await h.metered(above_w=11_900)


@pytest.mark.use_case("limits.grid-state")
async def test_more_is_absorbed_by_the_battery() -> None:
    async with home("battery.1", "pv.1", use_surplus=False) as h:
        battery = await h.device("battery.1", 0.0)
        await h.device("pv.1", -6000.0)
        await h.lift()
        await h.metered(below_w=-5000)
        agreed = await request(h, 3000.0)
        assert isinstance(agreed, AdjustmentAgreed)
        await h.until(lambda: battery.power_w >= 2999)
        await h.metered(above_w=-2150)
        await h.metered(below_w=-5000)


async def test_what_cannot_be_done_is_declined_with_a_reason() -> None:
    async with home("pv.1") as h:
        await h.device("pv.1", -6000.0)
        await h.lift()
        await h.metered(below_w=-5000)
        declined = await request(h, -3000.0)
        assert isinstance(declined, AdjustmentDeclined)
        assert declined.reason.code == "nothing_to_give"


@pytest.mark.use_case("metering.gcp-to-cem")
async def test_power_is_told_when_asked_unless_it_is_stale_and_reported_with_the_goal() -> None:
    async with home("pv.1") as h:
        await h.device("pv.1", -6000.0)
        await h.metered()
        answer = await question(h)
        assert isinstance(answer, PowerIs)
        report = (await h.until(lambda: h.sent("site_power")))[-1]
        assert report["goal"] == "zero_flow"
        h.measures = False
        await h.pass_time(30)
        assert isinstance(await question(h), PowerUnknown)


@pytest.mark.use_case("limits.near-limit")
async def test_the_cem_compares_the_total_itself_and_warns_devices_and_display() -> None:
    async with home("evse.1", contract_consumption_w=6000.0) as h:
        await h.device("evse.1", 0.0)
        await h.lift()
        await h.metered(times=5)
        assert h.said("contract_notice") == []
        for base_w, level in ((1900.0, "warning"), (2100.0, "alarm"), (300.0, "clear")):
            h.base_w = [base_w] * 3
            notices = await h.until(lambda level=level: [n for n in h.said("contract_notice") if n["level"] == level])
            assert notices[0]["contract_w"] == 6000
        shown = await h.until(lambda: [n for n in h.said("display_notice") if "contracted" in n["text"]][2:])
        assert len(shown) == 1, "each is shown once"


async def test_a_battery_uses_own_surplus_and_feeds_own_load() -> None:
    async with home("battery.1", "pv.1") as h:
        battery, sun = await h.device("battery.1", 0.0), await h.device("pv.1", -4000.0)
        await h.lift()
        await h.metered(below_w=150, above_w=-150)
        assert battery.power_w == pytest.approx(3100, abs=150)
        sun.want_w = 0.0
        await h.until(lambda: battery.power_w < -700)
        await h.metered(below_w=150, above_w=-150)
