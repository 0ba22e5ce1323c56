"""From the grid side's limit to the station's register, through the real CEM: one talk, one trace."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus import tracing
from bus.address import Address
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from tests.support.grid import eventually, grid
from tests.support.home import BECAUSE, products

pytestmark = pytest.mark.anyio
CAR: dict[str, Value] = {
    "state": "charging",
    "power_w": 10_970,
    **{f"current_l{n}_a": 15.9 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "hardware_limit_a": 16.0,
    "current_limit_a": 15.9,
}
METER: dict[str, Value] = {
    "power_w": 11_500.0,
    **{f"power_l{n}_w": 11_500.0 / 3 for n in (1, 2, 3)},
    **{f"current_l{n}_a": 16.7 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "frequency_hz": 50.0,
    "import_wh": 0.0,
    "export_wh": 0.0,
}


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Ends tracing and gives all spans of this process."""
    tracing.start("test", "all", folder=tmp_path)

    def read() -> list[dict[str, Any]]:
        tracing.stop()
        return [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]

    yield read
    tracing.stop()


async def test_a_grid_limit_reaches_the_register_in_one_trace(spans: Callable[[], list[dict[str, Any]]]) -> None:
    names = ("grid.dso.north", "h07.cem.main", "h07.meter.main", "h07.evse.1")
    async with (
        products(car=("abb_terra_ac", 10, CAR), meter=("eastron_sdm630", 1, METER)) as hardware,
        grid(*names, speed=10.0) as run,
    ):
        words = await run.words("h07")
        await run.start("h07.cem.main", {"contract_consumption_w": 14_500.0, "fuse_a": 63.0})
        dso = await run.bus("grid.dso.north")
        cem = Address.parse("h07.cem.main")
        dso.tell(cem, Heartbeat(every_s=60.0))
        async with dso.talk(limit_write, cem) as talk:
            await talk.say(SetLimit(direction="consumption", active=True, limit_w=5_000.0, reason=BECAUSE))
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)
        # Only now is there anything to steer: whatever is written from here on, the limit is why.
        await run.start("h07.meter.main", hardware.line("meter"))
        await run.start("h07.evse.1", {**hardware.line("car"), "rating_w": 11_000.0})
        await eventually(lambda: float(str(hardware["car"].get("current_limit_a"))) < 15.9)
        await words.until(lambda w: w.of("power_applied"))
    made = spans()
    opened = next(span for span in made if span["name"] == "limit_write energy_guard")
    trace = opened["context"]["trace_id"]
    names_in_trace = {span["name"] for span in made if span["context"]["trace_id"] == trace}
    assert {"limit_write controllable_system", "power_control device", "write current_limit_a"} <= names_in_trace
