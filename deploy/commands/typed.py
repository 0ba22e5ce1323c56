"""What a person types after a command, read; what is not understood ends it with exit code 2."""

from datetime import datetime, time

from agents.kit.local_day import next_local
from bus.envelope import instant
from deploy.durations import duration_s
from deploy.options import failed


def time_of_day(text: str) -> time | None:
    """``07:00``; None where nothing was said, or ``never``."""
    try:
        return time.fromisoformat(text) if text and text != "never" else None
    except ValueError:
        raise failed(f"{text!r} is no time of day: write it like 07:00", 2) from None


def next_at(at: time | None, since: datetime, zone: str) -> datetime | None:
    """The next instant at which the person's clock shows that."""
    if at is None:
        return None
    return instant(next_local(at, since.timestamp(), zone, now_too=True))


def seconds(text: str) -> float | None:
    """``90s``, ``20m``, ``1.5h``; None where nothing was said."""
    try:
        return duration_s(text) if text else None
    except ValueError as problem:
        raise failed(f"{text!r} is not understood ({problem}): write 90s, 20m or 1.5h", 2) from None
