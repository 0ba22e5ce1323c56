"""A home whose agents are processes of their own, so that they can be killed; real servers, real Modbus, one guard.

The agents are started with the product's own command, ``gridparley agent``. The hardware follows its registers: the car
takes what the station's current limit lets it, and the meter shows it with 900 W of household on top.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from bus.address import Address
from bus.bus import Bus
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.power_limit import (
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    LimitRefused,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from deploy.topology import load
from tests.support.grid import Grid, Words, grid
from tests.support.home import Products, products

DSO, CEM, EVSE, METER = "grid.dso.north", "h07.cem.main", "h07.evse.1", "h07.meter.main"
ROOT = Path(__file__).parents[2]
WHY = Reason(code="congestion", text="the test wants it")
FREE_A, HOUSEHOLD_W = 16.0, 900.0
CAR: dict[str, Value] = {
    "state": "charging",
    "power_w": 11_040,
    **{f"current_l{n}_a": 16.0 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "hardware_limit_a": 16.0,
    "current_limit_a": 16.0,
}
MAINS: dict[str, Value] = {
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "frequency_hz": 50.0,
    "import_wh": 0.0,
    "export_wh": 0.0,
}
TOPOLOGY = """
name = "live"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
[grid]
agents = [
  {{ role = "dso", name = "north" }},
  {{ role = "ops", name = "probe" }},
]
[[site]]
name = "h07"
contract_consumption_w = 14500.0
fuse_a = 63.0
gateway = "127.0.0.1:{port}"
agents = [
  {{ role = "cem", name = "main", settings = {{ failsafe_consumption_w = 20000.0 }} }},
  {{ role = "meter", name = "main", device = "eastron_sdm630", unit = 1 }},
  {{ role = "evse", name = "1", device = "abb_terra_ac", unit = 10, rating_w = 11000.0 }},
  {{ role = "ops", name = "probe" }},
]
"""


class LiveHome:
    """``words`` is everything inside the home, ``beyond`` everything that crosses the link, in the order heard."""

    def __init__(self, run: Grid, file: Path, hardware: Products, words: Words, beyond: Words) -> None:
        self.run, self.file, self.hardware, self.words, self.beyond = run, file, hardware, words, beyond
        self.beats = True
        self.dso: Bus
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    # ------------------------------------------------------------ processes

    async def start(self, *addresses: str) -> None:
        """Start processes and wait until each has said hello."""
        seen = {address: self._hellos(address) for address in addresses}
        for address in addresses:
            servers = self.run.servers
            log = (servers.folder / f"{address}.out").open("ab")
            self._processes[address] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deploy.cli",
                "agent",
                address,
                *("--topology", str(self.file)),
                *("--nats", servers.url(Address.parse(address))),
                *("--keys", str(servers.folder)),
                *("--clock", str(self.run.clock_file.path)),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
            log.close()
        for address in addresses:
            await self._near(address).until(
                lambda _, one=address: self._hellos(one) > seen[one],
                within_wall_s=120,  # type: ignore[misc]
            )

    def _near(self, address: str) -> Words:
        return self.beyond if address == DSO else self.words

    def _hellos(self, address: str) -> int:
        return sum(s.startswith(f"home.say.{address}.system.") for s, _ in self._near(address).all)

    async def kill(self, address: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes.pop(address)
        process.kill()
        await process.wait()

    def freeze(self, address: str) -> None:
        """It reads and says nothing from this moment on; only a kill ends that."""
        os.kill(self._processes[address].pid, signal.SIGSTOP)

    def alive(self, address: str) -> bool:
        return self._processes[address].returncode is None

    async def close(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()

    # ------------------------------------------------------------ the guard

    async def guard(self) -> None:
        """Heartbeats every 30 s of run time."""
        while True:
            if self.beats:
                self.beat()
            await self.run.clock.sleep(30.0)

    def beat(self) -> None:
        self.dso.tell(Address.parse(CEM), Heartbeat(every_s=60.0))

    async def limit(self, limit_w: float | None, **more: Any) -> LimitAccepted | LimitRefused | Lapsed:
        """None lifts. Consumption, unless ``direction`` is given."""
        fields = {"direction": "consumption", **more}
        write = SetLimit(active=limit_w is not None, limit_w=limit_w, reason=WHY, **fields)
        async with self.dso.talk(limit_write, Address.parse(CEM)) as talk:
            await talk.say(write)
            return await talk.hear(LimitAccepted, LimitRefused, Lapsed)

    async def failsafe(self, consumption_w: float) -> FailsafeAccepted | FailsafeRefused | Lapsed:
        async with self.dso.talk(failsafe_write, Address.parse(CEM)) as talk:
            await talk.say(SetFailsafe(consumption_w=consumption_w, production_w=0.0, duration_s=7200.0))
            return await talk.hear(FailsafeAccepted, FailsafeRefused, Lapsed)

    # ------------------------------------------------------------ the truth

    @property
    def limit_a(self) -> float:
        """The station's register."""
        return float(str(self.hardware["car"].get("current_limit_a")))

    @property
    def power_w(self) -> float:
        return _power_w(self.limit_a) + HOUSEHOLD_W

    async def physics(self) -> None:
        while True:
            car, amps = self.hardware["car"], self.limit_a
            flows = amps if amps >= 6.0 else 0.0
            state = "charging" if flows else "connected"
            car.put({"power_w": round(_power_w(amps)), "state": state, **{f"current_l{n}_a": flows for n in (1, 2, 3)}})
            total = _power_w(amps) + HOUSEHOLD_W
            each = {f"power_l{n}_w": total / 3 for n in (1, 2, 3)} | {f"current_l{n}_a": total / 690 for n in (1, 2, 3)}
            self.hardware["meter"].put({"power_w": total, **each})
            await anyio.sleep(0.05)

    async def holds(self, there: Callable[[], object], within_wall_s: float = 30.0) -> None:
        """Until a fact of the registers is there."""
        with anyio.fail_after(within_wall_s):
            while not there():  # noqa: ASYNC110  registers announce nothing
                await anyio.sleep(0.02)

    # ------------------------------------------------------------ the log

    def said(self, word: str, **body: object) -> list[dict[str, Any]]:
        """Envelopes of a word anywhere, oldest first; ``body`` fields must match."""
        found = [e for _, e in (*self.words.of(word), *self.beyond.of(word))]
        return [e for e in found if all(e["body"].get(name) == value for name, value in body.items())]

    def states(self) -> list[dict[str, Any]]:
        return [e["body"] for e in self.said("limit_state")]


def _power_w(amps: float) -> float:
    return amps * 690.0 if amps >= 6.0 else 0.0


@asynccontextmanager
async def live_home(folder: Path, *, start: bool = True, speed: float = 6.0) -> AsyncIterator[LiveHome]:
    """CEM, station and meter run as processes; the site is free of limits and the car takes 11 kW."""
    async with products(car=("abb_terra_ac", 10, CAR), meter=("eastron_sdm630", 1, MAINS)) as hardware:
        file = folder / "live.toml"
        file.write_text(TOPOLOGY.format(port=hardware.gateway.port))
        async with (
            grid(shape=load(file), speed=speed, folder=folder, processes=True) as run,
            anyio.create_task_group() as tasks,
        ):
            here = LiveHome(run, file, hardware, await run.words("h07"), await run.words())
            here.dso = await run.bus(DSO, lambda bus: bus.on(Heartbeat, lambda _m, _h: None))
            tasks.start_soon(here.physics)
            try:
                if start:
                    await here.start(CEM, EVSE)
                    await here.words.until(lambda w: w.of("welcome") and len(w.of("device_reading")) > 1)
                    await here.start(METER)  # with every device known, the household is told apart from the first look
                    tasks.start_soon(here.guard)
                    here.beat()
                    for direction in ("consumption", "production"):
                        assert isinstance(await here.limit(None, direction=direction), LimitAccepted)
                    await here.words.until(
                        lambda w: w.of("welcome") and len(w.of("gcp_reading")) > 1 and w.of("device_reading")
                    )
                    await here.holds(lambda: here.limit_a >= 15.0)
                yield here
            finally:
                with anyio.CancelScope(shield=True):
                    await here.close()
                tasks.cancel_scope.cancel()
