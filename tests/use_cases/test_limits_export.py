"""The supplier asks for less export: the home absorbs it, or switches its generators off, and says how far it comes."""

from datetime import timedelta
from typing import Any

import pytest

from bus.envelope import instant
from tests.support.open_home import HEAT, SUN, OpenHome, open_home
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.export")]
RETAILER = "grid.retailer.main"
LOAD = DeviceSpec(name="switch1", kind="switch", product="waveshare_relay_switch", unit=60, rating_w=2_000, phases=1)
CHP = DeviceSpec(name="fuelcell1", kind="fuelcell", product="kwenergie_smartblock", unit=53, rating_w=4_000)
RUNS = {"fuelcell.1": {"start_above_eur_per_kwh": 0.1, "step_w": 4_000.0}}
"""The generator runs, since energy is dearer than that."""


async def asked(h: OpenHome, **figures: Any) -> dict[str, Any]:
    """The retailer watches the export and asks; what the home answers."""
    at = instant(h.run.clock.now())
    plan = {"site": "h07", "at": at, "until": at + timedelta(hours=1), **figures}
    await h.start(RETAILER, export_requests=[plan])
    answers = await h.beyond_until(lambda: [*h.said("export_agreed"), *h.said("export_declined")])
    assert len(h.said("ask_export")) == 1
    return dict(answers[0])


async def test_the_heat_pump_takes_what_was_fed_in() -> None:
    async with open_home(SUN, HEAT, others=(RETAILER,)) as h:
        before = -(await h.metered(below_w=-3_000.0))[-1]
        agreed = await asked(h, less_by_w=1_500.0)
        assert agreed["means"] == ["heatpump.1"]
        assert agreed["export_upper_w"] == pytest.approx(before - 1_500.0, abs=400.0)
        await h.metered(above_w=-agreed["export_upper_w"] - 150.0)
        assert any((o["setpoint_w"] or 0) > 0 for o in h.told("heatpump.1")), "it was told to run"

        def free() -> bool:
            """Bounded until the heat pump runs, perhaps; not any more."""
            told = h.told("pv.1")[-1:]
            return all(o["lower_w"] is None or o["lower_w"] <= 500.0 - before for o in told)

        await h.until(free)


async def test_with_a_full_tank_loads_are_switched_on_too() -> None:
    loads = {"export_loads": ["switch.1"]}
    full = {"comfort_high_c": 40.0}
    async with open_home(SUN, HEAT, LOAD, others=(RETAILER,), cem=loads, heatpump1=full) as h:
        load = h.world.world.sites[0].device("switch1")
        load.orders.take("enabled", False, h.run.clock.now())
        h.world.world.units["h07.switch1"].put({"enabled": False})
        await h.until(
            lambda: (
                h.words.of("flexibility_taken")
                and any((o["flexibility"] or {}).get("type") == "thermal" for o in h.said("offer_flexibility"))
            )
        )
        await h.until(
            lambda: [e for s, e in h.words.of("device_reading") if ".switch." in s][-1]["body"]["power_w"] == 0
        )
        before = -(await h.metered(below_w=-2_000.0))[-1]
        agreed = await asked(h, less_by_w=1_500.0)
        assert agreed["means"] == ["switch.1"]
        await h.metered(above_w=-before + 1_300.0)
        assert load.power_w > 1_500.0


async def test_a_fuel_cells_power_is_used_by_loads_too() -> None:
    settings = {"export_loads": ["switch.1"], "preferences": RUNS}
    async with open_home(CHP, LOAD, others=(RETAILER,), cem=settings) as h:
        load = h.world.world.sites[0].device("switch1")
        load.orders.take("enabled", False, h.run.clock.now())
        h.world.world.units["h07.switch1"].put({"enabled": False})
        await h.until(lambda: h.world.world.sites[0].device("fuelcell1").power_w < -2_000.0)
        before = -(await h.metered(below_w=-1_500.0))[-1]
        agreed = await asked(h, less_by_w=1_000.0)
        assert agreed["means"] == ["switch.1"]
        await h.metered(above_w=-before + 900.0)
        assert load.power_w > 1_500.0


async def test_generators_are_switched_off_where_that_comes_first() -> None:
    settings = {"export_means": ["switch_off"], "preferences": RUNS}
    async with open_home(SUN, CHP, others=(RETAILER,), cem=settings) as h:
        here = h.world.world.sites[0]
        await h.until(lambda: here.device("fuelcell1").power_w < -2_000.0)
        await h.metered(below_w=-4_000.0)
        agreed = await asked(h)
        assert agreed["means"] == ["fuelcell.1", "pv.1"], "fuel first, sunshine last"
        await h.metered(above_w=-100.0)
        assert here.device("pv1").power_w > -100.0
        assert here.device("fuelcell1").power_w > -100.0
