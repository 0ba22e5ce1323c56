"""The bounds of the connection point over a plan's slots: limits with their profiles, envelopes, what else holds."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf

from agents.cem.limit_state import Control
from agents.cem.premises import Claim

Bounds = tuple[list[float], list[float]]
"""Upper and lower bound per slot; inf and -inf where free."""


def bounds_ahead(
    edges: Sequence[float],
    controls: Iterable[Control],
    claims: Iterable[Claim],
    envelopes: tuple[Sequence[float], Sequence[float]],
    lasts_s: float,
) -> tuple[Bounds, str, str]:
    """Bounds per slot, and what to call the upper and the lower one in reasons.

    What has no end is taken to last ``lasts_s``: when it goes on, the next plan knows.
    """
    now = edges[0]
    upper, lower = list(envelopes[0]), list(envelopes[1])
    upper_why = "esp_envelope" if any(w < inf for w in upper) else "grid_limit"
    lower_why = "esp_envelope" if any(w > -inf for w in lower) else "feed_in_limit"
    for control in controls:
        for n, (start, end) in enumerate(pairwise(edges)):
            for bound in _of_control(control, start, end, now, lasts_s):
                if control.direction == "consumption":
                    upper[n], upper_why = min(upper[n], bound), "grid_limit"
                else:
                    lower[n], lower_why = max(lower[n], bound), "feed_in_limit"
    for claim in claims:
        for n, start in enumerate(edges[:-1]):
            if start - now < lasts_s:
                upper[n], lower[n] = min(upper[n], claim.upper_w), max(lower[n], claim.lower_w)
        upper_why = claim.why if claim.upper_w < inf else upper_why
        lower_why = claim.why if claim.lower_w > -inf else lower_why
    return (upper, lower), upper_why, lower_why


def _of_control(control: Control, start: float, end: float, now: float, lasts_s: float) -> list[float]:
    found = []
    if control.held is not None and control.mode == "limited":
        for slot in control.held.slots:
            until = max(slot.start, now) + lasts_s if slot.end is None else slot.end
            if slot.start < end and start < until:
                found.append(slot.limit_w)
    elif control.mode in ("init", "failsafe") and start - now < lasts_s:
        found.append(control.failsafe_w)
    return found
