"""Devices that a price drives: one command per price, answered, and nothing where something speaks against it."""

from typing import Any

import anyio
import pytest

from contracts.preferences import DevicePreferences
from tests.support.grid import eventually
from tests.support.negotiating import METER, RETAILER, Negotiating, negotiating
from tests.use_cases.test_limits_start_warning import APP, prefers, takes
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.price-threshold")]
CHP = DeviceSpec(name="fuelcell1", kind="fuelcell", product="kwenergie_smartblock", unit=53, rating_w=4_000)
HEAT = DeviceSpec(
    name="heatpump1", kind="heatpump", product="lambda_eu_l", unit=20, rating_w=3_000, profile="Soil_Alternative_2"
)
STORE = DeviceSpec(
    name="battery1",
    kind="battery",
    product="sunspec_battery",
    unit=30,
    rating_w=5_000,
    capacity_wh=10_000,
    soc_percent=80,
)
PRICE_CODES = ("price_above", "price_below", "level_too_low", "conflict", "peak_window", "not_ready")


def orders(h: Negotiating, device: str) -> list[dict[str, Any]]:
    """What a price has told a device, repetitions of the same order left out."""
    found: list[dict[str, Any]] = []
    for subject, envelope in h.words.of("set_power"):
        body = envelope["body"]
        same = ("lower_w", "upper_w", "setpoint_w", "standby")
        if f".{device}." not in subject or body["reason"]["code"] not in PRICE_CODES:
            continue
        if not found or any(found[-1][name] != body[name] for name in same):
            found.append(body)
    return found


def power(h: Negotiating, device: str) -> float:
    said = [e["body"]["power_w"] for s, e in h.words.of("device_reading") if f".{device}." in s]
    return float(said[-1]) if said else 0.0


async def test_fuel_cell_heat_pump_and_battery_follow_the_price() -> None:
    settings: dict[str, Any] = {"heatpump1": {"rating_w": 3_000.0}, "fuelcell1": {"rating_w": 4_000.0}}
    settings["fuelcell1"] |= {"minimum_on_s": 0.0, "minimum_off_s": 0.0}
    settings["heatpump1"] |= {"minimum_on_s": 0.0, "minimum_off_s": 0.0}
    async with (
        negotiating(
            CHP, HEAT, STORE, whole=True, others=(METER, RETAILER, APP), cem={"use_surplus": False}, **settings
        ) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        h.house_w = 2_000.0
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 3)
        await h.prices(*[0.40] * 12)
        wanted = {
            "fuelcell.1": DevicePreferences(start_above_eur_per_kwh=0.30),
            "heatpump.1": DevicePreferences(start_below_eur_per_kwh=0.20),
            "battery.1": DevicePreferences(start_above_eur_per_kwh=0.30, reserve_percent=30.0),
        }
        await prefers(app, devices=wanted)
        # dear: the cell runs, the pump does not, the battery sells
        first = await eventually(lambda: orders(h, "h07.fuelcell.1"))
        assert first[-1]["setpoint_w"] == pytest.approx(-4_000, abs=50)
        await eventually(lambda: power(h, "h07.fuelcell.1") < -1_500)
        sold = await eventually(lambda: orders(h, "h07.battery.1"))
        assert sold[-1]["setpoint_w"] < -4_000
        await eventually(lambda: power(h, "h07.battery.1") < -4_000)
        await eventually(lambda: power(h, "h07.heatpump.1") < 100)
        counts = {name: len(orders(h, f"h07.{name}")) for name in wanted}
        assert counts["fuelcell.1"] == 1
        answered = len(h.said("power_applied"))
        assert answered > 0
        # cheap: the other way round, one more command each
        await h.prices(*[0.10] * 12)
        await eventually(lambda: len(orders(h, "h07.fuelcell.1")) == 2)
        last = orders(h, "h07.fuelcell.1")[-1]
        assert last["standby"] or (last["setpoint_w"] or 0.0) == 0.0
        await eventually(lambda: power(h, "h07.heatpump.1") > 2_000)
        await eventually(lambda: h.said("gcp_reading")[-1]["power_w"] > -300)  # it covers the house, and sells nothing
        assert len(h.said("power_applied")) > answered
        # a hand on the battery is a conflict: it does not sell, whatever is paid
        await takes(app, device="battery.1", action="power", power_w=0.0)
        await h.prices(*[0.50] * 12)
        await eventually(lambda: len(orders(h, "h07.fuelcell.1")) == 3)
        await h.run.clock.sleep(60.0)
        assert power(h, "h07.battery.1") > -100
        # the cell's own controller does not follow: that is told as unsuccessful
        h.home.happens("fault", "fuelcell1", fault="deaf_to_writes")
        await h.prices(*[0.10] * 12)
        told = await eventually(lambda: [n for n in h.said("display_notice") if "did not do it" in n["text"]])
        assert told[0]["device"] == "fuelcell.1"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("sun", [False, True])
async def test_the_sun_changes_nothing_in_what_the_pump_is_told(sun: bool) -> None:
    pv = DeviceSpec(name="pv1", kind="pv", product="sunspec_inverter", unit=40, rating_w=6_000, profile="PV5")
    devices = (HEAT, pv) if sun else (HEAT,)
    async with (
        negotiating(
            *devices,
            whole=True,
            others=(METER, RETAILER, APP),
            heatpump1={"rating_w": 3_000.0, "minimum_on_s": 0.0, "minimum_off_s": 0.0},
        ) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 3)
        await h.prices(*[0.10] * 12)
        await prefers(app, devices={"heatpump.1": DevicePreferences(start_below_eur_per_kwh=0.20)})
        told = await eventually(lambda: orders(h, "h07.heatpump.1"))
        assert [round(o["setpoint_w"]) for o in told] == [3_000]
        await h.prices(*[0.30] * 12)
        await eventually(lambda: len(orders(h, "h07.heatpump.1")) == 2)
        assert orders(h, "h07.heatpump.1")[-1]["reason"]["code"] == "price_above"
        tasks.cancel_scope.cancel()
