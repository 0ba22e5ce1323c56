"""A PV agent: the bound in the inverter's registers, and what it reads back of it."""

import pytest

from contracts.device import PowerApplied, PowerRefused
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
PV = "h07.pv.1"
SUN = {"power_w": -6_000, "rating_w": 10_000, "state": "running"}


@pytest.mark.use_case("limits.lpc")
@pytest.mark.parametrize("product", ["sunspec_inverter", "sunspec_der_inverter"])
async def test_a_bound_is_in_the_registers_and_lifted_again(product: str) -> None:
    async with products(roof=(product, 30, SUN)) as hardware, grid("h07.cem.main", PV, agents=SCRIPTED_CEM) as run:
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(PV, hardware.line("roof"))
        applied = await cem.order(PV, lower_w=-3_000.0)
        assert isinstance(applied, PowerApplied)
        assert applied.lower_w == pytest.approx(-3_000.0)
        roof = hardware["roof"]
        assert (roof.get("power_limit_percent"), roof.get("power_limit_enabled")) == (30.0, True)
        await words.until(lambda w: [1 for _, e in w.of("device_reading") if e["body"]["limit_percent"] == 30.0])
        assert isinstance(await cem.order(PV), PowerApplied)
        assert roof.get("power_limit_enabled") is False
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["limit_percent"] == 100.0)


async def test_a_limit_that_would_lift_itself_is_made_to_stay() -> None:
    async with (
        products(roof=("sunspec_inverter", 30, {**SUN, "limit_timeout_s": 300})) as hardware,
        grid("h07.cem.main", PV, agents=SCRIPTED_CEM) as run,
    ):
        cem = await home_cem(run)
        await run.start(PV, hardware.line("roof"))
        assert isinstance(await cem.order(PV, lower_w=0.0), PowerApplied)
        assert hardware["roof"].get("limit_timeout_s") == 0
        assert hardware["roof"].get("power_limit_percent") == 0


async def test_an_inverter_without_controls_refuses() -> None:
    async with (
        products(roof=("sunspec_inverter", 30, {})) as hardware,
        grid("h07.cem.main", PV, agents=SCRIPTED_CEM) as run,
    ):
        hardware["roof"].remap((1, 103, 120))
        hardware["roof"].put(SUN)
        cem = await home_cem(run)
        await run.start(PV, hardware.line("roof"))
        refused = await cem.order(PV, lower_w=-3_000.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "no_control"
