"""From the operator's decision to the register read back at the device: hub, leaf, CEM, station, Modbus, all real."""

import time

import anyio

from bench.figure import Figure, Result, median, percentile
from bus.address import Address
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.support.grid import grid
from tests.support.home import Products, products

CEM = Address.parse("h07.cem.main")
LIMIT_W = 5_000.0
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


async def run(quick: bool) -> list[Result]:
    accepted: list[float] = []
    written: list[float] = []
    for _ in range(4 if quick else 20):
        await _one_limit(accepted, written)
    note = "one process: CEM, meter and station agents, ABB Terra AC registers; a fresh home each time"
    return [
        Figure(what="operator's decision to the CEM's answer, median", value=median(accepted), unit="ms"),
        Figure(what="operator's decision to the register, median", value=median(written), unit="ms"),
        Figure(
            what="operator's decision to the register, p99",
            value=percentile(written, 0.99),
            unit="ms",
            at_most=250.0,
            note=note,
        ),
    ]


async def _one_limit(accepted: list[float], written: list[float]) -> None:
    names = ("grid.dso.north", str(CEM), "h07.meter.main", "h07.evse.1")
    async with (
        products(car=("abb_terra_ac", 10, CAR), meter=("eastron_sdm630", 1, METER)) as hardware,
        grid(*names, speed=1.0) as street,
    ):
        words = await street.words("h07")
        await street.start(str(CEM), {"contract_consumption_w": 14_500.0, "fuse_a": 63.0})
        await street.start("h07.meter.main", hardware.line("meter"))
        await street.start("h07.evse.1", {**hardware.line("car"), "rating_w": 11_000.0})
        await words.until(lambda w: w.of("welcome") and w.of("gcp_reading") and w.of("device_reading"))
        dso = await street.bus("grid.dso.north")
        dso.tell(CEM, Heartbeat(every_s=60.0))
        before = _allowed_a(hardware)
        order = SetLimit(direction="consumption", active=True, limit_w=LIMIT_W, reason=_BECAUSE)
        began = time.perf_counter()
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(order)
            answer = await talk.hear(LimitAccepted, LimitRefused, Lapsed)
            if not isinstance(answer, LimitAccepted):
                raise RuntimeError(f"the limit was not accepted: {answer}")
        accepted.append((time.perf_counter() - began) * 1e3)
        with anyio.fail_after(30):
            while _allowed_a(hardware) >= before:  # noqa: ASYNC110  a register tells nobody
                await anyio.sleep(0.001)
        written.append((time.perf_counter() - began) * 1e3)


def _allowed_a(hardware: Products) -> float:
    return float(str(hardware["car"].get("current_limit_a")))


_BECAUSE = Reason(code="bench", text="The benchmark wants it.")
