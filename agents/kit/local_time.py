"""Times of day as people say them."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


def next_at(wanted: time, after: float, zone: str) -> datetime:
    """The first instant after ``after`` (run clock) at which it is so late there; UTC."""
    local = datetime.fromtimestamp(after, ZoneInfo(zone))
    there = local.replace(hour=wanted.hour, minute=wanted.minute, second=wanted.second, microsecond=0)
    if there <= local:
        there = (local + timedelta(days=1)).replace(
            hour=wanted.hour, minute=wanted.minute, second=wanted.second, microsecond=0
        )
    return there.astimezone(UTC)
