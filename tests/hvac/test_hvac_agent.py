"""An air conditioner's agent in its home: the user's settings come back when the order ends."""

import pytest

from contracts.device import PowerApplied
from contracts.device_form import Value
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
SPLIT = "h07.hvac.1"
COOLING: dict[str, Value] = {
    "enabled": True,
    "mode": "cool",
    "fan": "auto",
    "target_temperature_c": 24.0,
    "room_temperature_c": 26.5,
    "error": False,
}


@pytest.mark.use_case("limits.lpc")
async def test_it_joins_is_stopped_and_resumes_where_its_user_left_it() -> None:
    async with (
        products(split=("intesis_daikin_inmbsdai", 40, COOLING)) as hardware,
        grid("h07.cem.main", SPLIT, agents=SCRIPTED_CEM) as run,
    ):
        split = hardware["split"]
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(SPLIT, {**hardware.line("split"), "rating_w": 1_000.0, "minimum_off_s": 0.0})
        assert (await cem.newcomer())[1].device_class == "hvac"
        reading = (await words.until(lambda w: w.of("device_reading")))[0][1]["body"]
        assert (reading["temperature_c"], reading["power_w"], reading["quality"]) == (26.5, 1_000.0, "estimated")
        stopped = await cem.order(SPLIT, upper_w=400.0)
        assert isinstance(stopped, PowerApplied)
        assert (stopped.upper_w, split.get("enabled")) == (0.0, False)
        more = await cem.order(SPLIT, setpoint_w=1_000.0)
        assert isinstance(more, PowerApplied)
        assert (split.get("enabled"), split.get("target_temperature_c")) == (True, 20.0)
        assert isinstance(await cem.order(SPLIT), PowerApplied)
        assert (split.get("enabled"), split.get("target_temperature_c")) == (True, 24.0)
        seen = len(words.of("device_reading"))
        await words.until(lambda w: len(w.of("device_reading")) > seen + 1)
        split.put({"enabled": False})  # its user, under an order that leaves it free
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "off")
        assert split.get("enabled") is False
        assert not words.of("device_event")
