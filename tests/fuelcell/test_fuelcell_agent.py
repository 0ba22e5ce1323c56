"""A generator's agent in its home: it runs on order, keeps the handshake up, and refuses what its product would."""

import pytest

from contracts.device import PowerApplied, PowerRefused
from contracts.device_form import Value
from tests.support.grid import eventually, grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
CHP = "h07.fuelcell.1"
READY: dict[str, Value] = {
    "power_w": 0,
    "state": "standby",
    "return_temperature_c": 52.0,
    "flow_temperature_c": 60.0,
    "heartbeat": 17,
    "control_mode": "own",
    "error": False,
}


@pytest.mark.use_case("limits.lpc")
async def test_it_runs_on_order_within_its_bound_and_answers_the_handshake() -> None:
    async with (
        products(chp=("kwenergie_smartblock", 60, READY)) as hardware,
        grid("h07.cem.main", CHP, agents=SCRIPTED_CEM) as run,
    ):
        chp = hardware["chp"]
        answers: list[object] = []
        chp.on_write = lambda name, value: answers.append(value) if name == "heartbeat_answer" else None
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(CHP, {**hardware.line("chp"), "rating_w": 4_000.0, "minimum_on_s": 0.0, "minimum_off_s": 0.0})
        announce = (await cem.newcomer())[1]
        assert (announce.device_class, announce.nominal_lower_w, announce.minimum_run_w) == ("fuelcell", -4_000, 2_000)
        applied = await cem.order(CHP, setpoint_w=-4_000.0, lower_w=-3_000.0)
        assert isinstance(applied, PowerApplied)
        assert (applied.lower_w, applied.upper_w, applied.setpoint_w) == (-3_000.0, 0.0, -3_000.0)
        assert (chp.get("power_setpoint_percent"), chp.get("control_mode")) == (75.0, "follow")
        chp.put({"state": "running", "power_w": -3_000, "heartbeat": 18})
        await eventually(lambda: 18 in answers)
        said = await words.until(
            lambda w: [e["body"] for _, e in w.of("device_reading") if e["body"]["power_w"] == -3_000]
        )
        reading = said[0]
        assert reading["temperature_c"] == 52.0
        less = await cem.order(CHP, lower_w=-1_000.0)
        assert isinstance(less, PowerApplied)
        assert (less.lower_w, less.upper_w, chp.get("control_mode")) == (0.0, 0.0, "stop")


async def test_with_a_hot_tank_it_refuses_to_start_and_says_why() -> None:
    async with (
        products(chp=("kwenergie_smartblock", 60, {**READY, "return_temperature_c": 76.0, "state": "off"})) as hardware,
        grid("h07.cem.main", CHP, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(CHP, {**hardware.line("chp"), "rating_w": 4_000.0})
        await words.until(lambda w: w.of("device_reading"))
        refused = await cem.order(CHP, setpoint_w=-3_000.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "too_hot"
        assert hardware["chp"].get("control_mode") == "own"
