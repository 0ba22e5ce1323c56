"""A submeter's agent joins, says what flows, and takes no order."""

import pytest

from contracts.device import PowerRefused
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, home_cem
from tests.support.simulated_home import simulated
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
METER = "h07.submeter.1"


async def test_it_says_what_flows_in_its_circuit_and_refuses_orders() -> None:
    load = DeviceSpec(name="switch1", kind="switch", product="wirenboard_mdm3", unit=41, rating_w=900, phases=1)
    meter = DeviceSpec(
        name="submeter1", kind="submeter", product="eastron_sdm72d", unit=42, rating_w=1, measures="switch1"
    )
    async with grid("h07.cem.main", METER, agents=SCRIPTED_CEM) as run, simulated(run, load, meter) as home:
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(METER, {**home.line("submeter1"), "measures": "switch1"})
        body = (await words.until(lambda w: w.of("device_reading")))[0][1]["body"]
        assert (body["power_w"], body["lower_w"], body["upper_w"]) == (900.0, 900.0, 900.0)
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["energy_wh"] > 10)
        who, one = await cem.newcomer()
        assert (who, one.device_class, one.measures) == (METER, "submeter", "switch1")
        refused = await cem.order(METER, upper_w=100.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "no_control"
