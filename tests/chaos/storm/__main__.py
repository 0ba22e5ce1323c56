"""``python -m tests.chaos.storm --for 10m --seed 7``: a street in a storm, then the verdict (1: a violation)."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bus.transport import BusUnavailable
from deploy.durations import duration_s
from deploy.topology import TopologyError, find, load
from tests.chaos.storm import disk
from tests.chaos.storm.checks import ALL
from tests.chaos.storm.gather import Gathered, gather
from tests.chaos.storm.hands import Hands
from tests.chaos.storm.log import BEGUN, GATHERED, STORM, Begun, read
from tests.chaos.storm.plan import KINDS, Kind, Plan, draw, targets
from tests.chaos.storm.street import Street, StreetFailed
from tests.chaos.storm.verdict import Check, table

HERE = Path(__file__).parent
AROUND_WALL_S = 75.0
"""Of the time that was asked for, what start, gathering, the run's report and the verdict take."""
QUIET_RUN_S = 600.0
"""The quiet end: every timeout of the contracts (120 s) and of the bus (60 s of wall time at 10x) has passed in it."""
SPARE_RUN_S = 900.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--for", dest="for_", default="10m", help="wall time of everything, e.g. 10m, 1h")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--topology", default=str(HERE / "small.toml"), help="a topology file or name")
    parser.add_argument("--speed", type=float, default=None, help="run seconds per second; default: the topology's")
    parser.add_argument("--out", type=Path, default=None, help="folder; default runs/storm-<seed>-<time>")
    parser.add_argument("--only", default="", help=f"kinds of fault, of {', '.join(KINDS)}; default: all")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--judge", type=Path, help="judge the storm in this folder again")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    try:
        topology, file = load(asked.topology), find(asked.topology)
    except TopologyError as problem:
        print(problem, file=sys.stderr)
        return 2
    speed = asked.speed or topology.run.speed
    length_s = (duration_s(asked.for_) - AROUND_WALL_S) * speed - QUIET_RUN_S
    if length_s <= 0:
        print(f"--for {asked.for_} is too short at {speed:g}x: nothing would happen", file=sys.stderr)
        return 2
    if asked.judge:
        return judge(asked.judge, topology, 0)
    out = asked.out or Path("runs") / f"storm-{asked.seed}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    out = out.resolve()
    plan = draw(topology, asked.seed, length_s, _left_out(asked.only))
    print(plan.text(), flush=True)
    if asked.plan:
        return 0
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
    street = Street(topology, file, out)
    disks = [disk.store(street.run, server) for server in sorted(targets(plan.faults, "disk"))]
    code: int | None = None
    try:
        for folder in disks:
            disk.mount(folder)
        code = asyncio.run(storm(street, plan, speed, duration_s(asked.for_)))
    except* (StreetFailed, BusUnavailable) as problems:
        print(*problems.exceptions, sep="\n", file=sys.stderr)
    finally:
        disk.unmount(disks)
    return 1 if code is None else judge(out, topology, code)


def _left_out(only: str) -> dict[Kind, str]:
    """Kinds of fault that are not done here, each with why."""
    return {kind: "not asked for" for kind in KINDS if only and kind not in only.split(",")}


async def storm(street: Street, plan: Plan, speed: float, wall_s: float) -> int:
    """Start, do the plan, be quiet, ask everybody, stop. Ctrl-C ends the storm at once and goes on with the asking.

    The exit code of the street.
    """
    over = time.monotonic() + wall_s - AROUND_WALL_S / 2
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await street.start(speed, plan.length_s + QUIET_RUN_S + SPARE_RUN_S)
    hands = Hands(street, street.folder / STORM, lambda text: print(text, flush=True))
    begun = Begun(origin=street.clock.now(), speed=speed)
    doing = asyncio.ensure_future(hands.do(plan))
    stopping = asyncio.ensure_future(stop.wait())
    left_s = max(0.0, over - time.monotonic() - QUIET_RUN_S / speed)
    await asyncio.wait([doing, stopping], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    if not doing.done():
        doing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await doing  # a fault of the storm itself ends it
    quiet = street.clock.now()
    undone = len(plan.faults) - len(hands.deeds)
    begun = msgspec.structs.replace(begun, quiet=None if stop.is_set() else quiet, cut_short=undone)
    print(f"+{quiet - begun.origin:6.0f} s  quiet", flush=True)
    until = asyncio.ensure_future(street.clock.sleep_until(quiet + QUIET_RUN_S))
    await asyncio.wait([until, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        begun = msgspec.structs.replace(begun, quiet=None)
    until.cancel()
    stopping.cancel()
    gathered: Gathered = await gather(street.run, street.clock.now(), street.instants, street.ailing())
    (street.folder / GATHERED).write_bytes(msgspec.json.encode(gathered))
    (street.folder / BEGUN).write_bytes(msgspec.json.encode(begun))
    return await street.stop()


def judge(out: Path, topology: object, code: int) -> int:
    log = read(out, topology, code)  # type: ignore[arg-type]
    checks: tuple[Check, ...] = ALL
    results = [check(log) for check in checks]
    text = table(log, results)
    (out / "verdict.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    broken = sum(len(result.violations) for result in results)
    print(f"\n{broken} violations; everything is in {out}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
