"""From the operator's decision to the register read back at the device: hub, leaf, CEM, station, Modbus, all real."""

import time
from collections.abc import Callable

import anyio

from bench.figure import Figure, Result, median, percentile
from bus.address import Address
from bus.bus import Bus
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.support.grid import Grid, grid
from tests.support.home import Products, products

CEM = Address.parse("h07.cem.main")
LIMIT_W = 5_000.0
HOUSE_W = 530.0
HEARTBEAT_S = 30.0
FULL_A, LIMITED_A = 15.9, 7.0
START_S, BETWEEN_S = 300.0, 30.0
"""Run seconds until the CEM knows the home: after the start, and after the car has changed what it takes."""
AGILE: dict[str, object] = {"raise_after_s": 0.0, "raise_step_w": 20_000.0, "restart_after_s": 0.0}
"""More power at once: only the way down is measured, but each round begins at the top."""
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
    async with (
        products(car=("abb_terra_ac", 10, CAR), meter=("eastron_sdm630", 1, METER)) as hardware,
        grid("grid.dso.north", str(CEM), "h07.meter.main", "h07.evse.1", speed=1.0) as street,
        anyio.create_task_group() as guard,
    ):
        words = await street.words("h07")
        await street.start(str(CEM), {"contract_consumption_w": 14_500.0, "fuse_a": 63.0, **AGILE})
        await street.start("h07.meter.main", hardware.line("meter"))
        await street.start("h07.evse.1", {**hardware.line("car"), "rating_w": 11_000.0})
        dso = await street.bus("grid.dso.north")
        await words.until(lambda w: w.of("welcome") and w.of("gcp_reading") and w.of("device_reading"))
        await _free(dso, hardware)
        guard.start_soon(_guard, dso, street)
        await _settle(street, START_S)
        for _ in range(6 if quick else 40):
            await _free(dso, hardware)
            await _settle(street, BETWEEN_S)
            began = time.perf_counter()
            await _limit(dso, LIMIT_W)
            accepted.append((time.perf_counter() - began) * 1e3)
            await _until(lambda: 0 < _allowed_a(hardware) <= LIMITED_A, "the limit does not reach the register")
            written.append((time.perf_counter() - began) * 1e3)
            _draw(hardware, _allowed_a(hardware))
        guard.cancel_scope.cancel()
    note = "hub, leaf, TLS; CEM, meter and station agents in one process; the registers of an ABB Terra AC"
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


async def _free(dso: Bus, hardware: Products) -> None:
    """No limit, and the car takes all it can."""
    dso.tell(CEM, Heartbeat(every_s=HEARTBEAT_S))
    await _limit(dso, None)
    await _until(lambda: _allowed_a(hardware) >= FULL_A, "the station is not set free")
    _draw(hardware, FULL_A)


async def _guard(dso: Bus, street: Grid) -> None:
    while True:
        await street.clock.sleep(HEARTBEAT_S)
        dso.tell(CEM, Heartbeat(every_s=HEARTBEAT_S))


async def _limit(dso: Bus, limit_w: float | None) -> None:
    order = SetLimit(direction="consumption", active=limit_w is not None, limit_w=limit_w, reason=_BECAUSE)
    async with dso.talk(limit_write, CEM) as talk:
        await talk.say(order)
        answer = await talk.hear(LimitAccepted, LimitRefused, Lapsed)
        if not isinstance(answer, LimitAccepted):
            raise RuntimeError(f"the limit was not accepted: {answer}")


async def _settle(street: Grid, seconds: float) -> None:
    """Let run time pass quickly; the measurement itself is at the speed of the world."""
    street.clock_file.set_speed(60.0)
    await street.clock.sleep(seconds)
    street.clock_file.set_speed(1.0)


async def _until(there: Callable[[], bool], otherwise: str) -> None:
    """A register tells nobody; raises TimeoutError."""
    try:
        with anyio.fail_after(30):
            while not there():  # noqa: ASYNC110
                await anyio.sleep(0.001)
    except TimeoutError:
        raise TimeoutError(otherwise) from None


def _draw(hardware: Products, current_a: float) -> None:
    """The car takes what it may, and the meter shows it: otherwise the CEM would correct against a car that cheats."""
    current_a = min(current_a, 15.9)
    power_w = 3 * 230.0 * current_a
    phases = range(1, 4)
    hardware["car"].put({"power_w": power_w, **{f"current_l{n}_a": current_a for n in phases}})
    whole_w = HOUSE_W + power_w
    hardware["meter"].put(
        {
            "power_w": whole_w,
            **{f"power_l{n}_w": whole_w / 3 for n in phases},
            **{f"current_l{n}_a": whole_w / 3 / 230.0 for n in phases},
        }
    )


def _allowed_a(hardware: Products) -> float:
    return float(str(hardware["car"].get("current_limit_a")))


_BECAUSE = Reason(code="bench", text="The benchmark wants it.")
