"""A washing machine, a light and a submeter join the real CEM of a live home."""

import pytest

from tests.support.grid import grid
from tests.support.simulated_home import simulated
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)
LAMP = DeviceSpec(name="switch1", kind="switch", product="wirenboard_mdm3", unit=41, rating_w=200, phases=1)
METER = DeviceSpec(name="submeter1", kind="submeter", product="eastron_sdm72d", unit=42, rating_w=1, measures="switch1")


@pytest.mark.use_case("ops.connect-device")
async def test_the_cem_lists_them_by_their_classes() -> None:
    names = [f"h07.{device.kind}.1" for device in (SOCKET, LAMP, METER)]
    async with grid("h07.cem.main", *names) as run, simulated(run, SOCKET, LAMP, METER) as home:
        words = await run.words("h07")
        await run.start("h07.cem.main", {"fuse_a": 63.0, "contract_consumption_w": 14_500.0})
        rated = {"switch1": {"rating_w": 200.0}}
        for name, device in zip(names, (SOCKET, LAMP, METER), strict=True):
            await run.start(name, {**home.line(device.name), **rated.get(device.name, {})})

        def listed(_: object) -> dict[str, str]:
            said = words.of("inventory")
            devices = said[-1][1]["body"]["devices"] if said else {}
            return {who: one["device_class"] for who, one in devices.items()} if len(devices) == len(names) else {}

        assert await words.until(listed) == {name: name.split(".")[1] for name in names}
        assert {tuple(e["body"]["actions"]) for s, e in words.of("welcome") if "whitegoods" in s} == {
            ("choose the start", "limit consumption", "switch off")
        }
