"""How people write a duration: ``90s``, ``20m``, ``1.5h``."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_S = 100 * 366 * 86_400.0
"""Beyond it calendars end: nobody means that."""


def duration_s(text: str) -> float:
    """``90``, ``90s``, ``20m``, ``1.5h`` in seconds. Raises ValueError."""
    unit = _UNITS.get(text[-1:])
    seconds = float(text[:-1]) * unit if unit is not None else float(text)
    if not seconds > 0:
        raise ValueError(f"{text!r} is not above zero")
    if seconds > LONGEST_S:
        raise ValueError(f"{text!r} is more than a century")
    return seconds
