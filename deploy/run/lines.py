"""The process of a run that owns its Modbus lines, for all places of this machine."""

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic

import anyio

from agents.drivers.front import Front, FrontSettings
from bus import metrics
from contracts.device_file import load as load_device
from deploy.telemetry.figures import kept
from deploy.topology import GRID, AgentEntry, Topology

LINES = "lines"
LINE = "line"
"""What figures of a line's owner are filed under, as those of an agent under its role."""
_SHARE = 0.45
"""Of a master's own timeout: for waiting at the front, and again for the unit's answer."""


def line_places(topology: Topology) -> list[str]:
    """The places whose hardware has a front in this run, the grid side first."""
    if not topology.run.fronts:
        return []
    entries = {GRID: topology.grid.agents, **{site.name: site.agents for site in topology.site}}
    return [place for place, agents in entries.items() if any(entry.device for entry in agents)]


def front_settings(topology: Topology, place: str) -> FrontSettings:
    """What the products of a place need of their line: the longest gap of all, as all hear each frame."""
    site = topology.sites.get(place)
    entries: tuple[AgentEntry, ...] = site.agents if site is not None else topology.grid.agents
    needs = {entry.unit: load_device(entry.device).line for entry in entries if entry.device}
    return FrontSettings(
        gap_ms=max((line.gap_ms for line in needs.values()), default=0.0),
        unit_timeout_s={unit: _SHARE * line.timeout_s for unit, line in needs.items()},
    )


async def run_lines(
    topology: Topology,
    lines: Mapping[str, tuple[str, int]],
    listens: Mapping[str, tuple[str, int]],
    ready: Callable[[], None],
    stop: Callable[[], asyncio.Event],
) -> None:
    """The fronts of a run, until the event that ``stop`` makes in the loop. Raises OSError.

    lines, listens   by place: the hardware, and where its front listens
    """
    fronts = [
        Front(upstream, front_settings(topology, place), host=listens[place][0], port=listens[place][1])
        for place, upstream in lines.items()
    ]
    with kept(LINE, LINES, scraped=False):
        await serve(fronts, ready, stop())


async def serve(fronts: list[Front], ready: Callable[[], None], stop: asyncio.Event | anyio.Event) -> None:
    """Until ``stop``; ``ready`` when all listen. Raises OSError when a port is taken."""
    metrics.observe(metrics.LINE_REQUESTS, lambda: [one for front in fronts for one in _outcomes(front)])
    metrics.observe(
        metrics.LINE_AGE, lambda: [(monotonic() - front.heard_at, {"line": front.name}) for front in fronts]
    )
    try:
        for front in fronts:
            await front.start()
        ready()
        await stop.wait()
    finally:
        await asyncio.gather(*(front.stop() for front in fronts))


def _outcomes(front: Front) -> list[tuple[float, metrics.Attributes]]:
    return [(number, {"line": front.name, "outcome": outcome}) for outcome, number in list(front.outcomes.items())]
