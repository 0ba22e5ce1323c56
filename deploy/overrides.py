"""What a command line says about when and how fast a topology runs; it wins over the topology's own ``[run]``."""

from datetime import datetime, timedelta

import msgspec

from deploy.durations import duration_s
from deploy.topology import Disturbance, Topology


def overridden(
    topology: Topology,
    *,
    start: str | datetime | None = None,
    until: str | datetime | None = None,
    for_: str = "",
    speed: float | None = None,
    seed: int | None = None,
) -> Topology:
    """The topology with another run. What was to happen outside of its time does not happen.

    start, until   an instant, ISO 8601 or a time of the day (14:30); a bare one is in the time zone of ``run.start``
    for_           how long, instead of ``until``: 90s, 20m, 1.5h of run time
    speed          run seconds per second

    Raises ValueError with cause and remedy.
    """
    run = topology.run
    if for_ and until:
        raise ValueError("--for and --until exclude each other: give one")
    try:
        if start:
            run = msgspec.structs.replace(run, start=_instant(start, run.start, later=False))
        if for_:
            run = msgspec.structs.replace(run, until=run.start + timedelta(seconds=duration_s(for_)))
        if until:
            run = msgspec.structs.replace(run, until=_instant(until, run.start, later=True))
    except ValueError as problem:
        said = for_ or until or start
        raise ValueError(f"{said!r} is not understood ({problem}): write --for 20m or --until 14:30") from None
    if speed is not None:
        run = msgspec.structs.replace(run, speed=speed)
    if seed is not None:
        run = msgspec.structs.replace(run, seed=seed)
    made = msgspec.structs.replace(topology, run=run)
    return msgspec.structs.replace(made, disturbance=tuple(one for one in topology.disturbance if within(one, made)))


def within(one: Disturbance, topology: Topology) -> bool:
    """Whether it happens while the topology runs."""
    return topology.run.start <= one.at <= topology.run.until


def _instant(said: str | datetime, around: datetime, *, later: bool) -> datetime:
    """``later``: a time of the day is the next one after ``around``, else that day's."""
    if isinstance(said, datetime) or "T" in said or "-" in said:
        instant = said if isinstance(said, datetime) else datetime.fromisoformat(said)
        return instant if instant.tzinfo else instant.replace(tzinfo=around.tzinfo)
    hour, _, minute = said.partition(":")
    instant = around.replace(hour=int(hour), minute=int(minute or 0), second=0, microsecond=0)
    return instant if instant > around or not later else instant + timedelta(days=1)
