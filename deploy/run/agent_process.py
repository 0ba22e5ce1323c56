"""One agent's life in a process of its own: forked by the launcher, or alone in a container."""

from collections.abc import Callable, Mapping
from pathlib import Path

from agents.kit.run import run_agent
from bus import metrics, tracing
from bus.address import Address
from bus.clock import Clock
from bus.exporters import BadSetting
from deploy.condition import CannotRun, Condition
from deploy.doors import Doors
from deploy.roster import UnknownRole
from deploy.settings import settings_of


async def run_one(
    doors: Doors,
    address: Address,
    clock: Clock,
    gateways: Mapping[str, tuple[str, int]],
    condition: Condition,
    ready: Callable[[], None],
    *,
    spans: Path | None = None,
    data: Path | None = None,
) -> None:
    """One agent's life, until ``condition.stop``.

    Raises UnknownRole, BadSettings, CannotRun, BusUnavailable, NotStored.

    spans    folder for its spans, where no collector is named
    data     folder for what it keeps in files of its own; None: such agents remember nothing
    """
    agent = doors.agent_of(address.role)
    if agent is None:
        raise UnknownRole(address.role)
    settings = settings_of(doors.topology, address, agent, gateways, data)
    bus = doors.bus(address, clock)

    def look() -> str | None:
        return None if bus.connection.connected else f"not connected to {bus.connection.url}"

    def now_ready() -> None:
        condition.ready()
        ready()

    condition.look = look
    try:
        tracing.start(address.role, str(address), folder=spans)
        metrics.start(address.role, str(address), scraped=condition.scraped)
    except BadSetting as problem:
        raise CannotRun(str(problem)) from None
    metrics.watch(bus)
    try:
        await run_agent(agent, bus, settings, doors.permissions.peers(address), ready=now_ready, stop=condition.stop)
    finally:
        await bus.connection.close()  # also where the start failed half-way
        metrics.stop()
        tracing.stop()
