"""From the power at the meter's register to the notice in the CEM's hand."""

import time

import anyio

from bench.figure import Figure, Result, median, percentile
from bus.bus import Bus
from contracts.metering import ContractNotice
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, products

LEVELS = ((6_200.0, "alarm"), (2_000.0, "clear"))


async def run(quick: bool) -> list[Result]:
    held: list[tuple[str, float, float]] = []
    whole: list[float] = []
    measured: list[float] = []
    start = {"power_w": 2_000.0, "import_wh": 0.0, "export_wh": 0.0}
    async with (
        products(meter=("eastron_sdm630", 1, start)) as hardware,  # type: ignore[arg-type]
        grid("h07.cem.main", "h07.meter.main", speed=1.0, agents=SCRIPTED_CEM) as street,
    ):

        def listen(bus: Bus) -> None:
            bus.on(ContractNotice, lambda notice, _heard: held.append(
                (notice.level, time.perf_counter(), street.clock.now() - notice.metered_at.timestamp())
            ))  # fmt: skip
            bus.listen(ContractNotice, site="h07", role="meter", home=True)

        await street.bus("h07.cem.main", listen)
        words = await street.words("h07")
        await street.start("h07.meter.main", {**hardware.line("meter"), "contract_consumption_w": 6_000.0})
        await words.until(lambda w: w.of("gcp_reading"))
        for number in range(6 if quick else 20):
            power_w, level = LEVELS[number % 2]
            seen = len(held)
            began = time.perf_counter()
            hardware["meter"].put({"power_w": power_w})
            with anyio.fail_after(30):
                while not any(said == level for said, _, _ in held[seen:]):  # noqa: ASYNC110
                    await anyio.sleep(0.001)
            _, at, age = next(one for one in held[seen:] if one[0] == level)
            whole.append(at - began)
            measured.append(age)
    return [
        Figure(what="near limit: metered crossing to the CEM, p99", value=percentile(measured, 0.99), unit="s",
               at_most=1.0),
        Figure(what="  register to the CEM, with the meter's period, median", value=median(whole), unit="s"),
    ]  # fmt: skip
