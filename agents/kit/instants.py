"""Which of two readings counts. Their instants are by the clock of whoever measured, and a clock may be wrong."""

AHEAD_S = 60.0
"""No clock that is cared for is so far ahead: a reading that says so is no measurement."""


def believable(at: float, now: float) -> bool:
    """Whether something can have been measured at ``at``; Unix seconds of the run."""
    return at <= now + AHEAD_S


def newer(at: float, known: float, now: float) -> bool:
    """Whether a reading of ``at`` takes the place of the one of ``known``; Unix seconds of the run.

    Of the past, the younger; but what is known from the future gives way to anything believable. Otherwise one wrong
    instant would make all that is measured until then count for nothing.
    """
    return believable(at, now) and (at >= known or known > now)
