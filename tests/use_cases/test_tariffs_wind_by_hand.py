"""The manual way: a home without an energy manager sees the wind's tariff, and its user acts. IC-DE-NOR-STEPS 3b."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.grid import START, eventually, grid
from tests.support.simulated_home import simulated
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.wind")]
ESP, FORECASTER, APP, MACHINE = "grid.esp.main", "grid.forecaster.main", "h07.app.display", "h07.whitegoods.1"
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)


async def test_a_home_without_an_energy_manager_is_told_and_its_machine_runs_when_the_user_starts_it(
    tmp_path: Path,
) -> None:
    rows = ["time,wind", *(f"{START + timedelta(hours=n - 1):%Y-%m-%dT%H:%MZ},14.0" for n in range(12))]
    (tmp_path / "wind.csv").write_text("\n".join(rows) + "\n")
    async with (
        grid(ESP, FORECASTER, APP, MACHINE, "h08.app.display", speed=60.0) as run,
        simulated(run, SOCKET) as world,
    ):
        words, beyond = await run.words("h07"), await run.words()
        await run.start(APP)
        await run.start(MACHINE, {**world.line("whitegoods1"), "rating_w": 2_200.0})
        await run.start(FORECASTER, {"weather": str(tmp_path / "wind.csv")})
        await run.start(ESP, {"sites": ["h07"], "wind": {"rating_w": 20_000.0, "horizon_s": 7_200.0}})
        shown = await words.until(lambda w: [e["body"] for _, e in w.of("shown") if e["body"]["prices"]])
        assert any("Energy is cheap now" in text for text in shown[-1]["notices"])
        world.happens("start_programme", "whitegoods1", programme="easy_care_40")
        await eventually(lambda: world.world.sites[0].device("whitegoods1").power_w > 100.0)
        told = {s.split(".")[1] for s, _ in beyond.of("announce_tariff")}
        assert told == {"h07"}, "who is no customer is not told"
